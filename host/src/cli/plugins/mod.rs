//! `qt-host plugins`: what there is, what is wrong with it, what is installed, and what is trusted. None of these
//! commands runs any plugin's code but `test`, which runs it in processes of its own.

mod doctor;
mod explain;
mod inspect;
mod install;
mod list;
mod live;
mod new;
mod options;
mod test;
mod trust;

use std::path::PathBuf;

use clap::{Args, Subcommand};
use qt_plugin_api::manifest::Manifest;

use super::{Failure, Options};
use crate::{
    clock::Clock,
    config::{Config, Purpose},
    plugin::{PinAs, PluginError, SearchPlan},
};

const EXAMPLES: &str = "\
Examples:
  qt-host plugins list                      every plugin file that is found, good or bad
  qt-host plugins doctor                    what is wrong with any of them, and its mend
  qt-host plugins inspect simulated         everything that one says of itself, and its options
  qt-host plugins new my-broker             a crate to begin a plugin of your own with
  qt-host plugins test mybroker             put it to the conformance kit
  qt-host plugins install ./libmybroker.so  into the data folder; `upgrade` replaces it, `rollback` goes back
  qt-host plugins trust mybroker            from now on load only what is pinned, and this is
  qt-host plugins --explain QT-P021         what a code means

Exit codes: 0 done, 1 a fault was found or it failed, 2 usage or configuration, 3 plugin missing or refused.";

/// Look at broker plugins, install them, and say which may be loaded.
#[derive(Debug, Args)]
#[command(after_help = format!("{EXAMPLES}\n\n{}", explain::codes()))]
pub(super) struct PluginsArgs {
    /// Say what a code such as QT-P021 means, how it comes about, and what to do.
    #[arg(long, global = true, value_name = "CODE")]
    explain: Option<String>,

    /// As JSON.
    #[arg(long, global = true)]
    json: bool,

    #[command(subcommand)]
    command: Option<PluginsCommand>,
}

#[derive(Debug, Subcommand)]
enum PluginsCommand {
    /// List every plugin file that is found, and why those that cannot be used cannot.
    #[command(
        after_help = "Examples:\n  qt-host plugins list\n  qt-host plugins list --plugin-dir ./target/debug --json"
    )]
    List,
    /// Show everything that can be known of a plugin without running it: manifest, options, needed libraries.
    #[command(
        after_help = "Examples:\n  qt-host plugins inspect simulated\n  qt-host plugins inspect ./libmybroker.so --json"
    )]
    Inspect {
        /// A plugin's name, or the path of its file.
        plugin: String,
    },
    /// Say everything that is wrong with a plugin, or with any, each with its mend. Ends with 1 if anything is.
    #[command(after_help = "Examples:\n  qt-host plugins doctor\n  qt-host plugins doctor ./libmybroker.so")]
    Doctor {
        /// A plugin's name, or the path of its file; without it, every plugin that is found.
        plugin: Option<String>,
    },
    New(new::NewArgs),
    Test(test::TestArgs),
    /// Exchange the plugin of the host that runs for another version of it, with orders in flight: nothing new is
    /// sent, calls under way are waited for, the other version is opened, the broker's books are compared, and it goes
    /// on. Where that fails, the version before is back. The next start takes what the configuration names.
    #[command(
        after_help = "Example:\n  qt-host plugins swap --config config.json target/release/libmybroker.so"
    )]
    Swap {
        /// The other version's file.
        file: PathBuf,
    },
    /// Put a plugin into the data folder, where every start finds it: before one of its name that came with the program.
    #[command(after_help = "Example:\n  qt-host plugins install ./target/release/libmybroker.so")]
    Install {
        /// Its file; a signature FILE.minisig beside it is taken along.
        file: PathBuf,
    },
    /// Replace an installed plugin by another version; the one before is kept. A host that runs with it exchanges it at
    /// once, with orders in flight: nothing new is sent, calls under way are waited for, the other version is opened,
    /// the broker's books are compared, and it goes on. Where that fails, the version before is back in the host and in
    /// the data folder, and the exit code is 1.
    #[command(
        after_help = "Examples:\n  qt-host plugins upgrade ./libmybroker-1.3.0.so\n  \
                      qt-host plugins upgrade ./libmybroker-1.3.0.so --next-start"
    )]
    Upgrade {
        /// Its file; a signature FILE.minisig beside it is taken along.
        file: PathBuf,
        #[command(flatten)]
        when: When,
    },
    /// Go back to the version before the current one, or to another that is kept; a host that runs with it exchanges it
    /// at once, as for `upgrade`.
    #[command(
        after_help = "Examples:\n  qt-host plugins rollback mybroker\n  qt-host plugins rollback mybroker --to 1.2.0"
    )]
    Rollback {
        /// The plugin's name.
        name: String,
        /// The version to go back to, or at least 8 digits of its sha256.
        #[arg(long, value_name = "VERSION")]
        to: Option<String>,
        #[command(flatten)]
        when: When,
    },
    /// Take an installed plugin away; its versions are kept, so that `rollback` brings it back.
    #[command(
        after_help = "Examples:\n  qt-host plugins remove mybroker\n  qt-host plugins remove mybroker --purge"
    )]
    Remove {
        /// The plugin's name.
        name: String,
        /// Delete every version that is kept, too; refused while a host runs with one, which opens its copy again whenever
        /// it lost the plugin.
        #[arg(long)]
        purge: bool,
    },
    /// List the versions of an installed plugin, the newest first.
    #[command(after_help = "Example:\n  qt-host plugins history mybroker")]
    History {
        /// The plugin's name.
        name: String,
    },
    /// Pin a plugin's content: from now on only pinned plugins are loaded. Other versions of it stay pinned, so that an
    /// upgrade can be taken back; `--only` or `untrust` takes them out.
    #[command(
        after_help = "Examples:\n  qt-host plugins trust mybroker\n  qt-host plugins trust mybroker --account ACC1\n  \
                      qt-host plugins trust mybroker --key RWQ..."
    )]
    Trust {
        /// A plugin's name, or the path of its file.
        plugin: String,
        /// Only for this account: the backend's id of it (`securities_account_id`), never the broker's number.
        #[arg(long, value_name = "ID")]
        account: Option<String>,
        /// Trust this public key of minisign too; the plugin must be signed by it.
        #[arg(long, value_name = "KEY")]
        key: Option<String>,
        /// Take the pins of its other versions out, as far as they are for the same account.
        #[arg(long)]
        only: bool,
    },
    /// Take a plugin's pins out.
    #[command(after_help = "Example:\n  qt-host plugins untrust mybroker")]
    Untrust {
        /// The plugin's name.
        name: String,
    },
}

