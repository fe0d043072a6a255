//! Real write-ahead files, damaged in every way that can be thought of.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use proptest::prelude::*;
use rusqlite::Connection;

use super::frame::FRAME_HEAD;
use super::{Damage, beside, find_damage, holds_commits, look, mended_copy};

const PAGE: usize = 4096;
const FRAME: usize = FRAME_HEAD + PAGE;
const ROWS: i64 = 40;

/// A journal-like file whose process was killed: the main file, and the write-ahead file beside it.
struct Killed {
    main: Vec<u8>,
    wal: Vec<u8>,
}

/// The sizes differ, so that transactions have one frame and several.
fn writes(conn: &Connection, rows: std::ops::Range<i64>) {
    for row in rows {
        let body = format!(
            "{row} {}",
            "text ".repeat(usize::try_from(row % 7).unwrap() * 400)
        );
        conn.execute("INSERT INTO rows VALUES (?1, ?2)", (row, body))
            .unwrap();
    }
}

fn opened(path: &Path) -> Connection {
    let conn = Connection::open(path).unwrap();
    conn.pragma_update(None, "journal_mode", "WAL").unwrap();
    conn.pragma_update(None, "synchronous", "FULL").unwrap();
    conn.pragma_update(None, "wal_autocheckpoint", 0).unwrap();
    conn
}

fn killed(second_generation: bool) -> Killed {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.db");
    let conn = opened(&path);
    conn.execute_batch("CREATE TABLE rows (id INTEGER PRIMARY KEY, body TEXT)")
        .unwrap();
    if second_generation {
        writes(&conn, 1000..1200);
        conn.query_row("PRAGMA wal_checkpoint(RESTART)", [], |_| Ok(()))
            .unwrap();
    }
    writes(&conn, 0..ROWS);
    // Read while the connection is open: that is what a kill leaves.
    Killed {
        main: std::fs::read(&path).unwrap(),
        wal: std::fs::read(beside(&path)).unwrap(),
    }
}

static FRESH: LazyLock<Killed> = LazyLock::new(|| killed(false));
static REUSED: LazyLock<Killed> = LazyLock::new(|| killed(true));

fn laid_out(folder: &Path, killed: &Killed, wal: &[u8]) -> PathBuf {
    let path = folder.join("journal.db");
    std::fs::write(&path, &killed.main).unwrap();
    std::fs::write(beside(&path), wal).unwrap();
    path
}

fn verdict(killed: &Killed, wal: &[u8]) -> Option<Damage> {
    let folder = tempfile::tempdir().unwrap();
    look(&beside(&laid_out(folder.path(), killed, wal))).unwrap()
}

/// How many rows SQLite finds before it finds no more, or says that it cannot.
fn rows(path: &Path) -> i64 {
    let conn = Connection::open(path).unwrap();
    let Ok(mut query) = conn.prepare("SELECT id FROM rows WHERE id < 1000") else {
        return 0;
    };
    let mut rows = query.query([]).unwrap();
    let mut count = 0;
    while let Ok(Some(_)) = rows.next() {
        count += 1;
    }
    count
}

/// Bytes of the last generation: where its last frame ends.
fn end_of_generation(wal: &[u8]) -> usize {
    let salts = &wal[16..24];
    let mut end = 32;
    while wal.len() >= end + FRAME && &wal[end + 8..end + 16] == salts {
        end += FRAME;
    }
    end
}

/// The frames that end a transaction, counted from 0.
fn commits(wal: &[u8]) -> Vec<usize> {
    let frames = (end_of_generation(wal) - 32) / FRAME;
    (0..frames)
        .filter(|frame| wal[32 + frame * FRAME + 4..][..4] != [0; 4])
        .collect()
}

#[test]
fn a_whole_file_is_whole_and_one_that_was_used_before_too() {
    for killed in [&*FRESH, &*REUSED] {
        assert_eq!(verdict(killed, &killed.wal), None);
    }
    assert!(
        end_of_generation(&REUSED.wal) < REUSED.wal.len(),
        "no older frames are left"
    );
    assert_eq!(end_of_generation(&FRESH.wal), FRESH.wal.len());
    assert_eq!(commits(&FRESH.wal).len(), usize::try_from(ROWS).unwrap() + 1);
    assert!(commits(&FRESH.wal).windows(2).any(|pair| pair[1] - pair[0] > 1));
}

#[test]
fn no_file_an_empty_one_and_a_header_alone_are_whole() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.db");
    assert_eq!(find_damage(&path).unwrap(), None);
    for end in [0, 1, 31, 32, 33] {
        assert_eq!(verdict(&FRESH, &FRESH.wal[..end]), None, "{end}");
        let path = laid_out(folder.path(), &FRESH, &FRESH.wal[..end]);
        assert!(!holds_commits(&path).unwrap());
    }
    let path = laid_out(folder.path(), &FRESH, &FRESH.wal);
    assert!(holds_commits(&path).unwrap());
}

