//! `compliance`: what the rules on programmatic trading ask to be reported, as measured from the journal.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use clap::{Args, Subcommand};
use qt_core::{Cancel, ClientOrderId, Order, TradingDate, UtcMillis};
use qt_market::HighFrequency;
use serde_json::{Value, json};

use super::accounts::{Form, show_each};
use super::table::{Align, Table};
use super::{Failure, Options, masked};
use crate::config::{Config, Purpose};
use crate::{gating, journal};

const SECOND_MS: i64 = 1_000;

#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  qt-host compliance report
  qt-host compliance report --csv > report.csv
  qt-host compliance report --json --full-account")]
pub(super) enum ComplianceCommand {
    /// Print the sheet: software, account, strategies, highest rate and daily counts as measured from the journal.
    Report(ReportArgs),
}

#[derive(Debug, Args)]
pub(super) struct ReportArgs {
    /// As JSON.
    #[arg(long, conflicts_with = "csv")]
    json: bool,
    /// As CSV: item, value, remark.
    #[arg(long)]
    csv: bool,
    /// Print the account's number in full instead of its last digits.
    #[arg(long)]
    full_account: bool,
}

pub(super) fn run(command: &ComplianceCommand, options: &Options) -> Result<(), Failure> {
    let ComplianceCommand::Report(args) = command;
    let form = match (args.json, args.csv) {
        (true, _) => Form::Json,
        (_, true) => Form::Csv,
        _ => Form::Text,
    };
    show_each(&options.load_each(Purpose::Look)?, form, |config| {
        let data_dir = config.data_dir()?;
        let path = data_dir.join(journal::FILE_NAME);
        let orders = journal::every_order(&path, None)?;
        let answers = journal::cancel_answers(&path)?;
        let is_paper = gating::is_paper_by(config, &data_dir);
        let sheet = Sheet::of(config, is_paper, &orders, &answers, args.full_account)?;
        Ok(match form {
            Form::Json => format!("{}\n", sheet.json()),
            Form::Csv => sheet.csv()?,
            Form::Text => sheet.text(),
        })
    })
}

/// When the cancels of one order left. The last is known to the moment, and those before it left when the broker answered
/// them, which `answers` tell. Of one that nothing tells, as where the process ended with it under way, it is only known that
/// it left between the moment at which it was wanted and the next one; they are spread evenly.
fn moments_of(cancel: &Cancel, answers: &[UtcMillis]) -> Vec<UtcMillis> {
    let Some(last) = cancel.sent_at else {
        return Vec::new();
    };
    let earlier = usize::try_from(cancel.tries.max(1) - 1).unwrap_or(0);
    let told = answers
        .iter()
        .copied()
        .filter(|at| (cancel.wanted_at..=last).contains(at));
    let told: Vec<UtcMillis> = told.take(earlier).collect();
    let lacking = i64::try_from(earlier - told.len()).unwrap_or(0);
    let from = cancel.wanted_at;
    let until = told.first().copied().unwrap_or(last).since_ms(from);
    (0..lacking)
        .map(|n| from.plus_ms(until / lacking * n))
        .chain(told)
        .chain([last])
        .collect()
}

/// What a strategy did.
#[derive(Debug, Default, PartialEq, Eq)]
struct Strategy {
    names: BTreeSet<String>,
    orders: usize,
    highest_day: usize,
}

#[derive(Debug)]
struct Sheet {
    broker: String,
    securities_account_id: Option<String>,
    account: Option<String>,
    strategies: BTreeMap<String, Strategy>,
    orders: usize,
    cancels: usize,
    from: Option<TradingDate>,
    to: Option<TradingDate>,
    /// How many in the busiest second, and when it began.
    second: Option<(usize, UtcMillis)>,
    /// How many on the busiest day, and which it was.
    day: Option<(usize, TradingDate)>,
    per_second: Option<u32>,
    per_day: Option<u32>,
    /// From where on trading is of high frequency, by the tables in force.
    law: HighFrequency,
}

