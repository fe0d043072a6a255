//! Reads a plugin's manifest by parsing its file: nothing is run, nothing is mapped, and only headers and the one
//! section are read, however large the file claims to be.

use std::{fs::File, io, ops::Range, path::Path};

use object::{
    Architecture, BinaryFormat, FileKind, Object, ObjectKind, ObjectSection, ObjectSegment,
    read::{
        ReadCache, ReadCacheOps, ReadCacheRange, ReadRef,
        macho::{FatArch, MachOFatFile32, MachOFatFile64},
    },
};
use qt_plugin_api::{
    host::ABI,
    manifest::{FORMAT, MAGIC, Manifest, SECTION, SECTION_MACHO},
};

use super::{
    Anatomy, PluginError, anatomy,
    codes::{
        ABI_TOO_NEW, ABI_TOO_OLD, BAD_MANIFEST, FOREIGN, NO_MANIFEST, NOT_A_FILE, NOT_A_LIBRARY, PANIC_ABORT,
        TOO_LARGE, TRUNCATED, UNREADABLE,
    },
};

/// Bytes of the largest file that is looked at; a broker's whole SDK linked in stays far below.
pub(super) const MAX_FILE: u64 = 512 << 20;

/// Bytes of the largest piece that is read at once; the symbol table of a large debug build fits.
const MAX_PIECE: u64 = 64 << 20;

/// Bytes of the largest manifest.
const MAX_MANIFEST: u64 = 1 << 20;

const CUT: &str = "is cut short or damaged: it ends before its own tables say; copy or build it again";

/// A part of a file; a piece of absurd size is an error instead of that much memory.
pub(super) struct Window<'a, R: ReadCacheOps>(ReadCacheRange<'a, R>);

// Derived ones would ask the same of the file itself.
impl<R: ReadCacheOps> Clone for Window<'_, R> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<R: ReadCacheOps> Copy for Window<'_, R> {}

impl<'a, R: ReadCacheOps> ReadRef<'a> for Window<'a, R> {
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
pub(super) type Fault = (&'static str, String);

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

/// What can be said of a file without running any of it.
#[derive(Debug)]
pub(super) struct Examined {
    /// What it is made of, if it is a library of any system.
    pub(super) anatomy: Option<Anatomy>,
    /// What it says of itself, even where it cannot be used.
    pub(super) manifest: Option<Manifest>,
    /// Why it cannot be loaded: every reason that can be seen, the most important first.
    pub(super) faults: Vec<Fault>,
}

impl Examined {
    fn refused(fault: Fault) -> Self {
        Self {
            anatomy: None,
            manifest: None,
            faults: vec![fault],
        }
    }
}

/// Looks at everything in a file.
pub(super) fn examine(path: &Path) -> Examined {
    match open_inner(path) {
        Ok((file, size)) => examine_content(file, size),
        Err(fault) => Examined::refused(fault),
    }
}

/// Looks at everything in the content of a file of `size` bytes.
pub(super) fn examine_content<R: ReadCacheOps>(content: R, size: u64) -> Examined {
    let cache = ReadCache::new(content);
    let (window, object) = match parse(&cache, size) {
        Ok(parsed) => parsed,
        Err(fault) => return Examined::refused(fault),
    };
    let mut examined = Examined {
        anatomy: Some(anatomy::of(&object)),
        manifest: None,
        faults: Vec::new(),
    };
    examined.faults.extend(native(&object).err());
    examined
        .faults
        .extend(complete(&object, window.len().unwrap_or(0)).err());
    match section(&object) {
        Ok(section) => {
            let (manifest, faults) = usable(&section);
            examined.manifest = manifest;
            examined.faults.extend(faults);
        }
        // Of what is cut short, a missing section is no second fault.
        Err(fault) if examined.faults.iter().all(|(code, _)| *code != TRUNCATED) => {
            examined.faults.push(fault)
        }
        Err(_) => {}
    }
    examined
}

/// The libraries' side of a file that need not be a plugin; nothing if it is no library.
pub(super) fn anatomy_of(path: &Path) -> Option<Anatomy> {
    let (file, size) = open_inner(path).ok()?;
    let cache = ReadCache::new(file);
    let (_, object) = parse(&cache, size).ok()?;
    Some(anatomy::of(&object))
}

/// What a library brings in and from where; nothing if it is no library.
pub(super) fn ties_of(path: &Path) -> Option<anatomy::Ties> {
    let (file, size) = open_inner(path).ok()?;
    let cache = ReadCache::new(file);
    let (_, object) = parse(&cache, size).ok()?;
    Some(anatomy::ties(&object))
}

/// The same of a file's content.
pub(super) fn ties_in(content: &[u8]) -> Option<anatomy::Ties> {
    let cache = ReadCache::new(io::Cursor::new(content));
    let (_, object) = parse(&cache, content.len() as u64).ok()?;
    Some(anatomy::ties(&object))
}

/// The manifest in a file's content, as [`read`] gives it of the file at `path`.
///
/// # Errors
/// Says why this program cannot load it.
pub(super) fn read_content(path: &Path, content: &[u8]) -> Result<Manifest, PluginError> {
    inspect(io::Cursor::new(content), content.len() as u64)
        .map_err(|(code, reason)| PluginError::file(code, path, reason))
}

pub(super) fn inspect<R: ReadCacheOps>(content: R, size: u64) -> Result<Manifest, Fault> {
    let cache = ReadCache::new(content);
    let (window, object) = parse(&cache, size)?;
    native(&object)?;
    complete(&object, window.len().unwrap_or(0))?;
    let (manifest, faults) = usable(&section(&object)?);
    match (faults.into_iter().next(), manifest) {
        (None, Some(manifest)) => Ok(manifest),
        (Some(fault), _) => Err(fault),
        (None, None) => refuse(BAD_MANIFEST, "has no manifest that can be read; build it again"),
    }
}

type Parsed<'a, R> = (Window<'a, R>, object::File<'a, Window<'a, R>>);

