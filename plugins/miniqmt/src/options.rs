//! The configuration block.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rust_decimal::Decimal;
use serde::{Deserialize, Deserializer, de::Error};
use serde_json::{Value, json};

use crate::hours::Hours;

/// What kind of account the terminal trades for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(
    test,
    derive(qt_plugin_api::schemars::JsonSchema),
    schemars(crate = "qt_plugin_api::schemars")
)]
#[serde(rename_all = "UPPERCASE")]
pub(crate) enum AccountType {
    /// Trades with its own money alone.
    #[default]
    Stock,
    /// May borrow money and shares; orders of this plugin are on collateral.
    Credit,
}

/// What to do once the terminal has been seen to change an order's remark.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(
    test,
    derive(qt_plugin_api::schemars::JsonSchema),
    schemars(crate = "qt_plugin_api::schemars")
)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ChangedRemark {
    /// Send no more orders today.
    #[default]
    Refuse,
    /// Go on: an order whose answer is lost can then only be decided by a person.
    Trade,
}

/// Limits that the bridge enforces by itself, whatever this plugin asks for.
#[derive(Clone, Debug, Default, Deserialize)]
#[cfg_attr(
    test,
    derive(qt_plugin_api::schemars::JsonSchema),
    schemars(crate = "qt_plugin_api::schemars")
)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Caps {
    /// The largest worth of one order, in yuan; an order without a price is refused while this is set.
    #[serde(deserialize_with = "money_or_none")]
    #[cfg_attr(test, schemars(with = "serde_json::Value", extend("type" = ["number", "string", "null"])))]
    pub(crate) max_order_value: Option<Decimal>,
    /// The most shares of one order.
    pub(crate) max_order_shares: Option<u64>,
    /// The most orders of one day.
    pub(crate) max_orders_a_day: Option<u64>,
    /// The only symbols that may be traded, such as "600000.SH".
    pub(crate) symbols: Option<Vec<String>>,
}

/// The whole block.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(
    test,
    derive(qt_plugin_api::schemars::JsonSchema),
    schemars(crate = "qt_plugin_api::schemars")
)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Options {
    /// The number of the account that is logged in to the terminal.
    #[cfg_attr(test, schemars(extend("format" = "password")))]
    pub(crate) account_id: Option<String>,
    /// STOCK or CREDIT.
    pub(crate) account_type: AccountType,
    /// The terminal's folder `userdata_mini`.
    pub(crate) session_path: Option<String>,
    /// The later name of `session_path`; give one of the two.
    pub(crate) xt_path: Option<String>,
    /// The Python that runs the bridge; searched for where it is left out.
    pub(crate) python: Option<String>,
    /// The folder that holds the package xtquant, where Python does not find it by itself.
    pub(crate) xtquant: Option<String>,
    /// HOST:PORT of a bridge that was started by `bridge.py --listen` beside the terminal.
    pub(crate) remote: Option<String>,
    /// A file with the token that the bridge at `remote` asks for.
    pub(crate) token_file: Option<String>,
    /// A file with the certificate of the bridge at `remote`, in PEM; no other one is accepted.
    pub(crate) certificate: Option<String>,
    /// Limits that the bridge enforces by itself. One at `remote` has its own besides, and the tighter of the two holds.
    pub(crate) caps: Caps,
    /// Only look: every order and cancel is refused.
    pub(crate) read_only: bool,
    /// Check every order as if it were sent, and refuse it with the words "a dry run".
    pub(crate) dry_run: bool,
    /// First and last session id that this plugin may use at the terminal; no other program may use them.
    pub(crate) session_ids: [u32; 2],
    /// How long an order or a cancel may take until its outcome counts as unknown, in seconds. An order may wait as long
    /// for a connection that is being made before it is refused unsent; keep both together below the host's
    /// `execution.call_deadline_seconds`.
    pub(crate) order_deadline_seconds: f64,
    /// How long a question may take, in seconds; the list of a long day comes in parts, and each has that time.
    pub(crate) query_deadline_seconds: f64,
    /// How long a connection may take to be made, in seconds.
    pub(crate) connect_deadline_seconds: f64,
    /// How often the bridge is asked whether it lives, in seconds.
    pub(crate) heartbeat_seconds: f64,
    /// How long a call of the terminal's library may take until the bridge is started again, in seconds.
    pub(crate) hang_after_seconds: f64,
    /// How long a terminal that is asked may say nothing at all until its connection counts as lost, in seconds.
    pub(crate) silent_after_seconds: f64,
    /// The first wait before the connection is tried again, in seconds.
    pub(crate) reconnect_first_seconds: f64,
    /// The longest wait before the connection is tried again, in seconds.
    pub(crate) reconnect_most_seconds: f64,
    /// When the terminal is expected to be down, in Beijing: spans such as "16:00-08:30", and "weekend". A lost
    /// connection is no error then.
    pub(crate) expected_down: Vec<String>,
    /// An empty list counts as the truth only so many seconds after the connection was made: before, it mostly means
    /// that the terminal is not ready.
    pub(crate) empty_counts_after_seconds: f64,
    /// How long a fresh order or trade may be missing from the terminal's lists until it counts as missing, in seconds.
    pub(crate) visible_within_seconds: f64,
    /// How long an order whose answer was lost may be missing from the terminal's lists before that counts as a sign that it was
    /// never taken, in seconds; until then the list of orders counts as not ready. Lists lag, and a signal whose order was never
    /// taken may be sent anew.
    pub(crate) absent_after_seconds: f64,
    /// What to do once the terminal has been seen to change an order's remark, by which orders are found again.
    pub(crate) changed_remark: ChangedRemark,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            account_id: None,
            account_type: AccountType::default(),
            session_path: None,
            xt_path: None,
            python: None,
            xtquant: None,
            remote: None,
            token_file: None,
            certificate: None,
            caps: Caps::default(),
            read_only: false,
            dry_run: false,
            session_ids: [100_000, 999_999],
            order_deadline_seconds: 4.0,
            query_deadline_seconds: 5.0,
            connect_deadline_seconds: 30.0,
            heartbeat_seconds: 1.0,
            hang_after_seconds: 8.0,
            silent_after_seconds: 30.0,
            reconnect_first_seconds: 1.0,
            reconnect_most_seconds: 60.0,
            expected_down: vec!["16:00-08:30".to_owned(), "weekend".to_owned()],
            empty_counts_after_seconds: 10.0,
            visible_within_seconds: 30.0,
            absent_after_seconds: 600.0,
            changed_remark: ChangedRemark::default(),
        }
    }
}

