//! `qt-host completions` and `qt-host man`: what shells and manuals want to know of the command line.

use std::path::PathBuf;

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::{Cli, Failure, print};
use crate::system;

/// Print the completion script of a shell.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  qt-host completions bash > ~/.local/share/bash-completion/completions/qt-host
  qt-host completions zsh > ~/.zfunc/_qt-host               with ~/.zfunc in fpath
  qt-host completions fish > ~/.config/fish/completions/qt-host.fish
  qt-host completions powershell >> $PROFILE                on Windows")]
pub(super) struct CompletionsArgs {
    /// The shell.
    #[arg(value_enum, value_name = "SHELL")]
    shell: Shell,
}

/// Print the manual page, or write those of all commands into a folder.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  qt-host man | man -l -                          read it
  qt-host man --out ~/.local/share/man/man1       qt-host.1, qt-host-login.1 and so on")]
pub(super) struct ManArgs {
    /// The folder for a page of each command.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

fn text_of(bytes: Vec<u8>) -> Result<String, Failure> {
    String::from_utf8(bytes).map_err(|e| Failure::failed(e.to_string()))
}

/// Runs `completions`.
///
/// # Errors
/// Standard output cannot be written.
pub(super) fn completions(args: &CompletionsArgs) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "qt-host", &mut script);
    print(&text_of(script)?)
}

/// Runs `man`.
///
/// # Errors
/// The folder, or standard output, cannot be written.
pub(super) fn man(args: &ManArgs) -> Result<(), Failure> {
    let Some(folder) = &args.out else {
        let mut page = Vec::new();
        clap_mangen::Man::new(Cli::command())
            .render(&mut page)
            .map_err(|e| Failure::failed(e.to_string()))?;
        return print(&text_of(page)?);
    };
    let cannot = |e: std::io::Error| {
        Failure::failed(format!(
            "{} cannot be written: {e}; name another folder with --out",
            system::shown(folder)
        ))
    };
    std::fs::create_dir_all(folder).map_err(cannot)?;
    clap_mangen::generate_to(Cli::command(), folder).map_err(cannot)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shell_gets_every_command_that_people_see_and_none_that_they_do_not() {
        let command = Cli::command();
        let (hidden, seen): (Vec<_>, Vec<_>) = command
            .get_subcommands()
            .map(|sub| (sub.get_name().to_owned(), sub.is_hide_set()))
            .partition(|(_, is_hidden)| *is_hidden);
        assert!(seen.len() > 20 && hidden.len() == 2, "{seen:?} {hidden:?}");
        for shell in [
            Shell::Bash,
            Shell::Zsh,
            Shell::Fish,
            Shell::PowerShell,
            Shell::Elvish,
        ] {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "qt-host", &mut script);
            let script = String::from_utf8(script).unwrap();
            for (name, _) in &seen {
                assert!(script.contains(name.as_str()), "{shell}: {name}");
            }
        }
    }
}
