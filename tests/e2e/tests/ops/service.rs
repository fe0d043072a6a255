//! The units that systemd is given, what it is told, and what is done with it.

use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use qt_test_support::{Backend, Desk, qt_host, wait_until};
use serde_json::{Value, json};

fn said(out: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&out.stdout),
        String::from_utf8_lossy(&out.stderr)
    )
}

/// `systemd-analyze`, where it is installed; the gate installs it.
fn analyze(arguments: &[&str]) -> Option<Output> {
    // Where nobody is logged in, a user's manager finds no folder of its own.
    let runtime = tempfile::tempdir().unwrap();
    let mut command = Command::new("systemd-analyze");
    match command
        .args(arguments)
        .env("XDG_RUNTIME_DIR", runtime.path())
        .output()
    {
        Ok(out) => Some(out),
        Err(e) => {
            assert!(
                std::env::var_os("QT_SYSTEMD_NEEDED").is_none(),
                "systemd-analyze: {e}"
            );
            eprintln!("SKIPPED: systemd-analyze is not installed (Debian has it in the package `systemd`)");
            None
        }
    }
}

#[test]
fn systemd_takes_both_units_and_finds_the_machines_little_exposed() {
    let backend = Backend::start();
    let desk = Desk::new(&backend, &json!({}));
    let user = desk.done(&["service", "install", "--print"]);
    let machine = desk.done(&[
        "service",
        "install",
        "--system",
        "--user",
        "daemon",
        "--print",
        "--with-metrics",
        "9464",
    ]);
    assert!(
        machine.contains("\"--metrics\" \"9464\"") && machine.contains("User=daemon"),
        "{machine}"
    );
    assert!(!desk.path("data").exists(), "a look changed something");
    for (name, unit) in [("user.service", &user), ("machine.service", &machine)] {
        let path = desk.path(name);
        std::fs::write(&path, unit).unwrap();
        let scope = if name == "user.service" {
            "--user"
        } else {
            "--system"
        };
        let Some(out) = analyze(&["verify", scope, "--man=no", path.to_str().unwrap()]) else {
            return;
        };
        let complaints = said(&out);
        let ours = complaints.lines().any(|line| line.contains(name));
        assert!(out.status.success() && !ours, "{name}: {complaints}\n{unit}");
    }
    let path = desk.path("machine.service");
    let out = analyze(&[
        "security",
        "--no-pager",
        "--offline=true",
        "--threshold=25",
        path.to_str().unwrap(),
    ])
    .unwrap();
    let text = said(&out);
    let score = text.lines().find(|line| line.contains("Overall exposure level"));
    println!("{}", score.unwrap_or(&text));
    assert!(out.status.success(), "{text}");
}

/// A `systemctl` that writes down what it was asked, and fails at what a file names.
struct FakeSystemd {
    desk: Desk,
    _backend: Backend,
}

impl FakeSystemd {
    fn new() -> Self {
        let backend = Backend::start();
        let desk = Desk::new(&backend, &json!({}));
        std::fs::create_dir(desk.path("bin")).unwrap();
        let fake = desk.path("bin/systemctl");
        let script = "#!/bin/sh\necho \"$*\" >> \"$0.asked\"\nfor word in \"$@\"; do\n  if [ \"$word\" = \"$(cat \"$0.fails\" 2>/dev/null)\" ]; then echo \"no bus\" >&2; exit 1; fi\ndone\n\
                      case \"$*\" in *show\\ *) cat \"$0.state\";; esac\n";
        std::fs::write(&fake, script).unwrap();
        std::fs::set_permissions(&fake, std::fs::Permissions::from_mode(0o700)).unwrap();
        std::fs::write(
            desk.path("bin/systemctl.state"),
            "ActiveState=active\nMainPID=7\n",
        )
        .unwrap();
        Self {
            desk,
            _backend: backend,
        }
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let path = format!(
            "{}:{}",
            self.desk.path("bin").display(),
            std::env::var("PATH").unwrap()
        );
        let mut command = Command::new(qt_host());
        command
            .args(arguments)
            .env("PATH", path)
            .env("TRADER_API_TOKEN", "of-the-shell")
            .env("TRADER_PASSPHRASE", "of-the-shell")
            .env("QT_TEST_TOKEN", "of-the-shell")
            .env("QT_TEST_ROBOT", "http://127.0.0.1:1")
            .env("XDG_CONFIG_HOME", self.desk.path("home"));
        command.output().unwrap()
    }

    fn install(&self, more: &[&str]) -> Output {
        let config = self.desk.config();
        self.run(
            &[
                &["service", "install", "--config", config.to_str().unwrap()],
                more,
            ]
            .concat(),
        )
    }

    fn asked(&self) -> String {
        let file = self.desk.path("bin/systemctl.asked");
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        std::fs::remove_file(file).ok();
        text
    }

