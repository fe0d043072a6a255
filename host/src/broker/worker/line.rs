//! Frames over a local socket for other rooms: what a probe of the conformance kit and its judge speak over.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use interprocess::local_socket::{Listener, Stream};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::frame::{Hello, Reader, Writer};
use super::stream::{self, Patient};
use crate::system;

pub(crate) use super::frame::Role;

/// How long a caller may take to say who it is.
const GREETS_WITHIN: Duration = Duration::from_secs(5);

/// A socket that a child process calls, known by a secret.
pub(crate) struct Exchange {
    listening: Listener,
    socket: PathBuf,
    secret: String,
    _folder: tempfile::TempDir,
}

impl Exchange {
    /// Listens in a private folder.
    ///
    /// # Errors
    ///
    /// The system gives no folder or no socket.
    pub(crate) fn new() -> io::Result<Self> {
        let folder = system::socket_folder()?;
        let word = || data_encoding::HEXLOWER.encode(&rand::random::<[u8; 16]>());
        let socket = system::socket_path(folder.path(), &word());
        Ok(Self {
            listening: stream::listen(&socket)?,
            socket,
            secret: word(),
            _folder: folder,
        })
    }

    /// Where to call.
    pub(crate) fn socket(&self) -> &Path {
        &self.socket
    }

    /// What a caller is known by.
    pub(crate) fn secret(&self) -> &str {
        &self.secret
    }

    /// One line for each role, in the order of the roles; nothing if they did not come by `until` or while `wanted`.
    ///
    /// # Errors
    ///
    /// The socket fails.
    pub(crate) fn lines(
        &self,
        until: Instant,
        mut wanted: impl FnMut() -> bool,
    ) -> io::Result<Option<[Line; 3]>> {
        let mut found = [None, None, None];
        while found.iter().any(Option::is_none) {
            let Some(stream) = stream::accept(&self.listening, until, &mut wanted)? else {
                return Ok(None);
            };
            // A stranger's stream closes here, and the wait goes on.
            let stream = Arc::new(stream);
            if let Ok(hello) = stream::greeting(&stream, GREETS_WITHIN)
                && hello.secret == self.secret
            {
                found[hello.role as usize] = Some(Line(stream));
            }
        }
        match found {
            [Some(orders), Some(control), Some(events)] => Ok(Some([orders, control, events])),
            _ => Ok(None),
        }
    }
}

/// One connection.
pub(crate) struct Line(Arc<Stream>);

impl Line {
    /// Calls an [`Exchange`].
    ///
    /// # Errors
    ///
    /// Nobody listens there.
    pub(crate) fn call(socket: &Path, secret: &str, role: Role) -> Result<Self, String> {
        let stream = Arc::new(stream::call(socket).map_err(|e| e.to_string())?);
        let hello = Hello {
            role,
            secret: secret.to_owned(),
        };
        Writer::new(&*stream).greet(&hello).map_err(|e| e.to_string())?;
        Ok(Self(stream))
    }

    /// Both directions. Once `gone` is set, the reader ends when nothing more comes.
    pub(crate) fn split(self, gone: &Arc<AtomicBool>) -> (LineReader, LineWriter) {
        let reader = Reader::new(Patient::new(Arc::clone(&self.0), Arc::clone(gone)));
        (LineReader(reader), LineWriter(Writer::new(Owned(self.0))))
    }
}

/// The direction from which values come.
pub(crate) struct LineReader(Reader<Patient>);

impl LineReader {
    /// The next value.
    ///
    /// # Errors
    ///
    /// The line has ended, or what came cannot be read.
    pub(crate) fn read<T: DeserializeOwned>(&mut self) -> Result<T, String> {
        self.0.read().map_err(|e| e.to_string())
    }
}

/// The direction in which values go.
pub(crate) struct LineWriter(Writer<Owned>);

impl LineWriter {
    /// Sends a value.
    ///
    /// # Errors
    ///
    /// The line has ended.
    pub(crate) fn write<T: Serialize>(&mut self, value: &T) -> Result<(), String> {
        self.0.write(value).map_err(|e| e.to_string())
    }
}

/// A stream's writing side that keeps it open.
struct Owned(Arc<Stream>);

impl Write for Owned {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        (&*self.0).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        (&*self.0).flush()
    }
}
