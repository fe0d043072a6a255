//! Where the backend is, how it is called, and what can be wrong with that.

use std::path::Path;
use std::time::Duration;

use reqwest::{Certificate, Url};

use super::Token;
use crate::backend::wire;
use crate::config::Config;
use crate::system;

/// Where the backend is and how long to wait for it.
#[derive(Debug, Clone)]
pub(crate) struct ClientSettings {
    /// `http://host:port/api`; slashes at its end do not matter.
    pub(crate) base_url: String,
    /// The bearer token; nothing where one is still to be had.
    pub(crate) token: Option<Token>,
    /// For a connection to stand.
    pub(crate) connect_timeout: Duration,
    /// Between two pieces of an answer.
    pub(crate) read_timeout: Duration,
    /// For a whole call, the answer's body included.
    pub(crate) call_timeout: Duration,
    /// Where there are any, the backend's certificate must come from one of them.
    pub(crate) roots: Vec<Certificate>,
    /// What a person should do about a token that is refused.
    pub(crate) remedy: String,
}

impl ClientSettings {
    /// With the usual waits: 5 s for a connection, 15 s for a call.
    #[cfg(test)]
    pub(crate) fn new(base_url: impl Into<String>, token: Token) -> Self {
        Self {
            base_url: base_url.into(),
            token: Some(token),
            connect_timeout: Duration::from_secs(5),
            read_timeout: Duration::from_secs(10),
            call_timeout: Duration::from_secs(15),
            roots: Vec::new(),
            remedy: REMEDY.to_owned(),
        }
    }

    /// As a configuration has it, without a token.
    ///
    /// # Errors
    ///
    /// The file with the certificates cannot be used.
    pub(crate) fn of(config: &Config, base_url: &str) -> Result<Self, SetupError> {
        let roots = match &config.ca_certificate {
            Some(path) => certificates(path)?,
            None => Vec::new(),
        };
        Ok(Self {
            base_url: base_url.to_owned(),
            token: None,
            connect_timeout: config.http.connect,
            read_timeout: config.http.read,
            call_timeout: config.http.call,
            roots,
            remedy: REMEDY.to_owned(),
        })
    }
}

const REMEDY: &str =
    "Log in again via POST /api/user/login and put the new access_token into the configuration";

/// The certificates of a PEM file.
pub(crate) fn certificates(path: &Path) -> Result<Vec<Certificate>, SetupError> {
    let wrong = |problem: String| SetupError::Certificate {
        path: system::shown(path),
        problem,
    };
    let pem = std::fs::read(path).map_err(|e| wrong(format!("cannot be read: {e}")))?;
    let found = Certificate::from_pem_bundle(&pem).map_err(|e| wrong(format!("is not PEM: {e}")))?;
    if found.is_empty() {
        return Err(wrong(
            "holds no certificate; expected PEM, which begins with -----BEGIN CERTIFICATE-----".to_owned(),
        ));
    }
    Ok(found)
}

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SetupError {
    /// Not an address of a backend.
    #[error("`api_base_url` is `{given}`: {problem}; expected http://host:port/api")]
    BaseUrl {
        /// What was given, without what could be a secret.
        given: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// Not a token.
    #[error(
        "`api_token` cannot be used (its value is not shown): expected the `access_token` from \
         POST /api/user/login, in ASCII and without line breaks"
    )]
    Token,
    /// Not certificates.
    #[error("`ca_certificate` {path} {problem}")]
    Certificate {
        /// The file.
        path: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The HTTP library refuses.
    #[error("the HTTP client cannot be set up: {0}")]
    Http(#[source] reqwest::Error),
}

/// What is wrong with the base address, if anything: the one judge of it.
///
/// # Errors
///
/// The address cannot be one of a backend.
pub(crate) fn parse_base(text: &str) -> Result<Url, SetupError> {
    let wrong = |given: String, problem| SetupError::BaseUrl { given, problem };
    let text = text.trim();
    // Until it is parsed, what stands before an @ may be a password.
    let safe = || wire::cut(text.rsplit('@').next().unwrap_or_default(), 120);
    let Ok(url) = Url::parse(text) else {
        let problem = if text.contains("://") {
            "it is not an address"
        } else {
            "it lacks http:// or https://"
        };
        return Err(wrong(safe(), problem));
    };
    let problem = if !matches!(url.scheme(), "http" | "https") {
        "only http and https are spoken"
    } else if url.host_str().is_none_or(str::is_empty) {
        "it names no host"
    } else if !url.username().is_empty() || url.password().is_some() {
        "it holds a user name or password, which does not belong there"
    } else if url.query().is_some() || url.fragment().is_some() {
        "it has a `?` or `#`, which does not belong there"
    } else {
        return Ok(url);
    };
    Err(wrong(safe(), problem))
}