#[test]
fn every_bit_of_the_header_is_held() {
    for (turn, killed) in [&*FRESH, &*REUSED].into_iter().enumerate() {
        // Every bit once, over both files.
        for bit in (turn..32 * 8).step_by(2) {
            let mut wal = killed.wal.clone();
            wal[bit / 8] ^= 1 << (bit % 8);
            let damage = verdict(killed, &wal).unwrap_or_else(|| panic!("bit {bit}"));
            assert_eq!(damage.frame, 0);
            // The same where only one frame is there to tell.
            wal.truncate(32 + FRAME);
            assert!(verdict(killed, &wal).is_some(), "bit {bit} before one frame");
            wal.truncate(32);
            assert_eq!(verdict(killed, &wal), None, "nothing is there to lose");
        }
    }
}

#[test]
fn every_byte_of_a_frame_header_is_held_in_the_last_frame_too() {
    let commits = commits(&FRESH.wal);
    for frame in [0, 1, commits[5], *commits.last().unwrap()] {
        for byte in 0..FRAME_HEAD {
            let mut wal = FRESH.wal.clone();
            wal[32 + frame * FRAME + byte] ^= 0x40;
            let damage = verdict(&FRESH, &wal).unwrap_or_else(|| panic!("byte {byte} of frame {frame}"));
            assert_eq!(damage.frame, frame as u64 + 1);
        }
    }
}

#[test]
fn zeros_at_the_end_are_a_torn_write_and_zeros_in_the_middle_are_damage() {
    let commits = commits(&FRESH.wal);
    let last = 32 + (commits[commits.len() - 2] + 1) * FRAME;
    for from in [
        last,
        last + 8,
        last + FRAME_HEAD,
        last + 1000,
        last + FRAME - 1500,
    ] {
        let mut wal = FRESH.wal.clone();
        wal[from..].fill(0);
        assert_eq!(verdict(&FRESH, &wal), None, "from {from}");
    }
    // Space that was reserved and never written.
    let mut wal = FRESH.wal.clone();
    wal.resize(wal.len() + 10 * FRAME + 77, 0);
    assert_eq!(verdict(&FRESH, &wal), None);
    let mut wal = FRESH.wal.clone();
    let at = 32 + (commits[commits.len() / 2] - 1) * FRAME;
    wal[at..at + 4096].fill(0);
    assert!(verdict(&FRESH, &wal).is_some());
    // A file of zeros, as an empty one that a power cut left.
    assert_eq!(verdict(&FRESH, &vec![0; FRESH.wal.len()]), None);
}

#[test]
fn the_leavings_of_writes_that_failed_are_no_damage() {
    // A longer transaction whose sync failed was written over by a shorter one: its last frames, the commit among them,
    // are still there, and so are those of one that failed before it.
    let commits = commits(&FRESH.wal);
    let long = commits
        .windows(2)
        .position(|pair| pair[1] - pair[0] >= 3)
        .unwrap();
    let (cut, end) = (
        32 + (commits[long] + 1) * FRAME,
        32 + (commits[long + 1] + 1) * FRAME,
    );
    let mut wal = FRESH.wal[..end].to_vec();
    // In its place stands the frame of another transaction that ended there.
    let other = killed_with_other_end(&FRESH, cut);
    wal[cut..cut + FRAME].copy_from_slice(&other);
    assert_eq!(verdict(&FRESH, &wal), None);
    let leavings = wal[cut + FRAME..].to_vec();
    wal.extend_from_slice(&leavings);
    assert_eq!(verdict(&FRESH, &wal), None);
}

/// A one-frame transaction that follows what is before `at`.
fn killed_with_other_end(killed: &Killed, at: usize) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = laid_out(folder.path(), killed, &killed.wal[..at]);
    let conn = opened(&path);
    conn.execute("UPDATE rows SET body = 'other' WHERE id = 0", [])
        .unwrap();
    let wal = std::fs::read(beside(&path)).unwrap();
    wal[at..at + FRAME].to_vec()
}

#[test]
fn a_mended_copy_holds_what_sqlite_would_have_lost() {
    let folder = tempfile::tempdir().unwrap();
    let commits = commits(&FRESH.wal);
    // A byte of a page, of a page number, of the salts, of a check sum, of the header.
    let frame = 32 + commits[20] * FRAME;
    for (case, at) in [frame + 2000, frame + 3, frame + 9, frame + 17, 13]
        .into_iter()
        .enumerate()
    {
        let mut wal = FRESH.wal.clone();
        wal[at] ^= 0x11;
        let mine = folder.path().join(format!("{case}"));
        let copy = mine.join("copy");
        std::fs::create_dir_all(&copy).unwrap();
        let path = laid_out(&mine, &FRESH, &wal);
        let damage = find_damage(&path).unwrap().unwrap();
        let copy = mended_copy(&path, Some(&damage), &copy).unwrap();
        // A wrong page number is sometimes known for no more than that: then an older form of its page is left.
        let saved = rows(&copy);
        assert!(
            saved == ROWS || (at == frame + 3 && saved > 10),
            "{saved} rows, byte {at}"
        );
        assert_eq!(
            std::fs::read(beside(&path)).unwrap(),
            wal,
            "the journal itself was changed"
        );
        assert!(rows(&path) < ROWS, "SQLite lost nothing: the test shows nothing");
    }
}

