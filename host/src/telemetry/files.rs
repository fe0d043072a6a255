//! Where lines end up: the console, and the log file with its backups.

use std::io::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use file_rotate::compression::Compression;
use file_rotate::suffix::AppendCount;
use file_rotate::{ContentLimit, FileRotate};

use super::level::LogLevel;
use crate::system;

const MAX_FILE_BYTES: usize = 10 * 1024 * 1024;
const BACKUPS: usize = 5;
/// The file is rotated between pieces, so that no line is torn and no file grows by more than a piece too much.
const PIECE_BYTES: usize = 64 * 1024;

/// A place for whole lines. It deals with its own failures: a log that cannot be written never stops the program.
pub trait Sink: Send {
    /// Writes lines, each with its line break.
    fn write_lines(&mut self, lines: &[u8]);
}

/// Standard error.
pub struct Console {
    colours: bool,
    coloured: Vec<u8>,
}

impl Console {
    /// In colour only on a terminal, and never with `NO_COLOR`.
    pub fn new() -> Self {
        Self {
            colours: system::stderr_has_colours(),
            coloured: Vec::new(),
        }
    }
}

impl Sink for Console {
    fn write_lines(&mut self, lines: &[u8]) {
        // Nobody may be reading any more; the log file has it all.
        let mut console = io::stderr().lock();
        let _ = if self.colours {
            self.coloured.clear();
            lines
                .split_inclusive(|byte| *byte == b'\n')
                .for_each(|line| colour(line, &mut self.coloured));
            console.write_all(&self.coloured)
        } else {
            console.write_all(lines)
        };
    }
}

/// Puts colour around the level of a line.
fn colour(line: &[u8], coloured: &mut Vec<u8>) {
    let level = LogLevel::ALL.iter().find_map(|level| {
        // The level stands behind the time, which always has 19 characters and a space.
        let rest = line
            .get(20..)?
            .strip_prefix(b"[")?
            .strip_prefix(level.name().as_bytes())?;
        rest.starts_with(b"] ")
            .then(|| (level.colour(), line.len() - rest.len()))
    });
    match level {
        Some((code, end)) => {
            coloured.extend_from_slice(&line[..21]);
            coloured.extend_from_slice(code.as_bytes());
            coloured.extend_from_slice(&line[21..end]);
            coloured.extend_from_slice(b"\x1b[0m");
            coloured.extend_from_slice(&line[end..]);
        }
        None => coloured.extend_from_slice(line),
    }
}

/// The log file and its backups.
pub struct LogFile {
    path: PathBuf,
    rotate: Option<FileRotate<AppendCount>>,
    limit: usize,
    complained: bool,
}

impl LogFile {
    /// Opens the file for appending.
    pub fn open(path: &Path) -> io::Result<Self> {
        Self::with_limit(path, MAX_FILE_BYTES - PIECE_BYTES)
    }

    fn with_limit(path: &Path, limit: usize) -> io::Result<Self> {
        // The rotating writer says nothing if it cannot open its file, so that this has to be tried before.
        drop(system::open_private_append(path)?);
        let mut log = Self {
            path: path.to_path_buf(),
            rotate: None,
            limit,
            complained: false,
        };
        log.reopen()?;
        Ok(log)
    }

    fn reopen(&mut self) -> io::Result<()> {
        let (path, limit) = (self.path.clone(), self.limit);
        let mut options = system::private_options();
        options.read(true).append(true).create(true);
        let build = move || {
            let limit = ContentLimit::BytesSurpassed(limit);
            FileRotate::new(
                path,
                AppendCount::new(BACKUPS),
                limit,
                Compression::None,
                Some(options),
            )
        };
        self.rotate = None;
        self.rotate = Some(caught(build)?);
        Ok(())
    }

    fn write_piece(&mut self, piece: &[u8]) -> io::Result<()> {
        if self.rotate.is_none() {
            drop(system::open_private_append(&self.path)?);
            self.reopen()?;
        }
        match &mut self.rotate {
            Some(rotate) => caught(AssertUnwindSafe(|| rotate.write_all(piece)))?,
            None => Ok(()),
        }
    }

    fn complain(&mut self, error: &io::Error) {
        // Opened anew next time: its folder may have been removed, or its backups moved by somebody else.
        self.rotate = None;
        if !self.complained {
            let path = system::shown(&self.path);
            let _ = writeln!(
                io::stderr(),
                "quantTrader: the log file {path} cannot be written any more: {error}; free some space or make it \
                 writable. Trading goes on, and so does the log on the console."
            );
        }
        self.complained = true;
    }
}

