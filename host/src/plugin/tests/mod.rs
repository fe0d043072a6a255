//! Every refusal, with real files; the libraries are written here byte by byte, as small as the format allows.

mod craft;
mod files;
mod health;
mod shelf;
mod trusted;

use std::{
    collections::HashSet,
    ffi::OsString,
    path::{Path, PathBuf},
};

use qt_plugin_api::manifest::{FORMAT, MAGIC};
use serde_json::{Value, json};

use super::{codes::*, *};

const E_MACHINE: usize = 18;

fn manifest_json(name: &str) -> Value {
    json!({
        "name": name, "version": "1.2.3", "abi": 1, "api_version": "1.0.0", "description": "d",
        "capabilities": ["place"], "rustc": "rustc 1", "target": "t", "panic": "unwind",
    })
}

fn section(format: u32, abi: u32, text: &str) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    for word in [format, abi, text.len() as u32] {
        bytes.extend(word.to_le_bytes());
    }
    bytes.extend(text.as_bytes());
    bytes
}

fn plugin_bytes(text: &Value) -> Vec<u8> {
    elf(".qtplug", &section(FORMAT, 1, &text.to_string()))
}

/// A shared object of one section.
fn elf(name: &'static str, content: &[u8]) -> Vec<u8> {
    craft::elf(&[craft::Section::plain(name, content)])
}

struct Room(tempfile::TempDir);

impl Room {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("folder"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().expect("parent")).expect("folder");
        std::fs::write(&path, bytes).expect("file");
        path
    }

    /// A plan of files and of folders that somebody named, with nothing of this process in it.
    fn plan(&self, files: &[&Path], dirs: &[&str]) -> SearchPlan {
        let files: Vec<PathBuf> = files.iter().map(|f| f.to_path_buf()).collect();
        let dirs: Vec<PathBuf> = dirs.iter().map(|d| self.path(d)).collect();
        SearchPlan::with(&files, &dirs, None, None, &self.path("data"))
    }
}

fn so(name: &str) -> String {
    format!(
        "{}{name}{}",
        std::env::consts::DLL_PREFIX,
        std::env::consts::DLL_SUFFIX
    )
}

#[track_caller]
fn refusal(path: &Path) -> (&'static str, String) {
    let error = manifest::read(path).expect_err("refused");
    let shown = error.to_string();
    assert!(shown.contains(&*path.to_string_lossy()), "{shown}");
    assert!(shown.starts_with(error.code()), "{shown}");
    (error.code(), error.reason())
}

#[track_caller]
fn refused(bytes: &[u8]) -> (&'static str, String) {
    let room = Room::new();
    refusal(&room.file("p.so", bytes))
}

#[test]
fn codes_are_unique_and_in_order() {
    let codes: HashSet<_> = CODES.iter().map(|code| code.code).collect();
    assert_eq!(codes.len(), CODES.len());
    assert!(CODES.is_sorted_by_key(|code| code.code));
}

#[test]
fn a_plugin_is_read() {
    let room = Room::new();
    let read = manifest::read(&room.file("p.so", &plugin_bytes(&manifest_json("one")))).expect("usable");
    assert_eq!((read.name.as_str(), read.version.as_str()), ("one", "1.2.3"));
}

#[test]
fn what_is_no_library_is_told_apart() {
    assert_eq!(refused(b"").0, NOT_A_LIBRARY);
    let (code, reason) = refused("这是一个文本文件 and long enough".as_bytes());
    assert_eq!(code, NOT_A_LIBRARY);
    assert!(reason.contains("text file"), "{reason}");
    let (code, reason) = refused(&[0xff; 64]);
    assert_eq!(code, NOT_A_LIBRARY);
    assert!(reason.contains("some other kind"), "{reason}");
}

#[test]
fn every_truncation_is_refused() {
    let whole = plugin_bytes(&manifest_json("one"));
    let room = Room::new();
    for length in 4..whole.len() {
        assert_eq!(
            refusal(&room.file("p.so", &whole[..length])).0,
            TRUNCATED,
            "{length}"
        );
    }
}

