//! What bad input gets: a message that says what to do, the right exit code, and no order.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use qt_test_support::{Backend, Desk, plugin, qt_host, wait_until};
use serde_json::{Value, json};

fn signal(id: &str) -> Value {
    json!({ "order_id": id, "symbol": "000858.SZ", "action": "BUY", "size": 100, "price": 43.5, "status": "pending",
            "is_executable": true, "mode": "live" })
}

/// Makes files that are to be refused, in a folder of their own.
struct Bad(tempfile::TempDir);

impl Bad {
    fn file(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, content).unwrap();
        path
    }

    fn library(&self, name: &str, content: &[u8]) -> PathBuf {
        self.file(&format!("{name}{}", std::env::consts::DLL_SUFFIX), content)
    }
}

/// A library that the tests themselves were linked against, and no plugin.
fn library_without_manifest() -> PathBuf {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    maps.lines()
        .filter_map(|line| line.split_whitespace().last())
        .map(PathBuf::from)
        .find(|path| path.file_name().is_some_and(|name| name == "libc.so.6"))
        .expect("this program is linked against libc.so.6")
}

/// What lies beside the host may not be found: a copy of the host in a folder of its own.
fn host_alone(folder: &Path) -> PathBuf {
    let copy = folder.join("qt-host-alone");
    std::fs::copy(qt_host(), &copy).unwrap();
    copy
}

struct Case {
    what: &'static str,
    config: Value,
    code: i32,
    words: &'static [&'static str],
}

fn plugin_cases(bad: &Bad) -> Vec<Case> {
    let whole = std::fs::read(plugin("simulated")).unwrap();
    let case = |what, plugins: &[&Path], words| Case {
        what,
        config: json!({ "plugins": plugins, "plugin_dirs": [] }),
        code: 3,
        words,
    };
    let text = bad.library(
        "text",
        b"this is a text file and no library at all, whatever its name says",
    );
    let cut = bad.library("cut", &whole[..whole.len() / 3]);
    let foreign = bad.library("foreign", &std::fs::read(library_without_manifest()).unwrap());
    let one = bad.library("one/libsimulated", &whole);
    // The same name and another content: bytes behind the last section belong to nothing.
    let two = bad.library("two/libsimulated", &[&whole[..], b"other"].concat());
    let missing = bad.0.path().join("missing.so");
    vec![
        case(
            "a plugin path that is missing",
            &[&missing],
            &["QT-P002", "missing.so"],
        ),
        case("a text file named .so", &[&text], &["QT-P004", "text file"]),
        case("a truncated .so", &[&cut], &["QT-P005", "cut"]),
        case("a .so without our manifest", &[&foreign], &["QT-P008", "foreign"]),
        case("a folder as a plugin", &[bad.0.path()], &["QT-P003"]),
        case(
            "two plugins of one name",
            &[&one, &two],
            &[
                "QT-P014",
                "one/libsimulated",
                "two/libsimulated",
                "were both named",
                "leave one of them out",
            ],
        ),
        Case {
            what: "a broker that nobody has",
            config: json!({ "broker": "simulatd" }),
            code: 3,
            words: &["QT-P001", "simulated"],
        },
        Case {
            what: "a terminal without an account",
            config: json!({ "broker": "miniqmt" }),
            code: 1,
            words: &["`account_id` is missing", "TRADER_MINIQMT_ACCOUNT_ID"],
        },
        Case {
            what: "a terminal's folder that does not exist, or no Python to ask it with",
            config: json!({ "broker": "miniqmt", "miniQMT": { "account_id": "55000001", "session_path": "/no/such/userdata_mini",
                            "python": "no-such-python" } }),
            code: 1,
            words: &["no-such-python", "`python`"],
        },
    ]
}

fn config_cases(bad: &Bad) -> Vec<Case> {
    let in_the_way = bad.file("in-the-way", b"a file where a folder should be");
    let case = |what, config, words| Case {
        what,
        config,
        code: 2,
        words,
    };
    vec![
        case(
            "a data folder that cannot be made",
            json!({ "data_dir": "/proc/nowhere" }),
            &["/proc/nowhere", "--data-dir"],
        ),
        case(
            "a file as data folder",
            json!({ "data_dir": in_the_way }),
            &["in-the-way"],
        ),
        case(
            "a number as token",
            json!({ "api_token": 12_345_678 }),
            &["api_token", "quotation marks"],
        ),
        case(
            "a negative interval",
            json!({ "poll_interval": -1 }),
            &["poll_interval", "-1"],
        ),
        case(
            "an address without a scheme",
            json!({ "api_base_url": "localhost:8000/api" }),
            &["api_base_url", "http://host:port/api"],
        ),
        case(
            "an unknown key",
            json!({ "poll_intervall": 1 }),
            &["poll_intervall", "poll_interval"],
        ),
    ]
}