/// The most moments within any one second, and when that second began. `moments` must be in order.
fn busiest_second(moments: &[UtcMillis]) -> Option<(usize, UtcMillis)> {
    let mut first = 0;
    let mut most: Option<(usize, UtcMillis)> = None;
    for (last, at) in moments.iter().enumerate() {
        while at.since_ms(moments[first]) >= SECOND_MS {
            first += 1;
        }
        let count = last - first + 1;
        if most.is_none_or(|(highest, _)| count > highest) {
            most = Some((count, moments[first]));
        }
    }
    most
}

fn busiest_day(moments: &[UtcMillis]) -> Option<(usize, TradingDate)> {
    let mut days: BTreeMap<TradingDate, usize> = BTreeMap::new();
    for at in moments {
        *days.entry(at.trading_date()).or_default() += 1;
    }
    // Of two days alike the earlier one.
    days.into_iter()
        .rev()
        .map(|(day, count)| (count, day))
        .max_by_key(|(count, _)| *count)
}

impl Sheet {
    fn of(
        config: &Config,
        is_paper: bool,
        orders: &[Order],
        answers: &HashMap<ClientOrderId, Vec<UtcMillis>>,
        full_account: bool,
    ) -> Result<Self, Failure> {
        let law = config.gates.market().map_err(Failure::usage)?.high_frequency();
        let cancels: Vec<UtcMillis> = orders
            .iter()
            .filter_map(|order| Some((order.cancel.as_ref()?, order.id)))
            .flat_map(|(cancel, id)| moments_of(cancel, answers.get(&id).map_or(&[][..], Vec::as_slice)))
            .collect();
        let sent: Vec<(&Order, UtcMillis)> = orders
            .iter()
            .filter_map(|order| Some((order, order.sent_at?)))
            .collect();
        let mut moments: Vec<UtcMillis> = sent
            .iter()
            .map(|(_, at)| *at)
            .chain(cancels.iter().copied())
            .collect();
        moments.sort_unstable();
        let mut strategies: BTreeMap<String, Strategy> = BTreeMap::new();
        let mut days: BTreeMap<(String, TradingDate), usize> = BTreeMap::new();
        for (order, at) in &sent {
            let key = order
                .signal
                .strategy
                .clone()
                .unwrap_or_else(|| "(none)".to_owned());
            let strategy = strategies.entry(key.clone()).or_default();
            strategy.orders += 1;
            strategy.names.extend(order.signal.strategy_name.clone());
            let day = days.entry((key, at.trading_date())).or_default();
            *day += 1;
            strategy.highest_day = strategy.highest_day.max(*day);
        }
        let rate = config.gates.rate(is_paper);
        let account = crate::desk::broker_account(config, &config.broker);
        Ok(Self {
            broker: config.broker.clone(),
            securities_account_id: config.securities_account_id.clone(),
            account: account.map(|number| if full_account { number } else { masked(&number) }),
            strategies,
            orders: sent.len(),
            cancels: cancels.len(),
            from: moments.first().map(|at| at.trading_date()),
            to: moments.last().map(|at| at.trading_date()),
            second: busiest_second(&moments),
            day: busiest_day(&moments),
            per_second: rate.map(|rate| rate.per_second),
            per_day: rate.map(|rate| rate.per_day),
            law,
        })
    }