#[test]
fn this_very_program_cut_in_half_is_refused() {
    let own = std::fs::read(std::env::current_exe().expect("path")).expect("bytes");
    assert_eq!(refused(&own[..own.len() / 2]).0, TRUNCATED);
}

#[test]
fn a_segment_beyond_the_end_is_refused() {
    let mut bytes = plugin_bytes(&manifest_json("one"));
    // The segment's length in the file; mapping it and touching its end would end the process.
    bytes[64 + 32..64 + 40].copy_from_slice(&(1_u64 << 20).to_le_bytes());
    assert_eq!(refused(&bytes).0, TRUNCATED);
}

#[test]
fn another_processor_is_named() {
    let mut bytes = plugin_bytes(&manifest_json("one"));
    bytes[E_MACHINE..E_MACHINE + 2].copy_from_slice(&22_u16.to_le_bytes());
    let (code, reason) = refused(&bytes);
    assert_eq!(code, FOREIGN);
    assert!(
        reason.contains("s390x") && reason.contains(std::env::consts::ARCH),
        "{reason}"
    );
}

#[test]
fn a_library_without_a_manifest_is_refused() {
    assert_eq!(refused(&elf(".data", b"something")).0, NO_MANIFEST);
    let room = Room::new();
    let own = std::env::current_exe().expect("path");
    assert_eq!(refusal(&own).0, NO_MANIFEST);
    drop(room);
}

#[test]
fn an_abi_that_differs_says_in_which_direction() {
    let with = |format, abi| {
        let mut text = manifest_json("one");
        text["abi"] = json!(abi);
        refused(&elf(".qtplug", &section(format, abi, &text.to_string())))
    };
    for (format, abi) in [(FORMAT, 0), (0, 1)] {
        let (code, reason) = with(format, abi);
        assert_eq!(code, ABI_TOO_OLD);
        assert!(reason.starts_with("is too old"), "{reason}");
    }
    for (format, abi) in [(FORMAT, 2), (FORMAT + 1, 1)] {
        let (code, reason) = with(format, abi);
        assert_eq!(code, ABI_TOO_NEW);
        assert!(
            reason.starts_with("is too new") && reason.contains('2'),
            "{reason}"
        );
    }
    // Another ABI's text may have other keys: the number is what counts.
    assert_eq!(refused(&elf(".qtplug", &section(FORMAT, 2, "{}"))).0, ABI_TOO_NEW);
}

#[test]
fn a_damaged_manifest_is_refused() {
    for bytes in [
        b"no magic at all".to_vec(),
        MAGIC.to_vec(),
        section(FORMAT, 1, "{}"),
        section(FORMAT, 1, &manifest_json("../../evil").to_string()),
        section(FORMAT, 1, &manifest_json("").to_string()),
    ] {
        assert_eq!(refused(&elf(".qtplug", &bytes)).0, BAD_MANIFEST, "{bytes:?}");
    }
    let text = manifest_json("one").to_string();
    let whole = section(FORMAT, 1, &text);
    assert_eq!(
        refused(&elf(".qtplug", &whole[..whole.len() - 1])).0,
        BAD_MANIFEST
    );
}

#[test]
fn a_panic_that_aborts_is_refused() {
    let mut text = manifest_json("one");
    text["panic"] = json!("abort");
    let (code, reason) = refused(&plugin_bytes(&text));
    assert_eq!(code, PANIC_ABORT);
    assert!(reason.contains("panic = \"unwind\""), "{reason}");
}

#[test]
fn folders_and_missing_files_are_refused() {
    let room = Room::new();
    assert_eq!(refusal(room.0.path()).0, NOT_A_FILE);
    let (code, reason) = refusal(&room.path("absent.so"));
    assert_eq!(code, UNREADABLE);
    assert!(reason.contains("does not exist"), "{reason}");
}

