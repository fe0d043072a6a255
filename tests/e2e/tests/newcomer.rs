//! The guide's first quarter of an hour, pasted: from nothing to a tested plugin that has traded.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::fmt::Write as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use qt_test_support::qt_host;
use serde_json::Value;

/// What the guide calls the backend's address.
const ADDRESS: &str = "127.0.0.1:8000";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .canonicalize()
        .unwrap()
}

/// Where crates outside of the workspace are built, shared with the museum.
fn target() -> PathBuf {
    qt_host().ancestors().nth(2).unwrap().join("museum")
}

/// The blocks of one language in the section of the guide with this heading.
fn blocks(heading: &str, language: &str) -> Vec<String> {
    let guide = std::fs::read_to_string(root().join("plugin-api/README.md")).unwrap();
    let section = guide.split("\n## ").find(|section| section.starts_with(heading));
    let section = section.unwrap_or_else(|| panic!("the guide has no section {heading:?}"));
    let fence = format!("\n```{language}\n");
    let found: Vec<String> = section
        .split(&fence)
        .skip(1)
        .map(|rest| rest.split("\n```").next().unwrap().to_owned())
        .collect();
    assert!(
        !found.is_empty(),
        "the section {heading:?} has no {language} block"
    );
    found
}

/// A script of the shell, run where a newcomer would stand.
fn run(folder: &Path, script: &str) -> Output {
    let bin = qt_host().parent().unwrap().to_path_buf();
    let path = std::env::join_paths(
        std::iter::once(bin).chain(std::env::split_paths(&std::env::var_os("PATH").unwrap())),
    );
    Command::new("sh")
        .args(["-euc", script])
        .current_dir(folder)
        .env("PATH", path.unwrap())
        // A release for this test: the same file at the same place, built in a fraction of the time.
        .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "0")
        .env("CARGO_PROFILE_RELEASE_STRIP", "symbols")
        .env_remove("CARGO_TARGET_DIR")
        .env_remove("RUSTFLAGS")
        .env_remove("TRADER_API_TOKEN")
        .env_remove("QT_PLUGIN_PATH")
        .env("HOME", home())
        .output()
        .unwrap()
}

