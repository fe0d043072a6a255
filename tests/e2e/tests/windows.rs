//! What only Windows does: its folders, its code pages, files that are locked while they are open.
#![cfg(windows)]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::os::windows::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use qt_test_support::{Backend, Desk, judge, plugin, qt_host, wait_until};
use serde_json::{Value, json};

const LANES: [&str; 2] = ["in-process", "worker"];

fn signal(id: &str) -> Value {
    json!({ "order_id": id, "symbol": "000858.SZ", "action": "BUY", "size": 100, "price": 43.5, "status": "pending",
            "is_executable": true, "mode": "live" })
}

fn posts(backend: &Backend, id: &str) -> usize {
    backend.state()["signals"][id]["posts"]
        .as_array()
        .map_or(0, Vec::len)
}

fn said(out: &Output) -> String {
    String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr)
}

fn log_of(data_dir: &Path) -> String {
    std::fs::read_to_string(data_dir.join("logs").join("quantTrader.log")).unwrap_or_default()
}

/// Who has no console at hand ends a host that Task Scheduler started.
#[test]
fn stop_ends_a_host_that_nobody_can_press_a_key_for() {
    let backend = Backend::start();
    let desk = Desk::new(&backend, &json!({}));
    let mut host = desk.trading();
    let told = desk.json(&["stop"]);
    assert_eq!((&told["done"], &told["ran"]), (&json!(true), &json!(true)));
    assert_eq!(host.ends(), Some(0));
    assert_eq!(desk.json(&["stop"])["ran"], false, "there is none any more");
}

#[test]
fn logs_lie_in_local_app_data_where_the_configuration_names_no_folder() {
    let backend = Backend::start();
    let desk = Desk::new(&backend, &json!({}));
    let mut config: Value = serde_json::from_str(&std::fs::read_to_string(desk.config()).unwrap()).unwrap();
    config.as_object_mut().unwrap().remove("data_dir");
    std::fs::write(desk.config(), config.to_string()).unwrap();
    let local = desk.path("AppData 本地");
    let out = desk
        .command()
        .arg("--once")
        .env("LOCALAPPDATA", &local)
        .output()
        .unwrap();
    assert_eq!(out.status.code(), Some(0), "{}", said(&out));
    let log = log_of(&local.join("quantTrader"));
    assert!(log.contains("quantTrader stopped"), "{log}");
    assert!(
        said(&out).contains(r"quantTrader\logs\quantTrader.log"),
        "{}",
        said(&out)
    );
}

/// The code page that programs without Unicode use on this machine.
fn code_page() -> String {
    let out = Command::new("reg")
        .args([
            "query",
            r"HKLM\System\CurrentControlSet\Control\Nls\CodePage",
            "/v",
            "ACP",
        ])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    text.split_whitespace().last().unwrap_or_default().to_owned()
}

#[test]
fn paths_with_chinese_characters_and_spaces_trade_in_both_lanes() {
    assert_ne!(
        code_page(),
        "65001",
        "this machine would hide what is tested here"
    );
    for lane in LANES {
        let backend = Backend::start();
        let desk = Desk::new(&backend, &json!({}));
        let folder = desk.path("我的 交易");
        std::fs::create_dir_all(folder.join("插 件")).unwrap();
        let program = folder.join("量化 主机.exe");
        std::fs::copy(qt_host(), &program).unwrap();
        let file = folder.join("插 件").join("模拟 券商.dll");
        std::fs::copy(plugin("simulated"), &file).unwrap();
        desk.configure(
            &backend,
            &json!({ "plugins": [file], "data_dir": folder.join("数据"),
                     "plugin_options": { "simulated": { "lane": lane } },
                     "simulated": { "ledger": folder.join("账本.jsonl") } }),
        );
        let config = folder.join("配 置.json");
        std::fs::copy(desk.config(), &config).unwrap();
        backend.add(&signal("S1"));
        let out = Command::new(&program)
            .args(["--once", "--config"])
            .arg(&config)
            .output()
            .unwrap();
        assert_eq!(out.status.code(), Some(0), "{lane}: {}", said(&out));
        assert_eq!(posts(&backend, "S1"), 3, "{lane}: {}", said(&out));
        let ledger = std::fs::read_to_string(folder.join("账本.jsonl")).unwrap();
        assert!(ledger.contains("accepted"), "{lane}: {ledger}");
        assert!(log_of(&folder.join("数据")).contains("模拟 券商.dll"), "{lane}");
    }
}

