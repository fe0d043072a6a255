//! Frames: a length of four bytes, the most significant first, then JSON; see PROTOCOL.md.

use std::io::{self, Read, Write};

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

/// Version of the protocol.
pub(crate) const PROTOCOL: u64 = 1;
/// No frame is longer.
pub(crate) const MAX_FRAME: usize = 1 << 20;

/// Why a stream cannot be read any further.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FrameError {
    /// It ended between two frames.
    #[error("it ended")]
    Ended,
    /// The system's reason.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// A length beyond the cap.
    #[error("a frame of {0} bytes came, and {MAX_FRAME} are the most")]
    TooLong(usize),
    /// No JSON of ours.
    #[error("a frame cannot be read: {0}")]
    NotJson(#[from] serde_json::Error),
    /// Another version.
    #[error("a frame of version {0} came, and this plugin speaks {PROTOCOL}")]
    Version(u64),
}

/// An order that was sent, without an outcome and without a row.
#[derive(Debug, Deserialize)]
pub(crate) struct Undecided {
    /// Its id.
    pub(crate) client_order_id: String,
    /// How long ago it was sent.
    pub(crate) age_ms: u64,
}

/// What comes from the bridge: an answer (`re`), an event (`ev`), or a gap in the events.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Frame {
    /// Version.
    pub(crate) v: u64,
    /// The request that this answers.
    pub(crate) re: Option<u64>,
    /// The event's number.
    pub(crate) ev: Option<u64>,
    /// The number of the next event, where those before it are lost.
    pub(crate) gap: Option<u64>,
    /// The event's kind.
    #[serde(default)]
    pub(crate) kind: String,
    /// The event's content.
    #[serde(default)]
    pub(crate) data: Value,
    /// Whether the request was done.
    #[serde(default)]
    pub(crate) ok: bool,
    /// Why not, for programs.
    #[serde(default)]
    pub(crate) code: String,
    /// Why not, for people.
    #[serde(default)]
    pub(crate) error: String,
    /// The terminal's number of an order.
    pub(crate) order_id: Option<String>,
    /// Rows of an answer, as text: what of a long list waits to be read takes a tenth of what its values would.
    #[serde(default, rename = "rows")]
    pub(crate) raw_rows: Vec<Box<RawValue>>,
    /// All rows of an answer, where they were asked for at once.
    #[serde(skip)]
    pub(crate) rows: Vec<Value>,
    /// Whether more rows follow in another frame.
    #[serde(default)]
    pub(crate) more: bool,
    /// Orders of ours of today whose outcome nobody knows and that the list does not show.
    #[serde(default)]
    pub(crate) undecided: Vec<Undecided>,
    /// Why rows of other programs are not among the rows.
    #[serde(default)]
    pub(crate) left_out: Vec<String>,
    /// How many rows there are in all.
    pub(crate) count: Option<usize>,
    /// What `doctor` found.
    #[serde(default)]
    pub(crate) checks: Vec<Value>,
    /// Which run of the bridge this is.
    #[serde(default)]
    pub(crate) epoch: String,
    /// The number of the next event.
    pub(crate) next: Option<u64>,
    /// Whether events are missing before the next one.
    #[serde(default)]
    pub(crate) resync: bool,
    /// Whether the bridge holds orders to the limits that `hello` names.
    #[serde(default)]
    pub(crate) limits: bool,
    /// Whether the bridge is connected to the terminal.
    pub(crate) up: Option<bool>,
    /// Version of the bridge's Python.
    #[serde(default)]
    pub(crate) python: String,
    /// Version of the terminal's library.
    #[serde(default)]
    pub(crate) xtquant: String,
}

/// Reads one frame.
pub(crate) fn read(stream: &mut impl Read) -> Result<Frame, FrameError> {
    let mut head = [0; 4];
    if let Err(e) = stream.read_exact(&mut head) {
        return Err(match e.kind() {
            io::ErrorKind::UnexpectedEof => FrameError::Ended,
            _ => e.into(),
        });
    }
    let length = usize::try_from(u32::from_be_bytes(head)).unwrap_or(usize::MAX);
    if length > MAX_FRAME {
        return Err(FrameError::TooLong(length));
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    let frame: Frame = serde_json::from_slice(&body)?;
    if frame.v == PROTOCOL {
        return Ok(frame);
    }
    Err(FrameError::Version(frame.v))
}

/// The bytes of a frame; its version is put in.
pub(crate) fn pack(mut frame: Value) -> io::Result<Vec<u8>> {
    frame["v"] = PROTOCOL.into();
    let mut bytes = vec![0; 4];
    serde_json::to_writer(&mut bytes, &frame)?;
    let length = bytes.len() - 4;
    let head = u32::try_from(length)
        .ok()
        .filter(|_| length <= MAX_FRAME)
        .ok_or_else(|| io::Error::other(FrameError::TooLong(length)))?;
    bytes[..4].copy_from_slice(&head.to_be_bytes());
    Ok(bytes)
}

/// Writes one frame at once.
pub(crate) fn write(stream: &mut (impl Write + ?Sized), frame: Value) -> io::Result<()> {
    stream.write_all(&pack(frame)?)?;
    stream.flush()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn raw(body: &[u8]) -> Vec<u8> {
        let mut bytes = u32::try_from(body.len()).expect("short").to_be_bytes().to_vec();
        bytes.extend(body);
        bytes
    }

    #[test]
    fn a_frame_comes_back_as_it_went() {
        let bytes = pack(json!({ "re": 7, "ok": true, "order_id": "五" })).expect("packed");
        let frame = read(&mut bytes.as_slice()).expect("read");
        assert_eq!((frame.re, frame.ok), (Some(7), true));
        assert_eq!(frame.order_id.as_deref(), Some("五"));
    }

    #[test]
    fn what_is_no_frame_is_refused_with_its_reason() {
        let long = u32::try_from(MAX_FRAME + 1).expect("fits").to_be_bytes();
        for (bytes, part) in [
            (Vec::new(), "ended"),
            (long.to_vec(), "1048577 bytes"),
            (raw(b"{\"v\":1"), "cannot be read"),
            (raw(b"[1]"), "cannot be read"),
            (raw(b"{\"v\":2}"), "version 2"),
            (raw(b"{\"v\":1}")[..8].to_vec(), "failed to fill"),
        ] {
            let why = read(&mut bytes.as_slice()).expect_err("no frame").to_string();
            assert!(why.contains(part), "{why}");
        }
        let huge = "x".repeat(MAX_FRAME);
        assert!(pack(json!({ "error": huge })).is_err());
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes: Vec<u8>) {
            let _ = read(&mut bytes.as_slice());
            let _ = read(&mut raw(&bytes).as_slice());
        }
    }
}