/// The longest time that any of the options may name.
const DAY_SECONDS: f64 = 86_400.0;

impl Options {
    /// What the types cannot tell.
    ///
    /// # Errors
    /// The first mistake, with the key.
    pub(crate) fn check(&self) -> Result<(), String> {
        self.check_times()?;
        Hours::parse(&self.expected_down)?;
        if let (Some(one), Some(two)) = (&self.session_path, &self.xt_path)
            && one != two
        {
            return Err(
                "`session_path` and `xt_path` are two names of one option and differ; keep one of them"
                    .to_owned(),
            );
        }
        let [first, last] = self.session_ids;
        if first == 0 || last < first || last > 999_999_999 {
            return Err(format!(
                "`session_ids` is [{first}, {last}]; give a first and a last id from 1 to 999999999"
            ));
        }
        self.check_caps()?;
        match &self.remote {
            Some(_) => self.check_remote(),
            None => self.check_local(),
        }
    }

    fn check_times(&self) -> Result<(), String> {
        let least = 0.001;
        for (name, value, least) in [
            ("order_deadline_seconds", self.order_deadline_seconds, least),
            ("query_deadline_seconds", self.query_deadline_seconds, least),
            ("connect_deadline_seconds", self.connect_deadline_seconds, least),
            ("heartbeat_seconds", self.heartbeat_seconds, least),
            ("hang_after_seconds", self.hang_after_seconds, least),
            ("silent_after_seconds", self.silent_after_seconds, least),
            ("reconnect_first_seconds", self.reconnect_first_seconds, least),
            ("reconnect_most_seconds", self.reconnect_most_seconds, least),
            ("empty_counts_after_seconds", self.empty_counts_after_seconds, 0.0),
            ("visible_within_seconds", self.visible_within_seconds, 0.0),
            ("absent_after_seconds", self.absent_after_seconds, 0.0),
        ] {
            if !(least..=DAY_SECONDS).contains(&value) {
                return Err(format!(
                    "`{name}` is {value}; give seconds from {least} to {DAY_SECONDS}"
                ));
            }
        }
        Ok(())
    }

    fn check_caps(&self) -> Result<(), String> {
        if self
            .caps
            .max_order_value
            .is_some_and(|most| most <= Decimal::ZERO)
        {
            return Err(
                "`caps.max_order_value` must be above 0; leave it out where there is no limit".to_owned(),
            );
        }
        for symbol in self.caps.symbols.iter().flatten() {
            symbol
                .parse::<qt_market::Symbol>()
                .map_err(|e| format!("`caps.symbols`: {e}"))?;
        }
        Ok(())
    }