#[test]
fn a_file_that_is_being_written_raises_no_alarm() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.db");
    let conn = opened(&path);
    conn.pragma_update(None, "wal_autocheckpoint", 20).unwrap();
    conn.execute_batch("CREATE TABLE rows (id INTEGER PRIMARY KEY, body TEXT)")
        .unwrap();
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let conn = conn;
            writes(&conn, 0..600);
            done.store(true, std::sync::atomic::Ordering::Release);
        });
        while !done.load(std::sync::atomic::Ordering::Acquire) {
            assert_eq!(find_damage(&path).unwrap(), None);
        }
    });
}

/// A flipped high byte fits several words. It was overlooked when the first of these lay in a sector that holds nothing.
#[test]
fn a_flipped_high_byte_of_the_last_transaction_is_found_beside_blank_sectors() {
    for killed in [&*FRESH, &*REUSED] {
        let end = end_of_generation(&killed.wal);
        let commits = commits(&killed.wal);
        let last = 32 + (commits[commits.len() - 2] + 1) * FRAME;
        for at in (last + 3..end).step_by(64) {
            let mut wal = killed.wal.clone();
            wal[at] ^= 1;
            let sector = at - at % 512;
            let blank = wal[sector.max(last)..(sector + 512).min(end)]
                .iter()
                .all(|byte| *byte == 0);
            assert!(blank || verdict(killed, &wal).is_some(), "byte {at} of {end}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn a_flipped_bit_anywhere_is_found(at in any::<prop::sample::Index>(), bit in 0..8_u32, reused in any::<bool>()) {
        let killed = if reused { &*REUSED } else { &*FRESH };
        let end = end_of_generation(&killed.wal);
        let at = at.index(end);
        let mut wal = killed.wal.clone();
        wal[at] ^= 1 << bit;
        let damage = verdict(killed, &wal);
        // A sector of the last transaction that reads as never written is a torn write.
        let commits = commits(&killed.wal);
        let last = 32 + (commits[commits.len() - 2] + 1) * FRAME;
        let sector = at - at % 512;
        let blank = at >= last && wal[sector.max(last)..(sector + 512).min(end)].iter().all(|byte| *byte == 0);
        prop_assert!(damage.is_some() || blank, "byte {at} of {end}");
        if let Some(damage) = damage {
            let frame = if at < 32 { 0 } else { (at - 32) / FRAME + 1 };
            prop_assert_eq!(damage.frame, frame as u64);
        }
    }

    #[test]
    fn damage_of_any_size_before_the_last_two_transactions_is_found(
        from in any::<prop::sample::Index>(), long in 1..9000_usize, seed in any::<u8>(),
    ) {
        let commits = commits(&FRESH.wal);
        let built_upon = 32 + (commits[commits.len() - 3] + 1) * FRAME;
        let from = from.index(built_upon);
        let to = (from + long).min(built_upon);
        let mut wal = FRESH.wal.clone();
        for (place, byte) in wal[from..to].iter_mut().enumerate() {
            *byte = byte.wrapping_mul(31).wrapping_add(seed).wrapping_add(u8::try_from(place % 251).unwrap()) | 1;
        }
        prop_assume!(wal != FRESH.wal);
        prop_assert!(verdict(&FRESH, &wal).is_some(), "{from}..{to}");
    }

    #[test]
    fn a_file_cut_anywhere_is_fine(end in any::<prop::sample::Index>(), reused in any::<bool>()) {
        let killed = if reused { &*REUSED } else { &*FRESH };
        let end = end.index(killed.wal.len());
        prop_assert_eq!(verdict(killed, &killed.wal[..end]), None);
    }

    /// A power cut keeps any sectors of the last transaction and none of others; before, there were zeros or an older
    /// generation.
    #[test]
    fn a_last_write_torn_by_sectors_is_fine(kept in prop::collection::vec(any::<bool>(), 200), reused in any::<bool>()) {
        let killed = if reused { &*REUSED } else { &*FRESH };
        let commits = commits(&killed.wal);
        let last = 32 + (commits[commits.len() - 2] + 1) * FRAME;
        let end = end_of_generation(&killed.wal);
        let mut wal = killed.wal.clone();
        // What lay there before: frames that are older by more than the file is long.
        let older = if reused { killed.wal[end..].to_vec() } else { vec![0; end - last] };
        let mut lost = false;
        for place in last..end {
            if !kept[(place / 512 - last / 512) % kept.len()] {
                let before = older[(place - last) % older.len()];
                lost |= wal[place] != before;
                wal[place] = before;
            }
        }
        prop_assume!(lost);
        prop_assert_eq!(verdict(killed, &wal), None);
    }
}
