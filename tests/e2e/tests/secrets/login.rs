//! `login`, `whoami`, `logout`.

use qt_test_support::{Backend, Desk, wait_until};
use serde_json::{Value, json};

use super::*;

#[test]
fn a_login_is_kept_used_and_forgotten() {
    let backend = Backend::with(&["--token-life", "3600"]);
    let desk = keyring_desk(&backend, &json!({}));
    assert!(
        desk.fails(2, &["whoami"]).contains("run `qt-host login`"),
        "nothing is kept yet"
    );
    assert!(
        desk.fails(2, &["config", "check"])
            .contains("run `qt-host login`")
    );

    let out = log_in(&desk, &backend.password, &["--store", "file", "--json"]);
    assert!(out.status.success(), "{}", text(&out.stderr));
    let said: Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!(
        (&said["store"], &said["username"], &said["remembers_password"]),
        (&json!("file"), &json!("sandbox"), &json!(false))
    );
    assert_eq!(said["configured"], true);
    assert!(
        said["token_ends_at"].as_str().unwrap().ends_with("+08:00"),
        "{said}"
    );
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let file = std::fs::metadata(desk.path("data/login.enc")).unwrap();
        assert_eq!(file.permissions().mode() & 0o777, 0o600);
    }

    let who = desk.json(&["whoami"]);
    assert_eq!(
        (&who["accepted"], &who["username"], &who["user_id"]),
        (&json!(true), &json!("sandbox"), &json!("sandbox-user"))
    );
    assert_eq!(who["token_from"], "the encrypted file");
    assert!(desk.done(&["config", "check"]).contains("no mistakes"));
    let shown: Value = serde_json::from_str(&desk.done(&["config", "show"])).unwrap();
    assert_eq!(shown["api_token"], "keyring");

    backend.add(&signal("S1"));
    let host = desk.trading();
    wait_until("S1 is reported", || posts(&backend, "S1") == 3);
    assert_eq!(host.stop(), Some(0));

    backend.revoke();
    let refused = desk.run(&["whoami", "--json"]);
    assert_eq!(refused.status.code(), Some(1));
    let refused: Value = serde_json::from_slice(&refused.stdout).unwrap();
    assert_eq!(refused["accepted"], false);

    assert!(
        desk.done(&["logout"])
            .contains("was removed from the encrypted file")
    );
    assert!(!desk.path("data/login.enc").exists());
    assert_eq!(desk.json(&["logout"])["removed_from"], json!([]));
}

#[test]
fn a_login_that_fails_says_why_and_keeps_nothing() {
    let backend = Backend::start();
    let desk = keyring_desk(&backend, &json!({}));
    let failed = |password: &str, arguments: &[&str], code: i32, words: &str| {
        let out = log_in(&desk, password, arguments);
        let said = text(&out.stderr);
        assert_eq!(out.status.code(), Some(code), "{said}");
        assert!(said.contains(words), "{said}");
        assert!(!said.contains(&backend.password), "{said}");
        assert!(!desk.path("data/login.enc").exists());
    };
    failed("wrong", &[], 1, "401: Incorrect username or password");
    failed("", &[], 2, "the password is empty");
    failed(&"x".repeat(5000), &[], 2, "more than 4096 bytes");
    failed(&backend.password, &["--store", "cellar"], 2, "invalid value");
    failed(
        &backend.password,
        &["--api-base-url", "http://127.0.0.1:1/api"],
        1,
        "cannot connect to http://127.0.0.1:1/api",
    );
    backend.fault(&json!({ "mode": "html", "path": "login" }));
    failed(&backend.password, &[], 1, "without a usable `access_token`");
    backend.fault(&json!({ "mode": "http500", "path": "login" }));
    failed(&backend.password, &[], 1, "answered 500");
    backend.fault(&json!({ "mode": "up" }));
    std::fs::remove_file(desk.path("passphrase")).unwrap();
    failed(
        &backend.password,
        &["--store", "file"],
        1,
        "the backend gave a token, and it is not kept: `passphrase_file` names the file",
    );
    // Without a terminal nobody is asked.
    let said = desk.fails(2, &["login"]);
    assert!(said.contains("name the user with --username"), "{said}");
    let said = desk.fails(2, &["login", "--username", "u"]);
    assert!(said.contains("with --password-stdin"), "{said}");
    let said = desk.fails(2, &["login", "--password", "hunter2"]);
    assert!(said.contains("has a flag, since every user"), "{said}");
}

