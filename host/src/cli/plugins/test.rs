//! `qt-host plugins test`: puts a broker plugin to the conformance kit.

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use qt_market::Symbol;
use rust_decimal::Decimal;
use serde_json::json;

use crate::cli::table::{Align, Table};
use crate::cli::{Failure, Options};
use crate::clock::Clock;
use crate::config::{Config, Lane, Purpose};
use crate::conformance::{self, CASES, Case, Finding, PAPER, Report, Subject, Verdict};
use crate::lease::Lease;
use crate::plugin::{self, KeptPlugin, SearchPlan};
use crate::system;

/// A plugin with this capability takes the option of the same name: it then only looks.
const READ_ONLY: &str = "read_only";

const EXAMPLES: &str = "\
Examples:
  qt-host plugins test simulated
  qt-host plugins test ./target/release/libmybroker.so --config config.json
  qt-host plugins test mybroker --case QT-C130 --keep /tmp/mybroker   look at what one case left behind
  qt-host plugins test mybroker --place-orders --symbol 600000.SH --price 9.85 --quantity 100
  qt-host plugins test mybroker --lane worker                         in a worker, as a host runs it there
  qt-host plugins test --list                                         what there is, and why it matters

Each case runs in a process and a data folder of its own. A plugin whose manifest names the capability `paper` gets
every case. Any other is taken for one that moves money: only the cases that read are run, unless --place-orders says
otherwise, and then real orders are placed, one after the other, in the account of the configuration, with no host
running beside it. A resting order is cancelled at the end of its case; what was bought stays bought.

By default the kit's process calls the plugin itself, as a host does with the lane `in-process`; with --lane worker a
worker of qt-host lies in between, as with the lane `worker`. The first of the two gives the verdict that is kept.

Exit codes: 0 every case that applies passed, 1 one failed or could not be judged, 2 usage or configuration, 3 plugin
missing or refused.";

/// Put a broker plugin to the conformance kit: what it must do so that no money is lost, case by case.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct TestArgs {
    /// A plugin's name, or the path of its file.
    #[arg(required_unless_present = "list")]
    plugin: Option<String>,

    /// Only this case; may be given again.
    #[arg(long = "case", value_name = "ID")]
    cases: Vec<String>,

    /// List the cases instead.
    #[arg(long)]
    list: bool,

    /// Where the plugin runs: called in the kit's own process for it, as in a host's, or in a worker as a host starts it.
    #[arg(long, value_enum, value_name = "LANE", default_value = "in-process")]
    lane: Lane,

    /// Place orders with a plugin that may move money.
    #[arg(long, requires = "price")]
    place_orders: bool,

    /// What is bought.
    #[arg(long, value_name = "SYMBOL", default_value = "600000.SH")]
    symbol: String,

    /// A price, in yuan, at which a buy fills; 10 for a plugin with the capability `paper`.
    #[arg(long, value_name = "YUAN", allow_negative_numbers = true)]
    price: Option<Decimal>,

    /// A price, in yuan, at which a buy rests; 6 % below --price if it is not given.
    #[arg(long, value_name = "YUAN", allow_negative_numbers = true)]
    resting_price: Option<Decimal>,

    /// Shares an order.
    #[arg(long, value_name = "SHARES", default_value_t = 100)]
    quantity: u64,

    /// How many orders the case about growth places.
    #[arg(long, value_name = "COUNT", default_value_t = 10_000)]
    orders: u32,

    /// Seconds that a call may take; as `execution.call_deadline_seconds` if it is not given.
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true)]
    deadline: Option<f64>,

    /// Seconds that an order's state may take to show.
    #[arg(
        long,
        value_name = "SECONDS",
        default_value_t = 10.0,
        allow_negative_numbers = true
    )]
    patience: f64,

    /// Test a file that no pin vouches for, although the lock file demands one: a build of your own.
    #[arg(long)]
    unpinned: bool,

    /// Keep the cases' folders here; the folder must be new or empty.
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
}

