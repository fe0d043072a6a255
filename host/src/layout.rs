//! Whose a data folder is: one account's, or that of a host with several, each in a folder of its own within it.
//!
//! What was begun as the one and is gone on with as the other would leave orders behind that nobody watches.

use std::path::Path;

use tracing::warn;

use crate::app::AppError;
use crate::config::{ACCOUNTS_FOLDER, Config};
use crate::journal::FILE_NAME;
use crate::system;

/// Lets a data folder pass that is of the kind which the configuration means.
///
/// # Errors
///
/// It holds the journal of the same account under the other kind; nothing was changed.
pub(crate) fn check(config: &Config, each: &[Config]) -> Result<(), AppError> {
    let home = config.home_dir()?;
    let within = home.join(ACCOUNTS_FOLDER);
    let mut known = Vec::new();
    for account in each {
        if account.is_one_of_several() {
            known.push(account.data_dir()?);
        }
    }
    if known.is_empty() {
        return check_single(config, &home, &within);
    }
    if home.join(FILE_NAME).exists() {
        return Err(AppError::Setting(format!(
            "{} holds the journal of a single account, from before `accounts`: its open orders would be forgotten. If it is \
             one of the accounts, move {FILE_NAME} with its -wal and -shm, equity.db and plugin-data into that account's \
             folder, one of: {}; else name another `data_dir`",
            system::shown(&home),
            list(known.iter().map(std::path::PathBuf::as_path))
        )));
    }
    for folder in with_journals(&within) {
        if !known.contains(&folder) {
            warn!(
                "{} holds the journal of an account that is not in `accounts` any more: what is open there is not watched",
                system::shown(&folder)
            );
        }
    }
    Ok(())
}

fn check_single(config: &Config, home: &Path, within: &Path) -> Result<(), AppError> {
    let folders = with_journals(within);
    if folders.is_empty() {
        return Ok(());
    }
    let shown = list(folders.iter().map(std::path::PathBuf::as_path));
    // With a journal of its own it was a single account's before, and those beside it are told of.
    if home.join(FILE_NAME).exists() || !config.journal.enabled {
        warn!(
            "{shown} hold journals of accounts that this configuration does not trade: what is open there is not watched"
        );
        return Ok(());
    }
    Err(AppError::Setting(format!(
        "{} was the data folder of several accounts, whose open orders would be forgotten: {shown}. List them in \
         `accounts`, or name another `data_dir`",
        system::shown(home)
    )))
}

fn with_journals(within: &Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(within).into_iter().flatten().flatten();
    let mut found: Vec<_> = entries
        .map(|entry| entry.path())
        .filter(|path| path.join(FILE_NAME).exists())
        .collect();
    found.sort();
    found
}

fn list<'a>(paths: impl Iterator<Item = &'a Path>) -> String {
    paths.map(system::shown).collect::<Vec<_>>().join(", ")
}