/// What goes into a pipe or a file is UTF-8, and so is what comes from a file.
#[test]
fn chinese_text_is_read_and_written_as_utf_8_whatever_the_code_page_is() {
    assert_ne!(
        code_page(),
        "65001",
        "this machine would hide what is tested here"
    );
    let backend = Backend::start();
    let desk = Desk::new(&backend, &json!({}));
    let file = desk.path("持仓.json");
    let book = json!({ "positions": [{ "symbol": "000858.SZ", "name": "五粮液", "quantity": 100, "sellable": 100,
                                       "avg_cost": "40", "last_price": "43.2" }] });
    std::fs::write(&file, book.to_string()).unwrap();
    let piped = desk.done(&["positions", "--from", file.to_str().unwrap()]);
    assert!(piped.contains("五粮液"), "{piped}");
    let out = desk.path("导出.csv");
    desk.done(&["export", out.to_str().unwrap(), "--from", file.to_str().unwrap()]);
    let positions = std::fs::read_to_string(out.join("positions.csv")).unwrap();
    assert!(positions.contains("五粮液"), "{positions}");
}

/// As Excel does it: nobody else may write, or even read.
fn held(path: &Path) -> std::fs::File {
    std::fs::File::options()
        .read(true)
        .share_mode(0)
        .open(path)
        .unwrap()
}

#[test]
fn a_file_that_another_program_has_open_is_named_with_what_to_do() {
    let backend = Backend::start();
    let desk = Desk::new(&backend, &json!({}));
    let book = desk.path("book.json");
    let export = || desk.run(&["export", book.to_str().unwrap(), "--force"]);
    assert!(export().status.success());
    let before = std::fs::read(&book).unwrap();
    let excel = held(&book);
    let out = export();
    assert_eq!(out.status.code(), Some(1), "{}", said(&out));
    assert!(
        said(&out).contains("book.json") && said(&out).contains("another program may have it open"),
        "{}",
        said(&out)
    );
    drop(excel);
    assert_eq!(std::fs::read(&book).unwrap(), before, "it is as it was");
    assert!(export().status.success());
    let left = std::fs::read_dir(desk.path("")).unwrap();
    let left: Vec<_> = left.map(|entry| entry.unwrap().file_name()).collect();
    assert!(
        left.iter()
            .all(|name| !name.to_string_lossy().starts_with(".new-")),
        "{left:?}"
    );
}

/// A backup, an indexer or a scanner reads the host's files while it trades.
#[test]
fn files_that_others_read_meanwhile_keep_nothing_from_trading() {
    let backend = Backend::start();
    let desk = Desk::new(&backend, &json!({}));
    let host = desk.trading();
    let data = desk.path("data");
    let readers: Vec<_> = [
        "journal.db",
        "journal.db-wal",
        "logs/quantTrader.log",
        "host.holder",
    ]
    .iter()
    .map(|name| std::fs::File::open(data.join(name)).unwrap())
    .collect();
    desk.done(&["halt", "--reason", "while others read"]);
    desk.done(&["resume"]);
    backend.add(&signal("S1"));
    wait_until("S1 is reported", || posts(&backend, "S1") == 3);
    assert_eq!(host.stop(), Some(0));
    drop(readers);
    assert_eq!(desk.json(&["journal", "verify"])["whole"], true);
}

/// The private copy that a host has loaded.
fn loaded_copy(desk: &Desk) -> PathBuf {
    let store = std::fs::read_dir(desk.path("data").join("plugin-store")).unwrap();
    let copies: Vec<PathBuf> = store
        .map(|folder| {
            folder
                .unwrap()
                .path()
                .join(plugin("simulated").file_name().unwrap())
        })
        .filter(|copy| copy.exists() && std::fs::OpenOptions::new().write(true).open(copy).is_err())
        .collect();
    assert_eq!(
        copies.len(),
        1,
        "a loaded library, and no other, cannot be written to: {copies:?}"
    );
    copies[0].clone()
}

/// A new build over the old one, while the old one trades: nothing changes until the restart.
#[test]
fn a_plugin_is_replaced_while_it_is_loaded_in_both_lanes() {
    for lane in LANES {
        let backend = Backend::start();
        let desk = Desk::new(&backend, &json!({}));
        let file = desk.path("simulated.dll");
        let first = std::fs::read(plugin("simulated")).unwrap();
        std::fs::write(&file, &first).unwrap();
        desk.configure(
            &backend,
            &json!({ "plugins": [file], "plugin_options": { "simulated": { "lane": lane } } }),
        );
        let host = desk.trading();
        let old = loaded_copy(&desk);
        std::fs::write(&file, [&first[..], b"a newer build"].concat()).unwrap();
        backend.add(&signal("A"));
        wait_until("A is reported", || posts(&backend, "A") == 3);
        assert_eq!(loaded_copy(&desk), old, "{lane}");
        assert_eq!(host.stop(), Some(0), "{lane}: {}", desk.log());
        let host = desk.trading();
        assert_ne!(loaded_copy(&desk), old, "{lane}");
        backend.add(&signal("B"));
        wait_until("B is reported", || posts(&backend, "B") == 3);
        assert_eq!(host.stop(), Some(0), "{lane}: {}", desk.log());
        let verdict = judge(&desk.ledger(), &backend.state());
        assert!(verdict.faults.is_empty(), "{lane}: {verdict:?}");
    }
}

