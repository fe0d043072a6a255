//! Frames, and what must be true of any bytes.

#[allow(dead_code)]
#[path = "../../../../../../host/src/broker/worker/frame.rs"]
mod frame;

use std::io::Read;

use qt_plugin_api::PlaceResult;
use serde::{Serialize, de::DeserializeOwned};

use frame::{Answer, Ask, FrameError, Hello, News, Numbered, Opened, Order, Reader, Told, Writer};

/// Gives the bytes in pieces of another size each time, as a socket may.
struct Pieces<'a>(&'a [u8], usize);

impl Read for Pieces<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.1 = self.1 % 13 + 1;
        let most = buffer.len().min(self.1);
        self.0.read(&mut buffer[..most])
    }
}

/// The first byte says whose stream it is; the rest is what comes over it.
pub fn read(bytes: &[u8]) {
    let Some((whose, bytes)) = bytes.split_first() else {
        return;
    };
    match whose % 7 {
        // What the worker reads.
        0 => stream::<Numbered<Order>>(bytes),
        1 => stream::<Numbered<Ask>>(bytes),
        // What the host reads.
        2 => stream::<Answer<PlaceResult>>(bytes),
        3 => stream::<Answer<Told>>(bytes),
        4 => stream::<News>(bytes),
        5 => stream::<Opened>(bytes),
        _ => greeting(bytes),
    }
}

/// Reads a stream to its end, whole and in pieces: both say the same.
fn stream<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(bytes: &[u8]) {
    let (mut whole, mut pieces) = (Reader::new(bytes), Reader::new(Pieces(bytes, 0)));
    loop {
        let (one, other) = (whole.read::<T>(), pieces.read::<T>());
        match (one, other) {
            (Ok(one), Ok(other)) => {
                assert_eq!(one, other);
                again(&one);
            }
            (Err(one), Err(other)) => {
                assert_eq!(one.to_string(), other.to_string());
                if matches!(one, FrameError::Ended) {
                    return;
                }
                // The host ends the worker here; a reader that goes on must end all the same.
                let mut left = bytes.len() / 4;
                while left > 0 && !matches!(whole.read::<T>(), Err(FrameError::Ended)) {
                    left -= 1;
                }
                return;
            }
            (one, other) => panic!("{one:?} and in pieces {other:?}"),
        }
    }
}

/// What was understood is understood again after it was written.
fn again<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(value: &T) {
    let mut bytes = Vec::new();
    Writer::new(&mut bytes).write(value).expect("what fitted into a frame fits again");
    let read: T = Reader::new(&bytes[..]).read().expect("what was written is read");
    assert_eq!(&read, value);
}

fn greeting(bytes: &[u8]) {
    let mut rest = bytes;
    let Ok(hello) = Reader::new(&mut rest).greeting() else {
        return;
    };
    let used = bytes.len() - rest.len();
    let mut written = Vec::new();
    Writer::new(&mut written).greet(&hello).expect("it is short");
    let read: Hello = Reader::new(&written[..]).greeting().expect("what was written is read");
    assert_eq!(read, hello);
    assert!(used >= written.len(), "nothing behind the greeting was taken");
}
