//! A robot that takes alerts, and that can be made to fail.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use serde_json::Value;

/// What came: the path with its query, and the body.
pub type Post = (String, Value);

/// Listens on loopback until the test ends.
pub struct Robot {
    address: SocketAddr,
    posts: Arc<Mutex<Vec<Post>>>,
    /// Answers to come, the first one first; after them all is well.
    answers: Arc<Mutex<Vec<(u16, String)>>>,
}

impl Robot {
    pub fn start(good: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let robot = Self {
            address,
            posts: Arc::default(),
            answers: Arc::default(),
        };
        let (posts, answers) = (Arc::clone(&robot.posts), Arc::clone(&robot.answers));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let mut waiting = answers.lock().unwrap();
                let (status, body) = if waiting.is_empty() {
                    (200, good.to_owned())
                } else {
                    waiting.remove(0)
                };
                drop(waiting);
                posts.lock().unwrap().extend(answer(stream, status, &body));
            }
        });
        robot
    }

    /// An address with a secret in it, as robots have.
    pub fn url(&self, secret: &str) -> String {
        format!("http://{}/robot/send?access_token={secret}", self.address)
    }

    pub fn will_answer(&self, status: u16, body: &str) {
        self.answers.lock().unwrap().push((status, body.to_owned()));
    }

    pub fn posts(&self) -> Vec<Post> {
        self.posts.lock().unwrap().clone()
    }
}

fn answer(stream: TcpStream, status: u16, body: &str) -> Option<Post> {
    let mut reader = BufReader::new(stream);
    let mut first = String::new();
    reader.read_line(&mut first).ok()?;
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        if line.trim().is_empty() {
            break;
        }
        if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
    }
    let mut sent = vec![0; length];
    reader.read_exact(&mut sent).ok()?;
    let text = format!(
        "HTTP/1.1 {status} said\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    reader.get_mut().write_all(text.as_bytes()).ok()?;
    Some((
        first.split(' ').nth(1)?.to_owned(),
        serde_json::from_slice(&sent).ok()?,
    ))
}
