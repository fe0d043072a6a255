//! What users do with plugin files, good and bad, with the real program and real plugins.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use qt_test_support::{Backend, Desk, plugin, qt_host, wait_until};
use serde_json::{Value, json};

struct Room(tempfile::TempDir);

impl Room {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn file(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, content).unwrap();
        path
    }

    /// `qt-host plugins …` with a data folder of its own.
    fn plugins(&self, arguments: &[&str]) -> Output {
        Command::new(qt_host())
            .arg("plugins")
            .args(arguments)
            .arg("--data-dir")
            .arg(self.path("data"))
            .env("HOME", self.0.path())
            .env_remove("QT_PLUGIN_PATH")
            .output()
            .unwrap()
    }

    fn json(&self, arguments: &[&str], code: i32) -> Value {
        let out = self.plugins(&[arguments, &["--json"]].concat());
        assert_eq!(out.status.code(), Some(code), "{arguments:?}: {}", said(&out));
        serde_json::from_slice(&out.stdout).unwrap()
    }
}

fn said(out: &Output) -> String {
    String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr)
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A version of the real plugin that differs from it: bytes behind the end are nobody's.
fn another_build() -> Vec<u8> {
    [
        std::fs::read(plugin("simulated")).unwrap(),
        b"another build".to_vec(),
    ]
    .concat()
}

#[test]
fn whatever_lies_in_a_folder_is_listed_and_diagnosed() {
    let room = Room::new();
    let whole = std::fs::read(plugin("simulated")).unwrap();
    for place in 0..50 {
        let length = 5 + place * (whole.len() - 100) / 49;
        room.file(&format!("d/cut{place:02}.so"), &whole[..length]);
    }
    let mut foreign = whole.clone();
    // s390x, in the header of ELF.
    foreign[18..20].copy_from_slice(&22_u16.to_le_bytes());
    room.file("d/foreign.so", &foreign);
    room.file("d/empty.so", b"");
    room.file("d/text.so", b"text, and more of it than sixteen bytes");
    std::fs::create_dir(room.path("d/folder.so")).unwrap();
    let fifo = Command::new("mkfifo")
        .arg(room.path("d/fifo.so"))
        .status()
        .unwrap();
    assert!(fifo.success());
    std::os::unix::fs::symlink(room.path("d/loop.so"), room.path("d/loop.so")).unwrap();
    let sparse = std::fs::File::create(room.path("d/sparse.so")).unwrap();
    sparse.set_len(2 << 30).unwrap();
    room.file("d/good.so", &whole);

    let folder = room.path("d");
    let rows = room.json(&["list", "--plugin-dir", text(&folder)], 0);
    let own: Vec<&Value> = rows
        .as_array()
        .unwrap()
        .iter()
        .filter(|row| row["path"].as_str().unwrap().starts_with(text(&folder)))
        .collect();
    assert_eq!(own.len(), 58);
    assert_eq!(own.iter().filter(|row| row["state"] == "usable").count(), 1);
    let rows = room.json(&["doctor", "--plugin-dir", text(&folder)], 1);
    for (name, code) in [
        ("cut00.so", "QT-P005"),
        ("cut49.so", "QT-P005"),
        ("foreign.so", "QT-P006"),
        ("empty.so", "QT-P004"),
        ("text.so", "QT-P004"),
        ("folder.so", "QT-P003"),
        ("fifo.so", "QT-P003"),
        ("loop.so", "QT-P002"),
        ("sparse.so", "QT-P007"),
    ] {
        let row = rows
            .as_array()
            .unwrap()
            .iter()
            .find(|row| row["path"] == text(&folder.join(name)))
            .unwrap();
        assert_eq!(row["findings"][0]["code"], code, "{row}");
        assert!(!row["findings"][0]["mend"].as_str().unwrap().is_empty(), "{row}");
        let out = room.plugins(&["inspect", text(&folder.join(name))]);
        assert!(said(&out).contains(code), "{name}: {}", said(&out));
    }
}

