//! The `accounts` list: several accounts in one host, each with what differs from what holds for all.

use std::path::Path;

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::lines::joined;
use super::walk::Walk;
use super::{Config, Execution, Lane, PluginBlocks, PluginOptions, Risk, defaults, sources};
use crate::system::SystemError;

/// The folder of all accounts within the data folder.
pub const FOLDER: &str = "accounts";
/// What `--account` takes for every account, and therefore no account's id.
pub const ALL: &str = "all";
/// Names that Windows keeps for devices.
const DEVICES: [&str; 4] = ["con", "prn", "aux", "nul"];
/// The longest part of an id that becomes a folder's name, in bytes.
const LONGEST: usize = 64;

/// One entry of the list: what holds for this account, with everything that holds for all.
#[derive(Debug, Clone)]
pub struct Account {
    /// The backend's id of the securities account.
    pub securities_account_id: String,
    broker: String,
    names_broker: bool,
    plugin_blocks: PluginBlocks,
    plugin_options: PluginOptions,
    lane: Option<Lane>,
    execution: Execution,
    gates: super::GateConfig,
    risk: Risk,
}

impl Account {
    /// The block of a plugin, whatever the case of the name.
    pub fn block(&self, plugin: &str) -> Option<&Value> {
        self.plugin_blocks.get(plugin)
    }

    /// The name of its folder, which no other id has in any case of letters.
    fn folder(&self) -> String {
        folder(&self.securities_account_id)
    }
}

/// A folder's name for an id: the id itself where every system takes it as one.
fn folder(id: &str) -> String {
    let plain: String = id
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || "-_".contains(c) {
                c
            } else {
                '_'
            }
        })
        .take(LONGEST)
        .collect();
    let lower = plain.to_ascii_lowercase();
    let numbered = |device: &str| {
        let rest = lower.strip_prefix(device);
        rest.is_some_and(|rest| rest.len() == 1 && rest.bytes().all(|byte| byte.is_ascii_digit()))
    };
    if plain == id
        && !plain.is_empty()
        && !DEVICES.contains(&lower.as_str())
        && !numbered("com")
        && !numbered("lpt")
    {
        return plain;
    }
    let hash = Sha256::digest(id.as_bytes());
    format!("{plain}-{}", data_encoding::HEXLOWER.encode(&hash[..4]))
}

/// What the top level says for all accounts, before anything took it apart.
pub struct Common {
    execution: Option<Value>,
    gates: Option<Value>,
    risk: Option<Value>,
    plugin_options: Option<Value>,
}

impl Common {
    /// Of the top level.
    pub fn of(values: &Map<String, Value>) -> Self {
        let block = |key: &str| values.get(key).filter(|value| value.is_object()).cloned();
        Self {
            execution: block("execution"),
            gates: block("gates"),
            risk: block("risk"),
            plugin_options: block("plugin_options"),
        }
    }
}

/// Lays an entry's values over those for all; names are the same in any case, as those of plugins are.
fn lay_over(own: &mut Map<String, Value>, common: &Map<String, Value>) {
    for (key, value) in common {
        let written = own.keys().find(|own| own.eq_ignore_ascii_case(key)).cloned();
        match written.and_then(|written| own.get_mut(&written)) {
            None | Some(Value::Null) => {
                own.insert(key.clone(), value.clone());
            }
            Some(Value::Object(inner)) => {
                if let Value::Object(common) = value {
                    lay_over(inner, common);
                }
            }
            Some(_) => {}
        }
    }
}

fn lay_block_over(own: &mut Map<String, Value>, key: &str, common: Option<&Value>) {
    let Some(common) = common else { return };
    let mut both = Map::new();
    if let Some(value) = own.remove(key) {
        both.insert(key.to_owned(), value);
    }
    let mut outer = Map::new();
    outer.insert(key.to_owned(), common.clone());
    lay_over(&mut both, &outer);
    own.extend(both);
}