/// The rotating writer panics where its folder vanished or somebody else moved a backup.
fn caught<T>(work: impl FnOnce() -> T) -> io::Result<T> {
    catch_unwind(AssertUnwindSafe(work))
        .map_err(|_| io::Error::other("its folder or a backup was changed by somebody else"))
}

impl Sink for LogFile {
    fn write_lines(&mut self, lines: &[u8]) {
        let mut rest = lines;
        while !rest.is_empty() {
            let end = piece_end(rest);
            let (piece, behind) = rest.split_at(end);
            // A second try with the file opened anew mends most of what can go wrong.
            let result = self.write_piece(piece).or_else(|_| {
                self.rotate = None;
                self.write_piece(piece)
            });
            match result {
                Ok(()) => self.complained = false,
                Err(error) => self.complain(&error),
            }
            rest = behind;
        }
    }
}

/// The end of the last whole line within a piece, or of the first line if that is longer.
fn piece_end(lines: &[u8]) -> usize {
    let line_end = |byte: &u8| *byte == b'\n';
    let piece = &lines[..lines.len().min(PIECE_BYTES)];
    let end = piece
        .iter()
        .rposition(line_end)
        .or_else(|| lines.iter().position(line_end));
    end.map_or(lines.len(), |at| at + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backup(folder: &Path, number: usize) -> PathBuf {
        folder.join(format!("quantTrader.log.{number}"))
    }

    #[test]
    fn the_file_rotates_between_lines_and_keeps_five_backups() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("quantTrader.log");
        let mut log = LogFile::with_limit(&path, 100_000).unwrap();
        let line = format!("{}\n", "x".repeat(999));
        for _ in 0..1000 {
            log.write_lines(line.as_bytes());
        }
        assert!(backup(folder.path(), 5).exists() && !backup(folder.path(), 6).exists());
        for entry in std::fs::read_dir(folder.path()).unwrap() {
            let entry = entry.unwrap();
            assert!(entry.metadata().unwrap().len() <= 102_000, "{entry:?}");
            assert_eq!(
                system::readable_by_others(&std::fs::File::open(entry.path()).unwrap()),
                None
            );
            assert!(
                std::fs::read_to_string(entry.path())
                    .unwrap()
                    .lines()
                    .all(|line| line.len() == 999)
            );
        }
    }

    #[test]
    fn a_file_of_an_earlier_run_is_continued() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("quantTrader.log");
        LogFile::open(&path).unwrap().write_lines(b"one\n");
        LogFile::open(&path).unwrap().write_lines(b"two\n");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "one\ntwo\n");
    }

    #[test]
    fn a_log_folder_that_vanishes_neither_ends_nor_silences_the_program() {
        let folder = tempfile::tempdir().unwrap();
        let logs = folder.path().join("logs");
        std::fs::create_dir(&logs).unwrap();
        let path = logs.join("quantTrader.log");
        let mut log = LogFile::with_limit(&path, 10).unwrap();
        log.write_lines(b"more than ten bytes\n");
        std::fs::remove_dir_all(&logs).unwrap();
        std::fs::write(&logs, "a file in the way").unwrap();
        log.write_lines(b"lost\n");
        assert!(log.complained);
        std::fs::remove_file(&logs).unwrap();
        std::fs::create_dir(&logs).unwrap();
        log.write_lines(b"kept\n");
        assert!(!log.complained);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "kept\n");
    }

    #[test]
    fn pieces_end_at_lines_and_a_long_line_stays_whole() {
        assert_eq!(piece_end(b"a\nb\n"), 4);
        let long = [vec![b'x'; 3 * PIECE_BYTES], b"\ny\n".to_vec()].concat();
        assert_eq!(piece_end(&long), 3 * PIECE_BYTES + 1);
        let many = b"0123456\n".repeat(PIECE_BYTES);
        assert_eq!(piece_end(&many), PIECE_BYTES);
    }

    #[test]
    fn colour_goes_around_the_level_alone() {
        let mut coloured = Vec::new();
        colour(
            b"2025-12-22 12:34:56 [INFO] quantTrader: [ERROR] x\n",
            &mut coloured,
        );
        let text = String::from_utf8(coloured).unwrap();
        assert_eq!(
            text,
            "2025-12-22 12:34:56 [\x1b[32mINFO\x1b[0m] quantTrader: [ERROR] x\n"
        );
        let mut plain = Vec::new();
        colour("\u{2026} short\n".as_bytes(), &mut plain);
        assert_eq!(plain, "\u{2026} short\n".as_bytes());
    }
}
