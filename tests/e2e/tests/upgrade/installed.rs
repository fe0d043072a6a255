//! Upgrades of plugins that are installed in the data folder, their history, and what is trusted.

use super::*;

/// A desk whose plugin is installed in its data folder, and the next version's file.
fn installed(backend: &Backend, lane: &str, broker: &str, library: &str, how: &Value) -> (Desk, PathBuf) {
    let desk = Desk::new(backend, &json!({}));
    let mut options = options(&desk, lane, broker, how);
    options["execution"] = json!({ "call_deadline_seconds": 5 });
    let own = format!(
        "data/plugins/{}{broker}{}",
        std::env::consts::DLL_PREFIX,
        std::env::consts::DLL_SUFFIX
    );
    // By its path, since the same name lies beside the program, too.
    options["plugins"] = json!([desk.path(&own)]);
    desk.configure(backend, &options);
    desk.done(&["plugins", "install", plugin(library).to_str().unwrap()]);
    let next = next_version(&desk, library);
    (desk, next)
}

/// The version that the next start takes.
fn current(desk: &Desk, broker: &str) -> String {
    let history = desk.json(&["plugins", "history", broker]);
    let row = history
        .as_array()
        .unwrap()
        .iter()
        .find(|row| row["current"] == true);
    row.unwrap()["version"].as_str().unwrap().to_owned()
}

#[test]
fn an_upgrade_in_the_data_folder_takes_the_running_host_along_and_so_does_the_way_back() {
    for lane in LANES {
        let case = format!("plugins upgrade in the lane {lane}");
        let backend = Backend::start();
        let (desk, next) = installed(
            &backend,
            lane,
            "simulated",
            "simulated",
            &json!({ "latency_ms": 60 }),
        );
        backend.add(&signals(0, 8));
        let mut host = desk.host("");
        wait_until("the first order is at the broker", || !desk.ledger().is_empty());
        let told = desk.json(&["plugins", "upgrade", next.to_str().unwrap()]);
        assert_eq!(told["takes_effect"], "now", "{told:#}");
        assert!(
            told["exchanged"][0].as_str().unwrap().contains("simulated 1.0.9"),
            "{told:#}"
        );
        assert_eq!(current(&desk, "simulated"), "1.0.9");
        let pid = host.pid();
        backend.add(&signals(8, 14));
        wait_until("orders go to the new version", || desk.accepted() > 8);
        let told = desk.done(&["plugins", "rollback", "simulated"]);
        assert!(told.contains("was exchanged for simulated 1.0.0"), "{told}");
        assert_eq!(current(&desk, "simulated"), "1.0.0");
        settle(&backend, &desk, &mut host, 14, &case);
        assert_eq!(host.pid(), pid);
        // What is current is what the next start takes.
        desk.done(&["plugins", "upgrade", next.to_str().unwrap()]);
        host.kill();
        let said_before = desk.log().len();
        host = desk.trading();
        assert!(
            desk.log()[said_before..].contains("Broker plugin: simulated 1.0.9"),
            "{}",
            desk.log()
        );
        backend.add(&signals(14, 16));
        settle(&backend, &desk, &mut host, 16, &case);
        end_and_judge(&backend, &desk, host, &case);
    }
}

#[test]
fn an_upgrade_that_fails_is_taken_back_in_the_host_and_in_the_data_folder() {
    for (lane, name, why) in [
        ("worker", "segfault-in-open", SEGFAULT),
        ("in-process", "panic-in-open", "panic: misbehaviour"),
    ] {
        let case = format!("plugins upgrade to {name} in the lane {lane}");
        let backend = Backend::start();
        let how = json!({ "misbehaviour": name, "changed_file_only": true, "latency_ms": 50 });
        let (desk, next) = installed(&backend, lane, "hostile", "hostile_plugin", &how);
        backend.add(&signals(0, 6));
        let mut host = desk.host("");
        wait_until("the first order is at the broker", || !desk.ledger().is_empty());
        let refused = desk.fails(1, &["plugins", "upgrade", next.to_str().unwrap()]);
        for part in [
            "`hostile` 1.0.9 was not taken up",
            why,
            "hostile 1.0.0",
            "is back",
            "the data folder holds 1.0.0 again",
        ] {
            assert!(refused.contains(part), "{case}: {part}: {refused}");
        }
        assert_eq!(current(&desk, "hostile"), "1.0.0", "{case}");
        backend.add(&signals(6, 8));
        settle(&backend, &desk, &mut host, 8, &case);
        host.kill();
        host = desk.trading();
        backend.add(&signals(8, 9));
        settle(&backend, &desk, &mut host, 9, &case);
        end_and_judge(&backend, &desk, host, &case);
        println!("{case}:\n{refused}");
    }
}

