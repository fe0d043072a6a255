//! `service`: has the system keep the host running.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::json;

use super::{Failure, Options, print};
use crate::config::{ApiToken, Config, Environment, Loaded, Purpose, SecretPlace, Sources};
use crate::secrets::{self, Keyring};
use crate::system;
use crate::system::service::{self, Action, Plan, ServiceError};

/// Have the system start the host by itself and keep it running: systemd on Linux, launchd on macOS, a task on Windows.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  qt-host service install --config config.json            as your user
  sudo qt-host service install --system --user trader --config /etc/quantTrader/config.json
  qt-host service install --print --config config.json    show the unit and change nothing
  qt-host service start
  qt-host service status --json
  qt-host service uninstall

On Windows a task is made that starts at your logon: miniQMT's terminal needs a desktop and a person who logs in to it, which a
service of the machine has not.")]
pub(super) struct ServiceArgs {
    #[command(subcommand)]
    command: ServiceCommand,

    /// For the whole machine, from its start on, and not for you from your logon on.
    #[arg(long, global = true)]
    system: bool,

    /// The name that the system knows it by; another one for each host on this machine.
    #[arg(long, global = true, value_name = "NAME", default_value = "quanttrader", value_parser = name)]
    name: String,

    /// As JSON.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum ServiceCommand {
    /// Make the host known to the system, which starts it by itself from then on; on Windows from the first `service start` on.
    Install {
        /// Who it runs as, with --system.
        #[arg(long, value_name = "USER", value_parser = name)]
        user: Option<String>,

        /// Where it may write besides its data folder, with --system; may be given again.
        #[arg(long = "writable", value_name = "DIR")]
        writable: Vec<PathBuf>,

        /// Serve metrics there, as --metrics of the host does.
        #[arg(long = "with-metrics", value_name = "ADDR")]
        with_metrics: Option<String>,

        /// Replace another one of that name.
        #[arg(long)]
        force: bool,

        /// Show what the system would be given, and change nothing.
        #[arg(long)]
        print: bool,
    },
    /// End it and take it away; journal and logs stay.
    Uninstall,
    /// Start it now; on Windows one that is still ending is waited for.
    Start,
    /// End it: what is in hand is finished and reported first.
    Stop,
    /// Say how it stands; ends with 1 where it does not run.
    Status,
}

/// A name that every system takes, and that is no option of a program of the system.
fn name(text: &str) -> Result<String, String> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if !text.is_empty() && text.len() <= 64 && !text.starts_with(['-', '.']) && text.chars().all(is_plain) {
        Ok(text.to_owned())
    } else {
        Err("expected letters, digits, `-`, `_` and `.`, at most 64".to_owned())
    }
}

impl From<ServiceError> for Failure {
    fn from(error: ServiceError) -> Self {
        let message = error.to_string();
        match error {
            ServiceError::Present(_) | ServiceError::Absent(_) | ServiceError::NoFolder { .. } => {
                Self::usage(message)
            }
            _ => Self::failed(message),
        }
    }
}

pub(super) fn run(args: ServiceArgs, options: &Options) -> Result<(), Failure> {
    let (is_system, is_json) = (args.system, args.json);
    let bare = Plan {
        name: args.name,
        is_system,
        user: None,
        program: system::own_executable()
            .map_err(|e| Failure::failed(format!("nobody knows where this program lies: {e}")))?,
        arguments: Vec::new(),
        folder: PathBuf::new(),
        writable: Vec::new(),
    };
    let told = match args.command {
        ServiceCommand::Install {
            user,
            writable,
            with_metrics,
            force,
            print: is_print,
        } => {
            let plan = plan(bare, user, writable, with_metrics, options)?;
            if is_print {
                return print(&service::text(&plan)?);
            }
            service::act(&plan, Action::Install { force })?
        }
        ServiceCommand::Uninstall => service::act(&with_arguments(bare, options), Action::Uninstall)?,
        ServiceCommand::Start => service::act(&bare, Action::Start)?,
        ServiceCommand::Stop => service::act(&with_arguments(bare, options), Action::Stop)?,
        ServiceCommand::Status => return status(&bare, is_json),
    };
    if is_json {
        return print(&format!("{}\n", json!({ "done": true, "told": told })));
    }
    print(
        &told
            .into_iter()
            .map(|line| format!("{line}\n"))
            .collect::<String>(),
    )
}

