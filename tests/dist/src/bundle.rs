//! One file with everything in it, which depends on nothing but what is in it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Seek, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};

use crate::System;

/// A file in a bundle.
pub(crate) struct Entry {
    /// Its content.
    pub(crate) content: Vec<u8>,
    /// Whether it is a program or a library.
    pub(crate) runs: bool,
}

/// Files by their paths in the bundle, with `/` between folders: in the order in which they are packed.
pub(crate) type Entries = BTreeMap<String, Entry>;

/// A bundle that was written.
pub(crate) struct Bundle {
    /// Its file.
    pub(crate) file: PathBuf,
    /// Bytes.
    pub(crate) size: u64,
    /// SHA-256 in lower-case hexadecimal digits.
    pub(crate) sha256: String,
}

impl Bundle {
    /// The names of its file and of the one with its checksum.
    pub(crate) fn names(&self) -> [String; 2] {
        let name = self.file.file_name().unwrap_or_default().to_string_lossy();
        [name.to_string(), format!("{name}.sha256")]
    }
}

/// The folder that a bundle unpacks to.
fn folder(system: System) -> String {
    let version = env!("CARGO_PKG_VERSION");
    match system {
        System::Linux => format!("qt-host-{version}-x86_64-linux-gnu"),
        System::Windows => format!("qt-host-{version}-x86_64-windows"),
    }
}

/// Adds the checksums and writes the bundle into `out`, and its own checksum beside it.
pub(crate) fn write(out: &Path, system: System, mut entries: Entries, epoch: u64) -> Result<Bundle> {
    let sums: String = entries
        .iter()
        .map(|(name, entry)| format!("{}  {name}\n", sha256(&entry.content)))
        .collect();
    let sums = Entry {
        content: sums.into_bytes(),
        runs: false,
    };
    entries.insert("SHA256SUMS".to_owned(), sums);
    let ending = match system {
        System::Linux => "tar.gz",
        System::Windows => "zip",
    };
    let name = format!("{}.{ending}", folder(system));
    let file = out.join(&name);
    let to = File::create(&file).with_context(|| format!("{} cannot be written", file.display()))?;
    match system {
        System::Linux => tar_gz(to, &folder(system), &entries, epoch)?,
        System::Windows => zip(to, &folder(system), &entries, epoch)?,
    }
    let content = std::fs::read(&file)?;
    let sha256 = sha256(&content);
    std::fs::write(out.join(format!("{name}.sha256")), format!("{sha256}  {name}\n"))?;
    Ok(Bundle {
        file,
        size: content.len() as u64,
        sha256,
    })
}

fn sha256(content: &[u8]) -> String {
    HEXLOWER.encode(&Sha256::digest(content))
}

fn tar_gz(to: File, folder: &str, entries: &Entries, epoch: u64) -> Result<()> {
    // The header of gzip bears neither name nor time here.
    let mut packed = tar::Builder::new(flate2::write::GzEncoder::new(to, flate2::Compression::best()));
    for (name, entry) in entries {
        let mut header = tar::Header::new_ustar();
        header.set_size(entry.content.len() as u64);
        header.set_mode(if entry.runs { 0o755 } else { 0o644 });
        header.set_mtime(epoch);
        header.set_uid(0);
        header.set_gid(0);
        packed.append_data(&mut header, format!("{folder}/{name}"), &entry.content[..])?;
    }
    packed.into_inner()?.finish()?.sync_all()?;
    Ok(())
}

fn zip(to: impl Write + Seek, folder: &str, entries: &Entries, epoch: u64) -> Result<()> {
    let options = zip::write::SimpleFileOptions::default()
        .compression_method(zip::CompressionMethod::Deflated)
        .compression_level(Some(9))
        .last_modified_time(moment(epoch)?);
    let mut packed = zip::ZipWriter::new(to);
    for (name, entry) in entries {
        let mode = if entry.runs { 0o755 } else { 0o644 };
        packed.start_file(format!("{folder}/{name}"), options.unix_permissions(mode))?;
        packed.write_all(&entry.content)?;
    }
    packed.finish()?.flush()?;
    Ok(())
}

/// A moment in UTC as a zip has it, to two seconds and from 1980 on.
fn moment(epoch: u64) -> Result<zip::DateTime> {
    let (days, seconds) = (epoch / 86_400, epoch % 86_400);
    // Days since the first of March of the year 0, in eras of 400 years (Howard Hinnant's `civil_from_days`).
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 {
        (month + 3, 0)
    } else {
        (month - 9, 1)
    };
    let year = u16::try_from(year + era * 400 + next)?;
    let small = |number: u64| u8::try_from(number);
    zip::DateTime::from_date_and_time(
        year,
        small(month)?,
        small(day)?,
        small(seconds / 3600)?,
        small(seconds / 60 % 60)?,
        small(seconds % 60)?,
    )
    .map_err(|e| anyhow::anyhow!("a zip cannot bear the time {epoch}: {e}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries() -> Entries {
        let entry = |text: &str, runs| Entry {
            content: text.as_bytes().to_vec(),
            runs,
        };
        Entries::from([
            ("qt-host".to_owned(), entry("program", true)),
            ("a/b.txt".to_owned(), entry("text", false)),
        ])
    }

    #[test]
    #[allow(clippy::unwrap_used, reason = "a test may panic")]
    fn a_bundle_depends_on_its_content_alone() {
        for system in [System::Linux, System::Windows] {
            let [first, second] = [0, 1].map(|_| {
                let folder = tempfile::tempdir().unwrap();
                write(folder.path(), system, entries(), 1_764_000_000)
                    .unwrap()
                    .sha256
            });
            assert_eq!(first, second);
            let folder = tempfile::tempdir().unwrap();
            let later = write(folder.path(), system, entries(), 1_764_000_100).unwrap();
            assert_ne!(first, later.sha256);
        }
    }

    #[test]
    #[allow(clippy::unwrap_used, reason = "a test may panic")]
    fn a_moment_is_told_in_utc() {
        // 2024-02-29 23:59:58.
        let moment = moment(1_709_251_198).unwrap();
        assert_eq!(
            (
                moment.year(),
                moment.month(),
                moment.day(),
                moment.hour(),
                moment.minute(),
                moment.second()
            ),
            (2024, 2, 29, 23, 59, 58)
        );
        // 2026-11-24 00:00:00.
        let moment = super::moment(1_795_478_400).unwrap();
        assert_eq!((moment.year(), moment.month(), moment.day()), (2026, 11, 24));
    }
}
