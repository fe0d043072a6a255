//! Looks for the libraries that a plugin needs as the system's loader would, by reading files and running nothing.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    path::{Component, Path, PathBuf},
};

use crate::system::LibraryPlaces;

use super::{Anatomy, anatomy::Ties, manifest};

/// Libraries looked at for one plugin at most; a desktop program needs some two hundred.
const MAX_LIBRARIES: usize = 512;

/// Why a needed library does not serve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Gap {
    /// It is nowhere.
    Missing {
        /// Its name.
        library: String,
        /// The file that needs it.
        wanted_by: PathBuf,
        /// The folders that the loader would search, in order.
        searched: Vec<PathBuf>,
        /// A file of that name in one of them which is for another processor, or no library.
        misfit: Option<PathBuf>,
    },
    /// It lies outside of the plugin's folder, where the private copy will not find it.
    LeftBehind {
        /// Its name.
        library: String,
        /// Where it lies.
        found: PathBuf,
    },
    /// It is there, and lacks the version that is needed.
    TooOld {
        /// Its name.
        library: String,
        /// Where it lies.
        found: PathBuf,
        /// The file that needs it.
        wanted_by: PathBuf,
        /// The version that is needed, such as `GLIBC_2.38`.
        needed: String,
        /// The newest of the same kind that it has, such as `GLIBC_2.36`.
        newest: Option<String>,
    },
}

/// Where the loader looks, made ready for many questions.
pub(super) struct Loader {
    environment: Vec<PathBuf>,
    cached: HashMap<String, Vec<PathBuf>>,
    system: Vec<PathBuf>,
}

/// A library whose own needs are to be looked at.
struct Wanted {
    path: PathBuf,
    anatomy: Anatomy,
    /// It is the plugin itself or one of its companions, of which copies in another folder are loaded.
    is_copied: bool,
    /// The RPATHs of those that brought it in, already expanded.
    inherited: Vec<PathBuf>,
}

impl Loader {
    pub(super) fn new(places: LibraryPlaces) -> Self {
        let mut cached: HashMap<String, Vec<PathBuf>> = HashMap::new();
        for (name, path) in read_cache(&places.cache) {
            cached.entry(name).or_default().push(path);
        }
        Self {
            environment: places.environment,
            cached,
            system: places.system,
        }
    }

    /// Everything that would keep a plugin of this system from being loaded, in the order in which the loader
    /// would come to it.
    pub(super) fn gaps(&self, plugin: &Path, anatomy: &Anatomy) -> Vec<Gap> {
        let plugin = std::path::absolute(plugin).unwrap_or_else(|_| plugin.to_path_buf());
        let root = plugin.parent().unwrap_or(Path::new("/")).to_path_buf();
        let beside = companions(&plugin);
        let mut gaps = Vec::new();
        let mut found: HashMap<String, Option<PathBuf>> = HashMap::new();
        let mut seen = HashSet::new();
        let mut queue = VecDeque::from([Wanted {
            path: plugin.clone(),
            anatomy: anatomy.clone(),
            is_copied: true,
            inherited: Vec::new(),
        }]);
        while let Some(wanted) = queue.pop_front() {
            for library in &wanted.anatomy.needed {
                // The loader takes a name once: whoever needs it later gets the same file. In Windows' names there is no
                // difference between small letters and capitals.
                let name = match anatomy.format {
                    "PE" => library.to_ascii_lowercase(),
                    _ => library.clone(),
                };
                if found.contains_key(&name) || found.len() >= MAX_LIBRARIES {
                    continue;
                }
                let path = self.find(library, &wanted, &plugin, anatomy, &mut gaps);
                if let Some(path) = path.as_ref().filter(|path| seen.insert((*path).clone()))
                    && let Some(anatomy) = manifest::anatomy_of(path)
                {
                    queue.push_back(Wanted {
                        path: path.clone(),
                        anatomy,
                        is_copied: beside.iter().any(|companion| companion.path == *path),
                        inherited: inherited(&wanted, &root),
                    });
                }
                found.insert(name, path);
            }
            versions(&wanted, &found, &mut gaps);
        }
        gaps
    }

