//! Where the token is, as the configuration says it.

use std::fmt;
use std::path::PathBuf;

use super::Secret;

/// What `api_token` says.
#[derive(Debug, Clone)]
pub enum ApiToken {
    /// The token itself.
    Literal(Secret),
    /// `env:NAME`: in a variable of the environment.
    Variable(String),
    /// `file:PATH`: in a file that holds nothing else.
    File(PathBuf),
    /// `keyring`: where `qt-host login` has put it.
    Keyring,
}

/// As the configuration writes it, the token itself masked.
impl fmt::Display for ApiToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Literal(secret) => write!(f, "{secret}"),
            Self::Variable(name) => write!(f, "env:{name}"),
            Self::File(path) => write!(f, "file:{}", crate::system::shown(path)),
            Self::Keyring => f.write_str("keyring"),
        }
    }
}

/// How long the backend is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HttpWaits {
    /// For a connection to stand.
    pub connect: std::time::Duration,
    /// Between two pieces of an answer.
    pub read: std::time::Duration,
    /// For a whole call.
    pub call: std::time::Duration,
}
