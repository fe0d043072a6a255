//! The manifest: what a plugin file says of itself, readable without running any of it.
//!
//! The section holds [`MAGIC`], then three little-endian `u32` (format, ABI number, length of the text), then JSON.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// First bytes of the section's content.
pub const MAGIC: [u8; 8] = *b"\x7fQTPLUG\n";

/// Number of the format of the section.
pub const FORMAT: u32 = 1;

/// Name of the section; in Mach-O it lies in the segment `__DATA` under [`SECTION_MACHO`].
pub const SECTION: &str = ".qtplug";

/// Name of the section in Mach-O.
pub const SECTION_MACHO: &str = "__qtplug";

/// Bytes before the JSON text.
pub const HEADER_LEN: usize = 20;

/// The compiler that built this crate and thereby the plugin.
#[doc(hidden)]
pub const RUSTC: &str = env!("QT_PLUGIN_RUSTC");

/// The target that this crate was built for.
#[doc(hidden)]
pub const TARGET: &str = env!("QT_PLUGIN_TARGET");

/// The version of this crate.
#[doc(hidden)]
pub const API_VERSION: &str = env!("CARGO_PKG_VERSION");

/// What a plugin says of itself. Keys that are not known here are left alone, so that newer plugins can be listed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Name by which the configuration picks the plugin; ASCII letters, digits, `-` and `_`.
    pub name: String,
    /// The plugin's version.
    pub version: String,
    /// Number of the ABI that it speaks.
    pub abi: u32,
    /// Version of qt-plugin-api that it was built with.
    pub api_version: String,
    /// One line for people.
    pub description: String,
    /// What it can do, in the author's words.
    pub capabilities: Vec<String>,
    /// The named interfaces that it offers beyond the core, such as `broker.quotes/1`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub interfaces: Vec<String>,
    /// JSON Schema of its configuration block.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_schema: Option<Value>,
    /// Compiler.
    pub rustc: String,
    /// Target triple.
    pub target: String,
    /// `unwind` or `abort`: what a panic does.
    pub panic: String,
    /// SPDX expression, or empty.
    #[serde(default)]
    pub licence: String,
    /// Address of its home, or empty.
    #[serde(default)]
    pub homepage: String,
}

/// Why the bytes of a section are no manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ManifestFault {
    /// The first bytes are not [`MAGIC`].
    NoMagic,
    /// The format has a number that is not [`FORMAT`].
    Format(u32),
    /// The section ends before the text does.
    Short {
        /// Bytes that the header promises.
        expected: usize,
        /// Bytes that there are.
        found: usize,
    },
    /// The text is not the JSON of a manifest.
    Json(String),
    /// Header and text name different ABI numbers.
    AbiMismatch {
        /// In the header.
        header: u32,
        /// In the text.
        text: u32,
    },
}

impl std::fmt::Display for ManifestFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NoMagic => write!(f, "its manifest does not begin as one of quantTrader's"),
            Self::Format(n) => write!(
                f,
                "its manifest has format {n}, and this program reads format {FORMAT}"
            ),
            Self::Short { expected, found } => {
                write!(f, "its manifest ends after {found} of {expected} bytes")
            }
            Self::Json(why) => write!(f, "its manifest is not readable: {why}"),
            Self::AbiMismatch { header, text } => {
                write!(f, "its manifest names two ABI numbers, {header} and {text}")
            }
        }
    }
}

impl std::error::Error for ManifestFault {}

