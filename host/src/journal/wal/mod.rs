//! The write-ahead file, read before SQLite opens it.
//!
//! SQLite ends a write-ahead file at the first frame whose check sum does not fit: to it, a byte that flipped in the
//! midst of the file and a last write that was torn are the same, and what follows is overwritten. Here both are told
//! apart. A journal is synced after each transaction, so that a frame which was written on top of a commit proves that
//! everything up to that commit was durable: whatever does not fit before it is damage.
//!
//! In the last transaction nothing follows that could prove it. There a single wrong word is still found, because the
//! check sum is linear: one word that mends it is no torn write. More than one wrong word in the last transaction is
//! taken for the torn write that it looks like, and so is a file that was cut or emptied as a whole: telling those from a
//! write that never ended would take a count of commits outside the journal, synced as often as the journal is.
//!
//! What does not fit may also be a transaction that failed on a full disk and was written over by a shorter one, or an
//! older generation of frames (other salts). Neither has a frame on top of its commit that fits it.

mod frame;
mod mend;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use self::frame::{Frame, HEADER, Header, Sum};
pub(super) use self::mend::mended_copy;

/// A fault must look the same so often before it is believed: a running host may be writing.
const LOOKS: u32 = 3;
/// Time between two looks.
const PAUSE: Duration = Duration::from_millis(20);
/// Frames within which a file whose header is damaged must show that it holds something.
const FRAMES_OF_EVIDENCE: u64 = 4096;

/// What is wrong with a write-ahead file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Damage {
    header: Header,
    /// The frame that does not fit, counted from 1; 0 is the file's header.
    frame: u64,
    /// The word that mends it, where it is one: its place in the frame and what must be added to it.
    word: Option<frame::WrongWord>,
    /// The bytes that do not fit.
    bytes: Vec<u8>,
}

impl Damage {
    /// For a person.
    pub(super) fn what(&self) -> String {
        let lost = "SQLite would take this for a torn last write and forget all commits from there on";
        if self.frame == 0 {
            return format!(
                "the header of its -wal file does not fit its check sum, and commits follow it; {lost}"
            );
        }
        let at = self.header.place_of(self.frame);
        if self.word.is_some() {
            return format!(
                "frame {} of its -wal file (at byte {at}) has one wrong word; {lost}",
                self.frame
            );
        }
        format!(
            "frame {} of its -wal file (at byte {at}) does not fit its check sum, and later commits follow it; {lost}",
            self.frame
        )
    }
}

/// The write-ahead file of the journal at `path`.
pub(super) fn beside(path: &Path) -> PathBuf {
    with_suffix(path, "-wal")
}