    fn items(&self) -> Vec<(&'static str, String, String)> {
        let law = self.law;
        let own = |most: Option<u32>| {
            most.map_or_else(
                || "no limit of one's own".to_owned(),
                |most| format!("own limit {most}"),
            )
        };
        let mut items = vec![
            ("Software", "quantTrader".to_owned(), String::new()),
            ("Version", env!("CARGO_PKG_VERSION").to_owned(), String::new()),
            ("Broker plugin", self.broker.clone(), String::new()),
            (
                "Account",
                self.account
                    .clone()
                    .unwrap_or_else(|| "not configured".to_owned()),
                "the last digits; --full-account prints all".to_owned(),
            ),
            (
                "Securities account id",
                self.securities_account_id
                    .clone()
                    .unwrap_or_else(|| "not configured".to_owned()),
                "of the backend".to_owned(),
            ),
            (
                "Period",
                match (self.from, self.to) {
                    (Some(from), Some(to)) => format!("{from} to {to}"),
                    _ => "nothing was sent".to_owned(),
                },
                "what the journal holds; archived days are not in it".to_owned(),
            ),
            ("Orders sent", self.orders.to_string(), String::new()),
            ("Cancels sent", self.cancels.to_string(), String::new()),
            (
                "Highest rate a second of the period",
                self.second.map_or(0, |(count, _)| count).to_string(),
                format!(
                    "orders and cancels{}; {}; high frequency from {} on",
                    self.second
                        .map_or_else(String::new, |(_, at)| format!(", from {}", super::shanghai(at))),
                    own(self.per_second),
                    law.per_second
                ),
            ),
            (
                "Highest count a day of the period",
                self.day.map_or(0, |(count, _)| count).to_string(),
                format!(
                    "orders and cancels{}; {}; high frequency from {} on",
                    self.day
                        .map_or_else(String::new, |(_, day)| format!(", on {day}")),
                    own(self.per_day),
                    law.per_day
                ),
            ),
        ];
        for (key, strategy) in &self.strategies {
            let names: Vec<&str> = strategy.names.iter().map(String::as_str).collect();
            let name = if names.is_empty() {
                String::new()
            } else {
                format!("{}; ", names.join(", "))
            };
            let remark = format!(
                "{name}{} orders, at most {} a day",
                strategy.orders, strategy.highest_day
            );
            items.push(("Strategy", key.clone(), remark));
        }
        items
    }

    fn text(&self) -> String {
        let mut table = Table::new(&[
            ("Item", Align::Left),
            ("Value", Align::Left),
            ("Remark", Align::Left),
        ]);
        for (item, value, remark) in self.items() {
            table.row([item.to_owned(), value, remark]);
        }
        format!(
            "Programmatic trading: the sheet to report\n\n{}",
            table.render("nothing")
        )
    }

    fn csv(&self) -> Result<String, Failure> {
        let failed =
            |error: &dyn std::fmt::Display| Failure::failed(format!("the CSV cannot be written: {error}"));
        let mut writer = csv::Writer::from_writer(Vec::new());
        writer
            .write_record(["item", "value", "remark"])
            .map_err(|error| failed(&error))?;
        for (item, value, remark) in self.items() {
            // A spreadsheet must not take a strategy's name for a formula.
            let plain = |text: String| {
                if text.starts_with(['=', '+', '-', '@']) {
                    format!("'{text}")
                } else {
                    text
                }
            };
            writer
                .write_record([item.to_owned(), plain(value), plain(remark)])
                .map_err(|error| failed(&error))?;
        }
        let bytes = writer.into_inner().map_err(|error| failed(&error))?;
        String::from_utf8(bytes).map_err(|error| failed(&error))
    }

