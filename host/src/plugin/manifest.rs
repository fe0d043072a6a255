//! Reads a plugin's manifest by parsing its file: nothing is run, nothing is mapped, and only headers and the one
//! section are read, however large the file claims to be.

use std::{fs::File, io, ops::Range, path::Path};

use object::{
    Architecture, BinaryFormat, FileKind, Object, ObjectKind, ObjectSection, ObjectSegment,
    read::{
        ReadCache, ReadCacheRange, ReadRef,
        macho::{FatArch, MachOFatFile32, MachOFatFile64},
    },
};
use qt_plugin_api::{
    host::ABI,
    manifest::{FORMAT, MAGIC, Manifest, ManifestFault, SECTION, SECTION_MACHO},
};

use super::{
    ABI_TOO_NEW, ABI_TOO_OLD, BAD_MANIFEST, FOREIGN, NO_MANIFEST, NOT_A_FILE, NOT_A_LIBRARY, PANIC_ABORT,
    PluginError, TOO_LARGE, TRUNCATED, UNREADABLE,
};

/// Bytes of the largest file that is looked at; a broker's whole SDK linked in stays far below.
pub(super) const MAX_FILE: u64 = 512 << 20;

/// Bytes of the largest piece that is read at once; the symbol table of a large debug build fits.
const MAX_PIECE: u64 = 64 << 20;

/// Bytes of the largest manifest.
const MAX_MANIFEST: u64 = 1 << 20;

const CUT: &str = "is cut short or damaged: it ends before its own tables say; copy or build it again";

/// A part of a file; a piece of absurd size is an error instead of that much memory.
#[derive(Clone, Copy)]
struct Window<'a>(ReadCacheRange<'a, File>);

impl<'a> ReadRef<'a> for Window<'a> {
    fn len(self) -> Result<u64, ()> {
        self.0.len()
    }

    fn read_bytes_at(self, offset: u64, size: u64) -> Result<&'a [u8], ()> {
        if size > MAX_PIECE {
            return Err(());
        }
        self.0.read_bytes_at(offset, size)
    }

    fn read_bytes_at_until(self, range: Range<u64>, delimiter: u8) -> Result<&'a [u8], ()> {
        // The cache looks no further than a few thousand bytes.
        self.0.read_bytes_at_until(range, delimiter)
    }
}