#[test]
fn both_plugins_beside_the_program_are_found_and_without_fault() {
    let folder = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| {
        let out = Command::new(qt_host())
            .args(arguments)
            .arg("--data-dir")
            .arg(folder.path())
            .output()
            .unwrap();
        assert_eq!(out.status.code(), Some(0), "{}", said(&out));
        serde_json::from_slice::<Value>(&out.stdout).unwrap()
    };
    let listed = run(&["plugins", "list", "--json"]);
    let names: Vec<&str> = listed
        .as_array()
        .unwrap()
        .iter()
        .filter(|row| row["state"] == "usable")
        .filter_map(|row| row["name"].as_str())
        .collect();
    for name in ["simulated", "miniQMT"] {
        assert!(names.contains(&name), "{names:?}");
        run(&["plugins", "doctor", name, "--json"]);
    }
}

/// Runs a command about plugins with `--json`; its exit code and what it printed.
fn plugins(data_dir: &Path, arguments: &[&str]) -> (Option<i32>, Value) {
    let out = Command::new(qt_host())
        .arg("plugins")
        .args(arguments)
        .args(["--json", "--data-dir"])
        .arg(data_dir)
        .output()
        .unwrap();
    let printed = serde_json::from_slice(&out.stdout);
    (
        out.status.code(),
        printed.unwrap_or_else(|_| panic!("{}", said(&out))),
    )
}

/// A file with every occurrence of one word replaced by another of the same length.
fn with_word(file: &[u8], word: &[u8], other: &[u8]) -> Vec<u8> {
    let mut bytes = file.to_vec();
    let mut replaced = 0;
    for at in 0..bytes.len() - word.len() {
        if bytes[at..].starts_with(word) {
            bytes[at..at + word.len()].copy_from_slice(other);
            replaced += 1;
        }
    }
    assert!(replaced > 0, "it holds no {}", String::from_utf8_lossy(word));
    bytes
}

#[test]
fn dlls_that_cannot_be_used_are_told_by_code_and_a_missing_one_by_name() {
    let room = tempfile::tempdir().unwrap();
    let folder = room.path().join("插 件");
    std::fs::create_dir(&folder).unwrap();
    let whole = std::fs::read(plugin("simulated")).unwrap();
    // Linux' library, by its first bytes and its processor.
    let mut elf = b"\x7fELF\x02\x01\x01".to_vec();
    elf.resize(16, 0);
    elf.extend([3_u16, 62].map(u16::to_le_bytes).concat());
    elf.extend([1_u32, 0, 0, 0, 0, 0, 0, 0].map(u32::to_le_bytes).concat());
    elf.extend([64_u16, 56, 0, 64, 0, 0].map(u16::to_le_bytes).concat());
    let runtime = with_word(&whole, b"KERNEL32.dll\0", b"VCAMP140.dll\0");
    let files: [(&str, &[u8], &str); 6] = [
        ("empty.dll", b"", "QT-P004"),
        ("text.dll", b"text, and more of it than sixteen bytes", "QT-P004"),
        ("cut.dll", &whole[..whole.len() / 2], "QT-P005"),
        ("elf.dll", &elf, "QT-P006"),
        ("runtime.dll", &runtime, "QT-P030"),
        ("good.dll", &whole, ""),
    ];
    for (name, content, _) in files {
        std::fs::write(folder.join(name), content).unwrap();
    }
    let (code, rows) = plugins(room.path(), &["doctor", "--plugin-dir", folder.to_str().unwrap()]);
    assert_eq!(code, Some(1), "{rows}");
    let row = |name: &str| {
        let path = folder.join(name);
        let rows = rows.as_array().unwrap();
        rows.iter()
            .find(|row| row["path"] == path.to_str().unwrap())
            .unwrap()
            .clone()
    };
    for (name, _, code) in files.iter().filter(|(_, _, code)| !code.is_empty()) {
        let codes: Vec<Value> = row(name)["findings"]
            .as_array()
            .unwrap()
            .iter()
            .map(|finding| finding["code"].clone())
            .collect();
        assert!(codes.contains(&json!(code)), "{name}: {}", row(name));
    }
    let findings = row("runtime.dll")["findings"].clone();
    let missing = findings.as_array().unwrap();
    let missing = missing
        .iter()
        .find(|finding| finding["code"] == "QT-P030")
        .unwrap();
    assert!(
        missing["fault"].as_str().unwrap().contains("VCAMP140.dll"),
        "{missing}"
    );
    assert!(
        missing["mend"].as_str().unwrap().contains("vc_redist.x64.exe"),
        "{missing}"
    );
}

/// What an author of a plugin has on Windows, too.
#[test]
fn the_conformance_kit_passes_the_simulated_broker() {
    let room = tempfile::tempdir().unwrap();
    let (code, verdicts) = plugins(room.path(), &["test", "simulated"]);
    assert_eq!(code, Some(0), "{verdicts}");
    println!("{verdicts}");
}
