//! The command line: what may be said, and who does it.

mod account;
mod accounts;
mod alerts;
mod archive;
mod book;
mod completions;
mod compliance;
mod config;
mod doctor;
mod export;
mod gates;
mod grid;
mod halt;
mod journal;
mod live;
mod login;
mod orders;
mod paper;
mod plugins;
mod positions;
mod render;
mod reports;
mod risk;
mod run;
mod sandbox;
mod service;
mod size;
mod summary;
mod table;

pub(crate) use render::account::masked;
pub(crate) use render::{cells, portfolio_line, shanghai};

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::PathBuf;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Args, Parser, Subcommand};

use crate::config::{Environment, Flags, Loaded, Mistakes, Purpose, Sources};
use crate::system::SystemError;
use crate::telemetry::TelemetryError;

const EXAMPLES: &str = "\
Examples:
  qt-host --config config.json              trade as the file says
  qt-host --config config.json --once       ask for signals once, carry them out, end
  TRADER_API_BASE_URL=http://host:8000/api TRADER_API_TOKEN=... qt-host
                                            trade without a file
  qt-host config check --config config.json say every mistake in the file

  qt-host login --config config.json        ask the backend for a token and keep it in the keyring
  qt-host doctor --config config.json       say what is in the way of trading, and what to do

The access token has no flag, since every user of a machine sees command lines: \"api_token\" in the file, or
TRADER_API_TOKEN, is the token itself, env:NAME, file:PATH, or keyring, where `qt-host login` puts it.

Exit codes: 0 done, 1 failed, 2 usage or configuration, 3 plugin missing or refused, 4 journal unsafe, \
5 `--once` left signals behind.";

/// Takes trading signals from a quantFinance backend, carries them out through a broker plugin, and reports back.
/// Without a command it trades.
#[derive(Debug, Parser)]
#[command(name = "qt-host", version, after_help = EXAMPLES, subcommand_negates_reqs = true)]
struct Cli {
    #[command(flatten)]
    options: Options,

    /// Ask for signals once, carry them out, and end.
    #[arg(long)]
    once: bool,

    /// Serve /metrics, /healthz and /readyz there; a bare port means this machine alone.
    #[arg(long, value_name = "ADDR", allow_negative_numbers = true)]
    metrics: Option<String>,

    /// Who starts it again when it has ended, by the name that `service install` gave; nothing for people.
    #[arg(long, value_name = "NAME", hide = true)]
    kept_by: Option<String>,

    #[command(subcommand)]
    command: Option<Command>,
}

/// The options of every command; each may stand before or behind it.
#[derive(Debug, Args)]
pub struct Options {
    /// Configuration file: JSON, or TOML if its name ends in .toml.
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,

    /// A broker plugin's file; may be given again.
    #[arg(long = "plugin", global = true, value_name = "PATH")]
    plugins: Vec<PathBuf>,

    /// A folder with broker plugins; may be given again.
    #[arg(long = "plugin-dir", global = true, value_name = "DIR")]
    plugin_dirs: Vec<PathBuf>,

    /// The broker plugin to use, by name.
    #[arg(long, global = true, value_name = "NAME")]
    broker: Option<String>,

    /// The account that is meant, by its `securities_account_id`, where the configuration lists several; `all` for every
    /// one of them.
    #[arg(long, global = true, value_name = "ID")]
    account: Option<String>,

    /// Where the broker plugin runs, whatever the configuration says: in a process of its own or in this one.
    #[arg(long, global = true, value_enum, value_name = "LANE")]
    lane: Option<crate::config::Lane>,

    /// The backend's address, such as http://host:8000/api.
    #[arg(long, global = true, value_name = "URL")]
    api_base_url: Option<String>,

    /// The folder for logs and journal.
    #[arg(long, global = true, value_name = "DIR")]
    data_dir: Option<PathBuf>,

    /// DEBUG, INFO, WARNING, ERROR or CRITICAL.
    #[arg(long, global = true, value_name = "LEVEL")]
    log_level: Option<String>,

    /// The form of the log: text or json.
    #[arg(long, global = true, value_name = "FORMAT")]
    log_format: Option<String>,