impl Manifest {
    /// Reads the content of a manifest section. Bytes behind the text are padding of the linker's.
    ///
    /// # Errors
    /// Says what is wrong with the bytes.
    pub fn parse(section: &[u8]) -> Result<Self, ManifestFault> {
        if section.get(..MAGIC.len()) != Some(&MAGIC[..]) {
            return Err(ManifestFault::NoMagic);
        }
        let word = |at: usize| {
            let bytes = section.get(at..at + 4).and_then(|b| <[u8; 4]>::try_from(b).ok());
            bytes.map(u32::from_le_bytes).ok_or(ManifestFault::Short {
                expected: HEADER_LEN,
                found: section.len(),
            })
        };
        let (format, abi, length) = (word(8)?, word(12)?, word(16)? as usize);
        if format != FORMAT {
            return Err(ManifestFault::Format(format));
        }
        let text =
            section
                .get(HEADER_LEN..HEADER_LEN.saturating_add(length))
                .ok_or(ManifestFault::Short {
                    expected: HEADER_LEN.saturating_add(length),
                    found: section.len(),
                })?;
        let read: Self = serde_json::from_slice(text).map_err(|e| ManifestFault::Json(e.to_string()))?;
        if read.abi != abi {
            return Err(ManifestFault::AbiMismatch {
                header: abi,
                text: read.abi,
            });
        }
        Ok(read)
    }
}

/// What the macro hands over, to be written at compile time.
#[doc(hidden)]
pub struct Parts {
    pub name: &'static str,
    pub version: &'static str,
    pub description: &'static str,
    pub capabilities: &'static [&'static str],
    pub interfaces: &'static [&'static str],
    pub config_schema: &'static str,
    pub panic: &'static str,
    pub licence: &'static str,
    pub homepage: &'static str,
}

/// Writes into an array of fixed size, and only counts what lies beyond it.
struct Writer<const N: usize> {
    bytes: [u8; N],
    len: usize,
}

impl<const N: usize> Writer<N> {
    const fn byte(mut self, value: u8) -> Self {
        if self.len < N {
            self.bytes[self.len] = value;
        }
        self.len += 1;
        self
    }

    const fn raw(mut self, text: &str) -> Self {
        let bytes = text.as_bytes();
        let mut i = 0;
        while i < bytes.len() {
            self = self.byte(bytes[i]);
            i += 1;
        }
        self
    }

    const fn string(mut self, text: &str) -> Self {
        let bytes = text.as_bytes();
        let mut i = 0;
        self = self.byte(b'"');
        while i < bytes.len() {
            let b = bytes[i];
            if b == b'"' || b == b'\\' {
                self = self.byte(b'\\').byte(b);
            } else if b < 0x20 {
                self = self.raw("\\u00").byte(hex(b >> 4)).byte(hex(b & 15));
            } else {
                self = self.byte(b);
            }
            i += 1;
        }
        self.byte(b'"')
    }

    const fn field(self, key: &str, text: &str) -> Self {
        self.raw(",\"").raw(key).raw("\":").string(text)
    }

    const fn list(self, items: &[&str]) -> Self {
        let mut w = self.byte(b'[');
        let mut i = 0;
        while i < items.len() {
            if i > 0 {
                w = w.byte(b',');
            }
            w = w.string(items[i]);
            i += 1;
        }
        w.byte(b']')
    }

    const fn manifest(self, p: &Parts) -> Self {
        let mut w = self
            .raw("{\"name\":")
            .string(p.name)
            .field("version", p.version)
            .raw(",\"abi\":1");
        w = w
            .field("api_version", API_VERSION)
            .field("description", p.description)
            .raw(",\"capabilities\":")
            .list(p.capabilities);
        if !p.interfaces.is_empty() {
            w = w.raw(",\"interfaces\":").list(p.interfaces);
        }
        if !p.config_schema.is_empty() {
            w = w.raw(",\"config_schema\":").raw(p.config_schema);
        }
        w = w
            .field("rustc", RUSTC)
            .field("target", TARGET)
            .field("panic", p.panic);
        w.field("licence", p.licence)
            .field("homepage", p.homepage)
            .byte(b'}')
    }
}

const fn hex(nibble: u8) -> u8 {
    if nibble < 10 {
        b'0' + nibble
    } else {
        b'a' + nibble - 10
    }
}

const fn valid_name(name: &str) -> bool {
    let bytes = name.as_bytes();
    let mut i = 0;
    while i < bytes.len() {
        if !(bytes[i].is_ascii_alphanumeric() || bytes[i] == b'-' || bytes[i] == b'_') {
            return false;
        }
        i += 1;
    }
    !bytes.is_empty() && bytes.len() <= 64
}

