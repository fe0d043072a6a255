//! Pipes and what is closed.

use super::*;

#[test]
fn a_closed_pipe_ends_quietly() {
    let home = Home::new();
    home.file("config.json", good_json());
    for arguments in [vec!["--help"], vec!["config", "show", "--config", "config.json"]] {
        let mut child = home
            .command(&arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {output:?}");
        assert!(output.stderr.is_empty(), "{output:?}");
    }
}

#[test]
fn a_closed_standard_error_changes_no_exit_code() {
    let home = Home::new();
    home.file("config.json", "{}");
    let mut child = home
        .command(&["--config", "config.json"])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stderr.take());
    assert_eq!(child.wait().unwrap().code(), Some(2));
}

#[cfg(unix)]
#[test]
fn a_configuration_may_come_through_a_pipe() {
    use std::io::Write;
    let home = Home::new();
    let mut child = home
        .command(&["config", "check", "--config", "/dev/stdin"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(good_json().as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
}