#[cfg(unix)]
#[test]
fn pipes_loops_and_sockets_are_refused_without_waiting() {
    let room = Room::new();
    let socket = room.path("s.so");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).expect("socket");
    assert_eq!(refusal(&socket).0, NOT_A_FILE);
    assert_eq!(refusal(Path::new("/dev/zero")).0, NOT_A_FILE);
    let fifo = room.path("f.so");
    let made = std::process::Command::new("mkfifo")
        .arg(&fifo)
        .status()
        .expect("mkfifo");
    assert!(made.success());
    assert_eq!(refusal(&fifo).0, NOT_A_FILE);
    let looped = room.path("l.so");
    std::os::unix::fs::symlink(&looped, &looped).expect("link");
    assert_eq!(refusal(&looped).0, UNREADABLE);
}

#[test]
fn a_huge_file_is_refused_and_a_sparse_one_is_not_read_whole() {
    let room = Room::new();
    let path = room.file("p.so", &plugin_bytes(&manifest_json("one")));
    let file = std::fs::OpenOptions::new().write(true).open(&path).expect("file");
    file.set_len(manifest::MAX_FILE).expect("sparse");
    assert!(manifest::read(&path).is_ok());
    file.set_len(manifest::MAX_FILE + 1).expect("sparse");
    assert_eq!(refusal(&path).0, TOO_LARGE);
}

#[test]
fn the_places_are_searched_in_order() {
    let room = Room::new();
    let variable = std::env::join_paths([room.path("v1"), room.path("v2")]).expect("list");
    let exe = room.path("exe");
    let mut expected = Vec::new();
    for place in ["dir", "v1", "v2", "exe/plugins", "exe", "data/plugins"] {
        let name = format!("{place}/{}", so("p"));
        let text = manifest_json(&format!("p{}", expected.len()));
        expected.push(room.file(&name, &plugin_bytes(&text)));
    }
    let explicit = room.file("explicit", &plugin_bytes(&manifest_json("first")));
    expected.insert(0, explicit.clone());
    let plan = SearchPlan::with(
        &[explicit],
        &[room.path("dir")],
        Some(&variable),
        Some(&exe),
        &room.path("data"),
    );
    let found: Vec<PathBuf> = list(&plan, true).into_iter().map(|f| f.path).collect();
    assert_eq!(found, expected);
}

#[test]
fn one_bad_file_hides_no_other_and_only_libraries_are_looked_at() {
    let room = Room::new();
    room.file(
        &format!("d/{}", so("a")),
        b"text, and more of it than sixteen bytes",
    );
    room.file(&format!("d/{}", so("b")), &plugin_bytes(&manifest_json("b")));
    room.file("d/readme.txt", b"not looked at");
    let states: Vec<_> = list(&room.plan(&[], &["d", "absent"]), true)
        .into_iter()
        .map(|f| match (f.manifest, f.sha256, f.refusal) {
            (Some(manifest), Some(sha256), None) => (manifest.name, sha256.len()),
            (_, _, refusal) => (refusal.expect("a reason").code().to_owned(), 0),
        })
        .collect();
    let expected = [(NOT_A_LIBRARY, 0), ("b", 64), (UNREADABLE, 0)];
    assert_eq!(states, expected.map(|(name, n)| (name.to_owned(), n)));
}

#[test]
fn a_file_reached_twice_counts_once() {
    let room = Room::new();
    let file = room.file(&format!("d/{}", so("b")), &plugin_bytes(&manifest_json("b")));
    let roundabout = room.path("d").join("..").join("d").join(so("b"));
    assert_eq!(list(&room.plan(&[&file, &roundabout], &["d"]), true).len(), 1);
}

#[test]
fn only_a_mixed_folder_may_hold_libraries_without_a_manifest() {
    let room = Room::new();
    for folder in ["own", "deps", "d"] {
        room.file(&format!("{folder}/{}", so("x")), &elf(".data", b"x"));
        room.file(&format!("{folder}/{}", so("cut")), b"\x7fELF");
    }
    let plan = SearchPlan::with(
        &[],
        &[room.path("deps"), room.path("d")],
        None,
        Some(&room.path("own")),
        &room.path("data"),
    );
    let found: Vec<PathBuf> = list(&plan, true).into_iter().map(|f| f.path).collect();
    let expected = [("deps", "cut"), ("d", "cut"), ("d", "x"), ("own", "cut")];
    assert_eq!(
        found,
        expected.map(|(folder, name)| room.path(folder).join(so(name)))
    );
}