/// Every start that must not happen, through the real binary: code, words, and no order.
#[test]
fn what_cannot_start_says_why_with_its_exit_code_and_sends_no_order() {
    let bad = Bad(tempfile::tempdir().unwrap());
    let backend = Backend::start();
    backend.add(&signal("S1"));
    for case in plugin_cases(&bad).into_iter().chain(config_cases(&bad)) {
        let what = case.what;
        let desk = Desk::new(&backend, &case.config);
        let out = desk.command().arg("--once").output().unwrap();
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        assert_eq!(out.status.code(), Some(case.code), "{what}: {said}");
        for word in case.words {
            assert!(said.contains(word), "{what}: `{word}` is not in: {said}");
        }
        assert!(
            !said.contains("12345678") && !said.contains(&backend.token),
            "{what}: {said}"
        );
        assert!(!desk.ledger_path().exists(), "{what}: the broker was opened");
        assert!(!said.contains("panicked"), "{what}: {said}");
    }
    assert_eq!(
        backend.state()["signals"]["S1"]["posts"],
        json!([]),
        "the backend was told something"
    );
}

/// Files that are no configuration, as they lie on the disk.
#[test]
fn a_file_that_is_no_configuration_says_why_and_nothing_starts() {
    let bad = Bad(tempfile::tempdir().unwrap());
    let cases: [(&str, &[u8], &[&str]); 6] = [
        ("empty.json", b"", &["empty", "api_base_url"]),
        ("blank.toml", b" \n\n", &["empty"]),
        ("latin1.json", b"{\"api_token\": \"\xfc\"}", &["UTF-8"]),
        (
            "utf16.json",
            b"\xff\xfe{\x00}\x00",
            &["UTF-16", "save it as UTF-8"],
        ),
        ("list.json", b"[1, 2]", &["braces"]),
        ("cut.json", b"{\"api_base_url\": \"http://h/api\",", &["not JSON"]),
    ];
    for (name, content, words) in cases {
        let file = bad.file(name, content);
        let data = bad.0.path().join("data");
        let out = Command::new(qt_host())
            .arg("--config")
            .arg(&file)
            .arg("--data-dir")
            .arg(&data)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        assert_eq!(out.status.code(), Some(2), "{name}: {said}");
        for word in words.iter().chain(&[name]) {
            assert!(said.contains(word), "{name}: `{word}` is not in: {said}");
        }
        assert!(!data.exists(), "{name}: something was started");
    }
}

/// A port where nobody listens.
fn closed_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

/// No backend, or one that is none: one round fails with what to do, and a host that trades waits and says so.
#[test]
fn a_backend_that_is_none_gets_no_order_and_one_round_fails_with_what_to_do() {
    let wrong_port = format!("http://127.0.0.1:{}/api", closed_port());
    let cases: [(&str, Option<Value>, Value, &[&str]); 6] = [
        (
            "no backend",
            None,
            json!({ "api_base_url": wrong_port }),
            &["127.0.0.1", "backend running"],
        ),
        (
            "a wrong token",
            None,
            json!({ "api_token": "wrong" }),
            &["api_token", "401"],
        ),
        (
            "401",
            Some(json!({ "mode": "unauthorized" })),
            json!({}),
            &["api_token", "401"],
        ),
        (
            "HTML",
            Some(json!({ "mode": "html" })),
            json!({}),
            &["HTML", "is it the backend"],
        ),
        (
            "404",
            Some(json!({ "mode": "not_found" })),
            json!({}),
            &["404", "api_base_url"],
        ),
        ("500", Some(json!({ "mode": "http500" })), json!({}), &["500"]),
    ];
    for (what, fault, config, words) in cases {
        let backend = Backend::start();
        backend.add(&signal("S1"));
        if let Some(fault) = fault {
            backend.fault(&fault);
        }
        let desk = Desk::new(&backend, &config);
        let said = desk.fails(1, &["--once"]);
        let error = said
            .split("error: ")
            .nth(1)
            .unwrap_or_else(|| panic!("{what}: {said}"));
        for word in words {
            assert!(error.contains(word), "{what}: `{word}` is not in: {error}");
        }
        assert_eq!(desk.accepted(), 0, "{what}: an order");
        assert!(!said.contains(&backend.token), "{what}: the token is shown");
        // A host that is to trade on waits, and takes up the work once the backend is well.
        let host = desk.host("");
        wait_until(&format!("{what} is in the log"), || {
            words.iter().any(|word| desk.log().contains(word))
        });
        assert_eq!(desk.accepted(), 0, "{what}: an order");
        assert_eq!(host.stop(), Some(0), "{what}");
        backend.fault(&json!({ "mode": "up" }));
        desk.configure(&backend, &json!({}));
        assert_eq!(desk.run(&["--once"]).status.code(), Some(0), "{what}");
        assert_eq!(desk.accepted(), 1, "{what}: the signal was lost");
    }
}

