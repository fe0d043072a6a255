//! Which account a command means where the configuration lists several.

use serde_json::{Value, json};

use super::book::BookArgs;
use super::{Failure, Options, print};
use crate::book::BookView;
use crate::config::{ALL_ACCOUNTS, Config, Purpose};

impl Options {
    /// The configuration of the one account that a command is about.
    ///
    /// # Errors
    /// The configuration has mistakes, or several accounts of which none or all are named.
    pub(super) fn load_one(&self, purpose: Purpose) -> Result<Config, Failure> {
        let mut each = self.load_each(purpose)?;
        match (each.pop(), each.is_empty()) {
            (Some(only), true) => Ok(only),
            (last, _) => {
                each.extend(last);
                Err(Failure::usage(format!(
                    "this command is about one account, and the configuration lists several; name one with --account: {}",
                    names(&each)
                )))
            }
        }
    }

    /// The configuration of every account that a command is about: all of them where none is named.
    ///
    /// # Errors
    /// The configuration has mistakes, or no account of that name.
    pub(super) fn load_each(&self, purpose: Purpose) -> Result<Vec<Config>, Failure> {
        self.meant(&self.load(purpose)?)
    }

    /// As [`Options::load_each`], where nothing is done to several accounts unless somebody says so.
    ///
    /// # Errors
    /// Those, or none is named.
    pub(super) fn load_named(&self, purpose: Purpose) -> Result<Vec<Config>, Failure> {
        let each = self.load_each(purpose)?;
        if each.len() > 1 && self.account.is_none() {
            return Err(Failure::usage(format!(
                "the configuration lists several accounts; name one with --account, or all of them with --account \
                 {ALL_ACCOUNTS}: {}",
                names(&each)
            )));
        }
        Ok(each)
    }

    /// The accounts of a configuration that are meant.
    pub(super) fn meant(&self, config: &Config) -> Result<Vec<Config>, Failure> {
        let mut each = config.each_account()?;
        let Some(wanted) = self.account.as_deref().map(str::trim) else {
            return Ok(each);
        };
        if wanted.eq_ignore_ascii_case(ALL_ACCOUNTS) {
            return Ok(each);
        }
        let known = names(&each);
        each.retain(|account| account.securities_account_id.as_deref() == Some(wanted));
        if each.is_empty() {
            return Err(Failure::usage(format!(
                "--account {wanted}: the configuration has no such `securities_account_id`; it has: {known}"
            )));
        }
        Ok(each)
    }
}

fn names(each: &[Config]) -> String {
    let name = |config: &Config| {
        let id = config.securities_account_id.as_deref().unwrap_or("none");
        format!("{id} ({})", config.broker)
    };
    each.iter().map(name).collect::<Vec<_>>().join(", ")
}

/// The id by which an account of several is told from the others.
pub(super) fn id_of(config: &Config) -> String {
    config.securities_account_id.clone().unwrap_or_default()
}

/// Several failures as one: the worst code, and what each said.
pub(super) fn worst(failures: Vec<(String, Failure)>) -> Result<(), Failure> {
    let Some(code) = failures.iter().map(|(_, failure)| failure.code).max() else {
        return Ok(());
    };
    let told = failures.iter().filter(|(_, failure)| !failure.message.is_empty());
    let message = told
        .map(|(account, failure)| format!("account {account}: {}", failure.message))
        .collect::<Vec<_>>()
        .join("\n");
    Err(Failure { code, message })
}

/// How a command that shows the book answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// For people.
    Text,
    /// A list or an object.
    Json,
    /// With a line of headings.
    Csv,
}

/// Shows the book of every account that is meant; one that cannot be shown keeps none of the others back.
pub(super) fn show_books(
    book: &BookArgs,
    options: &Options,
    form: Form,
    render: impl Fn(&Config, &BookView) -> Result<String, Failure>,
) -> Result<(), Failure> {
    show_each(&book.load_each(options)?, form, |config| {
        render(config, &book.view(config)?)
    })
}

/// Shows what `render` makes of every account; one that cannot be shown keeps none of the others back.
pub(super) fn show_each(
    each: &[Config],
    form: Form,
    render: impl Fn(&Config) -> Result<String, Failure>,
) -> Result<(), Failure> {
    if let [only] = each {
        return print(&render(only)?);
    }
    let (mut texts, mut failures) = (Vec::new(), Vec::new());
    for config in each {
        match render(config) {
            Ok(text) => texts.push((config, text)),
            Err(failure) => failures.push((id_of(config), failure)),
        }
    }
    print(&match form {
        Form::Text => texts
            .iter()
            .map(|(config, text)| format!("\nAccount {}\n{text}", config.account_label()))
            .collect(),
        Form::Json => format!("{}\n", as_one_list(&texts)?),
        Form::Csv => as_one_csv(&texts)?,
    })?;
    worst(failures)
}

/// Every account's rows in one list, each with its account.
fn as_one_list(texts: &[(&Config, String)]) -> Result<Value, Failure> {
    let mut all = Vec::new();
    for (config, text) in texts {
        let value: Value = serde_json::from_str(text).map_err(|e| Failure::failed(e.to_string()))?;
        let rows = match value {
            Value::Array(rows) => rows,
            one => vec![one],
        };
        all.extend(rows.into_iter().map(|mut row| {
            // The sheet of an account has the broker's number under that name.
            let key = if row.get("account").is_none() {
                "account"
            } else {
                "of_account"
            };
            row[key] = json!(id_of(config));
            row
        }));
    }
    Ok(Value::Array(all))
}

/// The same with a first column for the account.
fn as_one_csv(texts: &[(&Config, String)]) -> Result<String, Failure> {
    let failed = |e: csv::Error| Failure::failed(format!("the CSV cannot be written: {e}"));
    let mut writer = csv::WriterBuilder::new().flexible(true).from_writer(Vec::new());
    for (number, (config, text)) in texts.iter().enumerate() {
        let mut reader = csv::ReaderBuilder::new()
            .has_headers(false)
            .flexible(true)
            .from_reader(text.as_bytes());
        for (line, row) in reader.records().enumerate() {
            let first = match (line, number) {
                (0, 0) => "account".to_owned(),
                (0, _) => continue,
                _ => id_of(config),
            };
            let row = row.map_err(failed)?;
            writer
                .write_record(std::iter::once(first.as_str()).chain(row.iter()))
                .map_err(failed)?;
        }
    }
    let bytes = writer.into_inner().map_err(|e| Failure::failed(e.to_string()))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
