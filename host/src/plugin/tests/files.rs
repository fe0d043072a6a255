//! The zoo: whatever lies in a plugin folder, looking at it ends, says why it is no plugin, and maps none of it.

use std::io::Cursor;

use rand::{RngExt, SeedableRng, rngs::SmallRng};

use super::{
    craft::{Wants, dll, dylib, library},
    *,
};

/// Copies with bytes flipped at random.
const FLIPPED: usize = 5_000;
/// Of these, so many are also looked at as files, by the list and by the doctor.
const FLIPPED_FILES: usize = 100;

/// A plugin with every table that is ever read.
fn rich_plugin() -> Vec<u8> {
    let mut text = manifest_json("rich");
    text["config_schema"] = json!({ "properties": { "a": { "type": "integer", "minimum": 1 } } });
    library(
        Some(&section(FORMAT, 1, &text.to_string())),
        &Wants {
            needed: &["libc.so.6", "libm.so.6"],
            runpath: Some("$ORIGIN/lib:/opt/lib"),
            versions: &[("libc.so.6", "GLIBC_2.2.5"), ("libm.so.6", "GLIBC_2.2.5")],
            own: &["RICH_1.0", "RICH_1.1"],
            exports: &["qt_plugin_root_v1", "another"],
            ..Wants::default()
        },
    )
}

/// Every look that a command takes at a file; none of them may map it.
#[track_caller]
fn look_at(room: &Room, path: &Path) -> Vec<Checkup> {
    let plan = room.plan(&[path], &[]);
    let listed = list(&plan, true);
    assert_eq!(listed.len(), 1, "{listed:?}");
    let checkups =
        check_up(&plan, Some(&path.to_string_lossy()), &room.path("data")).expect("a path is a path");
    let usable = listed[0].refusal.is_none();
    // The doctor finds whatever the list finds.
    if !usable {
        assert!(!checkups[0].findings.is_empty(), "{listed:?}");
    }
    checkups
}

/// Nothing of a folder is mapped into this process.
#[track_caller]
fn nothing_is_mapped(room: &Room) {
    if cfg!(target_os = "linux") {
        let maps = std::fs::read_to_string("/proc/self/maps").expect("maps");
        let folder = room.0.path().to_string_lossy().into_owned();
        assert!(!maps.contains(&folder), "something of {folder} is mapped");
    }
}

#[test]
fn a_plugin_with_every_table_is_read_whole() {
    let bytes = rich_plugin();
    let examined = manifest::examine_content(Cursor::new(&bytes), bytes.len() as u64);
    assert_eq!(examined.faults, []);
    let anatomy = examined.anatomy.expect("a library");
    assert_eq!(anatomy.damaged, [""; 0]);
    assert_eq!(anatomy.needed, ["libc.so.6", "libm.so.6"]);
    assert_eq!(anatomy.runpath, ["$ORIGIN/lib", "/opt/lib"]);
    assert_eq!(anatomy.glibc_needed(), Some("2.2.5"));
    assert_eq!(anatomy.own_versions, ["RICH_1.0", "RICH_1.1"]);
    assert_eq!(anatomy.exports, ["another", "qt_plugin_root_v1"]);
    assert_eq!((anatomy.format, anatomy.bits), ("ELF", 64));
}

#[test]
fn bytes_flipped_at_random_end_nothing() {
    let whole = rich_plugin();
    let mut random = SmallRng::seed_from_u64(0x5eed);
    let room = Room::new();
    let mut refused = 0;
    for copy in 0..FLIPPED {
        let mut bytes = whole.clone();
        for _ in 0..random.random_range(1..=8) {
            let at = random.random_range(0..bytes.len());
            bytes[at] ^= random.random_range(1..=255_u8);
        }
        let examined = manifest::examine_content(Cursor::new(&bytes), bytes.len() as u64);
        let read = manifest::inspect(Cursor::new(&bytes), bytes.len() as u64);
        assert_eq!(read.is_err(), !examined.faults.is_empty(), "copy {copy}");
        if let Ok(manifest) = &read {
            assert_eq!(examined.manifest.as_ref(), Some(manifest), "copy {copy}");
        }
        refused += usize::from(read.is_err());
        if copy < FLIPPED_FILES {
            look_at(&room, &room.file("flipped.so", &bytes));
        }
    }
    nothing_is_mapped(&room);
    // Most flips hit something that matters; if none did, the test would prove nothing.
    assert!(refused > FLIPPED / 10 && refused < FLIPPED, "{refused}");
}

#[test]
fn a_file_cut_at_fifty_places_is_told_as_cut() {
    let whole = rich_plugin();
    let room = Room::new();
    for place in 0..50 {
        let length = 4 + place * (whole.len() - 5) / 49;
        let checkups = look_at(&room, &room.file("cut.so", &whole[..length]));
        assert_eq!(checkups[0].findings[0].code, TRUNCATED, "{length}");
    }
    nothing_is_mapped(&room);
}

