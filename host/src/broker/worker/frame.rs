//! What host and worker say to each other, and how it is written.
//!
//! A frame is its length in four bytes, the least first, and then a value in the postcard format. The first frame of
//! every stream is a greeting, whose first bytes keep their place in every version of the protocol. Nothing that comes
//! over a stream is trusted: a frame that cannot be read ends the worker.

use std::io::{self, Read, Write};
use std::ops::Range;

use qt_plugin_api::host::{Event, Series};
use qt_plugin_api::{
    AccountRow, CallError, CancelRequest, CancelResult, ConnectionState, LogLevel, OrderRequest, OrderRow,
    PlaceResult, PositionRow, Quote, TradeRow, TradesPage,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::broker::link::OpenFailure;

/// Version of everything in this file. Both sides are the same program, except where it was replaced on the disk
/// while it ran: then they must notice.
pub(super) const PROTOCOL: u32 = 4;
/// First bytes of a greeting.
const MAGIC: [u8; 4] = *b"QTWK";
/// No list of a day's orders is longer; a length beyond it is no length.
pub(super) const MOST_BYTES: u32 = 64 << 20;
const LENGTH_BYTES: usize = 4;
/// Bytes that a reader asks for at least.
const LEAST_BUFFER: usize = 4096;

/// What a stream is for. Each has a thread of its own on either side, so that nothing waits behind anything else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Role {
    /// New orders.
    Orders,
    /// All other calls.
    Control,
    /// What the plugin tells by itself.
    Events,
}

/// The greeting of a stream, from the worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Hello {
    /// What the stream is for.
    pub(super) role: Role,
    /// What the host gave the worker to be known by.
    pub(super) secret: String,
}

/// A call, with a number that its [`Answer`] bears again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Numbered<T> {
    /// The number, from 1 on.
    pub(crate) number: u64,
    /// The call.
    pub(crate) what: T,
}

/// The answer to a [`Numbered`] call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Answer<T> {
    /// The call's number.
    pub(crate) number: u64,
    /// True once the plugin's code has panicked in this broker, in this call or in any before it.
    pub(crate) is_poisoned: bool,
    /// What came of the call.
    pub(crate) what: T,
}

/// An answer that may say why nothing came of its call.
pub(crate) trait Reasoned {
    /// The reason, where there is one.
    fn reason(&self) -> Option<&str>;
}

impl Reasoned for PlaceResult {
    fn reason(&self) -> Option<&str> {
        match self {
            Self::Accepted { .. } => None,
            Self::Rejected { reason } | Self::Unknown { reason } => Some(reason),
        }
    }
}

impl Reasoned for Told {
    fn reason(&self) -> Option<&str> {
        match self {
            Self::Cancel(CancelResult::Rejected { reason } | CancelResult::Unknown { reason })
            | Self::Connection(ConnectionState::Disconnected { reason })
            | Self::Orders(Err(CallError { reason }))
            | Self::Trades(Err(CallError { reason }))
            | Self::Positions(Err(CallError { reason }))
            | Self::Account(Err(CallError { reason }))
            | Self::Quotes(Some(Err(CallError { reason })))
            | Self::TradesSince(Some(Err(CallError { reason }))) => Some(reason),
            _ => None,
        }
    }
}

/// A call on the stream for orders.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Order {
    /// Place an order; answered by a [`PlaceResult`].
    Place(OrderRequest),
}

/// A call on the stream for all else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Ask {
    /// Cancel an order.
    Cancel(CancelRequest),
    /// Every order of the day.
    Orders,
    /// Every trade of the day.
    Trades,
    /// Every holding.
    Positions,
    /// The account's money.
    Account,
    /// The connection.
    Connection,
    /// Prices of these symbols.
    Quotes(Vec<String>),
    /// The trades since a cursor, or of the whole day.
    TradesSince(Option<String>),
    /// End the session; the worker ends once it has answered.
    Close,
}

