//! The doctor finds every fault at once, as the system's loader would come to it, and says the mend.

use super::{
    craft::{Wants, dll_that_needs, library},
    *,
};
use crate::{
    plugin::libraries::{self, Gap, Loader},
    system::LibraryPlaces,
};

fn plugin_section(name: &str) -> Vec<u8> {
    section(FORMAT, 1, &manifest_json(name).to_string())
}

/// What a file's own needs give with a system whose only folder is `system`.
fn gaps(room: &Room, plugin: &Path) -> Vec<Gap> {
    let loader = Loader::new(LibraryPlaces {
        environment: vec![room.path("env")],
        cache: Vec::new(),
        system: vec![room.path("system")],
    });
    let anatomy = manifest::anatomy_of(plugin).expect("a library");
    loader.gaps(plugin, &anatomy)
}

fn needing(name: &str, wants: &Wants<'_>) -> Vec<u8> {
    library(Some(&plugin_section(name)), wants)
}

#[test]
fn a_missing_library_is_named_with_the_places_and_with_who_needs_it() {
    let room = Room::new();
    let middle = Wants {
        needed: &["libdeep.so.1"],
        ..Wants::default()
    };
    let middle = room.file("system/libmiddle.so.2", &library(None, &middle));
    let wants = Wants {
        needed: &["libmiddle.so.2", "libgone.so.3"],
        runpath: Some("/opt/broker"),
        ..Wants::default()
    };
    let plugin = room.file("p.so", &needing("p", &wants));
    let found = gaps(&room, &plugin);
    assert_eq!(
        found,
        [
            Gap::Missing {
                library: "libgone.so.3".to_owned(),
                wanted_by: plugin,
                searched: vec![
                    room.path("env"),
                    PathBuf::from("/opt/broker"),
                    room.path("system")
                ],
                misfit: None,
            },
            Gap::Missing {
                library: "libdeep.so.1".to_owned(),
                wanted_by: middle,
                searched: vec![room.path("env"), room.path("system")],
                misfit: None,
            },
        ]
    );
}

#[test]
fn the_order_of_the_loader_is_kept_and_other_processors_files_are_passed_over() {
    let room = Room::new();
    let old = library(
        None,
        &Wants {
            own: &["X_1.0"],
            ..Wants::default()
        },
    );
    let new = library(
        None,
        &Wants {
            own: &["X_1.0", "X_2.0"],
            ..Wants::default()
        },
    );
    let mut foreign = new.clone();
    foreign[E_MACHINE..E_MACHINE + 2].copy_from_slice(&22_u16.to_le_bytes());
    let folder = room.path("run");
    let wants = Wants {
        needed: &["libx.so"],
        runpath: folder.to_str(),
        versions: &[("libx.so", "X_2.0")],
        ..Wants::default()
    };
    let plugin = room.file("p.so", &needing("p", &wants));
    // LD_LIBRARY_PATH comes before a RUNPATH: the old one hides the new one.
    room.file("env/libx.so", &old);
    room.file("run/libx.so", &new);
    let [
        Gap::TooOld {
            needed,
            newest,
            found,
            ..
        },
    ] = &gaps(&room, &plugin)[..]
    else {
        panic!("{:?}", gaps(&room, &plugin));
    };
    assert_eq!(
        (needed.as_str(), newest.as_deref(), found),
        ("X_2.0", Some("X_1.0"), &room.path("env/libx.so"))
    );
    // For another processor it is as good as absent.
    room.file("env/libx.so", &foreign);
    assert_eq!(gaps(&room, &plugin), []);
}

#[test]
fn an_rpath_is_inherited_and_a_runpath_is_not() {
    let room = Room::new();
    let folder = room.path("own");
    room.file("own/libdeep.so", &library(None, &Wants::default()));
    let middle = Wants {
        needed: &["libdeep.so"],
        ..Wants::default()
    };
    room.file("own/libmiddle.so", &library(None, &middle));
    let with = |rpath: Option<&str>, runpath: Option<&str>| {
        let wants = Wants {
            needed: &["libmiddle.so"],
            rpath,
            runpath,
            ..Wants::default()
        };
        gaps(&room, &room.file("p.so", &needing("p", &wants))).len()
    };
    assert_eq!(with(folder.to_str(), None), 0);
    assert_eq!(with(None, folder.to_str()), 1);
}

