//! The bearer token.

use std::fmt;

use bytes::Bytes;
use reqwest::header::HeaderValue;
use zeroize::Zeroizing;

use super::SetupError;
use crate::secrets::{self, Claims};

/// The bearer token. It has no Display, its Debug shows nothing of it, and what it took is wiped with its last copy.
#[derive(Clone)]
pub(crate) struct Token {
    pub(super) header: HeaderValue,
    pub(super) claims: Option<Claims>,
}

impl Token {
    /// Takes a token as it stands in the configuration, without the word `Bearer`.
    ///
    /// # Errors
    ///
    /// It is empty or holds what no header may hold.
    pub(crate) fn new(text: &str) -> Result<Self, SetupError> {
        let text = text.trim();
        let usable = !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic() || b == b' ');
        let mut header = usable
            .then(|| HeaderValue::from_maybe_shared(wiped(format!("Bearer {text}").into_bytes())).ok())
            .flatten()
            .ok_or(SetupError::Token)?;
        header.set_sensitive(true);
        Ok(Self {
            header,
            claims: secrets::claims(text),
        })
    }

    /// The token itself, to be looked for in what must not show it.
    pub(super) fn expose(&self) -> &str {
        let header = self.header.to_str().unwrap_or_default();
        header.strip_prefix("Bearer ").unwrap_or(header)
    }

    /// What it says of itself, where it is a web token.
    pub(crate) const fn claims(&self) -> Option<&Claims> {
        self.claims.as_ref()
    }
}

/// Bytes that are wiped once nobody has them any more.
pub(super) fn wiped(bytes: Vec<u8>) -> Bytes {
    Bytes::from_owner(Zeroizing::new(bytes))
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(***)")
    }
}
