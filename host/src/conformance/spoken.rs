//! What is said to the process that holds the plugin: to a probe in the kit's own words, to a worker as a host does.

use qt_plugin_api::host::is_panic;
use qt_plugin_api::{CallError, CancelResult, ConnectionState, PlaceResult};
use serde::de::DeserializeOwned;

use super::probe::{Answer, Ask, Call, Called, News, Told};
use crate::broker::worker::line::{LineReader, LineWriter, Role};
use crate::broker::worker::{self, Reasoned};
use crate::config::Lane;

/// What a host says of every call after the end of a session.
const ENDED: &str = "the session is closed, and its worker has ended with it";

/// One line of calls.
pub(super) struct Spoken {
    writer: LineWriter,
    lane: Lane,
    /// The number of the last call.
    last: u64,
}

impl Spoken {
    pub(super) const fn new(writer: LineWriter, lane: Lane) -> Self {
        Self {
            writer,
            lane,
            last: 0,
        }
    }

    /// Says it; a worker has no words for what only a probe is asked.
    pub(super) fn say(&mut self, ask: &Ask) -> Result<(), String> {
        if self.lane == Lane::InProcess {
            return self.writer.write(ask);
        }
        self.last += 1;
        let number = self.last;
        match ask {
            Ask::Place(order) => self.writer.write(&worker::Numbered {
                number,
                what: worker::Order::Place(order.clone()),
            }),
            Ask::Call(call) => self.writer.write(&worker::Numbered {
                number,
                what: call.clone(),
            }),
            Ask::Free | Ask::Usage => Err(format!("a worker is not asked for `{}`", ask.name())),
        }
    }
}

/// What a worker is not asked, and what a host answers once it has ended with its session.
pub(super) fn without_a_worker(ask: &Ask, is_closed: bool) -> Option<Told> {
    let told = match ask {
        // What another process holds is not to be read: it has no image.
        Ask::Usage => return Some(Told::Usage(None)),
        Ask::Free => return Some(Told::Freed),
        _ if !is_closed => return None,
        Ask::Place(_) => Told::Place(PlaceResult::Rejected {
            reason: ENDED.to_owned(),
        }),
        Ask::Call(call) => Told::Call(after_the_end(call)),
    };
    Some(told)
}

fn after_the_end(call: &Call) -> Called {
    let no = || CallError::new(ENDED);
    match call {
        Call::Cancel(_) => Called::Cancel(CancelResult::Unknown {
            reason: ENDED.to_owned(),
        }),
        Call::Orders => Called::Orders(Err(no())),
        Call::Trades => Called::Trades(Err(no())),
        Call::Positions => Called::Positions(Err(no())),
        Call::Account => Called::Account(Err(no())),
        Call::Connection => Called::Connection(ConnectionState::Disconnected {
            reason: ENDED.to_owned(),
        }),
        Call::Quotes(_) => Called::Quotes(Some(Err(no()))),
        Call::TradesSince(_) => Called::TradesSince(Some(Err(no()))),
        Call::Close => Called::Closed,
    }
}

/// One line of answers.
pub(super) struct Answers {
    reader: LineReader,
    lane: Lane,
    role: Role,
    /// The plugin panicked in an earlier call.
    was_poisoned: bool,
}

impl Answers {
    pub(super) const fn new(reader: LineReader, lane: Lane, role: Role) -> Self {
        Self {
            reader,
            lane,
            role,
            was_poisoned: false,
        }
    }

    /// Whether the plugin is open, or why not: the first word.
    pub(super) fn opened(&mut self) -> Result<Result<(), String>, String> {
        match self.lane {
            Lane::InProcess => self.reader.read(),
            Lane::Worker => {
                let worker::Opened(opened) = self.reader.read()?;
                Ok(opened.map_err(|failure| failure.reason))
            }
        }
    }

    pub(super) fn next(&mut self) -> Result<Answer, String> {
        match (self.lane, self.role) {
            (Lane::InProcess, _) => self.reader.read(),
            (Lane::Worker, Role::Orders) => self.of_a_worker(Told::Place),
            (Lane::Worker, Role::Control | Role::Events) => self.of_a_worker(Told::Call),
        }
    }

    fn of_a_worker<T: DeserializeOwned + Reasoned>(
        &mut self,
        told: impl FnOnce(T) -> Told,
    ) -> Result<Answer, String> {
        let answer: worker::Answer<T> = self.reader.read()?;
        let was_poisoned = std::mem::replace(&mut self.was_poisoned, answer.is_poisoned);
        let speaks_of_it = answer.what.reason().is_some_and(is_panic);
        Ok(Answer {
            is_panic: answer.is_poisoned && (!was_poisoned || speaks_of_it),
            told: told(answer.what),
        })
    }
}

/// What the plugin tells by itself, the next of it; nothing where it is for a host alone.
pub(super) fn news(reader: &mut LineReader, lane: Lane) -> Result<Option<News>, String> {
    if lane == Lane::InProcess {
        return reader.read().map(Some);
    }
    Ok(match reader.read()? {
        worker::News::Event(number, event) => Some(News::Event(number, event)),
        worker::News::Log { message, fields, .. } => Some(News::Log(format!("{message} {fields}"))),
        worker::News::Metrics { .. } => None,
    })
}