#[test]
fn a_plugin_is_inspected_whole() {
    let room = Room::new();
    let all = room.json(&["inspect", "Simulated"], 0);
    assert_eq!(all["manifest"]["name"], "simulated");
    assert_eq!(all["manifest"]["panic"], "unwind");
    assert_eq!(all["sha256"].as_str().unwrap().len(), 64);
    let names = |key: &str| all[key].as_array().unwrap().clone();
    assert!(names("exports").contains(&json!("qt_plugin_root_v1")), "{all}");
    assert!(names("needed").contains(&json!("libc.so.6")), "{all}");
    assert!(
        names("options")
            .iter()
            .any(|option| option["key"] == "positions[].symbol")
    );
    assert_eq!(all["findings"], json!([]));
    let shown = said(&room.plugins(&["inspect", "simulated"]));
    for part in ["needs glibc", "qt_plugin_root_v1", "OPTION", "\"immediate\""] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    assert_eq!(room.plugins(&["doctor", "simulated"]).status.code(), Some(0));
    assert_eq!(room.plugins(&["doctor", "nowhere"]).status.code(), Some(3));
}

#[test]
fn every_code_is_explained_and_an_unknown_one_is_usage() {
    let room = Room::new();
    let all = room.json(&["--explain", "QT-P021"], 0);
    assert_eq!(all["code"], "QT-P021");
    assert!(!all["innocent"].as_array().unwrap().is_empty());
    assert_eq!(room.plugins(&["--explain", "QT-P999"]).status.code(), Some(2));
    assert_eq!(room.plugins(&[]).status.code(), Some(2));
}

#[test]
fn a_plugin_is_installed_upgraded_and_rolled_back_and_the_host_trades_with_it() {
    let backend = Backend::start();
    let desk = Desk::new(&backend, &json!({}));
    let first = plugin("simulated");
    let run = |arguments: &[&str]| {
        let out = desk.run(&[&["plugins"], arguments].concat());
        assert_eq!(out.status.code(), Some(0), "{arguments:?}: {}", said(&out));
        said(&out)
    };
    run(&["install", text(&first)]);
    let second = desk.path("new.so");
    std::fs::write(&second, another_build()).unwrap();
    let told = run(&["upgrade", text(&second)]);
    // The same name lies beside the program with another content: what somebody installed comes before it.
    assert!(!told.contains("Another plugin of that name"), "{told}");
    let out = desk.run(&["--once"]);
    assert_eq!(out.status.code(), Some(0), "{}", said(&out));
    let from = format!("from {}", desk.path("data").join("plugins").display());
    assert!(said(&out).contains(&from), "{}", said(&out));
    run(&["rollback", "simulated"]);
    let told = run(&["history", "simulated"]);
    assert!(told.contains("current") && told.contains("kept"), "{told}");

    let host = desk.host("");
    wait_until("the host trades", || desk.log().contains("quantTrader started"));
    let told = run(&["upgrade", text(&second), "--next-start"]);
    assert!(told.contains("takes effect at its next start"), "{told}");
    run(&["rollback", "simulated", "--next-start"]);
    let told = run(&["upgrade", text(&second)]);
    assert!(told.contains("was exchanged for"), "{told}");
    run(&["rollback", "simulated"]);
    assert_eq!(host.stop(), Some(0));
    run(&["remove", "simulated"]);
}

#[test]
fn a_host_trades_only_with_what_is_pinned() {
    let backend = Backend::start();
    let desk = Desk::new(&backend, &json!({}));
    let own = desk.path("own.so");
    std::fs::copy(plugin("simulated"), &own).unwrap();
    let configure = |more: Value| {
        let all = json!({ "plugins": { "paths": [own], "lock": desk.path("my.lock") } });
        let mut all = all;
        for (key, value) in more.as_object().unwrap() {
            all["plugins"][key] = value.clone();
        }
        desk.configure(&backend, &all);
    };
    configure(json!({}));
    let refused = |code: &str| {
        let out = desk.run(&["--once"]);
        assert_eq!(out.status.code(), Some(3), "{}", said(&out));
        assert!(said(&out).contains(code), "{}", said(&out));
        said(&out)
    };
    let run = |arguments: &[&str]| {
        let out = desk.run(arguments);
        assert_eq!(out.status.code(), Some(0), "{arguments:?}: {}", said(&out));
    };
    refused("QT-P023");
    run(&["plugins", "trust", text(&own)]);
    run(&["--once"]);

    std::fs::write(&own, another_build()).unwrap();
    let told = refused("QT-P021");
    for part in ["expected sha256", "actual sha256", "my.lock", "--explain QT-P021"] {
        assert!(told.contains(part), "{part}: {told}");
    }
    let out = desk.run(&["plugins", "doctor", text(&own)]);
    assert_eq!(out.status.code(), Some(1));
    assert!(said(&out).contains("QT-P021"), "{}", said(&out));
    run(&["plugins", "trust", text(&own)]);
    run(&["--once"]);
    run(&["plugins", "untrust", "simulated"]);
    refused("QT-P020");

    let signer = minisign::KeyPair::generate_unencrypted_keypair().unwrap();
    run(&["plugins", "trust", text(&own)]);
    configure(json!({ "trusted_keys": [signer.pk.to_base64()], "require_signature": true }));
    refused("QT-P024");
    let bytes = std::fs::read(&own).unwrap();
    let signature = minisign::sign(Some(&signer.pk), &signer.sk, bytes.as_slice(), None, None).unwrap();
    std::fs::write(desk.path("own.so.minisig"), signature.to_string()).unwrap();
    run(&["--once"]);
    configure(json!({ "trusted_keys": ["RWnonsense"] }));
    let out = desk.run(&["--once"]);
    assert_eq!(out.status.code(), Some(2));
    assert!(said(&out).contains("plugins.trusted_keys[0]"), "{}", said(&out));
}

