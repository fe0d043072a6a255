//! `account`: the balances and what today earned.

use clap::Args;

use super::accounts::{Form, show_books};
use super::book::{BookArgs, account};
use super::render::account as render;
use super::{Failure, Options};

/// Show the balances and today's P&L, which deposits and withdrawals do not change.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  qt-host account\n  qt-host account --json")]
pub(super) struct AccountArgs {
    #[command(flatten)]
    book: BookArgs,
    /// Show the account's whole number; without it, only its end.
    #[arg(long)]
    with_account_number: bool,
}

pub(super) fn run(args: &AccountArgs, options: &Options) -> Result<(), Failure> {
    let form = if args.book.json { Form::Json } else { Form::Text };
    show_books(&args.book, options, form, |config, view| {
        let balances = account(view)?;
        Ok(if args.book.json {
            format!("{}\n", render::json(balances, view, args.with_account_number))
        } else {
            render::text(balances, view, &args.book.style(config), args.with_account_number)
        })
    })
}