/// Length of the JSON text in bytes.
#[doc(hidden)]
#[must_use]
pub const fn text_len(parts: &Parts) -> usize {
    assert!(
        valid_name(parts.name),
        "a plugin's name is 1 to 64 ASCII letters, digits, '-' or '_'"
    );
    Writer::<0> { bytes: [], len: 0 }.manifest(parts).len
}

/// The JSON text; `N` is what [`text_len`] says.
#[doc(hidden)]
#[must_use]
pub const fn text<const N: usize>(parts: &Parts) -> [u8; N] {
    Writer::<N> {
        bytes: [0; N],
        len: 0,
    }
    .manifest(parts)
    .bytes
}

/// The JSON text as a string.
#[doc(hidden)]
#[must_use]
pub const fn as_str(text: &'static [u8]) -> &'static str {
    match core::str::from_utf8(text) {
        Ok(text) => text,
        Err(_) => panic!("a manifest made of strings is UTF-8"),
    }
}

/// The content of the section; `N` is the length of the text and [`HEADER_LEN`].
#[doc(hidden)]
#[must_use]
pub const fn section<const N: usize>(text: &[u8]) -> [u8; N] {
    let mut out = [0; N];
    let words = [
        FORMAT.to_le_bytes(),
        crate::v1::ABI.to_le_bytes(),
        (text.len() as u32).to_le_bytes(),
    ];
    let mut i = 0;
    while i < N {
        out[i] = if i < MAGIC.len() {
            MAGIC[i]
        } else if i < HEADER_LEN {
            words[(i - MAGIC.len()) / 4][(i - MAGIC.len()) % 4]
        } else {
            text[i - HEADER_LEN]
        };
        i += 1;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARTS: Parts = Parts {
        name: "odd-1",
        version: "1.2.3",
        description: "quotes \" and \\ and\ttabs, 券商",
        capabilities: &["place", "cancel"],
        interfaces: &["broker.quotes/1", "broker.trades/1"],
        config_schema: r#"{"type":"object"}"#,
        panic: "unwind",
        licence: "MIT",
        homepage: "",
    };
    const TEXT: [u8; text_len(&PARTS)] = text(&PARTS);
    const SECTION_BYTES: [u8; TEXT.len() + HEADER_LEN] = section(&TEXT);

    #[test]
    fn what_is_written_at_compile_time_reads_back() {
        let read = Manifest::parse(&SECTION_BYTES).expect("own manifest");
        assert_eq!(read.name, "odd-1");
        assert_eq!(read.description, PARTS.description);
        assert_eq!(read.capabilities, ["place", "cancel"]);
        assert_eq!(read.interfaces, PARTS.interfaces);
        assert_eq!(read.config_schema, Some(serde_json::json!({"type": "object"})));
        assert_eq!((read.abi, read.panic.as_str()), (1, "unwind"));
        assert!(read.rustc.starts_with("rustc "), "{}", read.rustc);
    }

    #[test]
    fn padding_behind_the_text_is_no_fault() {
        let mut padded = SECTION_BYTES.to_vec();
        padded.extend([0; 13]);
        assert!(Manifest::parse(&padded).is_ok());
    }

    #[test]
    fn every_truncation_is_an_error() {
        for cut in 0..SECTION_BYTES.len() {
            assert!(Manifest::parse(&SECTION_BYTES[..cut]).is_err(), "cut at {cut}");
        }
    }

    #[test]
    fn other_formats_and_numbers_are_told_apart() {
        let mut other = SECTION_BYTES;
        other[8] = 2;
        assert_eq!(Manifest::parse(&other), Err(ManifestFault::Format(2)));
        let mut other = SECTION_BYTES;
        other[12] = 7;
        assert_eq!(
            Manifest::parse(&other),
            Err(ManifestFault::AbiMismatch { header: 7, text: 1 })
        );
    }
}