    /// Where the loader finds a library; notes a gap if it does not.
    fn find(
        &self,
        library: &str,
        wanted: &Wanted,
        plugin: &Path,
        like: &Anatomy,
        gaps: &mut Vec<Gap>,
    ) -> Option<PathBuf> {
        let serves = |path: &Path| fits(path, like);
        if is_of_system(library, like) {
            return None;
        }
        if library.contains('/') {
            let path = PathBuf::from(library);
            if serves(&path) {
                return Some(path);
            }
            gaps.push(Gap::Missing {
                library: library.to_owned(),
                wanted_by: wanted.path.clone(),
                searched: path.parent().map(Path::to_path_buf).into_iter().collect(),
                misfit: path.is_file().then_some(path),
            });
            return None;
        }
        let root = plugin.parent().unwrap_or(Path::new("/"));
        let folders = self.folders(wanted, root);
        let cached = self.cached.get(library).into_iter().flatten().cloned();
        // The cache comes before the system's folders and behind all others.
        let behind: &[PathBuf] = if like.format == "PE" { &[] } else { &self.system };
        let candidates: Vec<PathBuf> = folders
            .iter()
            .map(|dir| within(&dir.join(library), root))
            .chain(cached)
            .chain(behind.iter().map(|dir| dir.join(library)))
            .collect();
        if let Some(found) = candidates.iter().find(|path| serves(path)) {
            return Some(found.clone());
        }
        let beside = left_behind(wanted, plugin, like)
            .into_iter()
            .map(|dir| dir.join(library))
            .find(|path| serves(path));
        gaps.push(match &beside {
            Some(beside) => Gap::LeftBehind {
                library: library.to_owned(),
                found: beside.clone(),
            },
            None => Gap::Missing {
                library: library.to_owned(),
                wanted_by: wanted.path.clone(),
                searched: folders.into_iter().chain(behind.iter().cloned()).collect(),
                misfit: candidates.into_iter().find(|path| path.is_file()),
            },
        });
        beside
    }

    /// The folders that come before the cache, in the order of the loader; on Windows, which has no cache, all.
    fn folders(&self, wanted: &Wanted, root: &Path) -> Vec<PathBuf> {
        let expand = |list: &[String]| reached(list, wanted, root);
        let mut folders = Vec::new();
        if wanted.anatomy.format == "PE" {
            // Beside what is loaded, then what is Windows' own, then PATH.
            folders.extend(wanted.is_copied.then(|| root.to_path_buf()));
            folders.extend(self.system.iter().chain(&self.environment).cloned());
            return folders;
        }
        // A RUNPATH switches every RPATH off.
        if wanted.anatomy.runpath.is_empty() {
            folders.extend(expand(&wanted.anatomy.rpath));
            folders.extend(wanted.inherited.iter().cloned());
        }
        folders.extend(self.environment.iter().cloned());
        folders.extend(expand(&wanted.anatomy.runpath));
        folders
    }
}

/// The folders of a list that are searched: of what is copied, those that lie outside of the plugin's folder are not,
/// where they are meant relative to the file.
fn reached(list: &[String], wanted: &Wanted, root: &Path) -> Vec<PathBuf> {
    let of_one = |folder: &String| expanded([folder], &wanted.path);
    list.iter()
        .flat_map(|folder| of_one(folder).into_iter().map(move |path| (folder, path)))
        .filter(|(folder, path)| {
            !wanted.is_copied || !names_origin(folder) || inside(&path.join("x"), root).is_some()
        })
        .map(|(_, path)| path)
        .collect()
}

