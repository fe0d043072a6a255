//! How commands reach a running host: a folder of its own in the data folder.
//!
//! A command is a file that appears by a rename, and so is its answer: this works alike on every
//! system, needs no port and no token, and who may write there is who may write the journal.
//!
//! Just when the disk is full a halt or a cancel may be wanted most: a command that cannot be written
//! into a file travels in the name of an empty one, and so does whether it was done.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;
use tracing::{Instrument, warn};

use crate::broker::{Book, BrokerSender};
use crate::engine::input::{Input, Sender};
use crate::engine::{Command, Reply};
use crate::exchange::Exchange;
use crate::lease::Lease;
use crate::system::service::LINGERS;
use crate::system::{self, ShutdownCause, ShutdownSender};

const FOLDER: &str = "control";
const ASKED: &str = "asked";
const ANSWERED: &str = "answered";
/// Ends the names of empty files that say what came of a command.
const DONE: &str = "done";
const REFUSED: &str = "refused";
/// File names may be no longer on any system, in bytes.
const LONGEST_NAME: usize = 255;
/// How often the host looks.
const LOOK: Duration = Duration::from_millis(50);
/// How long a person waits for the answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// And for that of an exchange, which waits for calls, for the other version and for the broker's books.
const EXCHANGE_PATIENCE: Duration = Duration::from_secs(300);
/// A command older than this is not carried out: who asked has given up.
const STALE_MS: i64 = 60_000;
/// How often this process has asked.
static ASKED_SO_FAR: AtomicU32 = AtomicU32::new(0);
/// A command is small; anything larger is not one.
const MOST_BYTES: u64 = 1 << 20;

#[derive(Debug, Serialize, Deserialize)]
struct Envelope {
    asked_ms: i64,
    asked: Asked,
}

/// What can be asked of a running host.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Asked {
    /// To do something; the answer is a [`Reply`].
    Command(Command),
    /// What its broker holds; the answer is a [`BrokerBook`] or a reason. It changes nothing.
    Book,
    /// To end as Ctrl-C asks for it; the answer is a [`Reply`] that says that it is under way.
    Stop,
    /// Which plugin runs; the answer is a [`Running`] or a reason. It changes nothing.
    Plugin,
}

/// The plugin that a host runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Running {
    /// Its name.
    pub(crate) name: String,
    /// Its version.
    pub(crate) version: String,
    /// SHA-256 of its file.
    pub(crate) sha256: String,
}

/// What the broker of a running host holds.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct BrokerBook {
    /// The plugin's name.
    pub(crate) adapter: String,
    /// Its answer.
    pub(crate) book: Book,
}

/// The host's broker, for who asks what it holds.
#[derive(Debug, Clone)]
pub(crate) struct BookLinks {
    /// Where to ask.
    pub(crate) broker: BrokerSender,
    /// The plugin's name.
    pub(crate) adapter: String,
    /// How long its answer may take.
    pub(crate) deadline: Duration,
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
    #[error(
        "the running host has not answered within {within_s} s; its log says why, and the command was taken back"
    )]
    NoAnswer {
        /// How long was waited, in seconds.
        within_s: u64,
    },
    /// The host took it, and its answer did not come.
    #[error(
        "the running host took the command, and no answer came within {within_s} s; its log says what came of it"
    )]
    Taken {
        /// How long was waited, in seconds.
        within_s: u64,
    },
    /// The host says no.
    #[error("the running host does not end: {0}")]
    Refused(String),
    /// The host was asked to end, and has not.
    #[error(
        "the running host {LINGERS} after {within_s} s; its log says what it waits for. Nothing is lost by ending its process, as at a loss of power"
    )]
    Lingers {
        /// How long was waited, in seconds.
        within_s: u64,
    },
    /// Nobody holds the data folder any more.
    #[error("the host that held the data folder ended without an answer; try again")]
    Gone,
}