/// Cargo and rustup need the real one.
fn home() -> PathBuf {
    std::env::home_dir().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

fn free_address() -> String {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    socket.local_addr().unwrap().to_string()
}

#[test]
fn the_guides_quarter_of_an_hour_ends_with_a_plugin_that_has_traded() {
    const HEADING: &str = "The quarter of an hour";
    let folder = tempfile::tempdir().unwrap();
    let [build, trade] = &blocks(HEADING, "sh")[..] else {
        panic!("the guide has other blocks than it had");
    };
    let [config] = &blocks(HEADING, "json")[..] else {
        panic!("the guide has other configurations than it had");
    };
    let (new, rest) = build.split_once('\n').unwrap();
    assert!(new.starts_with("qt-host plugins new my-broker"), "{new}");
    let new = new.split(" #").next().unwrap().trim_end();
    // The released crate is that of this workspace, with the versions that this workspace is tested with.
    let mut script = format!("{new} --api-path '{}/plugin-api'\n", root().display());
    write!(
        script,
        "cp '{}/Cargo.lock' my-broker/Cargo.lock\nln -s '{}' my-broker/target\n{rest}\n",
        root().display(),
        target().display(),
    )
    .unwrap();
    std::fs::create_dir_all(target()).unwrap();
    let output = run(folder.path(), &script);
    let text = said(&output);
    assert!(output.status.success(), "{script}\n{text}");
    assert!(text.contains("my-broker 0.1.0 conforms: "), "{text}");
    let listed = text.lines().rev().find(|line| line.starts_with("my-broker "));
    let listed = listed.unwrap_or_else(|| panic!("it is not listed:\n{text}"));
    assert!(
        listed.contains(" passed ") && listed.contains(" usable "),
        "{listed}"
    );

    let desk = folder.path().join("my-broker");
    assert!(desk.join(".github/workflows/ci.yml").is_file());
    let address = free_address();
    std::fs::write(desk.join("config.json"), config.replace(ADDRESS, &address)).unwrap();
    let output = run(&desk, &trade.replace(ADDRESS, &address));
    let text = said(&output);
    assert!(output.status.success(), "{text}");
    let state = text
        .lines()
        // curl ends no line: one answer follows the other.
        .flat_map(|line| serde_json::Deserializer::from_str(line).into_iter::<Value>())
        .filter_map(Result::ok)
        .find(|value| value["signals"].is_object())
        .unwrap_or_else(|| panic!("the sandbox shows no state:\n{text}"));
    let posts = state["signals"].as_object().unwrap().values().next().unwrap()["posts"].to_string();
    assert!(posts.contains("\"filled\"") && posts.contains("135.5"), "{posts}");
    let warnings: Vec<&str> = text.lines().filter(|line| line.contains("ERROR")).collect();
    assert_eq!(warnings, Vec::<&str>::new());
}

/// What a broker's own library is to a plugin: beside it, found by a run path of the plugin's.
#[cfg(target_os = "linux")]
#[test]
fn a_library_that_lies_beside_a_plugin_is_loaded_with_its_private_copy() {
    let folder = tempfile::tempdir().unwrap();
    let desk = folder.path().join("sdk-broker");
    let script = format!(
        "qt-host plugins new sdk-broker --api-path '{root}/plugin-api' >/dev/null\n\
         cp '{root}/Cargo.lock' sdk-broker/Cargo.lock\nln -s '{}' sdk-broker/target\n",
        target().display(),
        root = root().display(),
    );
    let output = run(folder.path(), &script);
    assert!(output.status.success(), "{}", said(&output));
    let sdk = |answer: u32| format!("int qt_sdk_answer(void) {{ return {answer}; }}\n");
    std::fs::write(desk.join("sdk.c"), sdk(42)).unwrap();
    std::fs::write(
        desk.join("build.rs"),
        "fn main() {\n    println!(\"cargo::rustc-link-search=sdk\");\n    println!(\"cargo::rustc-link-lib=dylib=qtsdk\");\n    \
         println!(\"cargo::rustc-cdylib-link-arg=-Wl,--enable-new-dtags,-rpath,$ORIGIN/sdk\");\n}\n",
    )
    .unwrap();
    let source = desk.join("src/lib.rs");
    let text = std::fs::read_to_string(&source).unwrap();
    let text = text
        .replacen("#![forbid(unsafe_code)]", "", 1)
        .replacen(
            "mod books;",
            "mod books;\n\nunsafe extern \"C\" {\n    fn qt_sdk_answer() -> i32;\n}\n",
            1,
        )
        .replacen(
            "trace::install(&cx.log);",
            "trace::install(&cx.log);\n        // SAFETY: it takes nothing and changes nothing.\n        \
             info!(\"the SDK answers {}\", unsafe { qt_sdk_answer() });",
            1,
        );
    std::fs::write(&source, text).unwrap();
    let script = "mkdir sdk\ncc -shared -fPIC -o sdk/libqtsdk.so sdk.c\ncargo build --quiet\n\
                  mkdir -p lib/sdk\ncp target/debug/libsdk_broker.so lib/\ncp sdk/libqtsdk.so lib/sdk/\n\
                  qt-host plugins inspect lib/libsdk_broker.so\nqt-host plugins doctor lib/libsdk_broker.so\n\
                  qt-host plugins trust lib/libsdk_broker.so --data-dir data\n";
    let output = run(&desk, script);
    let text = said(&output);
    assert!(output.status.success(), "{text}");
    assert!(
        text.contains("brings along") && text.contains("lib/sdk/libqtsdk.so"),
        "{text}"
    );

    for lane in ["in-process", "worker"] {
        let address = free_address();
        let config = serde_json::json!({
            "api_base_url": format!("http://{address}/api"), "broker": "sdk-broker", "plugins": ["lib/libsdk_broker.so"],
            "data_dir": "data",
        });
        std::fs::write(desk.join("config.json"), config.to_string()).unwrap();
        let script = format!(
            "rm -f token\nqt-host sandbox --listen {address} --token-file token >/dev/null &\n\
             until [ -s token ]; do sleep 0.02; done\n\
             curl -s --retry 9 --retry-connrefused http://{address}/sandbox/state >/dev/null\n\
             code=0; TRADER_API_TOKEN=$(cat token) qt-host --config config.json --lane {lane} --once || code=$?\n\
             kill $!\nexit $code\n"
        );
        let output = run(&desk, &script);
        let text = said(&output);
        assert!(output.status.success(), "{lane}: {text}");
        assert!(text.contains("the SDK answers 42"), "{lane}: {text}");
    }

    // The library belongs to what is pinned.
    std::fs::write(desk.join("sdk.c"), sdk(666)).unwrap();
    let script = "cc -shared -fPIC -o lib/sdk/libqtsdk.so sdk.c\nTRADER_API_TOKEN=x qt-host --config config.json --once";
    let output = run(&desk, script);
    let text = said(&output);
    assert_eq!(output.status.code(), Some(3), "{text}");
    assert!(
        text.contains("QT-P021") && !text.contains("the SDK answers"),
        "{text}"
    );
}