#[test]
fn a_wrong_passphrase_or_a_damaged_file_is_no_login() {
    let backend = Backend::start();
    let desk = keyring_desk(&backend, &json!({}));
    assert!(
        log_in(&desk, &backend.password, &["--store", "file"])
            .status
            .success()
    );
    private(&desk, "passphrase", "another");
    let said = desk.fails(2, &["whoami"]);
    assert!(
        said.contains("login.enc cannot be opened: the passphrase is another one"),
        "{said}"
    );
    private(&desk, "passphrase", PASSPHRASE);
    let file = desk.path("data/login.enc");
    let mut sealed = std::fs::read(&file).unwrap();
    *sealed.last_mut().unwrap() ^= 1;
    std::fs::write(&file, &sealed).unwrap();
    assert!(desk.fails(2, &["whoami"]).contains("or the file is damaged"));
    std::fs::write(&file, "hello").unwrap();
    assert!(desk.fails(2, &["whoami"]).contains("not a file of qt-host's"));
    // Trading does not begin, and nothing is made.
    let said = desk.fails(2, &["--once"]);
    assert!(said.contains("not a file of qt-host's"), "{said}");
    assert!(!desk.path("data/journal.db").exists());
}

#[test]
fn a_token_lies_in_a_variable_or_a_file() {
    let backend = Backend::start();
    let desk = Desk::new(&backend, &json!({ "api_token": "env:QT_E2E_TOKEN" }));
    let said = desk.fails(2, &["config", "check"]);
    assert!(
        said.contains("names the variable QT_E2E_TOKEN, which is not set"),
        "{said}"
    );
    let out = desk
        .command()
        .env("QT_E2E_TOKEN", &backend.token)
        .args(["whoami", "--json"])
        .output()
        .unwrap();
    let who: Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!(
        (&who["accepted"], &who["token_from"]),
        (&json!(true), &json!("the variable QT_E2E_TOKEN"))
    );

    // Relative to the configuration, with a space in its name.
    desk.configure(&backend, &json!({ "api_token": "file:the token.txt" }));
    let said = desk.fails(2, &["config", "check"]);
    assert!(
        said.contains("the token.txt") && said.contains("does not exist"),
        "{said}"
    );
    private(&desk, "the token.txt", &format!("{}\n", backend.token));
    assert_eq!(desk.json(&["whoami"])["accepted"], true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::Permissions::from_mode(0o644);
        std::fs::set_permissions(desk.path("the token.txt"), mode).unwrap();
        let said = text(&desk.run(&["whoami"]).stderr);
        assert!(said.contains("may be read by others (mode 0644)"), "{said}");
    }
    for (wrong, words) in [
        ("env:", "expected env: and the name"),
        ("env:9X", "expected env: and the name"),
        ("file:", "expected file: and the path"),
    ] {
        desk.configure(&backend, &json!({ "api_token": wrong }));
        let said = desk.fails(2, &["config", "check"]);
        assert!(said.contains(words), "{said}");
    }
}

/// The stores of this system, as far as they are there: a container has neither a bus nor a kernel keyring of its own.
#[cfg(target_os = "linux")]
#[test]
fn a_store_of_the_system_keeps_a_login_or_says_why_it_cannot() {
    for store in ["system", "kernel"] {
        let backend = Backend::start();
        let desk = keyring_desk(&backend, &json!({}));
        let out = log_in(&desk, &backend.password, &["--store", store]);
        if out.status.success() {
            assert_eq!(desk.json(&["whoami"])["accepted"], true, "{store}");
            assert!(desk.done(&["logout"]).contains("was removed"), "{store}");
            println!("{store}: kept, found, forgotten");
        } else {
            let said = text(&out.stderr);
            assert_eq!(out.status.code(), Some(1));
            assert!(said.contains("cannot be used: "), "{said}");
            println!("{store}: {}", said.trim());
        }
        assert!(desk.fails(2, &["whoami"]).contains("no login is kept"), "{store}");
    }
}

/// The bus is not up yet: the system's keeper is to start the host again, which it does after a 1 and not after a 2.
#[cfg(target_os = "linux")]
#[test]
fn a_store_that_does_not_answer_is_no_wrong_configuration() {
    let backend = Backend::start();
    let desk = keyring_desk(&backend, &json!({}));
    let out = desk
        .command()
        .arg("--once")
        .env(
            "DBUS_SESSION_BUS_ADDRESS",
            format!("unix:path={}", desk.path("no-bus").display()),
        )
        .output()
        .unwrap();
    let said = text(&out.stderr);
    assert_eq!(out.status.code(), Some(1), "{said}");
    assert!(said.contains("cannot be asked at the moment"), "{said}");
}