/// The answer to an [`Ask`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Told {
    /// Of a cancel.
    Cancel(CancelResult),
    /// Orders.
    Orders(Result<Vec<OrderRow>, CallError>),
    /// Trades.
    Trades(Result<Vec<TradeRow>, CallError>),
    /// Holdings.
    Positions(Result<Vec<PositionRow>, CallError>),
    /// Money.
    Account(Result<AccountRow, CallError>),
    /// Connection.
    Connection(ConnectionState),
    /// Prices; nothing where the plugin offers none.
    Quotes(Option<Result<Vec<Quote>, CallError>>),
    /// Trades; nothing where the plugin does not tell them so.
    TradesSince(Option<Result<TradesPage, CallError>>),
    /// The session is closed.
    Closed,
}

/// The first word on the stream for all else: whether the plugin is open, or why not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Opened(pub(crate) Result<(), OpenFailure>);

/// What the worker tells by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum News {
    /// An event of the plugin, with its number.
    Event(u64, Event),
    /// A line of the plugin's for the log.
    Log {
        /// Weight.
        level: LogLevel,
        /// The part of the plugin that speaks.
        target: String,
        /// What it says.
        message: String,
        /// A JSON object, or empty.
        fields: String,
    },
    /// What the plugin has counted since the last time.
    Metrics {
        /// Series with at least one value.
        series: Vec<Series>,
        /// Values that found no place.
        dropped: u64,
    },
}

/// Why there is no frame.
#[derive(Debug, thiserror::Error)]
pub(super) enum FrameError {
    /// The stream ended, as it does when the process at its other end is gone.
    #[error("the stream has ended")]
    Ended,
    /// The stream failed.
    #[error("the stream failed: {0}")]
    Io(#[from] io::Error),
    /// The bytes mean nothing.
    #[error("what came over the stream cannot be read: {0}")]
    Malformed(String),
    /// The other side is another version of the program.
    #[error(
        "the worker speaks version {found} of the protocol and the host version {PROTOCOL}: the program was replaced on the disk while it ran; start it again"
    )]
    OtherProtocol {
        /// Its version.
        found: u32,
    },
}

/// Writes values as frames, with one write for each.
#[derive(Debug)]
pub(super) struct Writer<W> {
    stream: W,
    buffer: Vec<u8>,
}

impl<W: Write> Writer<W> {
    /// Writes to `stream`.
    pub(super) const fn new(stream: W) -> Self {
        Self {
            stream,
            buffer: Vec::new(),
        }
    }

    /// Writes one value.
    pub(super) fn write<T: Serialize>(&mut self, value: &T) -> Result<(), FrameError> {
        self.frame(&[], value)
    }

    /// Writes the greeting.
    pub(super) fn greet(&mut self, hello: &Hello) -> Result<(), FrameError> {
        let mut prefix = MAGIC.to_vec();
        prefix.extend(PROTOCOL.to_le_bytes());
        self.frame(&prefix, hello)
    }

    fn frame<T: Serialize>(&mut self, prefix: &[u8], value: &T) -> Result<(), FrameError> {
        let mut bytes = std::mem::take(&mut self.buffer);
        bytes.clear();
        bytes.extend([0; LENGTH_BYTES]);
        bytes.extend(prefix);
        let mut bytes =
            postcard::to_extend(value, bytes).map_err(|e| FrameError::Malformed(e.to_string()))?;
        let length = bytes.len() - LENGTH_BYTES;
        let length = u32::try_from(length)
            .ok()
            .filter(|length| *length <= MOST_BYTES)
            .ok_or_else(|| FrameError::Malformed(format!("{length} bytes are more than a frame may hold")))?;
        bytes[..LENGTH_BYTES].copy_from_slice(&length.to_le_bytes());
        let written = self.stream.write_all(&bytes);
        self.buffer = bytes;
        Ok(written?)
    }
}

/// Reads values from frames, as many bytes at a time as there are: a frame mostly costs one call of the system.
#[derive(Debug)]
pub(super) struct Reader<R> {
    stream: R,
    buffer: Vec<u8>,
    /// Where what was read and not yet used begins and ends in the buffer.
    unused: Range<usize>,
}