    fn check_local(&self) -> Result<(), String> {
        for (name, given) in [
            ("token_file", &self.token_file),
            ("certificate", &self.certificate),
        ] {
            if given.is_some() {
                return Err(format!(
                    "`{name}` belongs to a bridge on another machine: give `remote` too"
                ));
            }
        }
        if self.account_id.as_deref().unwrap_or_default().trim().is_empty() {
            return Err(
                "`account_id` is missing: give the number of the account that is logged in to the terminal, in the \
                 block or in TRADER_MINIQMT_ACCOUNT_ID"
                    .to_owned(),
            );
        }
        if self.path().is_none() {
            return Err(
                "`session_path` is missing: give the terminal's folder `userdata_mini`, such as \
                        C:\\QMT\\userdata_mini, in the block or in TRADER_MINIQMT_XT_PATH"
                    .to_owned(),
            );
        }
        Ok(())
    }

    fn check_remote(&self) -> Result<(), String> {
        let remote = self.remote.as_deref().unwrap_or_default();
        let (host, port) = remote
            .rsplit_once(':')
            .filter(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
            .ok_or_else(|| format!("`remote` is `{remote}`; give HOST:PORT of the bridge"))?;
        if self.token_file.is_none() {
            return Err("`token_file` is missing: it holds the token that the bridge asks for".to_owned());
        }
        if self.certificate.is_none() && !is_loopback(host) {
            return Err(format!(
                "`certificate` is missing: {host}:{port} is another machine, and orders never travel in the clear"
            ));
        }
        for (name, given) in [
            ("session_path", &self.session_path),
            ("xt_path", &self.xt_path),
            ("python", &self.python),
            ("xtquant", &self.xtquant),
        ] {
            if given.is_some() {
                return Err(format!(
                    "`{name}` belongs into the configuration of the bridge at `remote`; leave it out here"
                ));
            }
        }
        Ok(())
    }

    /// The terminal's folder.
    pub(crate) fn path(&self) -> Option<&str> {
        let given = self.session_path.as_deref().or(self.xt_path.as_deref());
        given.map(str::trim).filter(|path| !path.is_empty())
    }

    fn wire_caps(&self) -> Value {
        json!({
            "max_order_value": self.caps.max_order_value.map(|most| most.to_string()),
            "max_order_shares": self.caps.max_order_shares,
            "max_orders_a_day": self.caps.max_orders_a_day,
            "symbols": self.caps.symbols,
        })
    }

    /// What a bridge on another machine holds this host's orders to, beyond its own configuration.
    pub(crate) fn limits(&self) -> Value {
        json!({ "caps": self.wire_caps(), "read_only": self.read_only, "dry_run": self.dry_run })
    }

    /// Whether orders are held to anything.
    pub(crate) fn has_limits(&self) -> bool {
        let caps = &self.caps;
        self.read_only
            || self.dry_run
            || caps.max_order_value.is_some()
            || caps.max_order_shares.is_some()
            || caps.max_orders_a_day.is_some()
            || caps.symbols.is_some()
    }

    /// What the bridge must know when it is a child of ours.
    pub(crate) fn for_bridge(&self, data_dir: &Path, xtquant: Option<&Path>) -> Value {
        let given = self.xtquant.as_ref().map(PathBuf::from);
        json!({
            "path": self.path(),
            "account": self.account_id.as_deref().unwrap_or_default().trim(),
            "account_type": match self.account_type { AccountType::Stock => "STOCK", AccountType::Credit => "CREDIT" },
            "xtquant": given.as_deref().or(xtquant),
            "record": data_dir.join("orders"),
            "sessions": data_dir.join("sessions"),
            "session_ids": self.session_ids,
            "caps": self.wire_caps(),
            "read_only": self.read_only,
            "dry_run": self.dry_run,
            "hang_after_ms": millis(self.hang_after()),
            "silent_after_ms": millis(self.silent_after()),
            "visible_ms": millis(self.visible_within()),
        })
    }
}

macro_rules! durations {
    ($($(#[$doc:meta])* $name:ident = $field:ident;)*) => {
        impl Options {
            $($(#[$doc])* pub(crate) fn $name(&self) -> Duration {
                // Checked before: a finite number from 0 to a day.
                Duration::try_from_secs_f64(self.$field).unwrap_or_default()
            })*
        }
    };
}

durations! {
    /// How long an order or a cancel may take.
    order_deadline = order_deadline_seconds;
    /// How long a question may take.
    query_deadline = query_deadline_seconds;
    /// How long a connection may take.
    connect_deadline = connect_deadline_seconds;
    /// How often the bridge is asked whether it lives.
    heartbeat = heartbeat_seconds;
    /// How long a call of the terminal's library may take.
    hang_after = hang_after_seconds;
    /// How long a terminal may say nothing.
    silent_after = silent_after_seconds;
    /// The first wait between two tries.
    reconnect_first = reconnect_first_seconds;
    /// The longest wait between two tries.
    reconnect_most = reconnect_most_seconds;
    /// When an empty list counts.
    empty_counts_after = empty_counts_after_seconds;
    /// When a row that is missing counts as missing.
    visible_within = visible_within_seconds;
    /// When an order without an outcome that no list shows counts as never taken.
    absent_after = absent_after_seconds;
}

/// Whole milliseconds.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Whether a host is this machine for certain.
pub(crate) fn is_loopback(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost")
        || host
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

/// The exact decimal in a JSON number or string.
fn exact(value: &Value) -> Result<Decimal, String> {
    let text = match value {
        Value::Number(n) => n.to_string(),
        Value::String(s) => s.clone(),
        other => return Err(format!("expected an amount, found {other}")),
    };
    let parsed = Decimal::from_str_exact(&text).or_else(|_| Decimal::from_scientific(&text));
    parsed.map_err(|e| format!("{text} is no amount: {e}"))
}

fn money_or_none<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Decimal>, D::Error> {
    match Value::deserialize(deserializer)? {
        Value::Null => Ok(None),
        value => exact(&value).map(Some).map_err(D::Error::custom),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(more: &Value) -> Result<Options, String> {
        let mut block = json!({ "account_id": "55000001", "session_path": "/q/userdata_mini" });
        for (key, value) in more.as_object().expect("an object") {
            block[key] = value.clone();
        }
        let options: Options = serde_json::from_value(block).map_err(|e| e.to_string())?;
        options.check().map(|()| options)
    }

    #[test]
    fn the_schema_is_that_of_the_options() {
        qt_plugin_api::testing::check_schema::<Options>("config-schema.json");
    }

    #[test]
    fn the_block_of_the_specification_is_enough() {
        let plain = options(&json!({})).expect("options");
        assert_eq!(plain.path(), Some("/q/userdata_mini"));
        let later = options(&json!({ "session_path": null, "xt_path": "/q" })).expect("options");
        assert_eq!(later.path(), Some("/q"));
        assert_eq!(plain.order_deadline(), Duration::from_secs(4));
    }

    #[test]
    fn every_mistake_is_named_by_its_key() {
        let remote = |more: Value| {
            let mut block = json!({ "session_path": null, "remote": "10.0.0.2:7000", "token_file": "t", "certificate": "c" });
            for (key, value) in more.as_object().expect("an object") {
                block[key] = value.clone();
            }
            block
        };
        for (more, part) in [
            (json!({ "acount_id": "1" }), "acount_id"),
            (json!({ "account_id": " " }), "`account_id` is missing"),
            (json!({ "session_path": "" }), "`session_path` is missing"),
            (json!({ "xt_path": "/other" }), "two names of one option"),
            (json!({ "account_type": "FUTURE" }), "FUTURE"),
            (json!({ "session_ids": [5, 4] }), "session_ids"),
            (json!({ "heartbeat_seconds": 0 }), "heartbeat_seconds"),
            (json!({ "order_deadline_seconds": -1 }), "order_deadline_seconds"),
            (json!({ "expected_down": ["25:00-01:00"] }), "25:00-01:00"),
            (json!({ "caps": { "max_order_value": 0 } }), "max_order_value"),
            (json!({ "caps": { "symbols": ["600000"] } }), "caps.symbols"),
            (json!({ "caps": { "max_shares": 1 } }), "max_shares"),
            (json!({ "token_file": "t" }), "give `remote` too"),
            (remote(json!({ "remote": "10.0.0.2" })), "HOST:PORT"),
            (remote(json!({ "token_file": null })), "`token_file` is missing"),
            (
                remote(json!({ "certificate": null })),
                "never travel in the clear",
            ),
            (remote(json!({ "python": "python3" })), "`python` belongs"),
        ] {
            let why = options(&more).expect_err("a mistake");
            assert!(why.contains(part), "{more}: {why}");
        }
        let local = remote(json!({ "remote": "127.0.0.1:7000", "certificate": null }));
        options(&local).expect("plain text on the loopback address");
    }
}
