//! What a backend sends over the stream of signals: frames of a WebSocket, and messages in them.

use std::io::{self, Read, Write};

use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Message, WebSocket};

use super::answers::judge;
use super::one_line;
use crate::backend::wire::{self, View};

/// As `backend::stream` sets it.
const MAX_MESSAGE: usize = 16 * 1024 * 1024;

/// Gives what the other side sends, and takes what we answer.
struct Line<'a>(&'a [u8]);

impl Read for Line<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Write for Line<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The first byte says whether frames follow or one message.
pub fn messages(bytes: &[u8]) {
    let Some((what, bytes)) = bytes.split_first() else {
        return;
    };
    if what % 2 == 0 {
        if let Ok(text) = std::str::from_utf8(bytes) {
            message(text);
        }
        return;
    }
    let config = WebSocketConfig::default()
        .max_message_size(Some(MAX_MESSAGE))
        .max_frame_size(Some(MAX_MESSAGE));
    let mut socket = WebSocket::from_raw_socket(Line(bytes), Role::Client, Some(config));
    // No frame is shorter than two bytes, and whatever comes of them, the stream ends.
    for _ in 0..=bytes.len() / 2 + 1 {
        match socket.read() {
            Ok(Message::Text(text)) => message(text.as_str()),
            Ok(_) => {}
            Err(_) => return,
        }
    }
    panic!("more messages than frames fit into {} bytes", bytes.len());
}

fn message(text: &str) {
    match wire::pushed(text) {
        Ok(Some((answer, _))) => {
            let found = wire::signals(&answer, View::Pending).expect("what is pushed is made to be such an answer");
            judge(&found, View::Pending);
        }
        Ok(None) => {}
        Err(why) => one_line(&why),
    }
}