    /// Seconds between two requests for signals.
    // A negative number is a wrong value, which deserves the configuration's message and not "unknown flag -1".
    #[arg(long, global = true, value_name = "SECONDS", allow_negative_numbers = true)]
    poll_interval: Option<String>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Check or show the configuration.
    Config {
        #[command(subcommand)]
        command: config::ConfigCommand,
    },
    /// Try whether alerts arrive.
    Alerts {
        #[command(subcommand)]
        command: alerts::AlertsCommand,
    },
    Sandbox(sandbox::SandboxArgs),
    Service(service::ServiceArgs),
    Plugins(plugins::PluginsArgs),
    Positions(positions::PositionsArgs),
    Summary(summary::SummaryArgs),
    Grid(grid::GridArgs),
    Risk(risk::RiskArgs),
    Account(account::AccountArgs),
    Doctor(doctor::DoctorArgs),
    Login(login::LoginArgs),
    Logout(login::LogoutArgs),
    Whoami(login::WhoamiArgs),
    Completions(completions::CompletionsArgs),
    Man(completions::ManArgs),
    Size(size::SizeArgs),
    Export(export::ExportArgs),
    Paper(paper::PaperArgs),
    /// List orders, and decide those that only a person can decide.
    Orders(orders::OrdersArgs),
    /// List fills.
    Fills(orders::FillsArgs),
    /// Cancel an order, or all.
    Cancel(halt::CancelArgs),
    /// Stop new orders at once; it lasts until `resume`, restarts included.
    Halt(halt::HaltArgs),
    Gates(gates::GatesArgs),
    /// The sheet that the rules on programmatic trading ask for.
    Compliance {
        #[command(subcommand)]
        command: compliance::ComplianceCommand,
    },
    /// Let new orders go again.
    Resume(halt::ResumeArgs),
    /// End the running host as Ctrl-C does, and wait until it has ended.
    Stop(halt::StopArgs),
    /// See what the backend was told, and mend what it refused.
    Reports {
        #[command(subcommand)]
        command: reports::ReportsCommand,
    },
    /// Runs a broker plugin for a host that started this; nothing for people.
    #[command(hide = true)]
    Worker,
    /// Runs a broker plugin for the conformance kit; nothing for people.
    #[command(hide = true)]
    Probe,
    /// Verify, read, export or archive the journal.
    Journal {
        #[command(subcommand)]
        command: journal::JournalCommand,
    },
}

/// How a command ended that did not end well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The exit code.
    pub code: u8,
    /// What failed, with which value, and what to do; empty if everything has been said already.
    pub message: String,
}

impl Failure {
    /// Code 1: it did not work.
    pub fn failed(message: impl Into<String>) -> Self {
        Self {
            code: 1,
            message: message.into(),
        }
    }

    /// Code 2: the command line or the configuration is wrong.
    pub fn usage(message: impl Into<String>) -> Self {
        Self {
            code: 2,
            message: message.into(),
        }
    }

    /// Code 3: a plugin is missing or was refused.
    pub fn plugin(message: impl Into<String>) -> Self {
        Self {
            code: 3,
            message: message.into(),
        }
    }

    /// Code 4: the journal cannot be trusted.
    pub fn journal_unsafe(message: impl Into<String>) -> Self {
        Self {
            code: 4,
            message: message.into(),
        }
    }

    /// Code 5: one round was made, and left something behind.
    pub fn left_behind(message: impl Into<String>) -> Self {
        Self {
            code: 5,
            message: message.into(),
        }
    }

    /// An end that has said everything already.
    pub const fn silent(code: u8) -> Self {
        Self {
            code,
            message: String::new(),
        }
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::failed(format!("{error:#}"))
    }
}

impl From<Mistakes> for Failure {
    fn from(mistakes: Mistakes) -> Self {
        Self::usage(mistakes.to_string())
    }
}

impl From<SystemError> for Failure {
    fn from(error: SystemError) -> Self {
        Self::usage(error.to_string())
    }
}

impl From<TelemetryError> for Failure {
    fn from(error: TelemetryError) -> Self {
        Self::usage(error.to_string())
    }
}