/// A path with its dots worked out where it lies in `root`, so that it is known again.
fn within(path: &Path, root: &Path) -> PathBuf {
    inside(path, root).map_or_else(|| path.to_path_buf(), |relative| root.join(relative))
}

/// A library that lies in the plugin's folder or below it, and that the plugin brings in from there: it belongs to the
/// plugin, and is copied with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Companion {
    /// Where it lies, from the plugin's folder on; it never leads out of that.
    pub(crate) relative: PathBuf,
    /// Where it lies.
    pub(crate) path: PathBuf,
}

/// Companions of one plugin at most.
const MAX_COMPANIONS: usize = 64;

/// Every library that the plugin brings in from its own folder, in the order of their places. What the environment
/// and the system have is left out, since another machine has it elsewhere.
pub(super) fn companions(plugin: &Path) -> Vec<Companion> {
    companions_of(plugin, manifest::ties_of(plugin))
}

/// The same where it is known what the plugin's own file brings in.
pub(super) fn companions_of(plugin: &Path, ties: Option<Ties>) -> Vec<Companion> {
    let plugin = std::path::absolute(plugin).unwrap_or_else(|_| plugin.to_path_buf());
    let (Some(root), Some(ties)) = (plugin.parent(), ties) else {
        return Vec::new();
    };
    let mut found: Vec<Companion> = Vec::new();
    let mut queue = VecDeque::from([(plugin.clone(), ties, Vec::<PathBuf>::new())]);
    while let Some((file, ties, inherited)) = queue.pop_front() {
        let own = expanded(ties.rpath.iter().filter(|folder| names_origin(folder)), &file);
        let brought: Vec<PathBuf> = own.into_iter().chain(inherited).collect();
        let folders = if ties.format == "PE" {
            vec![root.to_path_buf()]
        } else if ties.runpath.is_empty() {
            brought.clone()
        } else {
            expanded(ties.runpath.iter().filter(|folder| names_origin(folder)), &file)
        };
        for library in ties.needed.iter().filter(|name| !name.contains(['/', '\\'])) {
            let places = folders
                .iter()
                .filter_map(|folder| inside(&folder.join(library), root));
            let Some(relative) = places.into_iter().find(|relative| root.join(relative).is_file()) else {
                continue;
            };
            let path = root.join(&relative);
            if path == plugin || found.iter().any(|known| known.relative == relative) {
                continue;
            }
            // Of another processor, or no library: the loader passes over it.
            let Some(other) = manifest::ties_of(&path).filter(|other| other.kind() == ties.kind()) else {
                continue;
            };
            if found.len() == MAX_COMPANIONS {
                return found;
            }
            found.push(Companion {
                relative,
                path: path.clone(),
            });
            queue.push_back((path, other, brought.clone()));
        }
    }
    found.sort_by(|a, b| a.relative.cmp(&b.relative));
    found
}

/// A path from `root` on, with its dots worked out; nothing where it leads out of `root`.
fn inside(path: &Path, root: &Path) -> Option<PathBuf> {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => {
                plain.pop();
            }
            Component::CurDir => {}
            other => plain.push(other),
        }
    }
    let relative = plain.strip_prefix(root).ok()?;
    (!relative.as_os_str().is_empty()).then(|| relative.to_path_buf())
}

/// Whether a folder is meant relative to the file that names it.
fn names_origin(folder: &str) -> bool {
    folder.contains("$ORIGIN") || folder.contains("${ORIGIN}")
}

/// The folders that the plugin's own file would have had searched, and that its private copy does not reach.
fn left_behind(wanted: &Wanted, plugin: &Path, like: &Anatomy) -> Vec<PathBuf> {
    let folder = plugin.parent().map(Path::to_path_buf);
    if like.format != "ELF" {
        return folder.into_iter().collect();
    }
    let own = &wanted.anatomy;
    let list = own.runpath.iter().chain(&own.rpath);
    let mut folders = expanded(list.filter(|folder| names_origin(folder)), &wanted.path);
    if !wanted.is_copied {
        // What the plugin brings in is looked for beside the plugin too, as its author meant it.
        folders.extend(folder);
    }
    folders
}

