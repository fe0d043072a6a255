//! Where the token and the login lie: a variable, a file, the configuration, the system's keyring, an encrypted file.
//!
//! Nothing here speaks to the backend, and nothing else opens a keyring.

mod jwt;
mod keyring;
mod source;
mod stores;
mod variables;
mod vault;

use std::path::Path;

use zeroize::{Zeroize, Zeroizing};

pub(crate) use jwt::{Claims, claims};
pub(crate) use keyring::{Kept, Keyring, KeyringError, PASSPHRASE};
pub(crate) use source::{Found, NoToken, Source, open};
pub(crate) use stores::StoreKind;
pub(crate) use variables::{hide_from, note_variables};

use crate::config::{ApiToken, Secret};
use crate::system;

/// No token and no passphrase is longer.
const LONGEST: u64 = 64 * 1024;

/// The token of a place that holds nothing but it.
///
/// # Errors
///
/// A sentence about the place: what is wrong there and what to do. No part of what lies there is in it.
pub(crate) fn at_place(place: &ApiToken) -> Result<Secret, String> {
    let (text, named) = match place {
        ApiToken::Literal(secret) => return Ok(secret.clone()),
        ApiToken::Variable(name) => {
            let text = std::env::var(name).map(Zeroizing::new).map_err(|e| match e {
                std::env::VarError::NotPresent => {
                    format!("names the variable {name}, which is not set; set it, or name another place")
                }
                std::env::VarError::NotUnicode(_) => {
                    format!("names the variable {name}, whose value is not text")
                }
            })?;
            (text, format!("the variable {name}"))
        }
        ApiToken::File(path) => (read_small(path)?, format!("the file {}", system::shown(path))),
        ApiToken::Keyring => return Err("is `keyring`, which is opened elsewhere".to_owned()),
    };
    let token = text.trim();
    if token.is_empty() {
        return Err(format!("{named} is empty; put the access_token there"));
    }
    if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(format!(
            "{named} has spaces, line breaks or other characters in it that no token has (not shown)"
        ));
    }
    Ok(Secret::new(token.to_owned()))
}

/// A small file of text, wiped once it is dropped.
///
/// # Errors
///
/// A sentence about the file.
fn read_small(path: &Path) -> Result<Zeroizing<String>, String> {
    use std::io::Read;
    let shown = system::shown(path);
    let cannot = |e: std::io::Error| match e.kind() {
        std::io::ErrorKind::NotFound => format!("names the file {shown}, which does not exist"),
        std::io::ErrorKind::PermissionDenied => {
            format!("names the file {shown}, which your user may not read")
        }
        _ => format!("names the file {shown}, which cannot be read: {e}"),
    };
    if path.is_dir() {
        return Err(format!("names {shown}, which is a folder"));
    }
    let file = std::fs::File::open(path).map_err(cannot)?;
    // As large as it may become at once: a buffer that grows leaves copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(usize::try_from(LONGEST).unwrap_or(0) + 64));
    file.take(LONGEST + 1).read_to_end(&mut bytes).map_err(cannot)?;
    if bytes.len() as u64 > LONGEST {
        return Err(format!(
            "names the file {shown}, which is far too large for what it should hold"
        ));
    }
    let bytes = std::mem::take(&mut *bytes);
    String::from_utf8(bytes).map(Zeroizing::new).map_err(|e| {
        e.into_bytes().zeroize();
        format!("names the file {shown}, which is not text")
    })
}

/// What should be said of a place that others can read.
pub(crate) fn place_warning(place: &ApiToken) -> Option<String> {
    let ApiToken::File(path) = place else {
        return None;
    };
    let file = std::fs::File::open(path).ok()?;
    let mode = system::readable_by_others(&file)?;
    Some(format!(
        "the token's file {} may be read by others (mode {mode:04o}); take their rights away: chmod 600",
        system::shown(path)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_gives_its_token_or_says_what_is_wrong_with_the_place() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, content: &[u8]| {
            let path = folder.path().join(name);
            std::fs::write(&path, content).unwrap();
            ApiToken::File(path)
        };
        let good = at_place(&file("good", b"  abc.def.ghi\r\n")).unwrap();
        assert_eq!(good.expose(), "abc.def.ghi");
        for (place, said) in [
            (file("empty", b" \n"), "is empty"),
            (file("two", b"abc.def two\nlines"), "spaces, line breaks"),
            (file("binary", b"abc.def\xff"), "not text"),
            (file("large", &[b'a'; 70_000]), "far too large"),
            (ApiToken::File(folder.path().join("absent")), "does not exist"),
            (ApiToken::File(folder.path().to_owned()), "is a folder"),
            (
                ApiToken::Variable("QT_NO_SUCH_VARIABLE_HERE".into()),
                "is not set",
            ),
        ] {
            let why = at_place(&place).unwrap_err();
            assert!(why.contains(said) && !why.contains("abc.def"), "{why}");
        }
    }
}