    fn fails_at(&self, word: &str) {
        std::fs::write(self.desk.path("bin/systemctl.fails"), word).unwrap();
    }
}

#[test]
fn a_service_is_installed_started_looked_at_ended_and_taken_away() {
    let fake = FakeSystemd::new();
    let unit = fake.desk.path("home/systemd/user/quanttrader.service");
    let out = fake.run(&["service", "start"]);
    assert_eq!(out.status.code(), Some(2));
    assert!(
        said(&out).contains("quanttrader.service is not installed"),
        "{}",
        said(&out)
    );

    let out = fake.install(&[]);
    assert!(
        out.status.success() && said(&out).contains("enable-linger"),
        "{}",
        said(&out)
    );
    assert_eq!(
        fake.asked(),
        "--user show-environment\n--user daemon-reload\n--user enable quanttrader.service\n"
    );
    let text = std::fs::read_to_string(&unit).unwrap();
    assert!(
        text.contains(&format!("\"{}\"", fake.desk.config().display())),
        "{text}"
    );

    // The same once more is as good; another one is not put in its place unasked.
    assert!(fake.install(&[]).status.success());
    let out = fake.install(&["--with-metrics", "9464"]);
    assert_eq!(out.status.code(), Some(2));
    assert!(said(&out).contains("is there already"), "{}", said(&out));
    assert_eq!(std::fs::read_to_string(&unit).unwrap(), text);
    assert!(
        fake.install(&["--with-metrics", "9464", "--force"])
            .status
            .success()
    );
    fake.asked();

    assert!(fake.run(&["service", "start"]).status.success());
    assert!(fake.run(&["service", "stop"]).status.success());
    assert_eq!(
        fake.asked(),
        "--user start quanttrader.service\n--user stop quanttrader.service\n"
    );
    let out = fake.run(&["service", "status", "--json"]);
    let state: Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!((out.status.code(), &state["running"]), (Some(0), &json!(true)));
    std::fs::write(fake.desk.path("bin/systemctl.state"), "ActiveState=failed\n").unwrap();
    let out = fake.run(&["service", "status"]);
    assert_eq!(out.status.code(), Some(1));
    assert!(said(&out).contains("quanttrader: not running"), "{}", said(&out));
    fake.asked();

    let out = fake.run(&["service", "uninstall"]);
    assert!(out.status.success() && !unit.exists(), "{}", said(&out));
    assert!(fake.asked().contains("disable --now quanttrader.service"));
}

#[test]
fn what_does_not_work_leaves_nothing_behind() {
    let fake = FakeSystemd::new();
    let unit = fake.desk.path("home/systemd/user/quanttrader.service");
    fake.fails_at("show-environment");
    let out = fake.install(&[]);
    assert_eq!(out.status.code(), Some(1));
    assert!(
        said(&out).contains("does not answer (no bus)") && said(&out).contains("--print"),
        "{}",
        said(&out)
    );
    assert!(!unit.exists());
    fake.fails_at("enable");
    let out = fake.install(&[]);
    assert_eq!(out.status.code(), Some(1));
    assert!(
        said(&out).contains("`systemctl --user enable quanttrader.service` failed: no bus"),
        "{}",
        said(&out)
    );
    assert!(!unit.exists());
    fake.fails_at("nothing");

    // All but its folders is read-only to a service of the machine: it cannot make them.
    let out = fake.install(&["--system", "--user", "daemon"]);
    assert_eq!(out.status.code(), Some(2));
    assert!(
        said(&out).contains("install -d -m 700 -o daemon"),
        "{}",
        said(&out)
    );

    // A service that would not start is none.
    for (arguments, expected) in [
        (&["service", "install"][..], "--config"),
        (
            &["service", "install", "--config", "/nonexistent.json"],
            "/nonexistent.json",
        ),
        (
            &["service", "install", "--name", "../x", "--config", "c"],
            "expected letters",
        ),
    ] {
        let out = fake.run(arguments);
        assert_eq!(out.status.code(), Some(2), "{arguments:?}: {}", said(&out));
        assert!(said(&out).contains(expected), "{arguments:?}: {}", said(&out));
    }
    let out = fake.install(&["--system"]);
    assert_eq!(out.status.code(), Some(2));
    assert!(said(&out).contains("--user"), "{}", said(&out));

    // What only this shell knows, a service never hears of.
    let kept = fake.desk.path("data/login.enc");
    std::fs::create_dir_all(kept.parent().unwrap()).unwrap();
    for (more, expected) in [
        (json!({ "api_token": null }), "a service has none of them"),
        (
            json!({ "api_token": "env:QT_TEST_TOKEN" }),
            "`api_token` is \"env:QT_TEST_TOKEN\"",
        ),
        (json!({ "api_token": "file:nowhere" }), "does not exist"),
        (
            json!({ "api_token": "keyring" }),
            "name it with `passphrase_file`",
        ),
        (
            json!({ "alerts": { "webhook": { "url": "env:QT_TEST_ROBOT" } } }),
            "`alerts.webhook.url` is \"env:QT_TEST_ROBOT\"",
        ),
        (
            json!({ "alerts": { "webhook": { "format": "dingtalk", "url": "http://127.0.0.1:1", "secret": "file:nowhere" } } }),
            "`alerts.webhook.secret`: the file",
        ),
    ] {
        std::fs::write(&kept, "of a login").unwrap();
        fake.desk.configure(&fake._backend, &more);
        let out = fake.install(&[]);
        assert_eq!(out.status.code(), Some(2), "{more}: {}", said(&out));
        assert!(said(&out).contains(expected), "{more}: {}", said(&out));
    }
    let out = fake.install(&["--with-metrics", "example.com:1"]);
    assert_eq!(out.status.code(), Some(2));
    assert!(!unit.exists());
}