/// Each is a signal with one thing wrong; the good one among them is executed all the same.
#[test]
fn a_signal_with_a_missing_or_absurd_field_is_refused_and_spoils_no_other() {
    let absurd = [
        ("symbol", Value::Null),
        ("symbol", json!("AAPL")),
        ("action", json!("HOLD")),
        ("action", Value::Null),
        ("size", Value::Null),
        ("size", json!(0)),
        ("size", json!(-100)),
        ("size", json!(100.5)),
        ("size", json!("many")),
        ("size", json!(1e300)),
        ("price", json!(-1)),
        ("price", json!("cheap")),
        ("valid_until", json!("yesterday")),
        ("valid_until", json!(5)),
        ("retry_count", json!(-1)),
        ("is_executable", json!("perhaps")),
    ];
    let backend = Backend::start();
    let mut all = Vec::new();
    for (n, (field, value)) in absurd.iter().enumerate() {
        let mut bad = signal(&format!("BAD-{n}"));
        if value.is_null() {
            bad.as_object_mut().unwrap().remove(*field);
        } else {
            bad[field] = value.clone();
        }
        all.push(bad);
    }
    all.push(signal("GOOD"));
    backend.add_raw(&Value::Array(all));
    let desk = Desk::new(&backend, &json!({}));
    let host = desk.trading();
    let posts = |id: &str| backend.state()["signals"][id]["posts"].clone();
    wait_until("all are reported", || {
        posts("GOOD").as_array().is_some_and(|posts| posts.len() == 3)
            && (0..absurd.len()).all(|n| {
                posts(&format!("BAD-{n}"))
                    .as_array()
                    .is_some_and(|posts| !posts.is_empty())
            })
    });
    assert_eq!(host.stop(), Some(0));
    for (n, (field, value)) in absurd.iter().enumerate() {
        let posts = posts(&format!("BAD-{n}"));
        assert_eq!(posts.as_array().unwrap().len(), 1, "{field}: {posts:#}");
        assert_eq!(
            posts[0]["body"]["status"], "failed",
            "{field} = {value}: {posts:#}"
        );
        let error = posts[0]["body"]["last_error"].as_str().unwrap();
        assert!(error.contains(field), "{field} = {value}: {error}");
    }
    assert_eq!(desk.accepted(), 1, "{:#?}", desk.ledger());
}

#[test]
fn a_bad_signal_is_logged_once_and_as_a_warning() {
    let backend = Backend::start();
    let mut bad = signal("BAD-1");
    bad["size"] = json!(-100);
    backend.add_raw(&json!([bad, signal("GOOD")]));
    let desk = Desk::new(&backend, &json!({}));
    let host = desk.trading();
    wait_until("the backend is told", || {
        backend.state()["signals"]["BAD-1"]["posts"]
            .as_array()
            .is_some_and(|posts| !posts.is_empty())
    });
    assert_eq!(host.stop(), Some(0));
    let log = desk.log();
    let lines: Vec<_> = log
        .lines()
        .filter(|line| line.contains("BAD-1") && !line.contains("[DEBUG]"))
        .collect();
    assert!(
        matches!(lines[..], [line] if line.contains("[WARNING]") && line.contains("size")),
        "{lines:#?}"
    );
}

#[test]
fn an_order_id_twice_in_one_answer_is_one_order() {
    let backend = Backend::start();
    let mut larger = signal("TWICE");
    larger["size"] = json!(500);
    backend.add_raw(&json!([signal("TWICE"), larger, signal("OTHER")]));
    let desk = Desk::new(&backend, &json!({}));
    assert_eq!(desk.run(&["--once"]).status.code(), Some(0));
    let accepted: Vec<Value> = desk
        .ledger()
        .into_iter()
        .filter(|line| line["event"] == "accepted")
        .collect();
    assert_eq!(accepted.len(), 2, "{accepted:#?}");
    assert!(
        accepted.iter().all(|line| line["quantity"] == 100),
        "{accepted:#?}"
    );
    let log = String::from_utf8(desk.run(&["journal", "export", "-"]).stdout).unwrap();
    assert!(log.contains("TWICE"));
}

