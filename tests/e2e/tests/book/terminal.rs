//! Colours.

use super::*;
use std::io::Read;

/// What a command prints on a terminal.
fn on_terminal(desk: &Desk, arguments: &[&str], variables: &[(&str, &str)]) -> String {
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    let leader = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&leader).unwrap();
    unlockpt(&leader).unwrap();
    let name = ptsname(&leader, Vec::new()).unwrap();
    let follower = std::fs::File::options()
        .read(true)
        .write(true)
        .open(name.to_str().unwrap())
        .unwrap();
    let mut child = Command::new(qt_host())
        .args(arguments)
        .arg("--config")
        .arg(desk.config())
        .env_remove("NO_COLOR")
        .env("TERM", "xterm")
        .envs(variables.iter().copied())
        .stdin(Stdio::null())
        .stdout(follower.try_clone().unwrap())
        .spawn()
        .unwrap();
    let mut from = std::fs::File::from(leader);
    let reader = std::thread::spawn(move || {
        let (mut all, mut piece) = (Vec::new(), [0u8; 4096]);
        // A terminal whose other end is gone reads as an error, which is its end.
        while let Ok(count @ 1..) = from.read(&mut piece) {
            all.extend_from_slice(&piece[..count]);
        }
        String::from_utf8(all).unwrap()
    });
    assert!(child.wait().unwrap().success());
    drop(follower);
    reader.join().unwrap()
}

#[test]
fn red_is_up_on_a_terminal_the_reverse_where_that_is_wished_and_nothing_elsewhere() {
    const RED: &str = "\u{1b}[31m";
    const GREEN: &str = "\u{1b}[32m";
    let backend = Backend::start();
    let desk = example_desk(&backend);
    let gain = |colour: &str| format!("{colour}¥700.00\u{1b}[0m");
    let loss = |colour: &str| format!("{colour}¥-250.00\u{1b}[0m");
    let cn = on_terminal(&desk, &["positions"], &[]);
    assert!(cn.contains(&gain(RED)) && cn.contains(&loss(GREEN)), "{cn}");
    let western = on_terminal(&desk, &["positions", "--colors", "western"], &[]);
    assert!(
        western.contains(&gain(GREEN)) && western.contains(&loss(RED)),
        "{western}"
    );
    for (arguments, variables) in [
        (&["positions"][..], &[("NO_COLOR", "1")][..]),
        (&["positions"], &[("TERM", "dumb")]),
        (&["positions", "--colors", "none"], &[]),
    ] {
        let plain = on_terminal(&desk, arguments, variables);
        assert!(!plain.contains('\u{1b}') && plain.contains("¥700.00"), "{plain}");
    }
    assert!(!shown(&desk, &["positions", "--colors", "western"]).contains('\u{1b}'));
    desk.configure(
        &backend,
        &json!({ "simulated": { "positions": example() }, "display": { "colors": "western" } }),
    );
    let configured = on_terminal(&desk, &["positions"], &[]);
    assert!(configured.contains(&gain(GREEN)), "{configured}");
    let back = on_terminal(&desk, &["positions", "--colors", "cn"], &[]);
    assert!(back.contains(&gain(RED)), "{back}");
}