#[test]
fn other_machines_files_are_told_with_their_manifest() {
    let room = Room::new();
    let manifest = section(FORMAT, 1, &manifest_json("abroad").to_string());
    let mut other = elf(".qtplug", &manifest);
    let machine: u16 = if cfg!(target_arch = "aarch64") { 62 } else { 183 };
    other[E_MACHINE..E_MACHINE + 2].copy_from_slice(&machine.to_le_bytes());
    let mut files = vec![("elf", other, "Linux")];
    if !cfg!(windows) {
        files.push(("dll", dll(".qtplug", &manifest), "Windows"));
    }
    if !cfg!(target_os = "macos") {
        files.push(("dylib", dylib("__qtplug", &manifest), "macOS"));
    }
    for (name, bytes, system) in files {
        let checkups = look_at(&room, &room.file(name, &bytes));
        let codes: Vec<_> = checkups[0].findings.iter().map(|f| f.code).collect();
        assert_eq!(codes, [FOREIGN], "{name}: {:?}", checkups[0].findings);
        assert!(
            checkups[0].findings[0].fault.contains(system),
            "{:?}",
            checkups[0].findings
        );
        let read = checkups[0].manifest.as_ref().expect("what it says of itself");
        assert_eq!(read.name, "abroad");
    }
    nothing_is_mapped(&room);
}

#[test]
fn a_32_bit_header_is_told() {
    let mut bytes = b"\x7fELF\x01\x01\x01".to_vec();
    bytes.resize(16, 0);
    // A shared object for i386, without segments or sections.
    bytes.extend([3_u16, 3].map(u16::to_le_bytes).concat());
    bytes.extend([1_u32, 0, 0, 0, 0].map(u32::to_le_bytes).concat());
    bytes.extend([52_u16, 32, 0, 40, 0, 0].map(u16::to_le_bytes).concat());
    let room = Room::new();
    let checkups = look_at(&room, &room.file("x86.so", &bytes));
    assert_eq!(
        checkups[0].findings[0].code, FOREIGN,
        "{:?}",
        checkups[0].findings
    );
    let anatomy = checkups[0].anatomy.as_ref().expect("a library");
    assert_eq!((anatomy.bits, anatomy.processor.as_str()), (32, "x86"));
}

#[cfg(unix)]
#[test]
fn what_is_no_file_at_all_is_told_without_waiting() {
    let room = Room::new();
    let place = |name: &str| room.path(name);
    std::fs::create_dir(place("folder.so")).expect("folder");
    let fifo = std::process::Command::new("mkfifo")
        .arg(place("fifo.so"))
        .status()
        .expect("mkfifo");
    assert!(fifo.success());
    let link = |to: &Path, name: &str| std::os::unix::fs::symlink(to, place(name)).expect("link");
    link(&place("loop.so"), "loop.so");
    link(&place("nowhere"), "dangling.so");
    // Longer than any name may be, so that it cannot be opened, not even by root.
    link(Path::new(&"x".repeat(300)), "unreadable.so");
    link(Path::new("/dev/zero"), "endless.so");
    let sparse = std::fs::File::create(place("sparse.so")).expect("file");
    sparse.set_len(2 << 30).expect("sparse");
    room.file("empty.so", b"");
    room.file("text.so", b"text, and more of it than sixteen bytes");
    for (name, code) in [
        ("folder.so", NOT_A_FILE),
        ("fifo.so", NOT_A_FILE),
        ("loop.so", UNREADABLE),
        ("dangling.so", UNREADABLE),
        ("unreadable.so", UNREADABLE),
        ("endless.so", NOT_A_FILE),
        ("sparse.so", TOO_LARGE),
        ("empty.so", NOT_A_LIBRARY),
        ("text.so", NOT_A_LIBRARY),
    ] {
        let checkups = look_at(&room, &place(name));
        let codes: Vec<_> = checkups[0].findings.iter().map(|f| f.code).collect();
        assert_eq!(codes, [code], "{name}");
        assert!(!checkups[0].findings[0].mend.is_empty(), "{name}");
    }
    nothing_is_mapped(&room);
}

#[test]
fn a_table_of_versions_that_is_absurdly_deep_ends() {
    let mut bytes = rich_plugin();
    // Every entry claims all that follow it as its own.
    let at = bytes
        .windows(4)
        .position(|window| window == [1, 0, 1, 0])
        .expect("the table of needed versions");
    bytes[at + 2..at + 4].copy_from_slice(&u16::MAX.to_le_bytes());
    let examined = manifest::examine_content(Cursor::new(&bytes), bytes.len() as u64);
    assert!(
        examined
            .anatomy
            .expect("a library")
            .damaged
            .contains(&"needed versions")
    );
}

/// What the fuzzer starts from and has found is looked at by every run of the tests.
#[test]
fn the_two_looks_agree_on_the_fuzzers_corpus() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fuzz/corpus/manifest");
    let mut seen = 0;
    for entry in std::fs::read_dir(folder).expect("corpus") {
        let path = entry.expect("entry").path();
        let bytes = std::fs::read(&path).expect("bytes");
        let examined = manifest::examine_content(Cursor::new(&bytes), bytes.len() as u64);
        let read = manifest::inspect(Cursor::new(&bytes), bytes.len() as u64);
        assert_eq!(read.is_err(), !examined.faults.is_empty(), "{}", path.display());
        seen += 1;
    }
    assert!(seen >= 8, "{seen}");
}
