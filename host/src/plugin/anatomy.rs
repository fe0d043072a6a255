//! What a library is made of: the processor it runs on, the libraries and versions that it needs, what it offers.
//!
//! Every table is read with a bound, since a file may claim anything of itself.

use object::{
    BinaryFormat, Object,
    elf::{DT_NEEDED, DT_RPATH, DT_RUNPATH},
    read::{
        NameOrOrdinal, ReadCacheOps, ReadRef,
        elf::{ElfFile, FileHeader},
    },
};

use super::manifest::{Window, processor};

/// Names read of one table at most; the largest libraries export some ten thousand.
const MAX_NAMES: usize = 20_000;

/// Steps through the chained tables of versions at most.
const MAX_STEPS: usize = 20_000;

/// Prefix of glibc's versions.
const GLIBC: &str = "GLIBC_";

/// What a library is made of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Anatomy {
    /// `ELF`, `PE` or `Mach-O`.
    pub format: &'static str,
    /// 32 or 64.
    pub bits: u8,
    /// The processor, as `x86_64`.
    pub processor: String,
    /// Libraries that must be there, in the order of the search.
    pub needed: Vec<String>,
    /// Folders that the file wants searched, for all that it brings in (ELF's RPATH, Mach-O's LC_RPATH).
    pub rpath: Vec<String>,
    /// Folders that the file wants searched for what itself needs (ELF's RUNPATH).
    pub runpath: Vec<String>,
    /// Versions that it needs, each with the library that must have it.
    pub needed_versions: Vec<(String, String)>,
    /// Versions that it has itself.
    pub own_versions: Vec<String>,
    /// The symbols that it offers.
    pub exports: Vec<String>,
    /// True if there are more symbols than are shown.
    pub more_exports: bool,
    /// The tables that could not be read.
    pub damaged: Vec<&'static str>,
}

impl Anatomy {
    /// The newest glibc that it needs, such as `2.34`.
    pub(crate) fn glibc_needed(&self) -> Option<&str> {
        newest_glibc(self.needed_versions.iter().map(|(_, version)| version.as_str()))
    }
}

/// What a library brings in and from where, and no more: what is asked of every file at every start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Ties {
    /// As in [`Anatomy`].
    pub(super) format: &'static str,
    bits: u8,
    processor: String,
    /// As in [`Anatomy`].
    pub(super) needed: Vec<String>,
    /// As in [`Anatomy`].
    pub(super) rpath: Vec<String>,
    /// As in [`Anatomy`].
    pub(super) runpath: Vec<String>,
}

impl Ties {
    /// What two libraries must have in common for one to bring in the other.
    pub(super) fn kind(&self) -> (&'static str, u8, &str) {
        (self.format, self.bits, &self.processor)
    }
}

/// The ties of a library, or what can be read of them.
pub(super) fn ties<'a, R: ReadCacheOps>(object: &object::File<'a, Window<'a, R>>) -> Ties {
    let mut anatomy = outline(object);
    match object {
        object::File::Elf32(elf) => folders_and_needs(elf, &mut anatomy),
        object::File::Elf64(elf) => folders_and_needs(elf, &mut anatomy),
        other => imports(other, &mut anatomy),
    }
    Ties {
        format: anatomy.format,
        bits: anatomy.bits,
        processor: anatomy.processor,
        needed: anatomy.needed,
        rpath: anatomy.rpath,
        runpath: anatomy.runpath,
    }
}

fn newest_glibc<'a>(versions: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    versions
        .filter_map(|version| version.strip_prefix(GLIBC))
        .filter_map(|version| Some((numbers(version)?, version)))
        .max_by(|(a, _), (b, _)| a.cmp(b))
        .map(|(_, version)| version)
}

/// The numbers of a version such as `2.34`; nothing for a word such as `PRIVATE`.
fn numbers(version: &str) -> Option<Vec<u32>> {
    version.split('.').map(|part| part.parse().ok()).collect()
}

/// What a library is made of; a table that cannot be read is named and left out.
pub(super) fn of<'a, R: ReadCacheOps>(object: &object::File<'a, Window<'a, R>>) -> Anatomy {
    let mut anatomy = outline(object);
    match object {
        object::File::Elf32(elf) => elf_tables(elf, &mut anatomy),
        object::File::Elf64(elf) => elf_tables(elf, &mut anatomy),
        other => imports(other, &mut anatomy),
    }
    exports(object, &mut anatomy);
    anatomy
}

/// What the header tells.
fn outline<'a, R: ReadCacheOps>(object: &object::File<'a, Window<'a, R>>) -> Anatomy {
    Anatomy {
        format: match object.format() {
            BinaryFormat::Elf => "ELF",
            BinaryFormat::Pe => "PE",
            BinaryFormat::MachO => "Mach-O",
            _ => "other",
        },
        bits: if object.is_64() { 64 } else { 32 },
        processor: processor(object.architecture())
            .map_or_else(|| format!("{:?}", object.architecture()), str::to_owned),
        ..Anatomy::default()
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn imports<'a, R: ReadCacheOps>(object: &object::File<'a, Window<'a, R>>, anatomy: &mut Anatomy) {
    let Ok(libraries) = object.import_libraries() else {
        anatomy.damaged.push("needed libraries");
        return;
    };
    for library in libraries.take(MAX_NAMES) {
        let Ok(library) = library else {
            anatomy.damaged.push("needed libraries");
            return;
        };
        let name = text(library.name());
        if !anatomy.needed.contains(&name) {
            anatomy.needed.push(name);
        }
    }
}