#[test]
fn missing_dlls_are_named_once_in_windows_order_and_with_a_file_that_does_not_fit() {
    let room = Room::new();
    let dll = |needed: &[&str]| dll_that_needs(".qtplug", &plugin_section("p"), needed);
    // Its own folder comes first, whatever PATH has.
    let beside = room.file("d/beside.dll", &dll(&["deep.dll"]));
    room.file("env/beside.dll", &dll(&[]));
    room.file("env/kernel32.dll", &dll(&["never-asked.dll"]));
    room.file("system/KERNEL32.dll", &dll(&[]));
    let misfit = room.file("env/Gone.dll", b"MZ, and nothing more");
    let plugin = room.file(
        "d/p.dll",
        &dll(&[
            "KERNEL32.dll",
            "beside.dll",
            "Gone.dll",
            "gone.dll",
            "api-ms-win-crt-heap-l1-1-0.dll",
        ]),
    );
    let found = gaps(&room, &plugin);
    let places = |names: [&str; 3]| names.map(|name| room.path(name)).to_vec();
    let missing = |library: &str, wanted_by: &Path, misfit: Option<&Path>| Gap::Missing {
        library: library.to_owned(),
        wanted_by: wanted_by.to_path_buf(),
        searched: places(["d", "system", "env"]),
        misfit: misfit.map(Path::to_path_buf),
    };
    let expected = [
        missing("Gone.dll", &plugin, Some(&misfit)),
        missing("deep.dll", &beside, None),
    ];
    assert_eq!(found, expected);
}

fn wanting(needed: &'static [&'static str], runpath: &'static str) -> Wants<'static> {
    Wants {
        needed,
        runpath: Some(runpath),
        ..Wants::default()
    }
}

#[test]
fn a_library_outside_of_the_plugins_folder_is_told_as_left_behind() {
    let room = Room::new();
    let outside = room.file("lib/libsdk.so", &library(None, &Wants::default()));
    let plugin = room.file(
        "d/p.so",
        &needing("p", &wanting(&["libsdk.so"], "$ORIGIN/../lib")),
    );
    let found = gaps(&room, &plugin);
    let [Gap::LeftBehind { library, found }] = &found[..] else {
        panic!("{found:?}");
    };
    assert_eq!(library, "libsdk.so");
    assert_eq!(
        found.canonicalize().expect("there"),
        outside.canonicalize().expect("there")
    );
    assert_eq!(libraries::companions(&plugin), []);
}

/// A plugin that needs a library in a folder below its own, which needs another one beside itself.
fn with_companions(room: &Room) -> PathBuf {
    room.file(
        "d/lib/libsdk.so",
        &library(None, &wanting(&["libcrypt.so"], "$ORIGIN")),
    );
    room.file("d/lib/libcrypt.so", &library(None, &Wants::default()));
    // Nobody brings it in.
    room.file("d/lib/libother.so", &library(None, &Wants::default()));
    room.file("d/p.so", &needing("p", &wanting(&["libsdk.so"], "$ORIGIN/lib")))
}

#[test]
fn what_a_plugin_brings_in_from_its_own_folder_is_copied_and_counts() {
    let room = Room::new();
    let plugin = with_companions(&room);
    let relative: Vec<_> = libraries::companions(&plugin)
        .into_iter()
        .map(|c| c.relative)
        .collect();
    assert_eq!(relative, ["lib/libcrypt.so", "lib/libsdk.so"].map(PathBuf::from));
    assert_eq!(gaps(&room, &plugin), []);
    let data = room.path("data");
    let stored = store::keep(&plugin, &data).expect("kept");
    assert_eq!(stored.sha256, store::hash(&plugin).expect("hash"));
    assert_ne!(stored.sha256, store::hash_file(&plugin).expect("hash"));
    let folder = stored.path.parent().expect("a folder");
    for name in ["lib/libsdk.so", "lib/libcrypt.so"] {
        assert!(folder.join(name).is_file(), "{name}");
    }
    assert!(!folder.join("lib/libother.so").exists());
    // The same again is the same copy; a damaged one is mended.
    assert_eq!(store::keep(&plugin, &data).expect("kept").path, stored.path);
    std::fs::write(folder.join("lib/libcrypt.so"), "damaged").expect("written");
    assert!(!store::is_intact(&stored.path, &stored.sha256));
    assert_eq!(store::keep(&plugin, &data).expect("mended").path, stored.path);
    assert!(store::is_intact(&stored.path, &stored.sha256));
}

#[test]
fn a_changed_library_beside_a_pinned_plugin_is_refused() {
    let room = Room::new();
    let plugin = with_companions(&room);
    let lock = TrustPolicy::new(None, &room.path("data"), &[], false, None);
    let plan = room.plan(&[&plugin], &[]).trusting(lock);
    pin(&plan, "p", PinAs::default(), 0, |_| None).expect("pinned");
    assert_eq!(list(&plan, false)[0].refusal, None);
    let other = library(None, &wanting(&["libc.so.6"], "/nowhere"));
    room.file("d/lib/libcrypt.so", &other);
    let refusal = list(&plan, false)[0].refusal.clone().expect("changed");
    assert_eq!(refusal.code(), PIN_CHANGED);
}