#[test]
fn five_hundred_and_one_signals_in_one_answer_are_all_executed_once() {
    let backend = Backend::start();
    backend.fault(&json!({ "mode": "ignore_limit" }));
    backend.add(&Value::Array(
        (0..501).map(|n| signal(&format!("S{n}"))).collect(),
    ));
    let desk = Desk::new(&backend, &json!({}));
    let host = desk.host("");
    wait_until("all are filled", || {
        desk.ledger()
            .iter()
            .filter(|line| line["event"] == "fill")
            .count()
            == 501
    });
    wait_until("all are reported", || {
        backend.state()["counts"]["concluded"] == 501
    });
    assert_eq!(host.stop(), Some(0));
    assert_eq!(desk.accepted(), 501);
    assert!(desk.log().contains("1 more than allowed"), "{}", desk.log());
    let verdict = qt_test_support::judge(&desk.ledger(), &backend.state());
    assert!(verdict.faults.is_empty(), "{verdict:?}");
}

/// One usable and two refused, in a process that never mapped any of the three.
///
/// The process is looked at while it stands at the end of its work: its pipe takes less than the list is long. The
/// loader's own account says what was opened before that. Both are first held against what they must show.
#[cfg(target_os = "linux")]
#[test]
fn a_list_of_plugins_maps_none_of_them() {
    use std::io::Read;
    let folder = tempfile::tempdir().unwrap();
    let whole = std::fs::read(plugin("simulated")).unwrap();
    // A long name makes the list longer than a page.
    let deep = (0..9).fold(folder.path().to_owned(), |path, _| path.join("x".repeat(250)));
    std::fs::create_dir_all(&deep).unwrap();
    let names = ["good.so", "text.so", "cut.so"];
    for (name, content) in names
        .iter()
        .zip([&whole[..], b"not a library", &whole[..whole.len() / 3]])
    {
        std::fs::write(deep.join(name), content).unwrap();
    }
    let account = folder.path().join("account");
    let (mut reader, writer) = std::io::pipe().unwrap();
    rustix::pipe::fcntl_setpipe_size(&writer, 4096).unwrap();
    let mut child = Command::new(host_alone(folder.path()))
        .args(["plugins", "list", "--json", "--plugin-dir"])
        .arg(&deep)
        .arg("--data-dir")
        .arg(folder.path().join("data"))
        .env("LD_DEBUG", "files")
        .env("LD_DEBUG_OUTPUT", &account)
        .stdin(Stdio::null())
        .stdout(writer)
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut text = vec![0];
    reader.read_exact(&mut text).unwrap();
    let maps = std::fs::read_to_string(format!("/proc/{}/maps", child.id())).unwrap();
    reader.read_to_end(&mut text).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert!(
        text.len() > 4096 + 1,
        "the list of {} bytes fitted into the pipe",
        text.len()
    );

    let rows: Value = serde_json::from_slice(&text).unwrap();
    let seen: Vec<(String, String, Value)> = rows
        .as_array()
        .unwrap()
        .iter()
        .map(|row| {
            let name = Path::new(row["path"].as_str().unwrap()).file_name().unwrap();
            let state = row["state"].as_str().unwrap().to_owned();
            (name.to_str().unwrap().to_owned(), state, row["code"].clone())
        })
        .collect();
    let row = |name: &str, state: &str, code: Value| (name.to_owned(), state.to_owned(), code);
    assert_eq!(
        seen,
        [
            row("cut.so", "refused", json!("QT-P005")),
            row("good.so", "usable", Value::Null),
            row("text.so", "refused", json!("QT-P004")),
        ]
    );
    assert!(
        maps.contains("qt-host-alone") && maps.contains("libc.so"),
        "{maps}"
    );
    let account = std::fs::read_to_string(account.with_extension(child.id().to_string())).unwrap();
    assert!(account.contains("libc.so"), "{account}");
    for name in names {
        assert!(!maps.contains(name), "{name} is mapped:\n{maps}");
        assert!(!account.contains(name), "{name} was loaded:\n{account}");
    }
}

/// The loader's account that the test above relies on does name a plugin that is loaded.
#[cfg(target_os = "linux")]
#[test]
fn the_loaders_account_names_a_plugin_that_trades() {
    let backend = Backend::start();
    let desk = Desk::new(&backend, &json!({}));
    let account = desk.path("account");
    let out = desk
        .command()
        .arg("--once")
        .env("LD_DEBUG", "files")
        .env("LD_DEBUG_OUTPUT", &account)
        .output()
        .unwrap();
    assert_eq!(out.status.code(), Some(0));
    let found = std::fs::read_dir(desk.path("")).unwrap().any(|entry| {
        let path = entry.unwrap().path();
        path.file_name()
            .unwrap()
            .to_str()
            .unwrap()
            .starts_with("account.")
            && std::fs::read_to_string(path).unwrap().contains("libsimulated.so")
    });
    assert!(found, "the loader names no plugin");
}