/// A lock file says what may be loaded, by whatever way it comes.
#[test]
fn an_upgrade_that_is_not_pinned_changes_nothing() {
    let backend = Backend::start();
    let (desk, next) = installed(&backend, "worker", "simulated", "simulated", &json!({}));
    desk.done(&["plugins", "trust", "simulated"]);
    let mut host = desk.trading();
    // Before it is asked, and by the host itself.
    for (code, command) in [(3, "upgrade"), (1, "swap")] {
        let refused = desk.fails(code, &["plugins", command, next.to_str().unwrap()]);
        assert!(refused.contains("QT-P021"), "{refused}");
    }
    assert_eq!(current(&desk, "simulated"), "1.0.0");
    assert!(!desk.log().contains("is being exchanged"), "{}", desk.log());
    desk.done(&["plugins", "trust", next.to_str().unwrap()]);
    desk.done(&["plugins", "upgrade", next.to_str().unwrap()]);
    backend.add(&signals(0, 2));
    settle(&backend, &desk, &mut host, 2, "pins");
    end_and_judge(&backend, &desk, host, "pins");
    desk.done(&["plugins", "rollback", "simulated"]);
    desk.done(&["plugins", "untrust", "simulated"]);
    desk.done(&["plugins", "trust", "simulated"]);
    for how in [&["--next-start"][..], &[]] {
        let command = [&["plugins", "upgrade", next.to_str().unwrap()][..], how].concat();
        let refused = desk.fails(3, &command);
        assert!(refused.contains("QT-P021"), "{how:?}: {refused}");
        assert_eq!(current(&desk, "simulated"), "1.0.0", "{how:?}");
    }
}

#[test]
fn an_upgrade_for_the_next_start_leaves_the_host_alone() {
    let backend = Backend::start();
    let (desk, next) = installed(&backend, "in-process", "simulated", "simulated", &json!({}));
    let host = desk.trading();
    let told = desk.done(&["plugins", "upgrade", next.to_str().unwrap(), "--next-start"]);
    assert!(told.contains("takes effect at its next start"), "{told}");
    let told = desk.done(&["plugins", "rollback", "simulated", "--next-start"]);
    assert!(told.contains("takes effect at its next start"), "{told}");
    desk.done(&["plugins", "upgrade", next.to_str().unwrap(), "--next-start"]);
    assert!(!desk.log().contains("exchanged"), "{}", desk.log());
    assert_eq!(host.stop(), Some(0));
    let mut host = desk.trading();
    assert!(
        desk.log().contains("Broker plugin: simulated 1.0.9"),
        "{}",
        desk.log()
    );
    // What runs is what is there: there is nothing to exchange.
    let told = desk.done(&["plugins", "upgrade", next.to_str().unwrap()]);
    assert!(told.contains("is current already; nothing was changed"), "{told}");
    backend.add(&signals(0, 2));
    settle(&backend, &desk, &mut host, 2, "next start");
    end_and_judge(&backend, &desk, host, "next start");
}

/// With a lock file, the next version is pinned before it is taken up. Whatever becomes of it, the one before stays
/// trusted: an upgrade that fails leaves a data folder from which the host starts, and a rollback goes through live.
#[test]
fn with_a_lock_file_an_upgrade_that_fails_and_a_rollback_find_the_version_before_trusted() {
    for (name, upgrades) in [("panic-in-open", false), ("slow", true)] {
        let case = format!("{name} with a lock file");
        let backend = Backend::start();
        let how = json!({ "misbehaviour": name, "changed_file_only": true, "ms": 10 });
        let (desk, next) = installed(&backend, "worker", "hostile", "hostile_plugin", &how);
        desk.done(&["plugins", "trust", "hostile"]);
        let mut host = desk.trading();
        desk.done(&["plugins", "trust", next.to_str().unwrap()]);
        if upgrades {
            let told = desk.done(&["plugins", "upgrade", next.to_str().unwrap()]);
            assert!(told.contains("was exchanged for hostile 1.0.9"), "{told}");
            let told = desk.done(&["plugins", "rollback", "hostile"]);
            assert!(told.contains("was exchanged for hostile 1.0.0"), "{told}");
        } else {
            let refused = desk.fails(1, &["plugins", "upgrade", next.to_str().unwrap()]);
            assert!(refused.contains("the data folder holds 1.0.0 again"), "{refused}");
        }
        backend.add(&signals(0, 2));
        settle(&backend, &desk, &mut host, 2, &case);
        host.kill();
        let mut host = desk.trading();
        backend.add(&signals(2, 4));
        settle(&backend, &desk, &mut host, 4, &case);
        end_and_judge(&backend, &desk, host, &case);
    }
}