/// It was taken, and the unit then found no login: it ended with code 1 and was started again for ever.
#[test]
fn a_service_of_the_machine_takes_a_login_from_an_encrypted_file_alone() {
    let backend = Backend::start();
    let desk = Desk::new(&backend, &json!({ "api_token": "keyring" }));
    let install = ["service", "install", "--system", "--user", "daemon", "--print"];
    let refused = desk.fails(2, &install);
    for part in [
        "a person's session",
        "`qt-host login --store file`",
        "`passphrase_file`",
    ] {
        assert!(refused.contains(part), "{part}: {refused}");
    }
    desk.private("passphrase", "of the file\n");
    desk.configure(
        &backend,
        &json!({ "api_token": "keyring", "passphrase_file": "passphrase" }),
    );
    assert!(desk.fails(2, &install).contains("login.enc"));
    std::fs::create_dir_all(desk.path("data")).unwrap();
    desk.private("data/login.enc", "of a login");
    assert!(desk.done(&install).contains("User=daemon"));
    // With the file alone its passphrase is in nobody's reach.
    desk.configure(&backend, &json!({ "api_token": "keyring" }));
    desk.fails(2, &install);
}

/// Listens as systemd does; each call gives all that was heard so far.
fn ear(path: &Path) -> impl FnMut() -> String + use<> {
    let socket = UnixDatagram::bind(path).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    let mut heard = String::new();
    move || {
        let mut space = [0; 4096];
        loop {
            match socket.recv(&mut space) {
                Ok(length) => heard.push_str(&String::from_utf8_lossy(&space[..length])),
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    return heard.clone();
                }
                Err(e) => panic!("{e}"),
            }
        }
    }
}

/// systemd ends a start that has said nothing for 180 s, and begins it anew: a long journal would never have been read to
/// its end.
#[test]
fn systemd_waits_for_a_journal_that_takes_long_to_read_and_people_see_how_far_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let mut listen = ear(&path);
    let backend = Backend::start();
    let desk = Desk::new(&backend, &json!({}));
    let mut host = desk.host("");
    host.trades();
    assert_eq!(host.stop(), Some(0));
    let slow = format!(
        "export NOTIFY_SOCKET={} FAILPOINTS='journal-read=sleep(1100)'",
        path.display()
    );
    let mut host = desk.host_after(&slow);
    host.trades();
    let all = listen();
    let place = |word: &str| all.find(word).unwrap_or_else(|| panic!("{word}: {all}"));
    assert!(
        place("EXTEND_TIMEOUT_USEC=60000000\n") < place("READY=1\n"),
        "{all}"
    );
    assert!(all.contains("is being read: commit "), "{all}");
    assert!(desk.log().contains("is held to its check sum"), "{}", desk.log());
    assert_eq!(host.stop(), Some(0));
}

#[test]
fn systemd_hears_that_it_trades_that_it_lives_and_that_it_ends() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let mut listen = ear(&path);
    let backend = Backend::start();
    let desk = Desk::new(&backend, &json!({}));
    let keeper = format!(
        "export NOTIFY_SOCKET={} WATCHDOG_USEC=300000 WATCHDOG_PID=$$",
        path.display()
    );
    let mut host = desk.host_after(&keeper);
    host.trades();
    wait_until("it says that it trades", || listen().contains("READY=1\n"));
    wait_until("it says that it lives, again and again", || {
        listen().matches("WATCHDOG=1\n").count() >= 5
    });
    wait_until("it says that orders go", || {
        listen().contains("STATUS=orders go\n")
    });
    desk.done(&["halt", "--reason", "for a look"]);
    wait_until("it says why not", || {
        listen().contains("STATUS=no orders go: the account: trading is halted: for a look\n")
    });
    assert_eq!(host.stop(), Some(0));
    wait_until("it says that it ends", || listen().contains("STOPPING=1\n"));
    let all = listen();
    let place = |word: &str| all.find(word).unwrap();
    assert!(place("READY=1") < place("STOPPING=1"), "{all}");
}
