//! The local socket between host and worker: a Unix socket in a private folder, or a named pipe.

use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use interprocess::local_socket::{
    GenericFilePath, Listener, ListenerNonblockingMode, ListenerOptions, Name, Stream, prelude::*,
};

use super::frame::{FrameError, Hello, Reader};

/// How often a reader that waits looks whether anybody still wants what it waits for.
const LOOK: Duration = Duration::from_millis(250);
/// How often somebody who waits for a caller looks.
const ACCEPT_EVERY: Duration = Duration::from_millis(2);

fn name(path: &Path) -> io::Result<Name<'_>> {
    path.to_fs_name::<GenericFilePath>()
}

/// Listens at `path`.
pub(super) fn listen(path: &Path) -> io::Result<Listener> {
    ListenerOptions::new()
        .name(name(path)?)
        .nonblocking(ListenerNonblockingMode::Accept)
        .create_sync()
}

/// Calls whoever listens at `path`.
pub(super) fn call(path: &Path) -> io::Result<Stream> {
    Stream::connect(name(path)?)
}

/// Waits for a caller until `until`, or for as long as `wanted` says so.
pub(super) fn accept(
    listener: &Listener,
    until: Instant,
    mut wanted: impl FnMut() -> bool,
) -> io::Result<Option<Stream>> {
    loop {
        // Asked before: whoever called and was gone a moment later has called.
        let is_last = !wanted() || Instant::now() >= until;
        match listener.accept() {
            Ok(stream) => return Ok(Some(stream)),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
            Err(e) => return Err(e),
        }
        if is_last {
            return Ok(None);
        }
        std::thread::sleep(ACCEPT_EVERY);
    }
}

/// The reading side of a stream. Its reader is never stuck for ever: once `gone` is set, it ends when nothing more
/// comes, even where some other process still holds the stream open.
#[derive(Debug)]
pub(super) struct Patient {
    stream: Arc<Stream>,
    gone: Arc<AtomicBool>,
}

impl Patient {
    pub(super) fn new(stream: Arc<Stream>, gone: Arc<AtomicBool>) -> Self {
        // Where the system has no such timeout, a reader waits until the worker's end closes the stream.
        stream.set_recv_timeout(Some(LOOK)).ok();
        Self { stream, gone }
    }
}

/// Who a caller says it is, if it says so within `patience`.
pub(super) fn greeting(stream: &Arc<Stream>, patience: Duration) -> Result<Hello, FrameError> {
    if stream.set_recv_timeout(Some(patience)).is_ok() {
        let patient = Patient {
            stream: Arc::clone(stream),
            gone: Arc::new(AtomicBool::new(true)),
        };
        return Reader::new(patient).greeting();
    }
    // A named pipe knows no such limit: a thread waits, and stays with a caller who says nothing until it hangs up.
    let (to_caller, said) = std::sync::mpsc::channel();
    let own = Arc::clone(stream);
    std::thread::spawn(move || {
        let hello = Reader::new(&*own).greeting();
        drop(own);
        to_caller.send(hello).ok();
    });
    said.recv_timeout(patience).unwrap_or(Err(FrameError::Ended))
}

impl Read for Patient {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match (&*self.stream).read(buffer) {
                Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                    if self.gone.load(Ordering::Acquire) {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                }
                other => return other,
            }
        }
    }
}
