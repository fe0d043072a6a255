//! The encrypted file, where a system has no keyring: a passphrase becomes a key by Argon2id, and XChaCha20-Poly1305
//! hides the content and shows any change to it. Both are RustCrypto's; of our own is the order of the bytes alone.

use argon2::{Algorithm, Argon2, Params, Version};
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use rand::RngExt;
use zeroize::Zeroizing;

/// What the file begins with: its kind and the version of its form.
const MAGIC: &[u8; 8] = b"qtkeep1\n";
const SALT: usize = 16;
const NONCE: usize = 24;
const HEAD: usize = MAGIC.len() + 12 + SALT;
/// What a new file's key costs: KiB of memory, rounds, lanes.
const COST: [u32; 3] = if cfg!(test) { [64, 1, 1] } else { [64 * 1024, 3, 1] };
/// What opening a file may cost at most: a file from elsewhere must not take all memory.
const MOST: [u32; 3] = [1024 * 1024, 64, 16];

/// Why a file cannot be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum VaultError {
    /// Another kind of file, or a newer form.
    #[error("it is not a file of qt-host's, or one of a newer version")]
    Foreign,
    /// One of the two, and which cannot be told.
    #[error("the passphrase is another one, or the file is damaged")]
    Refused,
}

/// Encrypts a text.
pub(super) fn seal(content: &[u8], passphrase: &str) -> Result<Vec<u8>, VaultError> {
    let mut random = [0_u8; SALT + NONCE];
    rand::rng().fill(&mut random);
    let mut out = Vec::with_capacity(HEAD + NONCE + content.len() + 16);
    out.extend_from_slice(MAGIC);
    for cost in COST {
        out.extend_from_slice(&cost.to_le_bytes());
    }
    out.extend_from_slice(&random);
    let nonce = XNonce::try_from(&random[SALT..]).map_err(|_| VaultError::Foreign)?;
    let cipher = cipher(&out[..HEAD], passphrase)?;
    let hidden = cipher
        .encrypt(
            &nonce,
            Payload {
                msg: content,
                aad: &out[..HEAD],
            },
        )
        .map_err(|_| VaultError::Refused)?;
    out.extend_from_slice(&hidden);
    Ok(out)
}

/// Decrypts what [`seal`] made.
///
/// # Errors
///
/// [`VaultError`].
pub(super) fn open(file: &[u8], passphrase: &str) -> Result<Zeroizing<Vec<u8>>, VaultError> {
    if file.len() < HEAD + NONCE || !file.starts_with(MAGIC) {
        return Err(VaultError::Foreign);
    }
    let (head, rest) = file.split_at(HEAD);
    let (nonce, hidden) = rest.split_at(NONCE);
    let nonce = XNonce::try_from(nonce).map_err(|_| VaultError::Foreign)?;
    let payload = Payload {
        msg: hidden,
        aad: head,
    };
    cipher(head, passphrase)?
        .decrypt(&nonce, payload)
        .map(Zeroizing::new)
        .map_err(|_| VaultError::Refused)
}

/// The cipher with the key that a head and a passphrase give.
fn cipher(head: &[u8], passphrase: &str) -> Result<XChaCha20Poly1305, VaultError> {
    let mut cost = [0_u32; 3];
    for (cost, bytes) in cost.iter_mut().zip(head[MAGIC.len()..].chunks_exact(4)) {
        *cost = u32::from_le_bytes(bytes.try_into().map_err(|_| VaultError::Foreign)?);
    }
    if cost.iter().zip(MOST).any(|(cost, most)| *cost > most) {
        return Err(VaultError::Foreign);
    }
    let params = Params::new(cost[0], cost[1], cost[2], Some(32)).map_err(|_| VaultError::Foreign)?;
    let salt = &head[HEAD - SALT..];
    let mut key = Zeroizing::new([0_u8; 32]);
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into(passphrase.as_bytes(), salt, &mut *key)
        .map_err(|_| VaultError::Foreign)?;
    XChaCha20Poly1305::new_from_slice(&*key).map_err(|_| VaultError::Foreign)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_opens_with_its_passphrase_alone_and_shows_every_change() {
        let sealed = seal(b"the token", "a passphrase").unwrap();
        assert_eq!(&**open(&sealed, "a passphrase").unwrap(), b"the token");
        assert_eq!(open(&sealed, "another"), Err(VaultError::Refused));
        assert!(!sealed.windows(5).any(|part| part == b"token"));
        assert_ne!(sealed, seal(b"the token", "a passphrase").unwrap());
        // The salt, the nonce, the content and its tag; a byte of each.
        for at in [HEAD - 1, HEAD + 3, HEAD + NONCE + 1, sealed.len() - 1] {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert_eq!(
                open(&changed, "a passphrase"),
                Err(VaultError::Refused),
                "byte {at}"
            );
        }
        for cut in [0, 7, HEAD, HEAD + NONCE - 1] {
            assert_eq!(open(&sealed[..cut], "a passphrase"), Err(VaultError::Foreign));
        }
        // A cost beyond all measure is refused before it is paid.
        let mut dear = sealed;
        dear[8..12].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(open(&dear, "a passphrase"), Err(VaultError::Foreign));
    }
}