#[test]
fn a_kill_in_the_middle_of_an_upgrade_leaves_one_whole_version() {
    let room = Room::new();
    let new = room.file("new.so", &another_build());
    let installed = || {
        let history = room.json(&["history", "simulated"], 0);
        let current: Vec<Value> = history
            .as_array()
            .unwrap()
            .iter()
            .filter(|kept| kept["current"] == true)
            .map(|kept| kept["sha256"].clone())
            .collect();
        assert_eq!(current.len(), 1, "{history}");
        current[0].clone()
    };
    room.json(&["install", text(&plugin("simulated"))], 0);
    let before = installed();
    for point in ["plugin-noted", "plugin-written"] {
        let killed = Command::new(qt_host())
            .args(["plugins", "upgrade", text(&new), "--data-dir"])
            .arg(room.path("data"))
            .env("FAILPOINTS", format!("{point}=return"))
            .output()
            .unwrap();
        assert_eq!(killed.status.code(), None, "{point}: {}", said(&killed));
        assert_eq!(installed(), before, "{point}");
    }
    let done = room.json(&["upgrade", text(&new)], 0);
    assert_eq!(installed(), done["sha256"]);
    room.json(&["rollback", "simulated"], 0);
    assert_eq!(installed(), before);
}

/// For reading: what the doctor says of six files, none of which a host could load.
#[test]
fn a_transcript_of_the_doctor_on_six_broken_files() {
    let room = Room::new();
    let whole = std::fs::read(plugin("simulated")).unwrap();
    let mut foreign = whole.clone();
    foreign[18..20].copy_from_slice(&22_u16.to_le_bytes());
    // One of the two places that name the ABI is changed, as by a tool that edits files.
    let mut two_abis = whole.clone();
    let abi = b"\"abi\":1";
    let mut found = 0;
    for at in 0..two_abis.len() - abi.len() {
        if two_abis[at..].starts_with(abi) {
            two_abis[at + abi.len() - 1] = b'2';
            found += 1;
        }
    }
    assert!(found >= 1, "the manifest says which ABI it is of");
    let cases: [(&str, &[u8], &str); 5] = [
        ("empty.so", b"", "QT-P004"),
        ("text.so", b"this is a text and no library", "QT-P004"),
        ("truncated.so", &whole[..whole.len() / 2], "QT-P005"),
        ("other-machine.so", &foreign, "QT-P006"),
        ("two-abis.so", &two_abis, "QT-P009"),
    ];
    for (name, content, _) in cases {
        room.file(&format!("d/{name}"), content);
    }
    std::fs::create_dir(room.path("d/folder.so")).unwrap();
    let folder = text(&room.path("")).to_owned();
    for (name, code) in cases
        .map(|(name, _, code)| (name, code))
        .into_iter()
        .chain([("folder.so", "QT-P003")])
    {
        let path = room.path(&format!("d/{name}"));
        let out = room.plugins(&["doctor", text(&path)]);
        let said = said(&out).replace(&folder, "");
        println!("$ qt-host plugins doctor d/{name}\n{said}");
        assert_eq!(out.status.code(), Some(1), "{said}");
        assert!(said.contains(code) && said.contains("mend: "), "{code}: {said}");
    }
}