fn inherited(wanted: &Wanted, root: &Path) -> Vec<PathBuf> {
    let own = reached(&wanted.anatomy.rpath, wanted, root);
    own.into_iter().chain(wanted.inherited.iter().cloned()).collect()
}

/// Folders with the words of the loader replaced by what they mean for one file.
fn expanded<'a>(folders: impl IntoIterator<Item = &'a String>, file: &Path) -> Vec<PathBuf> {
    let origin = file
        .parent()
        .unwrap_or(Path::new("/"))
        .to_string_lossy()
        .into_owned();
    let lib = if cfg!(target_pointer_width = "64") {
        "lib64"
    } else {
        "lib"
    };
    folders
        .into_iter()
        .map(|folder| {
            let mut text = folder.clone();
            for (word, meaning) in [
                ("ORIGIN", origin.as_str()),
                ("LIB", lib),
                ("PLATFORM", std::env::consts::ARCH),
            ] {
                text = text
                    .replace(&format!("${{{word}}}"), meaning)
                    .replace(&format!("${word}"), meaning);
            }
            PathBuf::from(text)
        })
        .collect()
}

/// Names behind which no file need be: the system's own, which are always there.
fn is_of_system(library: &str, anatomy: &Anatomy) -> bool {
    let lower = library.to_ascii_lowercase();
    match anatomy.format {
        "PE" => lower.starts_with("api-ms-win-") || lower.starts_with("ext-ms-"),
        // They live in one cache file; `@rpath` and the like are left to the system.
        "Mach-O" => {
            library.starts_with("/usr/lib/") || library.starts_with("/System/") || library.starts_with('@')
        }
        _ => false,
    }
}

/// Whether a file is a library for the same processor; the loader passes over others.
fn fits(path: &Path, like: &Anatomy) -> bool {
    path.is_file()
        && manifest::anatomy_of(path).is_some_and(|found| {
            (found.format, found.bits, &found.processor) == (like.format, like.bits, &like.processor)
        })
}

/// Notes the versions that a library needs and that what was found for it lacks.
fn versions(wanted: &Wanted, found: &HashMap<String, Option<PathBuf>>, gaps: &mut Vec<Gap>) {
    let mut known: HashMap<&Path, Vec<String>> = HashMap::new();
    for (library, needed) in &wanted.anatomy.needed_versions {
        let Some(Some(path)) = found.get(library) else {
            continue;
        };
        let own = known.entry(path.as_path()).or_insert_with(|| {
            manifest::anatomy_of(path)
                .map(|anatomy| anatomy.own_versions)
                .unwrap_or_default()
        });
        // A library without any versions takes every caller, as musl's does.
        if own.is_empty() || own.contains(needed) {
            continue;
        }
        gaps.push(Gap::TooOld {
            library: library.clone(),
            found: path.clone(),
            wanted_by: wanted.path.clone(),
            needed: needed.clone(),
            newest: newest_like(needed, own),
        });
    }
}

/// The newest version of the same kind: of `GLIBC_2.38`, the newest `GLIBC_…`.
fn newest_like(needed: &str, own: &[String]) -> Option<String> {
    let (kind, _) = needed.rsplit_once('_')?;
    let number = |version: &str| -> Option<Vec<u32>> {
        let rest = version.strip_prefix(kind)?.strip_prefix('_')?;
        rest.split('.').map(|part| part.parse().ok()).collect()
    };
    own.iter()
        .filter_map(|version| Some((number(version)?, version)))
        .max()
        .map(|(_, version)| version.clone())
}

const CACHE_MAGIC: &[u8] = b"glibc-ld.so.cache1.1";
const CACHE_HEADER: usize = 48;
const CACHE_ENTRY: usize = 24;