#[test]
fn two_libraries_that_need_each_other_end() {
    let room = Room::new();
    for (own, other) in [("system/liba.so", "libb.so"), ("system/libb.so", "liba.so")] {
        let wants = Wants {
            needed: &[other],
            ..Wants::default()
        };
        room.file(own, &library(None, &wants));
    }
    let wants = Wants {
        needed: &["liba.so"],
        ..Wants::default()
    };
    assert_eq!(gaps(&room, &room.file("p.so", &needing("p", &wants))), []);
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[test]
fn a_glibc_that_is_too_old_is_told_with_both_numbers() {
    let room = Room::new();
    let wants = Wants {
        needed: &["libc.so.6"],
        versions: &[("libc.so.6", "GLIBC_2.999")],
        ..Wants::default()
    };
    let plugin = room.file("p.so", &needing("p", &wants));
    let checkups = check_up(&room.plan(&[&plugin], &[]), Some("p"), &room.path("data")).expect("found");
    let [finding] = &checkups[0].findings[..] else {
        panic!("{:?}", checkups[0].findings);
    };
    assert_eq!(finding.code, LIBRARY_TOO_OLD);
    assert!(
        finding.fault.contains("GLIBC_2.999") && finding.fault.contains("has is GLIBC_2."),
        "{finding:?}"
    );
}

#[cfg(unix)]
#[test]
fn every_fault_is_told_at_once_with_its_mend() {
    use std::os::unix::fs::PermissionsExt;
    let room = Room::new();
    let mut text = manifest_json("bad");
    text["panic"] = json!("abort");
    text["abi"] = json!(7);
    let wants = Wants {
        needed: &["libnowhere-at-all.so.9"],
        ..Wants::default()
    };
    let bytes = library(Some(&section(FORMAT, 7, &text.to_string())), &wants);
    let plugin = room.file("d/bad.so", &bytes);
    room.file("d/other.so", &plugin_bytes(&manifest_json("bad")));
    std::fs::set_permissions(&plugin, std::fs::Permissions::from_mode(0o666)).expect("mode");
    let lock = room.file(
        "plugins.lock",
        b"[[plugin]]\nname = \"bad\"\nversion = \"1\"\nsha256 = \"00\"\npinned_at = \"\"\n",
    );
    let plan =
        room.plan(&[], &["d"])
            .trusting(TrustPolicy::new(Some(&lock), &room.path("data"), &[], true, None));
    let checkups = check_up(&plan, Some("bad"), &room.path("data")).expect("found");
    let bad = checkups
        .iter()
        .find(|c| c.path == plugin)
        .expect("by its manifest's name");
    let codes: Vec<_> = bad.findings.iter().map(|f| f.code).collect();
    assert_eq!(
        codes,
        [
            ABI_TOO_NEW,
            PANIC_ABORT,
            MISSING_LIBRARY,
            WRITABLE,
            PIN_CHANGED,
            UNSIGNED,
            AMBIGUOUS
        ],
        "{:#?}",
        bad.findings
    );
    for finding in &bad.findings {
        assert!(
            !finding.mend.is_empty() && !finding.fault.is_empty(),
            "{finding:?}"
        );
    }
}

#[test]
fn a_damaged_lock_file_is_one_fault_and_not_one_of_every_plugin() {
    let room = Room::new();
    for name in ["a", "b"] {
        room.file(&format!("d/{}", so(name)), &plugin_bytes(&manifest_json(name)));
    }
    let lock = room.file("plugins.lock", b"version = 1\n[[plugin]\n");
    let policy = TrustPolicy::new(Some(&lock), &room.path("data"), &[], false, None);
    let plan = room.plan(&[], &["d"]).trusting(policy);
    let checkups = check_up(&plan, None, &room.path("data")).expect("found");
    let about_lock: Vec<_> = checkups
        .iter()
        .flat_map(|c| &c.findings)
        .filter(|f| f.code == LOCK_FILE)
        .collect();
    let [only] = about_lock[..] else {
        panic!("{checkups:#?}");
    };
    assert!(only.fault.contains("line 2"), "{only:?}");
    // And yet nothing may be loaded under it.
    assert!(list(&plan, false).iter().all(|file| {
        file.refusal
            .as_ref()
            .is_some_and(|refusal| refusal.code() == LOCK_FILE)
    }));
}

#[test]
fn a_file_that_no_search_finds_clashes_with_none() {
    let room = Room::new();
    room.file(&format!("d/{}", so("a")), &plugin_bytes(&manifest_json("alpha")));
    let mut other = manifest_json("alpha");
    other["version"] = json!("2.0.0");
    let elsewhere = room.file("elsewhere.so", &plugin_bytes(&other));
    let plan = room.plan(&[], &["d"]);
    let checkups = check_up(&plan, elsewhere.to_str(), &room.path("data")).expect("a path");
    assert_eq!(checkups[0].findings, []);
}