/// Asks the host that runs on `data_dir`, and waits for its answer.
///
/// # Errors
///
/// [`ControlError`]; after `NoAnswer` the command will not be carried out later.
pub(crate) fn ask(data_dir: &Path, command: &Command, now_ms: i64) -> Result<Reply, ControlError> {
    answer_to(
        data_dir,
        Asked::Command(command.clone()),
        now_ms,
        match command {
            Command::SwapPlugin { .. } => EXCHANGE_PATIENCE,
            _ => PATIENCE,
        },
        // Who waits for minutes learns at once of a host that is gone.
        || !matches!(command, Command::SwapPlugin { .. }) || Lease::is_held(data_dir),
    )
}

/// Asks the host that runs on `data_dir` which plugin it runs.
///
/// # Errors
///
/// [`ControlError`], `Gone` as soon as nobody holds the data folder; within it, why the host cannot say so now.
pub(crate) fn ask_plugin(data_dir: &Path, now_ms: i64) -> Result<Result<Running, String>, ControlError> {
    answer_to(data_dir, Asked::Plugin, now_ms, PATIENCE, || {
        Lease::is_held(data_dir)
    })
}

/// Asks the host that runs on `data_dir` to end, and waits until it has; false where none runs.
///
/// # Errors
///
/// [`ControlError`]; `Lingers` when it took the wish and has not ended within `patience`.
pub(crate) fn stop(data_dir: &Path, now_ms: i64, patience: Duration) -> Result<bool, ControlError> {
    if !Lease::is_held(data_dir) {
        return Ok(false);
    }
    let answer: Result<Reply, ControlError> = answer_to(data_dir, Asked::Stop, now_ms, PATIENCE, || {
        Lease::is_held(data_dir)
    });
    match answer {
        Ok(reply) if !reply.done => return Err(ControlError::Refused(reply.text)),
        // It ended by itself meanwhile, or before its answer was seen.
        Ok(_) | Err(ControlError::Gone) => {}
        Err(e) => return Err(e),
    }
    let began = Instant::now();
    while Lease::is_held(data_dir) {
        if began.elapsed() >= patience {
            return Err(ControlError::Lingers {
                within_s: patience.as_secs(),
            });
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(true)
}

/// Asks the host that runs on `data_dir` what its broker holds, and waits for the answer, which the
/// broker has `deadline` for.
///
/// # Errors
///
/// [`ControlError`], `Gone` as soon as nobody holds the data folder; within it, the broker's reason.
pub(crate) fn ask_book(
    data_dir: &Path,
    now_ms: i64,
    deadline: Duration,
) -> Result<Result<BrokerBook, String>, ControlError> {
    let patience = deadline.saturating_add(PATIENCE);
    answer_to(data_dir, Asked::Book, now_ms, patience, || {
        Lease::is_held(data_dir)
    })
}

fn answer_to<T: DeserializeOwned>(
    data_dir: &Path,
    asked: Asked,
    now_ms: i64,
    patience: Duration,
    is_somebody_there: impl Fn() -> bool,
) -> Result<T, ControlError> {
    let folder = data_dir.join(FOLDER);
    let io = |source| ControlError::Io {
        path: system::shown(&folder),
        source,
    };
    std::fs::create_dir_all(&folder).map_err(io)?;
    // One command may ask more than once in a millisecond.
    let number = ASKED_SO_FAR.fetch_add(1, Ordering::Relaxed);
    let name = format!("{now_ms}-{}-{number}", std::process::id());
    let envelope = Envelope {
        asked_ms: now_ms,
        asked,
    };
    let asked = folder.join(format!("{name}.{ASKED}"));
    let text = serde_json::to_vec(&envelope).map_err(|e| io(e.into()))?;
    let asked = match system::replace_file(&asked, &text) {
        Ok(()) => asked,
        Err(full) => in_a_name(&folder, &name, &text).ok_or_else(|| io(full))?,
    };
    let answered = asked.with_extension(ANSWERED);
    let began = Instant::now();
    loop {
        match std::fs::read(&answered) {
            Ok(text) => {
                std::fs::remove_file(&answered).ok();
                return serde_json::from_slice(&text).map_err(|e| io(e.into()));
            }
            Err(_) if let Some(said) = said_by_name(&asked) => {
                let text = serde_json::to_value(said).map_err(|e| io(e.into()))?;
                return serde_json::from_value(text).map_err(|e| io(e.into()));
            }
            Err(_) if !is_somebody_there() => {
                std::fs::remove_file(&asked).ok();
                return Err(ControlError::Gone);
            }
            Err(_) if began.elapsed() < patience => std::thread::sleep(Duration::from_millis(10)),
            Err(_) => {
                let within_s = patience.as_secs();
                // Where it is gone, the host took it, and only its answer is missing.
                return Err(match std::fs::remove_file(&asked) {
                    Ok(()) => ControlError::NoAnswer { within_s },
                    Err(_) => ControlError::Taken { within_s },
                });
            }
        }
    }
}

/// Leaves a command in the name of an empty file; `None` where it does not fit or that fails, too.
fn in_a_name(folder: &Path, name: &str, text: &[u8]) -> Option<PathBuf> {
    let coded = data_encoding::BASE32_NOPAD.encode(text);
    let file = format!("{name}.{coded}.{ASKED}");
    // The answer's ending is the longer one.
    if file.len() + ANSWERED.len() - ASKED.len() > LONGEST_NAME {
        return None;
    }
    let path = folder.join(file);
    let made = system::private_options().write(true).create_new(true).open(&path);
    made.is_ok().then_some(path)
}

/// What empty files say of a command whose answer could not be written.
fn said_by_name(asked: &Path) -> Option<Reply> {
    let (said, done) = [(DONE, true), (REFUSED, false)]
        .map(|(ending, done)| (asked.with_extension(ending), done))
        .into_iter()
        .find(|(said, _)| said.exists())?;
    std::fs::remove_file(&said).ok();
    let text = "the running host has answered and could not write its answer down; its log has it".to_owned();
    Some(Reply { done, text })
}

/// Leaves the answer to a command, or where it cannot be written whether it was done.
fn leave_answer(asked: &Path, reply: &Reply) {
    let Err(e) = write_answer(asked, reply) else {
        return;
    };
    warn!(
        "the answer to a command cannot be written ({e}); it is: {}",
        reply.text
    );
    let said = asked.with_extension(if reply.done { DONE } else { REFUSED });
    if let Err(e) = system::private_options()
        .write(true)
        .create(true)
        .truncate(true)
        .open(said)
    {
        warn!("nor can be left that it was taken ({e})");
    }
}

/// The host's side: takes commands until the engine is gone.
pub(crate) async fn serve(
    data_dir: PathBuf,
    engine: Sender,
    book: BookLinks,
    exchange: Arc<Exchange>,
    asks: ShutdownSender,
    now_ms: impl Fn() -> i64,
) {
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
                Ok(Asked::Command(Command::SwapPlugin { file, sha256 })) => {
                    // It takes its time, and a halt must not wait for it.
                    let exchange = Arc::clone(&exchange);
                    let swap = async move {
                        leave_answer(&path, &exchange.swap(file, sha256).await);
                    };
                    tokio::spawn(swap.in_current_span());
                    continue;
                }
                Ok(Asked::Command(command)) => carry_out(command, &engine).await,
                Ok(Asked::Book) => {
                    // A slow broker keeps no command waiting.
                    tokio::spawn(show_book(path, book.clone()).in_current_span());
                    continue;
                }
                Ok(Asked::Plugin) => {
                    if let Err(e) = write_answer(&path, &exchange.running()) {
                        warn!("it was asked which plugin runs, and the answer cannot be written: {e}");
                    }
                    continue;
                }
                Ok(Asked::Stop) => {
                    leave_answer(&path, &Reply::done("the running host ends".to_owned()));
                    asks.request(ShutdownCause::Stopped);
                    continue;
                }
                Err(reply) => Some(reply),
            };
            let Some(reply) = reply else { return };
            leave_answer(&path, &reply);
        }
    }
}