/// Names and paths of glibc's cache of libraries, in its order. What does not look like one has none.
pub(super) fn read_cache(bytes: &[u8]) -> Vec<(String, PathBuf)> {
    // An older form may stand in front, as long as both are in use.
    let Some(start) = bytes
        .windows(CACHE_MAGIC.len())
        .position(|window| window == CACHE_MAGIC)
    else {
        return Vec::new();
    };
    let cache = &bytes[start..];
    let word = |at: usize| -> Option<usize> {
        let bytes = cache.get(at..at.checked_add(4)?)?;
        usize::try_from(u32::from_ne_bytes(bytes.try_into().ok()?)).ok()
    };
    let string = |at: usize| -> Option<String> {
        let rest = cache.get(at..)?;
        let end = rest.iter().take(4096).position(|byte| *byte == 0)?;
        Some(String::from_utf8_lossy(&rest[..end]).into_owned())
    };
    let count = word(CACHE_MAGIC.len()).unwrap_or(0);
    (0..count.min(cache.len() / CACHE_ENTRY))
        .filter_map(|index| {
            let entry = CACHE_HEADER + index * CACHE_ENTRY;
            Some((
                string(word(entry + 4)?)?,
                PathBuf::from(string(word(entry + 8)?)?),
            ))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A cache as ldconfig writes it.
    fn cache(entries: &[(&str, &str)]) -> Vec<u8> {
        let mut out = CACHE_MAGIC.to_vec();
        out.extend((entries.len() as u32).to_ne_bytes());
        out.resize(CACHE_HEADER, 0);
        let mut strings = Vec::new();
        let base = CACHE_HEADER + entries.len() * CACHE_ENTRY;
        for (name, path) in entries {
            let key = base + strings.len();
            strings.extend(name.as_bytes());
            strings.push(0);
            let value = base + strings.len();
            strings.extend(path.as_bytes());
            strings.push(0);
            out.extend([3, key as u32, value as u32, 0].map(u32::to_ne_bytes).concat());
            out.extend([0; 8]);
        }
        out.extend(strings);
        out
    }

    #[test]
    fn the_cache_is_read_and_a_damaged_one_is_harmless() {
        let whole = cache(&[("liba.so.1", "/x/liba.so.1"), ("libb.so", "/y/libb.so")]);
        let expected = [
            ("liba.so.1".to_owned(), PathBuf::from("/x/liba.so.1")),
            ("libb.so".to_owned(), PathBuf::from("/y/libb.so")),
        ];
        assert_eq!(read_cache(&whole), expected);
        let old_in_front = [b"ld.so-1.7.0\0\0\0\0\0".to_vec(), whole.clone()].concat();
        assert_eq!(read_cache(&old_in_front), expected);
        for length in 0..whole.len() {
            assert!(read_cache(&whole[..length]).len() <= 2);
        }
        let mut absurd = whole;
        absurd[20..24].copy_from_slice(&u32::MAX.to_ne_bytes());
        assert!(read_cache(&absurd).len() >= 2);
    }

    #[test]
    fn the_words_of_the_loader_are_expanded() {
        let list = [
            "$ORIGIN/lib".to_owned(),
            "${ORIGIN}".to_owned(),
            "/opt".to_owned(),
        ];
        assert_eq!(
            expanded(&list, Path::new("/p/x.so")),
            ["/p/lib", "/p", "/opt"].map(PathBuf::from)
        );
    }

    #[test]
    fn the_newest_of_a_kind_is_by_number() {
        let own = ["GLIBC_2.9", "GLIBC_2.36", "GLIBC_PRIVATE", "libc.so.6"].map(str::to_owned);
        assert_eq!(newest_like("GLIBC_2.99", &own).as_deref(), Some("GLIBC_2.36"));
        assert_eq!(newest_like("GLIBCXX_3.4.30", &own), None);
    }
}
