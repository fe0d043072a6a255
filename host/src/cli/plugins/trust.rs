//! `qt-host plugins trust` and `untrust`.

use serde_json::json;

use super::{Desk, Failure, plain};
use crate::conformance;
use crate::plugin::{self, PinAs};

pub(super) fn trust(desk: &Desk, which: &str, pin_as: PinAs<'_>) -> Result<(), Failure> {
    if let Some(key) = pin_as.key {
        plugin::check_key(key).map_err(|why| Failure::usage(format!("--key {key:?} {why}")))?;
    }
    let verdict = |sha256: &str| conformance::pin_text(&desk.data_dir, sha256);
    let pin_as = PinAs {
        key: pin_as.key.map(str::trim),
        ..pin_as
    };
    let trusted = plugin::pin(&desk.plan, which, pin_as, desk.now_ms, verdict)?;
    let lock = desk.plan.trust().lock.clone().unwrap_or_default();
    let pin = &trusted.pin;
    if desk.json {
        let all = json!({
            "name": pin.name, "version": pin.version, "sha256": pin.sha256, "account": pin.account,
            "signed_by": pin.signed_by, "conformance": pin.conformance, "pinned_at": pin.pinned_at, "path": trusted.path.to_string_lossy(),
            "lock": lock.to_string_lossy(), "first": trusted.first,
        });
        return crate::cli::print(&format!("{all:#}\n"));
    }
    let mut text = format!(
        "pinned `{}` {}\n  file    {}\n  sha256  {}\n  lock    {}\n",
        plain(&pin.name),
        plain(&pin.version),
        trusted.path.display(),
        pin.sha256,
        lock.display()
    );
    if let Some(account) = &pin.account {
        text += &format!("  account {account} only\n");
    }
    if let Some(key) = &pin.signed_by {
        text += &format!("  signed  by {key}\n");
    }
    text += &match &pin.conformance {
        Some(verdict) => format!("  tested  {verdict}\n"),
        None => format!(
            "  tested  never; run: qt-host plugins test {}\n",
            plain(&pin.name)
        ),
    };
    if trusted.first {
        text += "The lock file is new: from now on only plugins that are pinned in it are loaded.\n";
    }
    crate::cli::print(&text)
}

pub(super) fn untrust(desk: &Desk, name: &str) -> Result<(), Failure> {
    let policy = desk.plan.trust();
    let taken = policy.unpin(name)?;
    let lock = policy.lock.clone().unwrap_or_default();
    if taken == 0 {
        let pins = policy.pins()?;
        let known: Vec<&str> = pins.iter().map(|pin| pin.name.as_str()).collect();
        let pinned = if known.is_empty() {
            "nothing is".to_owned()
        } else {
            format!("pinned are: {}", known.join(", "))
        };
        return Err(Failure::plugin(format!(
            "no plugin named `{name}` is pinned in {}; {pinned}",
            lock.display()
        )));
    }
    if desk.json {
        let all = json!({ "name": name, "pins_taken_out": taken, "lock": lock.to_string_lossy() });
        return crate::cli::print(&format!("{all:#}\n"));
    }
    let left = policy.pins()?.len();
    let mut text = format!("took {taken} of `{name}` out of {}\n", lock.display());
    if left == 0 {
        text += "Nothing is pinned any more, so that no plugin can be loaded; to load any again, delete that file.\n";
    }
    crate::cli::print(&text)
}
