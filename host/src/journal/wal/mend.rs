//! A copy of a damaged journal that SQLite reads to its end, to save what is there. The journal itself is left alone.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use super::frame::{FRAME_HEAD, Frame, HEADER, Sum};
use super::{Damage, beside, open, read_whole};

/// Copies the journal at `path` into `folder`. Where its write-ahead file is damaged every frame of that generation gets a
/// check sum that fits, the one wrong word is mended where it is known, and the rows say themselves whether they are right.
///
/// # Errors
///
/// A file cannot be read or written.
pub(in crate::journal) fn mended_copy(
    path: &Path,
    damage: Option<&Damage>,
    folder: &Path,
) -> io::Result<PathBuf> {
    let copy = folder.join("journal.db");
    if path.exists() {
        std::fs::copy(path, &copy)?;
    }
    match damage {
        Some(damage) => copy_frames(path, damage, &copy)?,
        None if beside(path).exists() => drop(std::fs::copy(beside(path), beside(&copy))?),
        None => {}
    }
    Ok(copy)
}

fn copy_frames(path: &Path, damage: &Damage, copy: &Path) -> io::Result<()> {
    let Some(mut file) = open(&beside(path))? else {
        return Ok(());
    };
    let header = &damage.header;
    let (head, mut sum) = header.to_bytes();
    read_whole(&mut file, &mut [0; HEADER])?;
    let mut out = BufWriter::new(File::create(beside(copy))?);
    out.write_all(&head)?;
    let mut bytes = header.frame_room();
    let (frames, pages) = frames_to_keep(path, damage)?;
    for number in 1..=frames {
        if !read_whole(&mut file, &mut bytes)? {
            break;
        }
        let is_known = if number == damage.frame {
            mend(&mut bytes, damage)
        } else {
            Frame(&bytes).is_of(header)
        };
        let page = Frame(&bytes).page_number();
        if !is_known || page == 0 || page > pages {
            // It does not say for certain which page it is: an older form of that page is less wrong.
            continue;
        }
        bytes[8..16].copy_from_slice(&header.salts);
        sum = Frame(&bytes).sum(header, sum);
        put_sum(&mut bytes, sum);
        out.write_all(&bytes)?;
    }
    out.flush()
}

/// Mends the bad frame where it is known how; false where its page number may be what is wrong.
fn mend(bytes: &mut [u8], damage: &Damage) -> bool {
    let Some(wrong) = damage.word else {
        return Frame(bytes).is_of(&damage.header);
    };
    if !wrong.alone {
        return wrong.at >= 8;
    }
    let word = damage.header.read_word(bytes, wrong.at).wrapping_add(wrong.add);
    let word = if damage.header.big {
        word.to_be_bytes()
    } else {
        word.to_le_bytes()
    };
    bytes[wrong.at..wrong.at + 4].copy_from_slice(&word);
    true
}

fn put_sum(bytes: &mut [u8], sum: Sum) {
    bytes[16..20].copy_from_slice(&sum.0.to_be_bytes());
    bytes[20..FRAME_HEAD].copy_from_slice(&sum.1.to_be_bytes());
}

/// The frames up to the last commit that was durable, or that ends frames which follow one another; and how many pages
/// the largest of those commits counts.
fn frames_to_keep(path: &Path, damage: &Damage) -> io::Result<(u64, u32)> {
    let header = &damage.header;
    let Some(mut file) = open(&beside(path))? else {
        return Ok((0, 0));
    };
    read_whole(&mut file, &mut [0; HEADER])?;
    let mut bytes = header.frame_room();
    let (mut number, mut keep, mut pages, mut is_sure) = (0, 0, 0, true);
    let mut before: Option<(Sum, bool)> = None;
    while read_whole(&mut file, &mut bytes)? {
        number += 1;
        let frame = Frame(&bytes);
        let follows = before.is_some_and(|(sum, _)| frame.follows(header, sum));
        if follows && before.is_some_and(|(_, commits)| commits) {
            // Written on top of a commit: that one was durable.
            is_sure = true;
            keep = number - 1;
        } else if !follows && number != 1 && number != damage.frame && number != damage.frame + 1 {
            // A second damage, or the leavings of a write that failed: what comes next tells.
            is_sure = false;
        }
        let commits = frame.is_of(header) && frame.is_commit();
        if is_sure && commits {
            keep = number;
            if number != damage.frame {
                pages = pages.max(frame.pages());
            }
        }
        before = Some((frame.stored(), commits));
    }
    Ok((keep, pages))
}