/// A fault of a file whose path is added by [`read`].
type Fault = (&'static str, String);

fn refuse<T>(code: &'static str, reason: impl Into<String>) -> Result<T, Fault> {
    Err((code, reason.into()))
}

/// Opens a regular file of a size that a plugin can have.
///
/// # Errors
/// When it is missing, not a regular file, too large, or not readable.
pub(super) fn open(path: &Path) -> Result<(File, u64), PluginError> {
    open_inner(path).map_err(|(code, reason)| PluginError::file(code, path, reason))
}

fn open_inner(path: &Path) -> Result<(File, u64), Fault> {
    // Asked before opening, since opening a pipe waits for its other end.
    let before = std::fs::metadata(path).map_err(|e| unreadable(&e))?;
    regular(&before)?;
    let file = File::open(path).map_err(|e| unreadable(&e))?;
    // Asked again of what was really opened, which may be another file by now.
    let opened = file.metadata().map_err(|e| unreadable(&e))?;
    regular(&opened)?;
    if opened.len() > MAX_FILE {
        let reason = format!(
            "is {} bytes large, and no more than {MAX_FILE} are read; name the plugin itself",
            opened.len()
        );
        return refuse(TOO_LARGE, reason);
    }
    Ok((file, opened.len()))
}

fn regular(metadata: &std::fs::Metadata) -> Result<(), Fault> {
    if metadata.is_dir() {
        return refuse(
            NOT_A_FILE,
            "is a folder; name the file in it with --plugin, or the folder with --plugin-dir",
        );
    }
    if !metadata.is_file() {
        return refuse(NOT_A_FILE, "is a pipe, socket or device; name a regular file");
    }
    Ok(())
}

pub(super) fn unreadable(error: &io::Error) -> Fault {
    let reason = match error.kind() {
        io::ErrorKind::NotFound => "does not exist; correct the path".to_owned(),
        io::ErrorKind::PermissionDenied => format!("cannot be read ({error}); allow this user to read it"),
        _ => format!("cannot be read ({error}); name a file that can"),
    };
    (UNREADABLE, reason)
}

/// The manifest of a plugin that this program could load.
///
/// # Errors
/// Says why this program cannot load it.
pub(super) fn read(path: &Path) -> Result<Manifest, PluginError> {
    let (file, size) = open(path)?;
    inspect(file, size).map_err(|(code, reason)| PluginError::file(code, path, reason))
}

fn inspect(file: File, size: u64) -> Result<Manifest, Fault> {
    if size == 0 {
        return refuse(NOT_A_LIBRARY, "is empty; copy or build it again");
    }
    let cache = ReadCache::new(file);
    let whole = Window(cache.range(0, size));
    // Sixteen bytes tell every format; a shorter file is none.
    let kind = whole
        .read_bytes_at(0, size.min(16))
        .map_err(|()| (UNREADABLE, "cannot be read; copy it to another disk".to_owned()))
        .map(|_| FileKind::parse(whole))?;
    let binary = match kind {
        Ok(FileKind::Elf32 | FileKind::Elf64 | FileKind::Pe32 | FileKind::Pe64) => whole,
        Ok(FileKind::MachO32 | FileKind::MachO64) => whole,
        Ok(FileKind::MachOFat32) => slice(&cache, MachOFatFile32::parse(whole).map_err(cut)?.arches())?,
        Ok(FileKind::MachOFat64) => slice(&cache, MachOFatFile64::parse(whole).map_err(cut)?.arches())?,
        _ if is_cut_magic(whole, size) => return refuse(TRUNCATED, CUT),
        _ => return refuse(NOT_A_LIBRARY, not_a_library(whole, size)),
    };
    let object = object::File::parse(binary).map_err(cut)?;
    native(&object)?;
    complete(&object, binary.len().unwrap_or(0))?;
    usable(&section(&object)?)
}

fn cut(_: object::read::Error) -> Fault {
    (TRUNCATED, CUT.to_owned())
}

/// Whether a file begins as a library and is too short for one.
fn is_cut_magic(whole: Window<'_>, size: u64) -> bool {
    let begin = whole.read_bytes_at(0, size.min(4)).unwrap_or(&[]);
    [&b"\x7fELF"[..], b"MZ", b"\xcf\xfa\xed\xfe", b"\xca\xfe\xba\xbe"]
        .iter()
        .any(|magic| begin.starts_with(magic))
}

fn not_a_library(whole: Window<'_>, size: u64) -> String {
    let begin = whole.read_bytes_at(0, size.min(64)).unwrap_or(&[]);
    let text = std::str::from_utf8(begin).is_ok_and(|t| !t.contains('\0'));
    let what = if text {
        "is a text file"
    } else {
        "is some other kind of file"
    };
    format!("{what} and no dynamic library; name the file that the build made")
}

/// The part of a file for several processors that is for this one.
fn slice<'a>(cache: &'a ReadCache<File>, parts: &[impl FatArch]) -> Result<Window<'a>, Fault> {
    let own = parts
        .iter()
        .find(|part| processor(part.architecture()) == Some(std::env::consts::ARCH));
    match own.map(FatArch::file_range) {
        Some((offset, size)) => Ok(Window(cache.range(offset, size))),
        None => refuse(
            FOREIGN,
            format!(
                "holds no code for this machine's processor ({}); build it for this machine",
                std::env::consts::ARCH
            ),
        ),
    }
}

/// A processor as [`std::env::consts::ARCH`] calls it.
const fn processor(architecture: Architecture) -> Option<&'static str> {
    Some(match architecture {
        Architecture::X86_64 => "x86_64",
        Architecture::I386 => "x86",
        Architecture::Aarch64 => "aarch64",
        Architecture::Arm => "arm",
        Architecture::Riscv32 => "riscv32",
        Architecture::Riscv64 => "riscv64",
        Architecture::LoongArch64 => "loongarch64",
        Architecture::PowerPc => "powerpc",
        Architecture::PowerPc64 => "powerpc64",
        Architecture::S390x => "s390x",
        _ => return None,
    })
}