fn status(plan: &Plan, is_json: bool) -> Result<(), Failure> {
    let state = service::state(plan)?;
    let text = if is_json {
        let state =
            json!({ "installed": state.is_installed, "running": state.is_running, "detail": state.detail });
        format!("{state}\n")
    } else {
        let word = match (state.is_installed, state.is_running) {
            (false, _) => "not installed",
            (true, true) => "running",
            (true, false) => "not running",
        };
        format!("{}: {word}\n{}\n", plan.name, state.detail)
    };
    print(&text)?;
    if state.is_running {
        Ok(())
    } else {
        Err(Failure::silent(1))
    }
}

/// Where the program's own word ends it, that word needs the configuration.
fn with_arguments(mut plan: Plan, options: &Options) -> Plan {
    if let Some(config) = &options.config {
        plan.arguments = vec!["--config".to_owned(), config.display().to_string()];
    }
    if let Some(folder) = &options.data_dir {
        plan.arguments
            .extend(["--data-dir".to_owned(), folder.display().to_string()]);
    }
    plan
}

/// What is to be kept running. A configuration that does not do is told now, and not by a service that never starts.
fn plan(
    bare: Plan,
    user: Option<String>,
    writable: Vec<PathBuf>,
    with_metrics: Option<String>,
    options: &Options,
) -> Result<Plan, Failure> {
    let Some(given) = &options.config else {
        return Err(Failure::usage(
            "name the configuration with --config: a service has no TRADER_* variables of yours",
        ));
    };
    if bare.is_system && user.is_none() && service::NEEDS_A_USER {
        return Err(Failure::usage(
            "name with --user who it runs as: a broker's plugin is no program for root",
        ));
    }
    if !bare.is_system && (user.is_some() || !writable.is_empty()) {
        return Err(Failure::usage("--user and --writable belong to --system"));
    }
    let mut sources = options.sources();
    sources.flags.metrics.clone_from(&with_metrics);
    let loaded = without_shell(&sources)?;
    needs_no_shell(&loaded.config, user.is_some())?;
    if bare.is_system {
        needs_no_session(&loaded.config)?;
    }
    loaded.warnings.iter().for_each(|warning| super::warn(warning));
    let file = whole(given)?;
    let mut arguments = vec!["--config".to_owned(), text_of(&file)?];
    if let Some(folder) = &options.data_dir {
        arguments.extend(["--data-dir".to_owned(), text_of(&whole(folder)?)?]);
    }
    if let Some(address) = with_metrics {
        arguments.extend(["--metrics".to_owned(), address]);
    }
    let mut places = vec![whole(&data_dir(&loaded.config, user.as_deref())?)?];
    for folder in writable {
        places.push(whole(&folder)?);
    }
    Ok(Plan {
        user: user.or_else(service::own_user),
        arguments,
        folder: file.parent().map(Path::to_path_buf).unwrap_or_default(),
        writable: places,
        ..bare
    })
}

/// The configuration as a service will find it: with no variable of this shell.
fn without_shell(sources: &Sources) -> Result<Loaded, Failure> {
    let bare = Sources {
        environment: Environment::default(),
        ..sources.clone()
    };
    crate::config::load(&bare, Purpose::Trade).map_err(|mistakes| {
        if crate::config::load(sources, Purpose::Trade).is_err() {
            return mistakes.into();
        }
        Failure::usage(format!(
            "{mistakes}\nThe TRADER_* variables of this shell fill that in, and a service has none of them: put it into the \
             configuration; the token by `qt-host login` and \"api_token\": \"keyring\", or as \"file:PATH\""
        ))
    })
}