/// A host opens its plugin's copy again whenever it lost it: that copy is not deleted under it.
#[test]
fn what_a_host_runs_with_is_not_purged() {
    let backend = Backend::start();
    let (desk, _) = installed(&backend, "worker", "hostile", "hostile_plugin", &json!({}));
    let mut host = desk.trading();
    let refused = desk.fails(1, &["plugins", "remove", "hostile", "--purge"]);
    for part in [
        "a host runs on this data folder with `hostile` 1.0.0",
        "stop the host first",
    ] {
        assert!(refused.contains(part), "{part}: {refused}");
    }
    assert_eq!(current(&desk, "hostile"), "1.0.0");
    kill_9(children(host.pid())[0]);
    backend.add(&signals(0, 2));
    settle(&backend, &desk, &mut host, 2, "a purge");
    end_and_judge(&backend, &desk, host, "a purge");
    desk.done(&["plugins", "remove", "hostile", "--purge"]);
    desk.fails(3, &["plugins", "history", "hostile"]);
}

/// The simulator comes with the program; a version of it that somebody installs is what the next start takes.
#[test]
fn an_installed_version_of_a_plugin_that_came_with_the_program_is_what_the_next_start_takes() {
    let backend = Backend::start();
    let desk = Desk::new(&backend, &json!({}));
    let next = next_version(&desk, "simulated");
    let told = desk.done(&["plugins", "install", next.to_str().unwrap()]);
    assert!(!told.contains("neither is loaded"), "{told}");
    let mut host = desk.trading();
    assert!(
        desk.log().contains("Broker plugin: simulated 1.0.9"),
        "{}",
        desk.log()
    );
    backend.add(&signals(0, 2));
    settle(&backend, &desk, &mut host, 2, "an installed simulator");
    end_and_judge(&backend, &desk, host, "an installed simulator");
    // Spoilt, it is not quietly replaced by the version that came with the program.
    let file = desk.path("data").join("plugins").join(next.file_name().unwrap());
    assert!(file.exists(), "{}", file.display());
    std::fs::write(&file, b"not a library any more").unwrap();
    let told = desk.fails(3, &["--once"]);
    assert!(told.contains(file.to_str().unwrap()), "{told}");
}

/// For reading: a live upgrade with orders in flight, as the user, the log, the broker's ledger and the backend see it.
#[test]
fn a_transcript_of_a_live_upgrade() {
    let backend = Backend::start();
    let how = json!({ "latency_ms": 150 });
    let (desk, next) = installed(&backend, "worker", "simulated", "simulated", &how);
    backend.add(&signals(0, 6));
    let mut host = desk.trading();
    wait_until("the first order is at the broker", || !desk.ledger().is_empty());
    let at_the_upgrade = desk.accepted();
    let log_before = desk.log().len();
    println!("six signals, {at_the_upgrade} of them accepted by the broker, the others on their way:");
    println!("$ qt-host plugins upgrade next/libsimulated.so");
    let folder = desk.path("").to_string_lossy().into_owned();
    let told = desk.done(&["plugins", "upgrade", next.to_str().unwrap()]);
    told.lines()
        .for_each(|line| println!("  {}", line.replace(&folder, "")));
    backend.add(&signals(6, 8));
    settle(&backend, &desk, &mut host, 8, "the transcript");
    println!("the host's log:");
    let parts = ["supervisor", "exchange", "not connected", "Fetched", "execution"];
    for line in desk.log()[log_before..]
        .lines()
        .filter(|line| parts.iter().any(|part| line.contains(part)))
    {
        println!("  {}", line.replace(&folder, ""));
    }
    println!("the broker's ledger:");
    for line in desk.ledger() {
        println!("  {line}");
    }
    println!("the orders:");
    let orders = desk.json(&["orders"]);
    for order in orders.as_array().unwrap() {
        println!(
            "  {} {} {} {}/{} {} {}",
            order["signal"],
            order["side"],
            order["state"],
            order["filled"],
            order["size"],
            order["order"],
            order["broker_order_id"]
        );
        assert_eq!(order["state"], "FILLED");
    }
    assert_eq!(desk.accepted(), 8, "one signal, one order");
    end_and_judge(&backend, &desk, host, "the transcript");
}