/// Asks the broker and writes its answer down.
async fn show_book(path: PathBuf, links: BookLinks) {
    let book = links.broker.book(links.deadline, true).await;
    let shown: Result<BrokerBook, String> = book.map(|book| BrokerBook {
        adapter: links.adapter,
        book,
    });
    if let Err(e) = write_answer(&path, &shown) {
        warn!("the broker was asked what it holds and the answer cannot be written: {e}");
    }
    // Holdings are nobody else's business: an answer that nobody fetched does not stay.
    tokio::time::sleep(PATIENCE).await;
    std::fs::remove_file(path.with_extension(ANSWERED)).ok();
}

fn write_answer(path: &Path, answer: &impl Serialize) -> std::io::Result<()> {
    let text = serde_json::to_vec(answer).unwrap_or_default();
    system::replace_file(&path.with_extension(ANSWERED), &text)
}

/// Takes a command out of the folder: whatever follows, it is carried out once at most.
fn take(path: &Path, now_ms: i64) -> Result<Asked, Reply> {
    let size = std::fs::metadata(path).map_or(0, |metadata| metadata.len());
    let text = match named(path) {
        Some(text) => text,
        None if size > MOST_BYTES => Vec::new(),
        None => std::fs::read(path).unwrap_or_default(),
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
    Ok(envelope.asked)
}

/// The command that a file's name carries, if it does.
fn named(path: &Path) -> Option<Vec<u8>> {
    let stem = path.file_stem()?.to_str()?;
    let (_, coded) = stem.split_once('.')?;
    data_encoding::BASE32_NOPAD.decode(coded.as_bytes()).ok()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_ends_with_the_holder_of_the_data_folder() {
        let folder = tempfile::tempdir().unwrap();
        let lease = Lease::take(folder.path(), 0).unwrap();
        let asked = folder.path().join(FOLDER);
        let holder = std::thread::spawn({
            let asked = asked.clone();
            move || {
                // It ends once it was asked, without having answered.
                while std::fs::read_dir(&asked).map_or(0, Iterator::count) == 0 {
                    std::thread::yield_now();
                }
                drop(lease);
            }
        });
        let answer = ask_book(folder.path(), 1, Duration::from_secs(600));
        assert!(matches!(answer, Err(ControlError::Gone)), "{answer:?}");
        assert_eq!(std::fs::read_dir(&asked).unwrap().count(), 0);
        holder.join().unwrap();
    }

    #[test]
    fn a_command_that_cannot_be_written_travels_in_a_name() {
        let folder = tempfile::tempdir().unwrap();
        let text = |reason: &str| {
            let command = Command::Halt {
                reason: reason.to_owned(),
                cancel_open: true,
                sales_only: false,
            };
            serde_json::to_vec(&Envelope {
                asked_ms: 1_795_485_600_000,
                asked: Asked::Command(command),
            })
            .unwrap()
        };
        let path = in_a_name(folder.path(), "1795485600000-12345", &text("disk full")).unwrap();
        let Ok(Asked::Command(Command::Halt {
            reason,
            cancel_open,
            sales_only: false,
        })) = take(&path, 1_795_485_600_000)
        else {
            panic!("{}", path.display());
        };
        assert_eq!((reason.as_str(), cancel_open), ("disk full", true));
        assert!(!path.exists());
        // What does not fit is an error, and never half a command.
        assert_eq!(in_a_name(folder.path(), "1", &text(&"long ".repeat(40))), None);
    }

    #[test]
    fn an_answer_that_cannot_be_written_still_says_whether_it_was_done() {
        let folder = tempfile::tempdir().unwrap();
        let asked = folder.path().join("1-2.asked");
        for done in [true, false] {
            // A folder in the way of the answer stands for a disk that takes none.
            let in_the_way = asked.with_extension(ANSWERED);
            std::fs::create_dir(&in_the_way).unwrap();
            let text = "so it is".to_owned();
            leave_answer(&asked, &Reply { done, text });
            std::fs::remove_dir(&in_the_way).unwrap();
            assert_eq!(said_by_name(&asked).map(|reply| reply.done), Some(done));
            assert_eq!(said_by_name(&asked), None, "taken once");
        }
    }
}
