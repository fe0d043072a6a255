//! `journal archive`: keeps the journal small.

use std::path::Path;

use qt_core::UtcMillis;

use super::Failure;
use crate::clock::Clock;
use crate::config::Config;
use crate::journal::{FILE_NAME, Journal};
use crate::lease::Lease;

const DAY_MS: i64 = 86_400_000;

pub(super) fn run(config: &Config, file: &Path, keep_days: u32, json: bool) -> Result<(), Failure> {
    let data_dir = config.data_dir()?;
    if file.exists() {
        return Err(Failure::usage(format!(
            "{} exists; an archive is always a new file",
            file.display()
        )));
    }
    let path = data_dir.join(FILE_NAME);
    if !path.exists() {
        return Err(crate::journal::JournalError::Absent { path }.into());
    }
    let clock = Clock::system();
    let _lease = Lease::take(&data_dir, clock.now_ms())?;
    let (mut journal, mut loaded) = Journal::open(&path, None)?;
    // All that the commits say is in the checkpoint from here on.
    journal.checkpoint(&mut loaded.trader)?;
    crate::system::private_options()
        .write(true)
        .create_new(true)
        .open(file)
        .map_err(|e| {
            Failure::failed(format!(
                "the archive {} cannot be made: {e}; name a file in a folder that you can write to",
                file.display()
            ))
        })?;
    let before = UtcMillis(
        clock
            .now_ms()
            .saturating_sub(i64::from(keep_days).saturating_mul(DAY_MS)),
    );
    let moved = journal.archive(file, before.0, before.trading_date().0)?;
    if json {
        return super::print(&format!(
            "{}\n",
            serde_json::json!({ "file": file, "moved": moved })
        ));
    }
    super::print(&format!(
        "{} commits, {} ended orders and {} reports older than {keep_days} days were moved to {}.\n",
        moved.commits,
        moved.orders,
        moved.reports,
        file.display()
    ))
}
