//! A configuration of several accounts.

use super::*;

fn with_accounts(accounts: &str, more: &str) -> String {
    format!(
        r#"{{"api_base_url": "http://127.0.0.1:1/api", "api_token": "{TOKEN}", {more}
            "execution": {{"call_deadline_seconds": 4, "max_in_flight": 7}},
            "miniQMT": {{"session_path": "/q/userdata_mini"}},
            "accounts": [{accounts}]}}"#
    )
}

#[test]
fn accounts_lie_over_what_holds_for_all() {
    let home = Home::new();
    let accounts = r#"
        {"securities_account_id": "SA-1", "broker": "miniQMT", "lane": "in-process",
         "miniQMT": {"account_id": "55000001"}, "execution": {"max_in_flight": 3}, "risk": {"drawdown_pct": 2.5}},
        {"securities_account_id": "SA-2", "miniqmt": {"account_id": "55000002", "session_path": "/other"},
         "plugin_options": {"simulated": {"lane": "worker"}}}"#;
    home.file("c.json", with_accounts(accounts, r#""data_dir": "d","#));
    let output = home.run(&["config", "show", "--config", "c.json"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let shown: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let [first, second] = shown["accounts"].as_array().unwrap().as_slice() else {
        panic!("{shown:#}");
    };
    assert_eq!(first["broker"], "miniQMT");
    assert_eq!(first["lane"], "in-process");
    assert_eq!(first["execution"]["max_in_flight"], 3);
    assert_eq!(first["execution"]["call_deadline_seconds"].to_string(), "4.0");
    assert_eq!(first["risk"]["drawdown_pct"].to_string(), "2.5");
    assert_eq!(first["risk"]["concentration_pct"], 30);
    assert_eq!(first["miniQMT"]["session_path"], "/q/userdata_mini");
    assert_eq!(first["miniQMT"]["account_id"], "***");
    assert!(
        first["data_dir"].as_str().unwrap().ends_with("d/accounts/SA-1"),
        "{first:#}"
    );
    assert_eq!(first["api_token"], serde_json::Value::Null);
    assert_eq!(second["broker"], "simulated");
    assert_eq!(second["execution"]["max_in_flight"], 7);
    assert_eq!(second["miniqmt"]["session_path"], "/other");
    assert_eq!(second["plugin_options"]["simulated"]["lane"], "worker");
    assert!(!text(&output.stdout).contains("5500000"));
    // A list without entries is none.
    home.file(
        "none.json",
        with_accounts("", r#""securities_account_id": "SA-1","#),
    );
    assert_eq!(
        home.run(&["config", "check", "--config", "none.json"])
            .status
            .code(),
        Some(0)
    );
}

#[test]
fn every_mistake_in_accounts_is_said_with_its_place() {
    let home = Home::new();
    let refused = |accounts: &str, more: &str| home.refused("c.json", with_accounts(accounts, more));
    let one =
        r#"{"securities_account_id": "SA-1", "broker": "miniQMT", "miniQMT": {"account_id": "55000001"}}"#;
    for (accounts, more, parts) in [
        (
            "{}",
            "",
            &["c.json:4: accounts[0].securities_account_id: is missing"][..],
        ),
        ("7", "", &["accounts[0] = 7: expected an account as a block"]),
        (
            r#"{"securities_account_id": "all"}"#,
            "",
            &["accounts[0].securities_account_id: `all` means every account"],
        ),
        (
            r#"{"securities_account_id": "SA-1"}, {"securities_account_id": "sa-1"}"#,
            "",
            &["accounts[1].securities_account_id = \"sa-1\": is that of accounts[0], too"],
        ),
        (
            &format!(
                r#"{one}, {{"securities_account_id": "SA-2", "broker": "MINIQMT", "miniqmt": {{"account_id": " 55000001 "}}}}"#
            ),
            "",
            &["account_id: is the broker's account of accounts[0], too (not shown)"],
        ),
        (
            one,
            r#""securities_account_id": "SA-9","#,
            &["securities_account_id: belongs into each entry"],
        ),
        (
            r#"{"securities_account_id": "SA-1", "execution": {"max_in_fligt": 3, "signals_limit": 5}, "brokr": "x"}"#,
            "",
            &[
                "accounts[0].execution.max_in_fligt: unknown key; did you mean `max_in_flight`?",
                "accounts[0].execution.signals_limit: holds for all accounts",
                "accounts[0].brokr: unknown key; did you mean `broker`?",
            ],
        ),
        (
            r#"{"securities_account_id": "SA-1", "execution": {"max_in_flight": 0}, "lane": "fast"}"#,
            "",
            &[
                "accounts[0].execution.max_in_flight = 0: expected a whole number",
                "accounts[0].lane = \"fast\": expected one of worker, in-process",
            ],
        ),
        (
            r#"{"securities_account_id": "SA-1", "miniQMT": {"account_id": 55000001}}"#,
            "",
            &["accounts[0].miniQMT.account_id: expected a text"],
        ),
    ] {
        let said = refused(accounts, more);
        for part in parts {
            assert!(said.contains(part), "{part}\n{said}");
        }
        assert!(!said.contains("5500000"), "{said}");
    }
    home.file("flag.json", with_accounts(one, ""));
    let output = home.run(&[
        "config",
        "check",
        "--config",
        "flag.json",
        "--broker",
        "simulated",
    ]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        text(&output.stderr).contains("flag --broker: broker: the accounts of the list"),
        "{output:?}"
    );
    // A mistake in what holds for all is one mistake.
    let all_wrong = with_accounts(one, "").replace("\"max_in_flight\": 7", "\"max_in_flight\": -7");
    let said = home.refused("all.json", all_wrong);
    assert_eq!(said.matches("max_in_flight").count(), 1, "{said}");
}
