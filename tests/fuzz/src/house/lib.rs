//! The rooms of the host that read what others wrote. The host is a program and no library: they are taken in by their files,
//! beside stand-ins for what they know of other rooms.
#![allow(dead_code, unused_imports)]

mod reads;

pub use reads::{answers, configuration, journals, messages};

#[path = "../../../../host/src/backend"]
mod backend {
    pub(crate) mod wire;
}
#[path = "../../../../host/src/book"]
mod book {
    mod file;

    pub(crate) fn read(path: &std::path::Path) -> Result<BookView, BookError> {
        file::read(path)
    }

    #[derive(Debug)]
    pub(crate) enum BookSource {
        File { path: std::path::PathBuf },
    }

    #[derive(Debug)]
    pub(crate) enum BookError {
        File { path: String, reason: String },
    }

    #[derive(Debug)]
    pub(crate) struct BookView {
        pub(crate) source: BookSource,
        pub(crate) as_of: qt_core::UtcMillis,
        pub(crate) positions: Vec<qt_core::portfolio::Position>,
        pub(crate) account: Option<qt_core::portfolio::Account>,
        pub(crate) orders: Vec<qt_core::Order>,
        pub(crate) trades: qt_core::portfolio::TradeBook,
        pub(crate) today: Result<(), String>,
        pub(crate) notes: Vec<String>,
    }
}
mod cli {
    /// As `render::account::masked`.
    pub(crate) fn masked(number: &str) -> String {
        number.chars().map(|_| '*').collect()
    }
}
#[path = "../../../../host/src/clock.rs"]
mod clock;
#[path = "../../../../host/src/config/mod.rs"]
mod config;
#[path = "../../../../host/src/failpoint.rs"]
mod failpoint;
#[path = "../../../../host/src/journal/mod.rs"]
mod journal;
// Its own rooms are looked for below the name that it has here.
#[path = "../../../../host/src"]
mod host {
    pub(crate) mod system;
}
use host::system;
#[path = "../../../../host/src/paper"]
mod paper {
    pub(crate) mod signals;
}
#[path = "../../../../host/src/plugin"]
mod plugin {
    pub(crate) fn check_key(text: &str) -> Result<(), String> {
        minisign_verify::PublicKey::from_base64(text.trim())
            .map(drop)
            .map_err(|error| error.to_string())
    }
}
#[path = "../../../../host/src/secrets"]
mod secrets {
    use crate::config::{ApiToken, Secret};

    pub(crate) mod jwt;

    /// A configuration made of any bytes names any file and any variable: none of them is opened.
    pub(crate) fn at_place(_: &ApiToken) -> Result<Secret, String> {
        Ok(Secret::new("a token".to_owned()))
    }

    pub(crate) fn place_warning(_: &ApiToken) -> Option<String> {
        None
    }
}
#[path = "../../../../host/src/telemetry"]
mod telemetry {
    mod format;
    mod level;

    pub(crate) use format::LogFormat;
    pub(crate) use level::LogLevel;
}