/// How far a reader may read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ahead {
    /// As far as there is something.
    Allowed,
    /// Not beyond the frame: somebody else reads on.
    Forbidden,
}

impl<R: Read> Reader<R> {
    /// Reads from `stream`, which nobody else may read from.
    pub(super) const fn new(stream: R) -> Self {
        Self {
            stream,
            buffer: Vec::new(),
            unused: 0..0,
        }
    }

    /// Reads one value.
    pub(super) fn read<T: DeserializeOwned>(&mut self) -> Result<T, FrameError> {
        let frame = self.frame(Ahead::Allowed)?;
        decode(&self.buffer[frame])
    }

    /// Reads the greeting and not a byte more, so that another reader may take over.
    pub(super) fn greeting(&mut self) -> Result<Hello, FrameError> {
        let frame = self.frame(Ahead::Forbidden)?;
        let (magic, rest) = self.buffer[frame]
            .split_at_checked(MAGIC.len())
            .ok_or_else(no_greeting)?;
        let (protocol, rest) = rest.split_first_chunk().ok_or_else(no_greeting)?;
        if magic != MAGIC {
            return Err(no_greeting());
        }
        match u32::from_le_bytes(*protocol) {
            PROTOCOL => decode(rest),
            found => Err(FrameError::OtherProtocol { found }),
        }
    }

    /// The next frame's place in the buffer, without its length.
    fn frame(&mut self, ahead: Ahead) -> Result<Range<usize>, FrameError> {
        self.fill(LENGTH_BYTES, ahead)?;
        let mut length = [0; LENGTH_BYTES];
        length.copy_from_slice(&self.buffer[self.unused.start..self.unused.start + LENGTH_BYTES]);
        let length = u32::from_le_bytes(length);
        if length > MOST_BYTES {
            return Err(FrameError::Malformed(format!("a frame of {length} bytes")));
        }
        let length = length as usize;
        self.fill(LENGTH_BYTES + length, ahead)?;
        let start = self.unused.start + LENGTH_BYTES;
        self.unused.start = start + length;
        Ok(start..start + length)
    }

    /// Reads until `count` bytes are there.
    fn fill(&mut self, count: usize, ahead: Ahead) -> Result<(), FrameError> {
        if self.unused.is_empty() {
            self.unused = 0..0;
        }
        while self.unused.len() < count {
            if self.unused.end == self.buffer.len() {
                self.make_room();
            }
            let until = match ahead {
                Ahead::Allowed => self.buffer.len(),
                Ahead::Forbidden => self.buffer.len().min(self.unused.start + count),
            };
            match self.stream.read(&mut self.buffer[self.unused.end..until]) {
                Ok(0) => return Err(FrameError::Ended),
                Ok(read) => self.unused.end += read,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(ended(e)),
            }
        }
        Ok(())
    }

    /// Makes room behind what is there. The buffer grows with what comes and not with what was promised.
    fn make_room(&mut self) {
        let waiting = self.unused.len();
        self.buffer.copy_within(self.unused.clone(), 0);
        self.unused = 0..waiting;
        if waiting >= self.buffer.len() / 2 {
            self.buffer.resize(self.buffer.len().max(LEAST_BUFFER / 2) * 2, 0);
        }
    }
}

fn no_greeting() -> FrameError {
    FrameError::Malformed("no greeting of a worker".to_owned())
}

fn ended(error: io::Error) -> FrameError {
    match error.kind() {
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => {
            FrameError::Ended
        }
        _ => FrameError::Io(error),
    }
}

fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, FrameError> {
    match postcard::take_from_bytes(bytes) {
        Ok((value, [])) => Ok(value),
        Ok((_, rest)) => Err(FrameError::Malformed(format!(
            "{} bytes behind the value",
            rest.len()
        ))),
        Err(e) => Err(FrameError::Malformed(e.to_string())),
    }
}

#[cfg(test)]
#[path = "frame_tests.rs"]
mod tests;