/// When another version takes effect.
#[derive(Debug, Clone, Copy, clap::Args)]
struct When {
    /// Leave a host that runs alone: it takes the version at its next start.
    #[arg(long)]
    next_start: bool,
}

/// Where a plugin's code would run.
fn lane(config: &Config, manifest: &Manifest) -> &'static str {
    crate::hosting::lane(config, manifest).name()
}

/// What every command needs.
struct Desk {
    config: Config,
    data_dir: PathBuf,
    plan: SearchPlan,
    now_ms: i64,
    json: bool,
}

impl Desk {
    /// The configuration of every account.
    fn accounts(&self) -> Result<Vec<Config>, Failure> {
        Ok(self.config.each_account()?)
    }
}

pub(super) fn run(args: PluginsArgs, options: &Options) -> Result<(), Failure> {
    if let Some(code) = &args.explain {
        return explain::run(code, args.json);
    }
    let Some(command) = args.command else {
        return Err(Failure::usage(
            "`plugins` needs a command such as list or doctor; run: qt-host plugins --help",
        ));
    };
    crate::failpoint::arm();
    let config = options.load(Purpose::Look)?;
    let data_dir = config.data_dir()?;
    let desk = Desk {
        plan: crate::desk::search_plan(&config, &data_dir),
        config,
        data_dir,
        now_ms: Clock::system().now_ms(),
        json: args.json,
    };
    match command {
        PluginsCommand::New(what) => new::run(&what, desk.json),
        PluginsCommand::Test(what) => test::run(&what, desk.json, options),
        PluginsCommand::Swap { file } => {
            // The host may run in another folder.
            let file = std::path::absolute(&file).unwrap_or(file);
            let swap = crate::engine::Command::SwapPlugin { file, sha256: None };
            super::live::carry_out(options, &swap, desk.json)
        }
        PluginsCommand::List => super::print(&list::list(&desk, desk.json)),
        PluginsCommand::Inspect { plugin } => inspect::run(&desk, &plugin),
        PluginsCommand::Doctor { plugin } => doctor::run(&desk, plugin.as_deref()),
        PluginsCommand::Install { file } => install::install(&desk, &file),
        PluginsCommand::Upgrade { file, when } => install::upgrade(&desk, &file, when.next_start),
        PluginsCommand::Rollback { name, to, when } => {
            install::rollback(&desk, &name, to.as_deref(), when.next_start)
        }
        PluginsCommand::Remove { name, purge } => install::remove(&desk, &name, purge),
        PluginsCommand::History { name } => install::history(&desk, &name),
        PluginsCommand::Trust {
            plugin,
            account,
            key,
            only,
        } => {
            let pin_as = PinAs {
                account: account.as_deref(),
                key: key.as_deref(),
                only,
            };
            trust::trust(&desk, &plugin, pin_as)
        }
        PluginsCommand::Untrust { name } => trust::untrust(&desk, &name),
    }
}

impl From<PluginError> for Failure {
    fn from(error: PluginError) -> Self {
        let message = with_explain(&error.to_string(), error.code());
        match error {
            // Nothing is missing or refused: the folder cannot be used, or what was asked has no sense.
            PluginError::Shelf { .. } if !error.is_missing() => Self::failed(message),
            // The plugin is well; what the user wrote is not.
            PluginError::Block { .. } => Self::usage(message),
            _ => Self::plugin(message),
        }
    }
}

/// A message with the command that says more about its code.
pub(super) fn with_explain(message: &str, code: &str) -> String {
    format!("{message} (qt-host plugins --explain {code} says more)")
}

/// A plugin's own words without what would steer the terminal.
fn plain(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}
