//! What people see of several accounts, and what is refused.

use super::*;

#[test]
fn commands_name_the_account_or_show_all() {
    let backend = Backend::start();
    let desk = two(&backend, plain(), plain());
    let mut host = desk.trading();
    backend.add(&signals(A, 0, 1));
    backend.add(&signals(B, 0, 2));
    settle(&backend, &desk, &mut host, 1, 2);
    let accounts = |command: &[&str]| -> Vec<String> {
        let rows = desk.json(command);
        let rows = rows.as_array().unwrap().iter();
        rows.map(|row| row["account"].as_str().unwrap().to_owned())
            .collect()
    };
    for command in ["orders", "fills"] {
        let mut all = accounts(&[command]);
        all.sort();
        assert_eq!(all, [A, B, B], "{command}");
        assert!(desk.done(&[command]).starts_with("Account"), "{command}");
        let csv = desk.done(&[command, "--csv"]);
        assert!(csv.starts_with("account,") && csv.contains("\nSA-A,"), "{csv}");
        let own = desk.json(&[command, "--account", B]);
        assert_eq!(own.as_array().unwrap().len(), 2);
        assert_eq!(
            own[0]["account"],
            Value::Null,
            "one account needs no column: {own}"
        );
    }
    let mut held = accounts(&["positions"]);
    held.sort();
    assert_eq!(held, [A, B]);
    assert_eq!(accounts(&["account"]), [A, B]);
    let text = desk.done(&["positions"]);
    assert!(
        text.contains("Account SA-A") && text.contains("Account SA-B"),
        "{text}"
    );
    let csv = desk.done(&["positions", "--csv"]);
    assert!(csv.lines().nth(1).unwrap().starts_with("SA-A,000858.SZ"), "{csv}");
    assert_eq!(
        desk.done(&["reports", "list"]),
        "no report waits and none was refused\n"
    );
    for command in [
        &["summary"][..],
        &["risk"],
        &["journal", "verify"],
        &["cancel", "SA-A-0"],
        &["resume"],
        &["reports", "show", "1"],
        &["orders", "resolve", "SA-A-0", "--as", "not-accepted", "--yes"],
        &["export", "book.json"],
    ] {
        let said = desk.fails(2, command);
        for part in ["--account", "SA-A (simulated)", "SA-B (simulated)"] {
            assert!(said.contains(part), "{command:?}: {said}");
        }
    }
    assert!(
        desk.fails(2, &["summary", "--account", "SA-X"])
            .contains("it has: SA-A")
    );
    desk.done(&["summary", "--account", A]);
    desk.done(&["journal", "verify", "--account", B]);

    // One account stands still and the other trades on; all of them stand still.
    let said = desk.done(&["halt", "--account", A]);
    assert!(said.starts_with("trading is halted"), "{said}");
    backend.add(&signals(A, 1, 2));
    backend.add(&signals(B, 2, 4));
    settle(&backend, &desk, &mut host, 1, 4);
    assert_eq!(accepted(&desk, A), 1);
    let said = desk.done(&["halt", "--reason", "lunch"]);
    assert!(
        said.contains("account SA-A: trading is halted (lunch)")
            && said.contains("account SA-B: trading is halted"),
        "{said}"
    );
    let rows = desk.json(&["resume", "--account", "all"]);
    assert_eq!(rows[0]["account"], A);
    assert_eq!(rows[1]["done"], true);
    settle(&backend, &desk, &mut host, 2, 4);
    let cancelled = desk.done(&["cancel", "--all"]);
    assert_eq!(cancelled.lines().count(), 2, "{cancelled}");
    assert_eq!(host.stop(), Some(0));
    judge_both(&backend, &desk);
}

#[test]
fn a_plugin_that_is_refused_is_said_before_anything_starts() {
    let backend = Backend::start();
    let desk = two(&backend, plain(), ("absent", "worker", json!({})));
    let said = desk.fails(3, &[]);
    assert!(
        said.contains("account SA-B") && said.contains("QT-P001"),
        "{said}"
    );
    let desk = two(
        &backend,
        plain(),
        ("simulated", "worker", json!({ "fill": "sometimes" })),
    );
    let said = desk.fails(2, &[]);
    assert!(
        said.contains("account SA-B") && said.contains("`simulated.fill` is \"sometimes\""),
        "{said}"
    );
    assert_eq!(accepted(&desk, A), 0);
    let doctor = desk.run(&["plugins", "doctor", "simulated"]);
    let doctor = String::from_utf8_lossy(&doctor.stdout).into_owned();
    assert!(
        doctor.contains("for the account SA-B: `simulated.fill`"),
        "{doctor}"
    );
}

