//! How commands reach a running host: a folder of its own in the data folder.
//!
//! A command is a file that appears by a rename, and so is its answer: this works alike on every
//! system, needs no port and no token, and who may write there is who may write the journal.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;
use tracing::warn;

use crate::engine::input::{Input, Sender};
use crate::engine::{Command, Reply};
use crate::system;

const FOLDER: &str = "control";
const ASKED: &str = "asked";
const ANSWERED: &str = "answered";
/// How often the host looks.
const LOOK: Duration = Duration::from_millis(50);
/// How long a person waits for the answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// A command older than this is not carried out: who asked has given up.
const STALE_MS: i64 = 60_000;
/// A command is small; anything larger is not one.
const MOST_BYTES: u64 = 1 << 20;

#[derive(Debug, Serialize, Deserialize)]
struct Envelope {
    asked_ms: i64,
    command: Command,
}

/// Why a command got no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ControlError {
    /// The folder or a file in it cannot be used.
    #[error("the control folder {path} cannot be used: {source}; run this as the user who runs qt-host")]
    Io {
        /// The folder.
        path: String,
        /// What the system says.
        source: std::io::Error,
    },
    /// The host does not answer.
    #[error("the running host has not answered within {0} s; its log says why, and the command was taken back", PATIENCE.as_secs())]
    NoAnswer,
}

/// Asks the host that runs on `data_dir`, and waits for its answer.
///
/// # Errors
///
/// [`ControlError`]; after `NoAnswer` the command will not be carried out later.
pub(crate) fn ask(data_dir: &Path, command: &Command, now_ms: i64) -> Result<Reply, ControlError> {
    let folder = data_dir.join(FOLDER);
    let io = |source| ControlError::Io {
        path: system::shown(&folder),
        source,
    };
    std::fs::create_dir_all(&folder).map_err(io)?;
    let name = format!("{now_ms}-{}", std::process::id());
    let asked = folder.join(format!("{name}.{ASKED}"));
    let answered = folder.join(format!("{name}.{ANSWERED}"));
    let envelope = Envelope {
        asked_ms: now_ms,
        command: command.clone(),
    };
    let text = serde_json::to_vec(&envelope).map_err(|e| io(e.into()))?;
    system::replace_file(&asked, &text).map_err(io)?;
    let began = Instant::now();
    loop {
        match std::fs::read(&answered) {
            Ok(text) => {
                std::fs::remove_file(&answered).ok();
                return serde_json::from_slice(&text).map_err(|e| io(e.into()));
            }
            Err(_) if began.elapsed() < PATIENCE => std::thread::sleep(Duration::from_millis(10)),
            Err(_) => {
                std::fs::remove_file(&asked).ok();
                return Err(ControlError::NoAnswer);
            }
        }
    }
}

/// The host's side: takes commands until the engine is gone.
pub(crate) async fn serve(data_dir: PathBuf, engine: Sender, now_ms: impl Fn() -> i64) {
    let folder = data_dir.join(FOLDER);
    if let Err(e) = system::create_private_dir(&folder) {
        warn!("commands such as `qt-host halt` cannot be taken: {e}");
        return;
    }
    let mut ticks = tokio::time::interval(LOOK);
    loop {
        ticks.tick().await;
        let Ok(entries) = std::fs::read_dir(&folder) else {
            continue;
        };
        let mut asked: Vec<PathBuf> = entries
            .filter_map(|entry| entry.ok().map(|entry| entry.path()))
            .filter(|path| path.extension().is_some_and(|ending| ending == ASKED))
            .collect();
        asked.sort();
        for path in asked {
            let reply = match take(&path, now_ms()) {
                Ok(command) => carry_out(command, &engine).await,
                Err(reply) => Some(reply),
            };
            let Some(reply) = reply else { return };
            let text = serde_json::to_vec(&reply).unwrap_or_default();
            if let Err(e) = system::replace_file(&path.with_extension(ANSWERED), &text) {
                warn!("a command was carried out and its answer cannot be written: {e}");
            }
        }
    }
}

/// Takes a command out of the folder: whatever follows, it is carried out once at most.
fn take(path: &Path, now_ms: i64) -> Result<Command, Reply> {
    let size = std::fs::metadata(path).map_or(0, |metadata| metadata.len());
    let text = if size > MOST_BYTES {
        Vec::new()
    } else {
        std::fs::read(path).unwrap_or_default()
    };
    if let Err(e) = std::fs::remove_file(path) {
        return Err(Reply::refused(format!(
            "the command cannot be taken out of the control folder: {e}"
        )));
    }
    let envelope: Envelope = serde_json::from_slice(&text).map_err(|e| {
        Reply::refused(format!(
            "the command cannot be read: {e}; use the qt-host of the same version"
        ))
    })?;
    if now_ms.saturating_sub(envelope.asked_ms) > STALE_MS {
        return Err(Reply::refused(
            "the command is older than a minute and is not carried out",
        ));
    }
    Ok(envelope.command)
}

async fn carry_out(command: Command, engine: &Sender) -> Option<Reply> {
    let (reply, answer) = oneshot::channel();
    engine.send(Input::Command { command, reply }).await.ok()?;
    match tokio::time::timeout(PATIENCE / 2, answer).await {
        Ok(Ok(reply)) => Some(reply),
        Ok(Err(_)) => None,
        Err(_) => Some(Reply::refused(
            "it was taken, and cannot be made durable at present; the log says why",
        )),
    }
}