/// Runs the command.
///
/// # Errors
/// The exit code and what to say about it.
pub(super) fn run(args: &TestArgs, as_json: bool, options: &Options) -> Result<(), Failure> {
    let cases = chosen(&args.cases)?;
    if args.list {
        return crate::cli::print(&listed(&cases, as_json));
    }
    let config = options.load(Purpose::Look)?;
    let data_dir = config.data_dir()?;
    let plan = crate::desk::search_plan(&config, &data_dir);
    let plugin = keep(args, &plan, &data_dir)?;
    let (folder, temporary) = folder(args.keep.as_deref())?;
    let subject = subject(args, &config, &plugin, folder)?;
    // A second session at the broker could throw out the one that trades: no host runs beside this, or starts.
    let lease = if subject.is_paper() {
        None
    } else {
        let taken = Lease::take(&data_dir, Clock::system().now_ms());
        Some(taken.map_err(|e| Failure::failed(e.to_string()))?)
    };
    if !subject.is_paper() && subject.place_orders {
        crate::cli::warn(&format!(
            "orders of {} {} at {} yuan and below are placed now, in the account of the configuration",
            subject.quantity, subject.symbol, subject.price
        ));
    }
    let progress = !as_json && std::io::stderr().is_terminal();
    let at_once = if subject.is_paper() { 2 } else { 1 };
    let report = conformance::run(&subject, &cases, at_once, |finding| {
        if progress {
            let _ = writeln!(std::io::stderr(), "{} {}", finding.id, finding.verdict.name());
        }
    });
    let kept = conformance::record(&data_dir, &report, Clock::system().now_ms());
    if let Err(e) = kept {
        crate::cli::warn(&format!("the verdict could not be kept: {e}"));
    }
    let pinned = report
        .complete
        .then(|| conformance::pin_text(&data_dir, &report.sha256))
        .flatten();
    if let Some(text) = &pinned
        && let Err(e) = plan.trust().note_verdict(&report.sha256, text)
    {
        crate::cli::warn(&format!("the verdict could not be noted beside its pin: {e}"));
    }
    drop((temporary, lease));
    let text = if as_json {
        format!("{:#}\n", json!(report))
    } else {
        let pinned = pinned.map_or_else(String::new, |text| format!("kept     {text}\n"));
        shown(&report, args.keep.is_some()) + &pinned
    };
    crate::cli::print(&text)?;
    match report.verdict {
        Verdict::Pass => Ok(()),
        Verdict::Fail | Verdict::Inconclusive | Verdict::NotApplicable => Err(Failure::silent(1)),
    }
}

fn chosen(ids: &[String]) -> Result<Vec<&'static Case>, Failure> {
    if ids.is_empty() {
        return Ok(CASES.iter().collect());
    }
    let known = |id: &String| CASES.iter().any(|case| case.id.eq_ignore_ascii_case(id));
    if let Some(unknown) = ids.iter().find(|id| !known(id)) {
        return Err(Failure::usage(format!(
            "there is no case {unknown}; run: qt-host plugins test --list"
        )));
    }
    let wanted = |case: &&Case| ids.iter().any(|id| case.id.eq_ignore_ascii_case(id));
    Ok(CASES.iter().filter(wanted).collect())
}

fn listed(cases: &[&'static Case], as_json: bool) -> String {
    if as_json {
        let rows: Vec<_> = cases
            .iter()
            .map(|case| json!({ "id": case.id, "title": case.title, "matters": case.matters, "capabilities": case.capabilities }))
            .collect();
        return format!("{:#}\n", json!(rows));
    }
    let mut text = String::new();
    for case in cases {
        text += &format!("{}  {}\n         {}\n", case.id, case.title, case.matters);
    }
    text
}

/// A private copy of the plugin of a name, or of the file at a path. Its code is about to run, so that the lock file
/// counts here as at a start.
fn keep(args: &TestArgs, plan: &SearchPlan, data_dir: &Path) -> Result<KeptPlugin, Failure> {
    system::create_private_dir(data_dir)?;
    let which = args.plugin.as_deref().unwrap_or_default();
    let path = Path::new(which);
    let is_path = path.components().count() > 1 || which.ends_with(std::env::consts::DLL_SUFFIX);
    let mut trust = plan.trust().clone();
    if args.unpinned {
        trust.lock = None;
    }
    let kept = if is_path {
        let one = SearchPlan::new(&[path.to_owned()], &[], data_dir).trusting(trust);
        plugin::keep(&one, None, data_dir)
    } else {
        plugin::keep(&plan.clone().trusting(trust), Some(which), data_dir)
    };
    kept.map_err(|e| {
        let hint = if plugin::is_about_pins(&e) {
            "; to test it before it is trusted, add --unpinned"
        } else {
            ""
        };
        Failure::plugin(super::with_explain(&format!("{e}{hint}"), e.code()))
    })
}

/// The folder of the cases' folders, and what deletes it at the end.
fn folder(keep: Option<&Path>) -> Result<(PathBuf, Option<tempfile::TempDir>), Failure> {
    let Some(keep) = keep else {
        let temporary = tempfile::Builder::new()
            .prefix("qt-conformance-")
            .tempdir()
            .map_err(|e| Failure::failed(format!("no folder for temporary files: {e}")))?;
        return Ok((temporary.path().to_owned(), Some(temporary)));
    };
    if std::fs::read_dir(keep).is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(Failure::usage(format!(
            "the folder {} is not empty; name a new one with --keep",
            keep.display()
        )));
    }
    system::create_private_dir(keep)?;
    // A probe may have another current folder.
    Ok((
        std::path::absolute(keep).unwrap_or_else(|_| keep.to_owned()),
        None,
    ))
}

