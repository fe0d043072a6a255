//! Signatures by minisign: who says that a file is theirs.

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

use minisign_verify::{Error, PublicKey, Signature as Minisign};

/// The largest file of a signature; minisign's have some three hundred bytes.
const MAX_SIGNATURE: u64 = 64 << 10;

/// What the signature beside a file says of a content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Signature {
    /// There is none.
    Absent,
    /// A trusted key has signed this very content.
    Valid {
        /// The key, as it stands in the configuration.
        key: String,
    },
    /// A key has signed that is not trusted here; whether it fits is not known.
    UnknownKey {
        /// The key's number as minisign prints it.
        id: String,
    },
    /// It is not a trusted key's signature of this content.
    Invalid {
        /// What is wrong.
        reason: String,
    },
}

impl Signature {
    /// One word for a list.
    pub(crate) const fn word(&self) -> &'static str {
        match self {
            Self::Absent => "absent",
            Self::Valid { .. } => "valid",
            Self::UnknownKey { .. } => "unknown-key",
            Self::Invalid { .. } => "invalid",
        }
    }
}

/// Checks a public key as `minisign -G` prints it, the second line of a `.pub` file.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn check_key(text: &str) -> Result<(), String> {
    PublicKey::from_base64(text.trim())
        .map(drop)
        .map_err(|_| "is no public key of minisign, which begins with RW and has 56 characters".to_owned())
}

/// Where the signature of a file lies.
pub(super) fn path_of(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".minisig");
    PathBuf::from(name)
}

/// The text of the signature that lies beside a file; nothing if there is none.
///
/// # Errors
/// When it is there and cannot be read.
pub(super) fn beside(file: &Path) -> io::Result<Option<String>> {
    let path = path_of(file);
    // Asked before opening, since opening a pipe waits for its other end.
    match std::fs::metadata(&path) {
        Ok(metadata) if metadata.is_file() => {}
        Ok(_) => return Err(io::Error::other("it is not a regular file")),
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e),
    }
    let mut text = String::new();
    File::open(&path)?.take(MAX_SIGNATURE).read_to_string(&mut text)?;
    Ok(Some(text))
}

/// What a signature's text says of the content of a file.
///
/// # Errors
/// When the content cannot be read.
pub(super) fn verify(content: &Path, text: &str, keys: &[String]) -> io::Result<Signature> {
    let signature = match Minisign::decode(text) {
        Ok(signature) => signature,
        Err(e) => {
            return Ok(Signature::Invalid {
                reason: format!("the .minisig file is no signature of minisign ({e})"),
            });
        }
    };
    let invalid = |reason: &str| Signature::Invalid {
        reason: reason.to_owned(),
    };
    let mut refusal = None;
    for key in keys {
        let Ok(public) = PublicKey::from_base64(key.trim()) else {
            continue;
        };
        match public.verify_stream(&signature) {
            Ok(mut verifier) => {
                let mut file = File::open(content)?;
                let mut buffer = vec![0; 1 << 16];
                loop {
                    let n = file.read(&mut buffer)?;
                    if n == 0 {
                        break;
                    }
                    verifier.update(&buffer[..n]);
                }
                if verifier.finalize().is_ok() {
                    return Ok(Signature::Valid {
                        key: key.trim().to_owned(),
                    });
                }
                refusal = Some(invalid(
                    "the trusted key that it names has not signed this content",
                ));
            }
            Err(Error::UnsupportedLegacyMode) => {
                refusal = Some(invalid(
                    "it has the old form without a hash; sign again without -l",
                ));
            }
            Err(_) => {}
        }
    }
    Ok(refusal.unwrap_or_else(|| Signature::UnknownKey { id: key_id(text) }))
}

/// The number of the key that made a signature, as minisign prints it.
fn key_id(text: &str) -> String {
    let line = text.lines().nth(1).unwrap_or_default();
    let bytes = data_encoding::BASE64
        .decode(line.trim().as_bytes())
        .unwrap_or_default();
    let id = bytes.get(2..10).and_then(|id| <[u8; 8]>::try_from(id).ok());
    id.map_or_else(
        || "unknown".to_owned(),
        |id| format!("{:016X}", u64::from_le_bytes(id)),
    )
}
