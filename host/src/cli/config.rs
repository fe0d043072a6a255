//! `qt-host config`: says what is wrong with a configuration, or what is in force.

use clap::Subcommand;
use serde_json::{Value, json};

use super::{Failure, Options, print, warn};
use crate::config::{ApiToken, Config, Mistake, Mistakes, Origin, Purpose, load};
use crate::secrets;

/// What to do with the configuration.
#[derive(Debug, Clone, Subcommand)]
pub enum ConfigCommand {
    /// Check everything that trading needs and say every mistake.
    Check {
        /// Answer in JSON.
        #[arg(long)]
        json: bool,
    },
    /// Show the values in force as JSON; secrets and account numbers are masked.
    Show,
}

/// Runs the command.
pub fn run(command: &ConfigCommand, options: &Options) -> Result<(), Failure> {
    match command {
        ConfigCommand::Check { json } => check(options, *json),
        ConfigCommand::Show => {
            let config = options.load(Purpose::Look)?;
            print(&format!("{:#}\n", config.shown()))
        }
    }
}

fn check(options: &Options, as_json: bool) -> Result<(), Failure> {
    let sources = options.sources();
    let name = sources
        .file
        .as_ref()
        .map_or_else(|| "environment".to_owned(), |file| file.display().to_string());
    let (warnings, mistakes) = match load(&sources, Purpose::Trade) {
        Ok(loaded) => (loaded.warnings, keyring_mistake(&loaded.config)),
        Err(mistakes) => (Vec::new(), Some(mistakes)),
    };
    if as_json {
        let list: Vec<Value> = mistakes
            .iter()
            .flat_map(|all| &all.0)
            .map(Mistake::to_json)
            .collect();
        let answer =
            json!({"ok": mistakes.is_none(), "source": name, "mistakes": list, "warnings": warnings});
        print(&format!("{answer:#}\n"))?;
        return mistakes.map_or(Ok(()), |_| Err(Failure::silent(2)));
    }
    warnings.iter().for_each(|warning| warn(warning));
    match mistakes {
        Some(mistakes) => Err(mistakes.into()),
        None => print(&format!("{name}: no mistakes\n")),
    }
}

/// What is wrong with a token that the keyring should hold, which nobody else looks at before trading begins.
fn keyring_mistake(config: &Config) -> Option<Mistakes> {
    let (Some(url), Some(place @ ApiToken::Keyring)) = (&config.api_base_url, &config.api_token) else {
        return None;
    };
    let why = secrets::open(config, url.as_str(), place).err()?;
    Some(Mistakes::from(Mistake {
        origin: Origin::Nowhere,
        key: None,
        value: None,
        expected: why.to_string(),
        near_miss: None,
    }))
}