/// Refuses what a variable of this shell holds, and what cannot be read already now. Another user's files are not ours to
/// read.
fn needs_no_shell(config: &Config, is_other_user: bool) -> Result<(), Failure> {
    let variable = |key: &str, name: &str| {
        Failure::usage(format!(
            "`{key}` is \"env:{name}\", and a service has no variables of this shell: put it into a file that its user alone \
             may read and name it with \"file:PATH\"{}",
            if key == "api_token" {
                ", or run `qt-host login` and say \"keyring\""
            } else {
                ""
            }
        ))
    };
    match (&config.api_token, &config.api_base_url) {
        (Some(ApiToken::Variable(name)), _) => return Err(variable("api_token", name)),
        (Some(place @ ApiToken::File(_)), _) if !is_other_user => {
            secrets::at_place(place).map_err(|why| Failure::usage(format!("`api_token` {why}")))?;
        }
        (Some(ApiToken::Keyring), Some(url)) if config.passphrase_file.is_none() => {
            let file = Keyring::of(config, url.as_str())?.file();
            if file.exists() {
                return Err(Failure::usage(format!(
                    "{} holds the login, and a service has no {} of this shell: put the passphrase into a file that its user \
                     alone may read, and name it with `passphrase_file`",
                    system::shown(&file),
                    secrets::PASSPHRASE
                )));
            }
        }
        _ => {}
    }
    let Some(webhook) = &config.alerts.webhook else {
        return Ok(());
    };
    let places = [
        ("alerts.webhook.url", Some(&webhook.url)),
        ("alerts.webhook.secret", webhook.secret.as_ref()),
    ];
    for (key, place) in places.into_iter().filter_map(|(key, place)| Some((key, place?))) {
        match place {
            SecretPlace::Variable(name) => return Err(variable(key, name)),
            SecretPlace::File(_) if is_other_user => {}
            place => drop(
                place
                    .read()
                    .map_err(|why| Failure::usage(format!("`{key}`: {why}")))?,
            ),
        }
    }
    Ok(())
}

/// Refuses a login in a keyring that opens with a person's session, which what starts with the machine has not: of the places
/// of a login only the encrypted file can be read there.
fn needs_no_session(config: &Config) -> Result<(), Failure> {
    let (Some(ApiToken::Keyring), Some(url)) = (&config.api_token, &config.api_base_url) else {
        return Ok(());
    };
    let file = Keyring::of(config, url.as_str())?.file();
    // A folder that cannot be looked into is the other user's, and may hold it.
    if config.passphrase_file.is_some() && file.try_exists().unwrap_or(true) {
        return Ok(());
    }
    Err(Failure::usage(format!(
        "`api_token` is \"keyring\", and a keyring of the system opens with a person's session, which a service of the machine \
         has not: put a passphrase into a file that the service's user alone may read, name it with `passphrase_file`, and run \
         `qt-host login --store file` as that user, which makes {}; or name a file with the token by \"file:PATH\"",
        system::shown(&file)
    )))
}

/// Where journal and logs will lie. The user's own folder is not another user's.
fn data_dir(config: &Config, user: Option<&str>) -> Result<PathBuf, Failure> {
    match (&config.data_dir, user) {
        (Some(folder), _) => Ok(folder.clone()),
        (None, None) => Ok(config.data_dir()?),
        (None, Some(user)) => Err(Failure::usage(format!(
            "name a `data_dir` in the configuration, such as /var/lib/quantTrader, which {user} may write to"
        ))),
    }
}

fn whole(path: &Path) -> Result<PathBuf, Failure> {
    std::path::absolute(path).map_err(|e| Failure::usage(format!("{} is no path: {e}", path.display())))
}

fn text_of(path: &Path) -> Result<String, Failure> {
    path.to_str().map(str::to_owned).ok_or_else(|| {
        Failure::usage(format!(
            "{} has characters that no unit can hold; put it elsewhere",
            path.display()
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_no_option_and_no_path() {
        for good in ["quanttrader", "qt-2", "a.b_c"] {
            assert_eq!(name(good), Ok(good.to_owned()));
        }
        for bad in ["", "-x", "../x", "a/b", "a b", ".hidden", "名"] {
            assert!(name(bad).is_err(), "{bad}");
        }
    }
}