/// Reads the list and checks its entries against each other. `config` is what the top level says.
pub fn read(entries: Vec<Value>, common: &Common, config: &Config, walk: &mut Walk) -> Vec<Account> {
    // A mistake in what holds for all is one mistake, and not one for each account.
    let is_well = walk.mistakes.is_empty();
    let mut accounts: Vec<(usize, Account)> = Vec::new();
    for (index, entry) in entries.into_iter().enumerate() {
        let path = format!("accounts[{index}]");
        match entry {
            Value::Object(mut own) => {
                only_for_all(&own, &path, walk);
                if is_well {
                    lay_block_over(&mut own, "execution", common.execution.as_ref());
                    lay_block_over(&mut own, "gates", common.gates.as_ref());
                    lay_block_over(&mut own, "risk", common.risk.as_ref());
                    lay_block_over(&mut own, "plugin_options", common.plugin_options.as_ref());
                }
                accounts.extend(one(own, &path, config, walk).map(|account| (index, account)));
            }
            other => walk.wrong(&path, Some(&other), "expected an account as a block in braces"),
        }
    }
    check_top(config, walk);
    for (place, (index, account)) in accounts.iter().enumerate() {
        for (earlier, other) in &accounts[..place] {
            check_pair((*index, account), (*earlier, other), walk);
        }
    }
    accounts.into_iter().map(|(_, account)| account).collect()
}

/// What one request to the backend needs is asked for once, and not by each account.
fn only_for_all(own: &Map<String, Value>, path: &str, walk: &mut Walk) {
    let execution = own.get("execution").and_then(Value::as_object);
    if execution.is_some_and(|execution| execution.contains_key("signals_limit")) {
        walk.wrong(
            &format!("{path}.execution.signals_limit"),
            None,
            "holds for all accounts, since one request brings the signals of all; put it into the block `execution` \
             of the top level",
        );
    }
}

fn one(own: Map<String, Value>, path: &str, config: &Config, walk: &mut Walk) -> Option<Account> {
    let mut block = walk.block_at(path, own);
    let id = block.text("securities_account_id", "the id of the account in the backend");
    let broker = block.optional_text("broker", "the name of a broker plugin");
    let lanes = [Lane::Worker, Lane::InProcess].map(|lane| (lane.name(), Some(lane)));
    let lane = block.word("lane", None, &lanes);
    let (execution, in_execution) = defaults::execution(block.inner("execution"));
    let gates = super::gates::gates(block.inner("gates"), in_execution);
    let risk = defaults::risk(block.inner("risk"));
    let plugin_options = defaults::plugin_options(block.inner("plugin_options"));
    let (rest, known) = block.rest();
    let names_broker = broker.is_some() || config.names_broker;
    let broker = broker.unwrap_or_else(|| config.broker.clone());
    let mut blocks = sources::plugin_blocks(path, rest, &known, &broker, walk);
    for (name, common) in &config.plugin_blocks.0 {
        let written = blocks
            .0
            .keys()
            .find(|own| own.eq_ignore_ascii_case(name))
            .cloned();
        match (written.and_then(|name| blocks.0.get_mut(&name)), common) {
            (Some(Value::Object(own)), Value::Object(common)) => lay_over(own, common),
            (Some(_), _) => {}
            (None, _) => {
                blocks.0.insert(name.clone(), common.clone());
            }
        }
    }
    sources::check_miniqmt(path, &blocks, walk);
    let at = joined(path, "securities_account_id");
    match &id {
        Some(id) if id.eq_ignore_ascii_case(ALL) => {
            walk.wrong(
                &at,
                None,
                "`all` means every account on the command line, and can be no account's id",
            );
        }
        None if walk
            .mistakes
            .iter()
            .all(|mistake| mistake.key.as_ref() != Some(&at)) =>
        {
            walk.wrong(
                &at,
                None,
                "is missing; signals find their account by it, the backend's id of the account",
            );
        }
        _ => {}
    }
    Some(Account {
        securities_account_id: id?,
        broker,
        names_broker,
        plugin_blocks: blocks,
        plugin_options,
        lane: config.lane.or(lane),
        execution,
        gates,
        risk,
    })
}

/// What can only be said of each account.
fn check_top(config: &Config, walk: &mut Walk) {
    if config.securities_account_id.is_some() {
        walk.wrong(
            "securities_account_id",
            None,
            "belongs into each entry of `accounts`, since there is more than one account; leave it out here",
        );
    }
    if matches!(walk.origin("broker"), super::Origin::Flag(_)) {
        walk.wrong(
            "broker",
            None,
            "the accounts of the list may have different brokers; name each in its entry, and leave the flag out",
        );
    }
}