#[test]
fn a_data_folder_of_one_account_is_not_taken_for_that_of_several_nor_the_reverse() {
    let backend = Backend::start();
    let desk = two(&backend, plain(), plain());
    let several = std::fs::read_to_string(desk.config()).unwrap();
    desk.configure(&backend, &json!({ "securities_account_id": A }));
    assert_eq!(desk.trading().stop(), Some(0));
    let single = std::fs::read_to_string(desk.config()).unwrap();
    std::fs::write(desk.config(), &several).unwrap();
    let said = desk.fails(2, &[]);
    let folder = std::path::Path::new("accounts")
        .join("SA-A")
        .display()
        .to_string();
    for part in ["the journal of a single account", &folder, "move journal.db"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    // As it says: then all is known that was.
    let own = desk.path("data/accounts/SA-A");
    std::fs::create_dir_all(&own).unwrap();
    for name in [
        "journal.db",
        "journal.db-wal",
        "journal.db-shm",
        "equity.db",
        "plugin-data",
    ] {
        std::fs::rename(desk.path(&format!("data/{name}")), own.join(name)).ok();
    }
    assert_eq!(desk.trading().stop(), Some(0));
    std::fs::write(desk.config(), &single).unwrap();
    let said = desk.fails(2, &[]);
    assert!(said.contains("was the data folder of several accounts"), "{said}");
}

#[test]
fn each_account_has_its_own_gates_and_what_one_denies_another_sends() {
    let backend = Backend::start();
    let desk = Desk::new(&backend, &json!({}));
    let (mut a, b) = (
        entry(&desk, A, "simulated", "in-process", &json!({})),
        entry(&desk, B, "simulated", "in-process", &json!({})),
    );
    a["gates"] = json!({ "max_order_value": 5_000, "market_rules": true, "strategies": { "slow": { "max_order_value": 1_000 } } });
    let common = json!({ "accounts": [a, b], "simulated": null, "gates": { "max_order_value": 100_000 } });
    desk.configure(&backend, &common);
    let host = desk.trading();
    let wish = |account: &str, name: &str, size: u64, strategy: &str| {
        let mut signal = signal(&format!("{account}-{name}"), Some(account));
        signal["size"] = json!(size);
        signal["strategy"] = json!(strategy);
        signal
    };
    // 100 shares are 4,350 yuan, 200 are 8,700, 3,000 are 130,500.
    for (name, size, strategy) in [
        ("SMALL", 100, "fast"),
        ("SLOW", 100, "slow"),
        ("LARGE", 200, "fast"),
        ("HUGE", 3_000, "fast"),
        ("ODD", 150, "fast"),
    ] {
        for account in [A, B] {
            backend.add(&wish(account, name, size, strategy));
        }
    }
    let verdicts = |account: &str| {
        let orders = desk.json(&["orders", "--since", "2000-01-01", "--account", account]);
        let one = |name: &str| {
            let found = orders
                .as_array()
                .unwrap()
                .iter()
                .find(|order| order["signal"] == format!("{account}-{name}"));
            found.map_or(String::new(), |order| {
                let words =
                    [&order["state"], &order["code"]].map(|word| word.as_str().unwrap_or("-").to_owned());
                words.join(" ")
            })
        };
        ["SMALL", "SLOW", "LARGE", "HUGE", "ODD"].map(one)
    };
    let too_large = "DENIED ORDER_VALUE".to_owned();
    let filled = || "FILLED -".to_owned();
    let expected = |account: &str| match account {
        A => [
            filled(),
            too_large.clone(),
            too_large.clone(),
            too_large.clone(),
            "DENIED LOT".to_owned(),
        ],
        _ => [filled(), filled(), filled(), too_large.clone(), filled()],
    };
    for account in [A, B] {
        wait_until(
            &format!("{account}: {:?}; {}", verdicts(account), desk.log()),
            || verdicts(account) == expected(account),
        );
    }
    assert_eq!((accepted(&desk, A), accepted(&desk, B)), (1, 4));
    assert_eq!(host.stop(), Some(0));
}

/// Each account's sheet and gates are its own: by its journal, its block, and its plugin's word.
#[test]
fn the_sheet_and_the_gates_are_those_of_each_account() {
    let backend = Backend::start();
    let desk = two(&backend, plain(), plain());
    let mut strict = entry(&desk, B, "simulated", "in-process", &json!({}));
    strict["gates"] = json!({ "max_per_second": 77 });
    let accounts = json!([entry(&desk, A, "simulated", "in-process", &json!({})), strict]);
    desk.configure(&backend, &json!({ "accounts": accounts, "simulated": null }));
    let host = desk.trading();
    backend.add(&signals(A, 0, 3));
    backend.add(&signals(B, 0, 2));
    wait_until("all are filled", || {
        let state = backend.state();
        settled(&state, A) + settled(&state, B) == 5
    });
    assert_eq!(host.stop(), Some(0));
    let sheets = desk.json(&["compliance", "report"]);
    let told: Vec<_> = sheets
        .as_array()
        .unwrap()
        .iter()
        .map(|sheet| {
            (
                &sheet["securities_account_id"],
                &sheet["orders_sent"],
                &sheet["own_limit_per_second"],
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            (&json!(A), &json!(3), &Value::Null),
            (&json!(B), &json!(2), &json!(77))
        ]
    );
    let one = desk.json(&["compliance", "report", "--account", B]);
    assert_eq!(one["orders_sent"], 2);
    let csv = desk.done(&["compliance", "report", "--csv"]);
    assert!(
        csv.starts_with("account,item,value,remark\nSA-A,Software,quantTrader,"),
        "{csv}"
    );
    let rate = |listed: &Value| {
        let gates = listed["gates"].as_array().unwrap().iter();
        gates
            .filter(|gate| gate["gate"] == "rate")
            .map(|gate| gate["on"].clone())
            .next_back()
    };
    let listed = desk.json(&["gates"]);
    let each: Vec<_> = listed.as_array().unwrap().iter().map(rate).collect();
    assert_eq!(each, [Some(json!(false)), Some(json!(true))]);
}