impl Options {
    /// Where the configuration comes from.
    pub fn sources(&self) -> Sources {
        Sources {
            file: self.config.clone(),
            environment: Environment::of_process(),
            flags: Flags {
                api_base_url: self.api_base_url.clone(),
                broker: self.broker.clone(),
                data_dir: self.data_dir.clone(),
                log_level: self.log_level.clone(),
                poll_interval: self.poll_interval.clone(),
                plugins: self.plugins.clone(),
                plugin_dirs: self.plugin_dirs.clone(),
                lane: self.lane,
                metrics: None,
                log_format: self.log_format.clone(),
            },
        }
    }

    /// The configuration, checked for a purpose; its warnings go to standard error.
    pub fn load(&self, purpose: Purpose) -> Result<crate::config::Config, Failure> {
        let Loaded { config, warnings } = crate::config::load(&self.sources(), purpose)?;
        warnings.iter().for_each(|warning| warn(warning));
        crate::secrets::note_variables(&config);
        Ok(config)
    }
}

/// Reads the command line and does what it says.
///
/// # Errors
/// The exit code and what to say about it.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> Result<(), Failure> {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let cli = match Cli::try_parse_from(&arguments) {
        Ok(cli) => cli,
        Err(error) => return refuse(&error),
    };
    all_taken("--plugin", &arguments, cli.options.plugins.len())?;
    all_taken("--plugin-dir", &arguments, cli.options.plugin_dirs.len())?;
    match cli.command {
        None => run::run(&cli.options, cli.once, cli.metrics, cli.kept_by.as_deref()),
        Some(_) if cli.kept_by.is_some() => Err(Failure::usage(
            "--kept-by belongs to trading; leave it or the command out",
        )),
        Some(_) if cli.metrics.is_some() => Err(Failure::usage(
            "--metrics belongs to trading; leave it or the command out",
        )),
        Some(_) if cli.once => Err(Failure::usage(
            "--once belongs to trading; leave it or the command out",
        )),
        Some(command) => dispatch(command, &cli.options),
    }
}

fn dispatch(command: Command, options: &Options) -> Result<(), Failure> {
    match command {
        Command::Config { command } => config::run(&command, options),
        Command::Plugins(args) => plugins::run(args, options),
        Command::Alerts { command } => alerts::run(&command, options),
        Command::Service(args) => service::run(args, options),
        Command::Sandbox(args) => sandbox::run(&args),
        Command::Positions(args) => positions::run(&args, options),
        Command::Summary(args) => summary::run(&args, options),
        Command::Grid(args) => grid::run(&args, options),
        Command::Risk(args) => risk::run(&args, options),
        Command::Account(args) => account::run(&args, options),
        Command::Doctor(args) => doctor::run(&args, options),
        Command::Login(args) => login::login(&args, options),
        Command::Logout(args) => login::logout(&args, options),
        Command::Whoami(args) => login::whoami(&args, options),
        Command::Completions(args) => completions::completions(&args),
        Command::Man(args) => completions::man(&args),
        Command::Size(args) => size::run(&args, options),
        Command::Export(args) => export::run(&args, options),
        Command::Paper(args) => paper::run(&args, options),
        Command::Orders(args) => orders::orders(args, options),
        Command::Fills(args) => orders::fills(&args, options),
        Command::Cancel(args) => halt::cancel(args, options),
        Command::Halt(args) => halt::halt(args, options),
        Command::Compliance { command } => compliance::run(&command, options),
        Command::Gates(args) => gates::run(&args, options),
        Command::Resume(args) => halt::resume(&args, options),
        Command::Stop(args) => halt::stop(&args, options),
        Command::Reports { command } => reports::run(command, options),
        Command::Probe => crate::conformance::probe::run().map_err(Failure::usage),
        Command::Worker => {
            crate::broker::worker::child::run().map_err(|error| Failure::usage(error.to_string()))
        }
        Command::Journal { command } => journal::run(command, options),
    }
}

/// Of a flag that stands before and behind the command, the parser keeps only those behind it: losing a plugin
/// silently would be worse than saying so.
fn all_taken(flag: &str, arguments: &[OsString], taken: usize) -> Result<(), Failure> {
    let is_flag = |argument: &&OsString| {
        let rest = argument.to_str().and_then(|text| text.strip_prefix(flag));
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('='))
    };
    if arguments.iter().filter(is_flag).count() == taken {
        return Ok(());
    }
    Err(Failure::usage(format!(
        "{flag} stands before and behind the command; put all of them on one side of it"
    )))
}

