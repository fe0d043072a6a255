//! What is wrong with a set-up, and what to do about it: first here, then in the bridge, which is beside the terminal.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use qt_plugin_api::serde::Deserialize;
use qt_plugin_api::{Doctor, DoctorContext, Finding, Health};
use serde_json::{Value, json};

use crate::broker::MiniQmt;
use crate::frame::PROTOCOL;
use crate::line::{self, Line};
use crate::options::{Options, millis};
use crate::python;
use crate::remote::{self, Purpose};
use crate::session::spawn;

/// How long the bridge may take for everything that needs no terminal.
const BESIDES: Duration = Duration::from_secs(30);

impl Doctor for MiniQmt {
    fn examine(cx: DoctorContext) -> Vec<Finding> {
        let mut findings = Vec::new();
        if let Some(options) = configuration(&cx.config, &mut findings) {
            let secret = options.account_id.clone().unwrap_or_default();
            if let Some(line) = reach(&options, &cx, &mut findings) {
                ask(&line, &options, &mut findings);
                line.end("the examination is over");
            }
            for finding in &mut findings {
                finding.saw = line::without(&finding.saw, secret.trim());
                finding.todo = line::without(&finding.todo, secret.trim());
            }
        }
        findings
    }
}

fn configuration(block: &Value, findings: &mut Vec<Finding>) -> Option<Options> {
    let options = Options::deserialize(block).map_err(|e| e.to_string());
    match options.and_then(|options| options.check().map(|()| options)) {
        Ok(options) => {
            findings.push(Finding::good("configuration", "the block `miniQMT` can be used"));
            Some(options)
        }
        Err(why) => {
            let todo = "mend the block `miniQMT` of the configuration; examples/config/miniqmt.json is one";
            findings.push(Finding::bad("configuration", why, todo));
            None
        }
    }
}

/// A line to the bridge: a child of ours, or the one on the other machine.
fn reach(options: &Options, cx: &DoctorContext, findings: &mut Vec<Finding>) -> Option<Arc<Line>> {
    if options.remote.is_some() {
        return match remote::connect(options, &cx.data_dir, Purpose::Doctor) {
            Ok((line, news)) => {
                drain(news);
                findings.push(Finding::good("remote", "the bridge answers and takes the token"));
                Some(line)
            }
            Err(why) => {
                let todo = "see that the bridge runs there, and that token and certificate are its own";
                findings.push(Finding::bad("remote", why, todo));
                None
            }
        };
    }
    match start(options, &cx.data_dir, cx.now_ms) {
        Ok(line) => Some(line),
        Err(why) => {
            let todo = "install a 64-bit Python 3.6 to 3.12 with xtquant and name it by `python`";
            findings.push(Finding::bad("python", why, todo));
            None
        }
    }
}

fn start(options: &Options, data_dir: &Path, now_ms: i64) -> Result<Arc<Line>, String> {
    let bridge = python::bridge(data_dir)?;
    let python = python::find(options, &bridge, data_dir)?;
    let secret = options.account_id.clone().unwrap_or_default().trim().to_owned();
    let (line, news) = spawn(&python, &bridge, data_dir, secret, |_| {})?;
    drain(news);
    let mut config = options.for_bridge(data_dir, python.xtquant.as_deref());
    // The record belongs to the broker that may be open beside this.
    config["read_only"] = true.into();
    config["now_ms"] = now_ms.into();
    let why = match line.ask("config", config, BESIDES) {
        Ok(answer) if answer.ok => return Ok(line),
        Ok(answer) => answer.error,
        Err(lost) => format!("{}: {lost}", python::shown(&python.words)),
    };
    line.end(&why);
    Err(why)
}

/// Nobody listens to events here, and the line must not wait for that.
fn drain(news: std::sync::mpsc::Receiver<line::News>) {
    std::thread::spawn(move || news.into_iter().for_each(drop));
}

#[derive(Deserialize)]
#[serde(crate = "qt_plugin_api::serde")]
struct Check {
    name: String,
    ok: Option<bool>,
    saw: String,
    todo: String,
}

fn ask(line: &Line, options: &Options, findings: &mut Vec<Finding>) {
    let within = options.connect_deadline();
    if options.remote.is_some() {
        let hello = json!({ "protocol": PROTOCOL, "resume": null, "account": null, "now_ms": null });
        match line.ask("hello", hello, BESIDES) {
            Ok(answer) if answer.ok => {}
            Ok(answer) => {
                return findings.push(Finding::bad(
                    "bridge",
                    answer.error,
                    "take both ends from one release",
                ));
            }
            Err(lost) => {
                return findings.push(Finding::bad("bridge", lost.to_string(), "start the bridge again"));
            }
        }
    }
    let request = json!({ "connect_ms": millis(within), "query_ms": millis(options.query_deadline()), "now_ms": real_now_ms() });
    let answer = match line.ask("doctor", request, within.saturating_mul(2) + BESIDES) {
        Ok(answer) => answer,
        Err(lost) => {
            let todo = "the terminal's library hangs or died: restart the terminal, log in, and look again";
            return findings.push(Finding::bad("bridge", lost.to_string(), todo));
        }
    };
    for check in answer.checks {
        match serde_json::from_value::<Check>(check) {
            Ok(check) => findings.push(Finding {
                name: check.name,
                health: match check.ok {
                    Some(true) => Health::Good,
                    Some(false) => Health::Bad,
                    None => Health::Unclear,
                },
                saw: check.saw,
                todo: check.todo,
            }),
            Err(e) => findings.push(Finding::bad(
                "bridge",
                e.to_string(),
                "take both ends from one release",
            )),
        }
    }
}

/// This machine's clock: a host's own may be held still by a test, and here two machines' are compared.
fn real_now_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    i64::try_from(since.unwrap_or_default().as_millis()).unwrap_or(i64::MAX)
}