    fn json(&self) -> Value {
        let law = self.law;
        let strategies: Vec<Value> = self
            .strategies
            .iter()
            .map(|(key, strategy)| {
                json!({ "strategy": key, "names": strategy.names, "orders": strategy.orders,
                        "highest_orders_per_day": strategy.highest_day })
            })
            .collect();
        json!({
            "software": "quantTrader",
            "version": env!("CARGO_PKG_VERSION"),
            "broker_plugin": self.broker,
            "account": self.account,
            "securities_account_id": self.securities_account_id,
            "from": self.from.map(|day| day.to_string()),
            "to": self.to.map(|day| day.to_string()),
            "orders_sent": self.orders,
            "cancels_sent": self.cancels,
            "highest_per_second": self.second.map_or(0, |(count, _)| count),
            "highest_per_second_at_ms": self.second.map(|(_, at)| at.0),
            "highest_per_day": self.day.map_or(0, |(count, _)| count),
            "highest_per_day_on": self.day.map(|(_, day)| day.to_string()),
            "own_limit_per_second": self.per_second,
            "own_limit_per_day": self.per_day,
            "high_frequency_per_second": law.per_second,
            "high_frequency_per_day": law.per_day,
            "strategies": strategies,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Environment, Flags, Sources, load};

    #[test]
    fn the_busiest_second_may_begin_anywhere() {
        let at = |all: &[i64]| all.iter().map(|ms| UtcMillis(*ms)).collect::<Vec<_>>();
        assert_eq!(busiest_second(&[]), None);
        let moments = at(&[0, 900, 1_000, 1_899, 1_900, 5_000]);
        // From 900 to 1,899 there are three; 1,900 is a second after 900.
        assert_eq!(busiest_second(&moments), Some((3, UtcMillis(900))));
        let every = at(&(0..300).map(|n| n * 10).collect::<Vec<_>>());
        assert_eq!(busiest_second(&every), Some((100, UtcMillis(0))));
    }

    #[test]
    fn the_statutory_thresholds_are_those_of_the_tables_in_force() {
        let folder = tempfile::tempdir().unwrap();
        let tables = folder.path().join("tables.toml");
        std::fs::write(
            &tables,
            "[high_frequency]\nsince = \"2026-01-01\"\nper_second = 200\nper_day = 9_000\n",
        )
        .unwrap();
        let file = folder.path().join("config.json");
        std::fs::write(&file, json!({ "gates": { "market_tables": tables } }).to_string()).unwrap();
        let sources = Sources {
            file: Some(file),
            environment: Environment::default(),
            flags: Flags::default(),
        };
        let config = load(&sources, Purpose::Look).unwrap().config;
        let sheet = Sheet::of(&config, true, &[], &HashMap::new(), false).unwrap();
        assert_eq!(
            (
                &sheet.json()["high_frequency_per_second"],
                &sheet.json()["high_frequency_per_day"]
            ),
            (&json!(200), &json!(9_000))
        );
        let text = sheet.text();
        assert!(
            text.contains("from 200 on") && text.contains("from 9000 on"),
            "{text}"
        );
        std::fs::remove_file(tables).unwrap();
        assert!(Sheet::of(&config, true, &[], &HashMap::new(), false).is_err());
    }

    #[test]
    fn every_cancel_that_left_counts_answered_or_not() {
        let cancel = |tries, sent_at: Option<i64>| Cancel {
            by: "test".into(),
            wanted_at: UtcMillis(1_000),
            sent_at: sent_at.map(UtcMillis),
            tries,
            problem: None,
        };
        for (tries, sent_at, answers, expected) in [
            (0, None, vec![], vec![]),
            (1, Some(1_500), vec![1_510], vec![1_500]),
            // Wanted before the order could be named to the broker, they left later.
            (2, Some(16_000), vec![9_000, 16_010], vec![9_000, 16_000]),
            (
                3,
                Some(41_000),
                vec![900, 9_000, 24_000, 41_010],
                vec![9_000, 24_000, 41_000],
            ),
            // Nothing tells of the first, which the process ended with, or of any.
            (3, Some(41_000), vec![24_000], vec![1_000, 24_000, 41_000]),
            (2, Some(16_000), vec![], vec![1_000, 16_000]),
            (3, Some(41_000), vec![], vec![1_000, 21_000, 41_000]),
        ] {
            let [answers, expected] =
                [answers, expected].map(|all| all.into_iter().map(UtcMillis).collect::<Vec<_>>());
            assert_eq!(moments_of(&cancel(tries, sent_at), &answers), expected, "{tries}");
        }
    }

    #[test]
    fn the_busiest_day_is_the_first_of_those_alike() {
        let day = 86_400_000;
        let moments: Vec<_> = [0, 1, day, day + 1, 3 * day].map(UtcMillis).into();
        assert_eq!(busiest_day(&moments), Some((2, TradingDate(0))));
        assert_eq!(busiest_day(&[]), None);
    }
}