/// Refuses what another processor or system must run; the system's own loader says "no such file" there.
fn native<'a>(object: &object::File<'a, Window<'a>>) -> Result<(), Fault> {
    let (own_format, own_system) = match std::env::consts::OS {
        "windows" => (BinaryFormat::Pe, "Windows"),
        "macos" | "ios" => (BinaryFormat::MachO, "macOS"),
        "linux" => (BinaryFormat::Elf, "Linux"),
        other => (BinaryFormat::Elf, other),
    };
    let system = match object.format() {
        BinaryFormat::Pe => "Windows",
        BinaryFormat::MachO => "macOS",
        _ if own_format == BinaryFormat::Elf => own_system,
        _ => "Linux",
    };
    let arch = processor(object.architecture());
    let own_arch = std::env::consts::ARCH;
    let own_order = object.is_little_endian() == cfg!(target_endian = "little");
    if object.format() == own_format && arch == Some(own_arch) && own_order {
        return Ok(());
    }
    let arch = arch.map_or_else(|| format!("{:?}", object.architecture()), str::to_owned);
    let order = if own_order {
        ""
    } else {
        " with the other byte order"
    };
    refuse(
        FOREIGN,
        format!(
            "is built for {system} on {arch}{order}, and this program runs on {own_system} on {own_arch}; \
             build it for this machine"
        ),
    )
}

/// Refuses a file that is shorter than what must be mapped of it: touching the missing part would end the process.
fn complete<'a>(object: &object::File<'a, Window<'a>>, size: u64) -> Result<(), Fault> {
    let fits = |(offset, len): (u64, u64)| offset.checked_add(len).is_some_and(|end| end <= size);
    let segments = object.segments().all(|s| fits(s.file_range()));
    if !segments || !object.sections().filter_map(|s| s.file_range()).all(fits) {
        return refuse(TRUNCATED, CUT);
    }
    if !matches!(object.kind(), ObjectKind::Dynamic) {
        return refuse(
            NOT_A_LIBRARY,
            "is a program or an object file and no dynamic library; set crate-type = [\"cdylib\"] and build it again",
        );
    }
    Ok(())
}

fn section<'a>(object: &object::File<'a, Window<'a>>) -> Result<Vec<u8>, Fault> {
    let name = if object.format() == BinaryFormat::MachO {
        SECTION_MACHO
    } else {
        SECTION
    };
    let Some(section) = object.section_by_name(name) else {
        return refuse(
            NO_MANIFEST,
            "is a library but no plugin of quantTrader, as it has no manifest; export it with `export_broker!`",
        );
    };
    if section.size() > MAX_MANIFEST {
        let reason = format!(
            "has a manifest of {} bytes, and {MAX_MANIFEST} are the most; build it again",
            section.size()
        );
        return refuse(BAD_MANIFEST, reason);
    }
    section.data().map(<[u8]>::to_vec).map_err(cut)
}

/// A manifest from the bytes of its section, if this program speaks its ABI and survives its panics.
fn usable(section: &[u8]) -> Result<Manifest, Fault> {
    // The header's number is judged before the text, whose keys another ABI may have changed.
    let word = |at: usize| section.get(at..at + 4)?.try_into().ok().map(u32::from_le_bytes);
    if section.starts_with(&MAGIC)
        && let (Some(format), Some(abi)) = (word(8), word(12))
    {
        let (theirs, ours) = if format == FORMAT {
            (abi, ABI)
        } else {
            (format, FORMAT)
        };
        let what = if format == FORMAT {
            "ABI"
        } else {
            "manifest format"
        };
        if theirs < ours {
            return refuse(
                ABI_TOO_OLD,
                format!(
                    "is too old: it has {what} {theirs}, and this program {what} {ours}; build it again with the \
                         qt-plugin-api of this program, or ask its author for a newer one"
                ),
            );
        }
        if theirs > ours {
            return refuse(
                ABI_TOO_NEW,
                format!(
                    "is too new: it has {what} {theirs}, and this program {what} {ours}; update quantTrader, or \
                         use an older release of the plugin"
                ),
            );
        }
    }
    let manifest = Manifest::parse(section)
        .map_err(|fault: ManifestFault| (BAD_MANIFEST, format!("cannot be used: {fault}; build it again")))?;
    if !valid_name(&manifest.name) {
        // The name becomes a folder's name, and may not lead out of the data folder.
        let reason = format!(
            "calls itself {:?}, and a name is 1 to 64 ASCII letters, digits, `-` or `_`; rename it",
            manifest.name
        );
        return refuse(BAD_MANIFEST, reason);
    }
    if manifest.panic != "unwind" {
        let reason = format!(
            "is built with panic = {:?}, so that a panic in it would end this program; set panic = \"unwind\" in its \
             profile and build it again",
            manifest.panic
        );
        return refuse(PANIC_ABORT, reason);
    }
    Ok(manifest)
}

fn valid_name(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}