/// The index of that file, which SQLite's processes share.
pub(super) fn index_of(path: &Path) -> PathBuf {
    with_suffix(path, "-shm")
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Looks for damage in the write-ahead file of the journal at `path`. A host may be writing meanwhile.
///
/// # Errors
///
/// The file is there and cannot be read.
pub(super) fn find_damage(path: &Path) -> io::Result<Option<Damage>> {
    let mut found: Option<Damage> = None;
    let mut alike = 0;
    loop {
        let now = look(&beside(path))?;
        if now.is_none() {
            return Ok(None);
        }
        alike = if now == found { alike + 1 } else { 1 };
        if alike >= LOOKS {
            return Ok(now);
        }
        found = now;
        std::thread::sleep(PAUSE);
    }
}

/// True when the write-ahead file of the journal at `path` holds a commit that SQLite would read.
///
/// # Errors
///
/// The file is there and cannot be read.
pub(super) fn holds_commits(path: &Path) -> io::Result<bool> {
    let Some(mut file) = open(&beside(path))? else {
        return Ok(false);
    };
    let Some(Ok(header)) = Header::read(&mut file)? else {
        return Ok(false);
    };
    let mut sum = header.sum;
    let mut bytes = header.frame_room();
    while read_whole(&mut file, &mut bytes)? {
        let frame = Frame(&bytes);
        if !frame.follows(&header, sum) {
            return Ok(false);
        }
        if frame.is_commit() {
            return Ok(true);
        }
        sum = frame.stored();
    }
    Ok(false)
}

fn open(path: &Path) -> io::Result<Option<BufReader<File>>> {
    match File::open(path) {
        Ok(file) => Ok(Some(BufReader::with_capacity(1 << 16, file))),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

/// Fills `room`, or says that the file ends before.
fn read_whole(file: &mut impl Read, room: &mut [u8]) -> io::Result<bool> {
    match file.read_exact(room) {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(e) => Err(e),
    }
}

/// One reading of the file from its beginning to its end.
fn look(wal: &Path) -> io::Result<Option<Damage>> {
    let Some(mut file) = open(wal)? else {
        return Ok(None);
    };
    match Header::read(&mut file)? {
        None => Ok(None),
        Some(Ok(header)) => look_at_frames(&mut file, &header),
        Some(Err(bytes)) => look_behind_header(wal, bytes),
    }
}

fn look_at_frames(file: &mut impl Read, header: &Header) -> io::Result<Option<Damage>> {
    let mut bytes = header.frame_room();
    let mut sum = header.sum;
    let mut number = 1;
    loop {
        if !read_whole(file, &mut bytes)? {
            return Ok(None);
        }
        let frame = Frame(&bytes);
        if !frame.follows(header, sum) {
            break;
        }
        sum = frame.stored();
        number += 1;
    }
    let damage = Damage {
        header: header.clone(),
        frame: number,
        word: Frame(&bytes).wrong_word(header, sum, number),
        bytes: bytes.clone(),
    };
    let proven = damage.word.is_some() || is_built_upon(file, header, &mut bytes)?;
    Ok(proven.then_some(damage))
}

/// True when a frame follows that was written on top of a commit of this generation, the one in `bytes` or a later one.
fn is_built_upon(file: &mut impl Read, header: &Header, bytes: &mut [u8]) -> io::Result<bool> {
    let mut commit = commit_of(Frame(bytes), header);
    while read_whole(file, bytes)? {
        let frame = Frame(bytes);
        if commit.is_some_and(|sum| frame.follows(header, sum)) {
            return Ok(true);
        }
        commit = commit_of(frame, header);
    }
    Ok(false)
}

fn commit_of(frame: Frame<'_>, header: &Header) -> Option<Sum> {
    (frame.is_of(header) && frame.is_commit()).then(|| frame.stored())
}

/// The header does not fit its check sum, so that SQLite takes the file for empty. It was synced before any frame was
/// written, and 32 bytes are not torn: one frame that fits says that there is something to lose.
fn look_behind_header(wal: &Path, bytes: [u8; HEADER]) -> io::Result<Option<Damage>> {
    for mut guess in Header::guesses(&bytes) {
        let Some(mut file) = open(wal)? else {
            return Ok(None);
        };
        if !read_whole(&mut file, &mut [0; HEADER])? {
            return Ok(None);
        }
        let mut room = guess.frame_room();
        let mut before: Option<Header> = None;
        for number in 1..=FRAMES_OF_EVIDENCE {
            if !read_whole(&mut file, &mut room)? {
                break;
            }
            let frame = Frame(&room);
            guess.salts = frame.salts();
            let first = number == 1 && guess.seeds(&bytes).iter().any(|sum| frame.follows(&guess, *sum));
            let later = before
                .as_ref()
                .is_some_and(|before| frame.follows(before, before.sum));
            if first || later {
                return Ok(Some(Damage {
                    header: guess,
                    frame: 0,
                    word: None,
                    bytes: bytes.to_vec(),
                }));
            }
            before = Some(Header {
                sum: frame.stored(),
                ..guess.clone()
            });
        }
    }
    Ok(None)
}