fn subject(
    args: &TestArgs,
    config: &Config,
    plugin: &KeptPlugin,
    folder: PathBuf,
) -> Result<Subject, Failure> {
    let name = plugin.name();
    let (price, resting_price) = prices(args)?;
    let symbol: Symbol = args
        .symbol
        .parse()
        .map_err(|e| Failure::usage(format!("--symbol {}: {e}; an example is 600000.SH", args.symbol)))?;
    if args.quantity == 0 || args.orders == 0 {
        return Err(Failure::usage("--quantity and --orders are at least 1"));
    }
    let can = |capability: &str| {
        let capabilities = &plugin.manifest().capabilities;
        capabilities.iter().any(|word| word == capability)
    };
    let block = config.plugin_blocks.get(name).cloned();
    let mut block = block.unwrap_or_else(|| json!({}));
    if can(READ_ONLY) && !can(PAPER) && !args.place_orders {
        // Nothing is sent, whatever the plugin does wrong.
        block[READ_ONLY] = json!(true);
    }
    let account_id = block.get("account_id").and_then(serde_json::Value::as_str);
    // A simulation has a number too, so that telling it can be seen.
    let account_id = account_id.or_else(|| can(PAPER).then_some("QT-CONFORMANCE-88310277"));
    let hosting = config.plugin_options.get(name).cloned().unwrap_or_default();
    let deadline = args.deadline.map(|seconds| duration("--deadline", seconds));
    Ok(Subject {
        manifest: plugin.manifest().clone(),
        copy: plugin.copy().to_owned(),
        sha256: plugin.sha256().to_owned(),
        lane: args.lane,
        account_id: account_id.map(str::to_owned),
        config: block,
        deadline: deadline.unwrap_or(Ok(config.execution.call_deadline))?,
        open_within: hosting.open_within,
        patience: duration("--patience", args.patience)?,
        symbol: symbol.to_string(),
        price,
        resting_price,
        quantity: args.quantity,
        orders: args.orders,
        place_orders: args.place_orders,
        folder,
    })
}

/// The price at which a buy fills, and the one at which it rests.
fn prices(args: &TestArgs) -> Result<(Decimal, Decimal), Failure> {
    let price = args.price.unwrap_or(Decimal::TEN);
    let below = || {
        price
            .checked_mul(Decimal::new(94, 2))
            .map(|below| below.round_dp(2))
    };
    let resting = args.resting_price.or_else(below).unwrap_or(price);
    for (flag, price) in [("--price", price), ("--resting-price", resting)] {
        if price <= Decimal::ZERO {
            return Err(Failure::usage(format!("{flag} {price}: a price is above 0")));
        }
    }
    Ok((price, resting))
}

fn duration(flag: &str, seconds: f64) -> Result<Duration, Failure> {
    Duration::try_from_secs_f64(seconds)
        .ok()
        .filter(|duration| (Duration::from_millis(10)..=Duration::from_secs(600)).contains(duration))
        .ok_or_else(|| Failure::usage(format!("{flag} {seconds}: expected seconds from 0.01 to 600")))
}

/// The report for people: a line a case, then all that is known of those that did not pass.
fn shown(report: &Report, kept: bool) -> String {
    let mut table = Table::new(&[
        ("Verdict", Align::Left),
        ("Case", Align::Left),
        ("The plugin", Align::Left),
        ("Seen", Align::Left),
    ]);
    for case in &report.cases {
        let saw = match case.verdict {
            Verdict::Pass | Verdict::NotApplicable => case.saw.clone(),
            Verdict::Fail | Verdict::Inconclusive => "see below".to_owned(),
        };
        table.row([case.verdict.name(), case.id, case.title, &saw].map(str::to_owned));
    }
    let mut text = table.render("no case");
    let unwell = |case: &&Finding| matches!(case.verdict, Verdict::Fail | Verdict::Inconclusive);
    for case in report.cases.iter().filter(unwell) {
        text += &format!("\n{} {} {}\n", case.verdict.name(), case.id, case.title);
        for did in &case.did {
            text += &format!("  did      {}\n", plain(did));
        }
        text += &format!("  saw      {}\n  matters  {}\n", plain(&case.saw), case.matters);
        if kept {
            text += &format!("  left in  {}\n", case.folder.display());
        }
    }
    let verdict = match report.verdict {
        Verdict::Pass => "conforms",
        Verdict::Fail => "does NOT conform",
        Verdict::Inconclusive | Verdict::NotApplicable => "is not proved to conform",
    };
    let lane = if report.lane == Lane::Worker.name() {
        " in a worker"
    } else {
        ""
    };
    let scope = if report.placed_orders {
        ""
    } else {
        " as far as reading goes (--place-orders shows more)"
    };
    text + &format!(
        "\n{} {} {verdict}{lane}{scope}: {} passed, {} failed, {} unclear, {} not applicable\nsha256 {}\n",
        plain(&report.plugin),
        plain(&report.version),
        report.count(Verdict::Pass),
        report.count(Verdict::Fail),
        report.count(Verdict::Inconclusive),
        report.count(Verdict::NotApplicable),
        report.sha256
    )
}

/// A plugin's own words without what would steer the terminal.
fn plain(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}