#[track_caller]
fn chosen<'a>(plan: &SearchPlan, name: impl Into<Option<&'a str>>) -> Result<PathBuf, PluginError> {
    let found = plan.scan();
    loader::choose(plan, &found, name.into()).map(|(path, _)| path.to_path_buf())
}

#[test]
fn a_plugin_is_picked_by_name_in_any_case() {
    let room = Room::new();
    let a = room.file(&format!("d/{}", so("a")), &plugin_bytes(&manifest_json("alpha")));
    let b = room.file(&format!("d/{}", so("b")), &plugin_bytes(&manifest_json("beta")));
    let plan = room.plan(&[], &["d"]);
    assert_eq!(chosen(&plan, "ALPHA"), Ok(a));
    assert_eq!(chosen(&plan, "beta"), Ok(b));
}

#[test]
fn not_found_names_places_near_misses_and_what_was_refused() {
    let room = Room::new();
    room.file(&format!("d/{}", so("a")), &plugin_bytes(&manifest_json("alpha")));
    room.file(&format!("d/{}", so("bad")), b"");
    let error = chosen(&room.plan(&[], &["d"]), "alhpa").expect_err("not found");
    let text = error.to_string();
    assert_eq!(error.code(), NOT_FOUND);
    let first = text.find("--plugin-dir").expect("folder");
    assert!(first < text.find("the data folder").expect("folder"), "{text}");
    assert!(
        text.contains("did you mean `alpha`") && text.contains(NOT_A_LIBRARY),
        "{text}"
    );
}

#[test]
fn a_refused_file_of_the_wanted_name_is_the_answer() {
    let room = Room::new();
    room.file(&format!("d/{}", so("alpha")), b"\x7fELF");
    assert_eq!(
        chosen(&room.plan(&[], &["d"]), "Alpha")
            .expect_err("refused")
            .code(),
        TRUNCATED
    );
}

#[test]
fn two_files_of_one_name_are_an_error_unless_one_is_named_or_they_are_equal() {
    let room = Room::new();
    let mut other = manifest_json("alpha");
    other["version"] = json!("2.0.0");
    let a = room.file(&format!("d/{}", so("a")), &plugin_bytes(&manifest_json("alpha")));
    let b = room.file(&format!("d/{}", so("b")), &plugin_bytes(&other));
    let text = chosen(&room.plan(&[], &["d"]), "alpha")
        .expect_err("two")
        .to_string();
    for part in [AMBIGUOUS, &*a.to_string_lossy(), &*b.to_string_lossy()] {
        assert!(text.contains(part), "{text}");
    }
    assert_eq!(chosen(&room.plan(&[&b], &["d"]), "alpha"), Ok(b.clone()));
    assert_eq!(
        chosen(&room.plan(&[&a, &b], &[]), "alpha")
            .expect_err("two")
            .code(),
        AMBIGUOUS
    );
    let same = room.file("copy", &std::fs::read(&a).expect("bytes"));
    assert_eq!(chosen(&room.plan(&[&a, &same], &[]), "alpha"), Ok(a));
}

/// Whoever installs another version of a plugin that came with the program means that one; a folder that somebody named is
/// as good as the data folder.
#[test]
fn what_was_installed_comes_before_what_came_with_the_program() {
    let room = Room::new();
    let mut newer = manifest_json("alpha");
    newer["version"] = json!("2.0.0");
    let shipped = room.file(
        &format!("bin/{}", so("alpha")),
        &plugin_bytes(&manifest_json("alpha")),
    );
    let plan = |dirs: &[PathBuf]| {
        let bin = room.path("bin");
        SearchPlan::with(&[], dirs, None, Some(&bin), &room.path("data"))
    };
    assert_eq!(chosen(&plan(&[]), "alpha"), Ok(shipped));
    let installed = room.file(&format!("data/plugins/{}", so("alpha")), &plugin_bytes(&newer));
    assert_eq!(chosen(&plan(&[]), "alpha"), Ok(installed.clone()));
    assert_eq!(the_one(&plan(&[]), "alpha"), Ok(installed));
    room.file(
        &format!("d/{}", so("alpha")),
        &plugin_bytes(&manifest_json("alpha")),
    );
    let two = chosen(&plan(&[room.path("d")]), "alpha").expect_err("two");
    assert_eq!(two.code(), AMBIGUOUS);
}

