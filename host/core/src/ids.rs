//! Identities. Each is a type of its own, so that one is never taken for another.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub String);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(text.to_owned())
            }
        }
    };
}

text_id!(
    /// The backend's name for a signal (wire `order_id`).
    SignalId
);
text_id!(
    /// The broker's name for an order (wire `qmt_order_id`).
    BrokerOrderId
);
text_id!(
    /// The broker's name for one trade; unique within an order.
    FillId
);

/// Our name for one attempt at a signal: 20 ASCII characters, the same whenever it is made anew.
///
/// It travels with the order to the broker, and recovery finds the order by it. It is the base32
/// of the first 12 bytes of a SHA-256 over account, signal and attempt, so that it fits the
/// `order_remark` of miniQMT.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClientOrderId([u8; 20]);

/// A text that is not a client order id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an order id of ours: expected 20 characters of A-Z and 2-7")]
pub struct ParseClientOrderIdError(String);

impl ClientOrderId {
    /// The id of attempt number `attempt` (0 the first) at `signal` on `account`.
    #[must_use]
    pub fn derive(account: &str, signal: &SignalId, attempt: u32) -> Self {
        let mut hash = Sha256::new();
        // Lengths go in, so that no two triples give the same bytes.
        for part in [account.as_bytes(), signal.0.as_bytes()] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        hash.update(attempt.to_be_bytes());
        let digest = hash.finalize();
        let mut text = [0u8; 20];
        data_encoding::BASE32_NOPAD.encode_mut(&digest[..12], &mut text);
        Self(text)
    }

    /// The 20 characters.
    #[must_use]
    pub fn as_str(&self) -> &str {
        // Only base32 characters ever get in, so this cannot fail.
        std::str::from_utf8(&self.0).unwrap_or("")
    }
}

impl FromStr for ClientOrderId {
    type Err = ParseClientOrderIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || ParseClientOrderIdError(text.chars().take(40).collect());
        let bytes: [u8; 20] = text.as_bytes().try_into().map_err(|_| wrong())?;
        let base32 = |b: &u8| b.is_ascii_uppercase() || (b'2'..=b'7').contains(b);
        if bytes.iter().all(base32) {
            Ok(Self(bytes))
        } else {
            Err(wrong())
        }
    }
}

impl fmt::Display for ClientOrderId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for ClientOrderId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for ClientOrderId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for ClientOrderId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(TextVisitor)
    }
}

/// Reads an id where its text lies, without a copy of it.
struct TextVisitor;

impl serde::de::Visitor<'_> for TextVisitor {
    type Value = ClientOrderId;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an order id of ours")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Self::Value, E> {
        text.parse().map_err(E::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_twenty_characters_stable_and_apart() {
        let one = ClientOrderId::derive("A", &"S".into(), 0);
        assert_eq!(one.as_str().len(), 20);
        assert_eq!(one, ClientOrderId::derive("A", &"S".into(), 0));
        assert_eq!(one.as_str().parse::<ClientOrderId>().unwrap(), one);
        for other in [
            ClientOrderId::derive("A", &"S".into(), 1),
            ClientOrderId::derive("AS", &"".into(), 0),
            ClientOrderId::derive("", &"AS".into(), 0),
        ] {
            assert_ne!(one, other);
        }
        assert!("abc".parse::<ClientOrderId>().is_err());
        assert!("abcdefghijklmnopqrst".parse::<ClientOrderId>().is_err());
    }

    /// The id is written into the broker's books: a change of the scheme would make every order of
    /// the day unrecognisable after an upgrade.
    #[test]
    fn the_scheme_never_changes() {
        let id = ClientOrderId::derive("6763f8a2d9e4b1a2c3d4e5f6", &"ORD-20241222-001".into(), 0);
        assert_eq!(id.as_str(), "BLFKADTJSNNU4AXQHJ3A");
    }
}