fn exports<'a, R: ReadCacheOps>(object: &object::File<'a, Window<'a, R>>, anatomy: &mut Anatomy) {
    let Ok(exports) = object.exports() else {
        anatomy.damaged.push("exported symbols");
        return;
    };
    for export in exports {
        if anatomy.exports.len() == MAX_NAMES {
            anatomy.more_exports = true;
            break;
        }
        match export.as_ref().map(object::read::Export::name) {
            Ok(NameOrOrdinal::Name(name)) => anatomy.exports.push(text(name)),
            Ok(NameOrOrdinal::Ordinal(ordinal)) => anatomy.exports.push(format!("#{ordinal}")),
            Err(_) => {
                anatomy.damaged.push("exported symbols");
                break;
            }
        }
    }
    anatomy.exports.sort_unstable();
    anatomy.exports.dedup();
}

fn elf_tables<'a, E: FileHeader, R: ReadRef<'a>>(elf: &ElfFile<'a, E, R>, anatomy: &mut Anatomy) {
    folders_and_needs(elf, anatomy);
    if needed_versions(elf, anatomy).is_none() {
        anatomy.damaged.push("needed versions");
    }
    if own_versions(elf, anatomy).is_none() {
        anatomy.damaged.push("own versions");
    }
}

fn folders_and_needs<'a, E: FileHeader, R: ReadRef<'a>>(elf: &ElfFile<'a, E, R>, anatomy: &mut Anatomy) {
    match elf.elf_dynamic_table() {
        Ok(table) => {
            for entry in table.iter().take(MAX_NAMES) {
                if ![DT_NEEDED, DT_RPATH, DT_RUNPATH].contains(&entry.tag) {
                    continue;
                }
                let Ok(value) = table.string(entry).map(text) else {
                    anatomy.damaged.push("needed libraries");
                    break;
                };
                let folders = || value.split(':').filter(|dir| !dir.is_empty()).map(str::to_owned);
                match entry.tag {
                    DT_NEEDED => anatomy.needed.push(value),
                    DT_RPATH => anatomy.rpath.extend(folders()),
                    _ => anatomy.runpath.extend(folders()),
                }
            }
        }
        Err(_) => anatomy.damaged.push("needed libraries"),
    }
}

/// The versions of `.gnu.version_r`; nothing where the table is damaged.
fn needed_versions<'a, E: FileHeader, R: ReadRef<'a>>(
    elf: &ElfFile<'a, E, R>,
    anatomy: &mut Anatomy,
) -> Option<()> {
    let (endian, data) = (elf.endian(), elf.data());
    let sections = elf.elf_section_table();
    let Some((needs, link)) = sections.gnu_verneed(endian, data).ok()? else {
        return Some(());
    };
    let strings = sections.strings(endian, data, link).ok()?;
    let mut steps = 0;
    for need in needs {
        let (need, versions) = need.ok()?;
        let library = text(need.file(endian, strings).ok()?);
        for version in versions {
            steps += 1;
            if steps > MAX_STEPS {
                return None;
            }
            let name = text(version.ok()?.name(endian, strings).ok()?);
            anatomy.needed_versions.push((library.clone(), name));
        }
        steps += 1;
        if steps > MAX_STEPS {
            return None;
        }
    }
    Some(())
}

/// The versions of `.gnu.version_d`; nothing where the table is damaged.
fn own_versions<'a, E: FileHeader, R: ReadRef<'a>>(
    elf: &ElfFile<'a, E, R>,
    anatomy: &mut Anatomy,
) -> Option<()> {
    let (endian, data) = (elf.endian(), elf.data());
    let sections = elf.elf_section_table();
    let Some((definitions, link)) = sections.gnu_verdef(endian, data).ok()? else {
        return Some(());
    };
    let strings = sections.strings(endian, data, link).ok()?;
    for definition in definitions.take(MAX_STEPS) {
        // The first name is the version's; those behind it are its forebears'.
        let (_, mut names) = definition.ok()?;
        if let Some(name) = names.next().ok()? {
            anatomy.own_versions.push(text(name.name(endian, strings).ok()?));
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_glibc_is_by_number_and_not_by_letter() {
        let versions = [
            "GLIBC_2.9",
            "GLIBC_2.34",
            "GLIBC_PRIVATE",
            "GLIBC_2.2.5",
            "GLIBCXX_3.4",
        ];
        assert_eq!(newest_glibc(versions.into_iter()), Some("2.34"));
        assert_eq!(newest_glibc(["GCC_3.0"].into_iter()), None);
    }
}