/// Help and version are answers; all else is a mistake of usage.
fn refuse(error: &clap::Error) -> Result<(), Failure> {
    let token_flag = matches!(
        (error.kind(), error.get(ContextKind::InvalidArg)),
        (ErrorKind::UnknownArgument, Some(ContextValue::String(flag)))
            if ["--api-token", "--token", "--password"].contains(&flag.as_str())
    );
    if token_flag {
        return Err(Failure::usage(
            "neither token nor password has a flag, since every user of this machine sees command lines; give the token as \
             \"api_token\" in a file named with --config or in TRADER_API_TOKEN, or run `qt-host login`, which asks for the \
             password or reads it with --password-stdin (and change what was typed here, as it was seen)",
        ));
    }
    // A closed pipe is the reader's wish to see no more.
    let _ = error.print();
    match u8::try_from(error.exit_code()) {
        Ok(0) => Ok(()),
        code => Err(Failure::silent(code.unwrap_or(2))),
    }
}

/// Writes to standard output. A reader that closed the pipe has seen enough: the command ends well and says nothing.
///
/// # Errors
/// Whatever ends the command, see above.
pub fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(Failure::silent(0)),
        Err(error) => Err(Failure::failed(format!(
            "standard output cannot be written: {error}; free some space or write it elsewhere"
        ))),
    }
}

/// Says something on standard error that is no failure.
pub fn warn(text: &str) {
    let _ = writeln!(io::stderr(), "warning: {text}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(line.split(' '))
    }

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn options_stand_before_or_behind_the_command() {
        for line in [
            "qt-host --config c.json config check",
            "qt-host config check --config c.json",
        ] {
            let cli = parse(line).unwrap();
            assert_eq!(
                cli.options.config.as_deref(),
                Some(std::path::Path::new("c.json")),
                "{line}"
            );
            assert!(matches!(cli.command, Some(Command::Config { .. })));
        }
    }

    #[test]
    fn no_flag_takes_a_token() {
        let mut command = Cli::command();
        command.build();
        let flags = |command: &clap::Command| -> Vec<String> {
            let takes_a_value = |arg: &&clap::Arg| arg.get_action().takes_values();
            let args = command.get_arguments().filter(takes_a_value);
            args.filter_map(|arg| arg.get_long().map(str::to_owned)).collect()
        };
        let mut all = vec![&command];
        let mut seen = 0;
        while let Some(one) = all.get(seen).copied() {
            all.extend(one.get_subcommands());
            let bad = ["api-token", "token", "password", "passphrase"];
            let own = flags(one);
            assert!(own.iter().all(|flag| !bad.contains(&flag.as_str())), "{own:?}");
            seen += 1;
        }
        assert!(seen > 40, "{seen} commands");
        let flags = flags(&command);
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        assert!(flags.contains(&"api-base-url"));
        assert!(
            flags
                .iter()
                .all(|flag| !flag.contains("token") && !flag.contains("password")),
            "{flags:?}"
        );
        let failure = main(["qt-host", "--api-token", "eyJhbGc"].map(OsString::from)).unwrap_err();
        assert_eq!(failure.code, 2);
        assert!(failure.message.contains("TRADER_API_TOKEN") && !failure.message.contains("eyJ"));
    }

    #[test]
    fn plugins_repeat_and_keep_their_order() {
        let cli = parse("qt-host --plugin a --plugin b --plugin-dir c --once").unwrap();
        assert_eq!(cli.options.plugins, [PathBuf::from("a"), PathBuf::from("b")]);
        assert_eq!(cli.options.sources().flags.plugin_dirs, [PathBuf::from("c")]);
        assert!(cli.once && cli.command.is_none());
    }

    #[test]
    fn a_plugin_on_either_side_of_the_command_is_not_lost_silently() {
        let line = "qt-host --plugin-dir a plugins list --plugin-dir=b";
        let failure = main(line.split(' ').map(OsString::from)).unwrap_err();
        assert_eq!(failure.code, 2);
        assert!(
            failure.message.contains("--plugin-dir stands before and behind"),
            "{failure:?}"
        );
    }
}