fn check_pair((index, account): (usize, &Account), (earlier, other): (usize, &Account), walk: &mut Walk) {
    let path = format!("accounts[{index}]");
    if account.folder().eq_ignore_ascii_case(&other.folder()) {
        let id = Value::String(account.securities_account_id.clone());
        walk.wrong(
            &format!("{path}.securities_account_id"),
            Some(&id),
            format!("is that of accounts[{earlier}], too; each account stands in the list once"),
        );
    }
    let number = |account: &Account| -> Option<String> {
        let block = account.block(&account.broker)?;
        Some(block.get("account_id")?.as_str()?.trim().to_owned())
    };
    let (own, others) = (number(account), number(other));
    if own.is_some() && own == others && account.broker.eq_ignore_ascii_case(&other.broker) {
        walk.wrong(
            &format!("{path}.{}.account_id", account.broker),
            None,
            format!(
                "is the broker's account of accounts[{earlier}], too (not shown); two entries would trade with the same money"
            ),
        );
    }
}

impl Config {
    /// The data folder of the host, which holds those of its accounts where there are several.
    ///
    /// # Errors
    /// No folder is configured and the system names none.
    pub fn home_dir(&self) -> Result<std::path::PathBuf, SystemError> {
        self.home.clone().map_or_else(|| self.data_dir(), Ok)
    }

    /// The configuration of each account: of every entry of the list, else the whole as it is.
    ///
    /// # Errors
    /// No data folder is configured and the system names none.
    pub fn each_account(&self) -> Result<Vec<Self>, SystemError> {
        if self.accounts.is_empty() {
            return Ok(vec![self.clone()]);
        }
        let home = self.home_dir()?;
        Ok(self
            .accounts
            .iter()
            .map(|account| self.of_account(account, &home))
            .collect())
    }

    fn of_account(&self, account: &Account, home: &Path) -> Self {
        Self {
            securities_account_id: Some(account.securities_account_id.clone()),
            broker: account.broker.clone(),
            names_broker: account.names_broker,
            plugin_blocks: account.plugin_blocks.clone(),
            plugin_options: account.plugin_options.clone(),
            lane: account.lane,
            execution: account.execution.clone(),
            gates: account.gates.clone(),
            risk: account.risk.clone(),
            data_dir: Some(home.join(FOLDER).join(account.folder())),
            home: Some(home.to_owned()),
            accounts: Vec::new(),
            ..self.clone()
        }
    }

    /// Whether this is one account of several.
    pub const fn is_one_of_several(&self) -> bool {
        self.home.is_some()
    }

    /// The account for people: the backend's id, and the end of the broker's number where there is one.
    pub fn account_label(&self) -> String {
        let id = self.securities_account_id.as_deref().unwrap_or("the account");
        let number = self
            .plugin_blocks
            .get(&self.broker)
            .and_then(|block| block.get("account_id"))
            .and_then(Value::as_str);
        match number {
            Some(number) => format!("{id}/{}", crate::cli::masked(number)),
            None => id.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_the_id_where_every_system_takes_it() {
        for id in ["SA-1", "6763f8a2d9e4b1a2c3d4e5f6", "a_b", "common", "com10"] {
            assert_eq!(folder(id), id);
        }
        for id in [
            "",
            "..",
            "a/b",
            "a b",
            "con",
            "NUL",
            "Com1",
            "lpt9",
            "账户",
            &"x".repeat(65),
        ] {
            let name = folder(id);
            assert_ne!(name, id);
            assert!(
                name.bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'),
                "{name}"
            );
        }
        assert_ne!(folder("a/b"), folder("a_b"));
        assert_ne!(folder("a/b"), folder("a:b"));
    }

    #[test]
    fn what_an_account_says_lies_over_what_holds_for_all() {
        let value = |text: &str| -> Map<String, Value> { serde_json::from_str(text).unwrap() };
        let mut own = value(r#"{"Mine": {"lane": "worker", "list": [1]}, "b": 2, "none": null}"#);
        let common =
            value(r#"{"mine": {"lane": "x", "limit": 3, "list": [2, 3]}, "b": {"c": 1}, "d": 4, "none": 5}"#);
        lay_over(&mut own, &common);
        let expected =
            value(r#"{"Mine": {"lane": "worker", "list": [1], "limit": 3}, "b": 2, "d": 4, "none": 5}"#);
        assert_eq!(own, expected);
    }
}