/// The part of a file that is a library for this machine, or for any.
fn parse<R: ReadCacheOps>(cache: &ReadCache<R>, size: u64) -> Result<Parsed<'_, R>, Fault> {
    if size == 0 {
        return refuse(NOT_A_LIBRARY, "is empty; copy or build it again");
    }
    let whole = Window(cache.range(0, size));
    // Sixteen bytes tell every format; a shorter file is none.
    let kind = whole
        .read_bytes_at(0, size.min(16))
        .map_err(|()| (UNREADABLE, "cannot be read; copy it to another disk".to_owned()))
        .map(|_| FileKind::parse(whole))?;
    let binary = match kind {
        Ok(FileKind::Elf32 | FileKind::Elf64 | FileKind::Pe32 | FileKind::Pe64) => whole,
        Ok(FileKind::MachO32 | FileKind::MachO64) => whole,
        Ok(FileKind::MachOFat32) => slice(cache, MachOFatFile32::parse(whole).map_err(cut)?.arches())?,
        Ok(FileKind::MachOFat64) => slice(cache, MachOFatFile64::parse(whole).map_err(cut)?.arches())?,
        _ if is_cut_magic(whole, size) => return refuse(TRUNCATED, CUT),
        _ => return refuse(NOT_A_LIBRARY, not_a_library(whole, size)),
    };
    Ok((binary, object::File::parse(binary).map_err(cut)?))
}

fn cut(_: object::read::Error) -> Fault {
    (TRUNCATED, CUT.to_owned())
}

/// Whether a file begins as a library and is too short for one.
fn is_cut_magic<R: ReadCacheOps>(whole: Window<'_, R>, size: u64) -> bool {
    let begin = whole.read_bytes_at(0, size.min(4)).unwrap_or(&[]);
    [&b"\x7fELF"[..], b"MZ", b"\xcf\xfa\xed\xfe", b"\xca\xfe\xba\xbe"]
        .iter()
        .any(|magic| begin.starts_with(magic))
}

fn not_a_library<R: ReadCacheOps>(whole: Window<'_, R>, size: u64) -> String {
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
fn slice<'a, R: ReadCacheOps>(
    cache: &'a ReadCache<R>,
    parts: &[impl FatArch],
) -> Result<Window<'a, R>, Fault> {
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
pub(super) const fn processor(architecture: Architecture) -> Option<&'static str> {
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
fn native<'a, R: ReadCacheOps>(object: &object::File<'a, Window<'a, R>>) -> Result<(), Fault> {
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
fn complete<'a, R: ReadCacheOps>(object: &object::File<'a, Window<'a, R>>, size: u64) -> Result<(), Fault> {
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

fn section<'a, R: ReadCacheOps>(object: &object::File<'a, Window<'a, R>>) -> Result<Vec<u8>, Fault> {
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

/// A manifest from the bytes of its section, and why this program cannot use it: it must speak its ABI and survive
/// its panics.
fn usable(section: &[u8]) -> (Option<Manifest>, Vec<Fault>) {
    let mut faults: Vec<Fault> = other_abi(section).into_iter().collect();
    let manifest = match Manifest::parse(section) {
        Ok(manifest) => manifest,
        Err(fault) => {
            // Of another ABI, the text may have another form by right.
            if faults.is_empty() {
                faults.push((BAD_MANIFEST, format!("cannot be used: {fault}; build it again")));
            }
            return (None, faults);
        }
    };
    if !valid_name(&manifest.name) {
        // The name becomes a folder's name, and may not lead out of the data folder.
        let reason = format!(
            "calls itself {:?}, and a name is 1 to 64 ASCII letters, digits, `-` or `_`; rename it",
            manifest.name
        );
        faults.push((BAD_MANIFEST, reason));
    }
    if manifest.panic != "unwind" {
        let reason = format!(
            "is built with panic = {:?}, so that a panic in it would end this program; set panic = \"unwind\" in its \
             profile and build it again",
            manifest.panic
        );
        faults.push((PANIC_ABORT, reason));
    }
    (Some(manifest), faults)
}

/// The header's number is judged before the text, whose keys another ABI may have changed.
fn other_abi(section: &[u8]) -> Option<Fault> {
    let word = |at: usize| section.get(at..at + 4)?.try_into().ok().map(u32::from_le_bytes);
    if !section.starts_with(&MAGIC) {
        return None;
    }
    let (format, abi) = (word(8)?, word(12)?);
    let (what, theirs, ours) = if format == FORMAT {
        ("ABI", abi, ABI)
    } else {
        ("manifest format", format, FORMAT)
    };
    match theirs.cmp(&ours) {
        std::cmp::Ordering::Less => Some((
            ABI_TOO_OLD,
            format!(
                "is too old: it has {what} {theirs}, and this program {what} {ours}; build it again with the \
                 qt-plugin-api of this program, or ask its author for a newer one"
            ),
        )),
        std::cmp::Ordering::Greater => Some((
            ABI_TOO_NEW,
            format!(
                "is too new: it has {what} {theirs}, and this program {what} {ours}; update quantTrader, or use an \
                 older release of the plugin"
            ),
        )),
        std::cmp::Ordering::Equal => None,
    }
}

fn valid_name(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}