#[test]
fn a_single_named_file_is_meant_where_no_broker_was_chosen() {
    let room = Room::new();
    let mine = room.file("mine", &plugin_bytes(&manifest_json("mine")));
    let simulated = room.file(
        &format!("d/{}", so("s")),
        &plugin_bytes(&manifest_json("simulated")),
    );
    assert_eq!(chosen(&room.plan(&[&mine], &["d"]), None), Ok(mine.clone()));
    assert_eq!(
        chosen(&room.plan(&[&mine], &["d"]), DEFAULT_BROKER),
        Ok(simulated.clone()),
        "a broker that was chosen is never replaced by the one file that was named"
    );
    assert_eq!(
        chosen(&room.plan(&[&mine], &[]), "other")
            .expect_err("not it")
            .code(),
        NOT_FOUND
    );
    let second = room.file("second", &plugin_bytes(&manifest_json("second")));
    assert_eq!(chosen(&room.plan(&[&mine, &second], &["d"]), None), Ok(simulated));
}

#[test]
fn a_named_file_that_is_refused_is_never_replaced_by_another_plugin() {
    let room = Room::new();
    room.file(
        &format!("d/{}", so("s")),
        &plugin_bytes(&manifest_json("simulated")),
    );
    let absent = room.path("absent.so");
    let error = chosen(&room.plan(&[&absent], &["d"]), None).expect_err("missing");
    assert_eq!(error.code(), UNREADABLE);
}

#[test]
fn a_copy_is_private_named_by_its_hash_and_mended() {
    let room = Room::new();
    let bytes = plugin_bytes(&manifest_json("one"));
    let source = room.file("one.so", &bytes);
    let data = room.path("data");
    let stored = store::keep(&source, &data).expect("copy");
    assert_eq!(stored.sha256, store::hash(&source).expect("hash"));
    assert_eq!(
        stored.path,
        data.join("plugin-store").join(&stored.sha256).join("one.so")
    );
    assert!(stored.path.is_absolute());
    #[cfg(unix)]
    for folder in [
        data.join("plugin-store"),
        data.join("plugin-store").join(&stored.sha256),
    ] {
        use std::os::unix::fs::PermissionsExt;
        let mode = folder.metadata().expect("folder").permissions().mode();
        assert_eq!(mode & 0o777, 0o700, "{}", folder.display());
    }
    std::fs::write(&stored.path, b"damaged").expect("write");
    let again = store::keep(&source, &data).expect("mended");
    assert_eq!(std::fs::read(&again.path).expect("bytes"), bytes);
    // Nothing half made stays behind.
    let names: Vec<OsString> = std::fs::read_dir(data.join("plugin-store"))
        .expect("store")
        .map(|entry| entry.expect("entry").file_name())
        .collect();
    assert_eq!(names, [OsString::from(&stored.sha256)]);
}

#[test]
fn a_store_that_cannot_be_made_says_where() {
    let room = Room::new();
    let source = room.file("one.so", &plugin_bytes(&manifest_json("one")));
    let blocked = room.file("data", b"a file where the folder should be");
    let Err(error) = store::keep(&source, &blocked) else {
        panic!("no folder can be made below a file");
    };
    assert_eq!(error.code(), STORE);
    assert!(error.to_string().contains("plugin-store"), "{error}");
}

#[cfg(unix)]
#[test]
fn what_the_system_refuses_is_an_error_of_the_file_that_was_named() {
    let room = Room::new();
    let source = room.file("one.so", &plugin_bytes(&manifest_json("one")));
    let plan = room.plan(&[&source], &[]);
    let kept = keep(&plan, Some("one"), &room.path("data"));
    let Err(error) = kept.and_then(|kept| kept.bring_in()) else {
        panic!("a library without a dynamic section cannot be loaded");
    };
    assert_eq!(error.code(), NOT_LOADED);
    assert!(error.to_string().contains(&*source.to_string_lossy()), "{error}");
}
