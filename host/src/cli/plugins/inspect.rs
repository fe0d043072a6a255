//! `qt-host plugins inspect`: everything that can be known of a plugin without running it.

use serde_json::{Value, json};

use super::{Desk, Failure, options, plain};
use crate::conformance;
use crate::plugin::{self, Checkup, PluginError};

/// Exported symbols that people are shown; `--json` has all.
const SHOWN_EXPORTS: usize = 12;

pub(super) fn run(desk: &Desk, which: &str) -> Result<(), Failure> {
    let path = plugin::the_one(&desk.plan, which)?;
    let path = path.to_string_lossy();
    // A bare file name would be taken for a plugin's.
    let exact = if path.contains(['/', '\\']) {
        path.into_owned()
    } else {
        format!("./{path}")
    };
    let checkups = plugin::check_up(&desk.plan, Some(&exact), &desk.data_dir)?;
    let Some(checkup) = checkups.into_iter().next() else {
        return Err(PluginError::NotFound(format!("nothing is at {exact}")).into());
    };
    if checkup.anatomy.is_none() {
        // Of what is no library there is nothing to show but that.
        let faults: Vec<String> = checkup
            .findings
            .iter()
            .map(|finding| {
                format!(
                    "{}: the plugin {exact} {}; {}",
                    finding.code, finding.fault, finding.mend
                )
            })
            .collect();
        let code = checkup.findings.first().map_or("QT-P002", |finding| finding.code);
        return Err(Failure::plugin(super::with_explain(&faults.join("\n"), code)));
    }
    let text = if desk.json {
        format!("{:#}\n", as_json(desk, &checkup))
    } else {
        text(desk, &checkup)
    };
    crate::cli::print(&text)
}

fn as_json(desk: &Desk, checkup: &Checkup) -> Value {
    let anatomy = checkup.anatomy.clone().unwrap_or_default();
    let options: Option<Vec<Value>> = schema(checkup).map(|schema| {
        options::rows(schema)
            .into_iter()
            .map(|row| {
                json!({ "key": row.key, "takes": row.kind, "default": row.default, "required": row.required,
                        "description": row.description })
            })
            .collect()
    });
    let findings: Vec<Value> = checkup
        .findings
        .iter()
        .map(|finding| json!({ "code": finding.code, "fault": finding.fault, "mend": finding.mend }))
        .collect();
    json!({
        "path": checkup.path.to_string_lossy(), "size": checkup.size, "sha256": checkup.sha256,
        "companions": checkup.companions.iter().map(|path| path.to_string_lossy()).collect::<Vec<_>>(),
        "conformance": verdict(desk, checkup),
        "manifest": checkup.manifest,
        "lane": checkup.manifest.as_ref().map(|manifest| super::lane(&desk.config, manifest)),
        "format": anatomy.format, "bits": anatomy.bits, "processor": anatomy.processor,
        "needed": anatomy.needed, "glibc_needed": anatomy.glibc_needed(),
        "needed_versions": anatomy.needed_versions.iter()
            .map(|(library, version)| json!({ "library": library, "version": version })).collect::<Vec<_>>(),
        "rpath": anatomy.rpath, "runpath": anatomy.runpath,
        "exports": anatomy.exports, "more_exports": anatomy.more_exports,
        "trust": checkup.trust.as_ref().map(|trust| trust.pin),
        "signature": checkup.trust.as_ref().and_then(|trust| trust.signature.as_ref()).map(plugin::Signature::word),
        "options": options, "findings": findings,
    })
}

/// What the conformance kit last said of this very content.
fn verdict(desk: &Desk, checkup: &Checkup) -> Option<String> {
    conformance::pin_text(&desk.data_dir, checkup.sha256.as_deref()?)
}

fn schema(checkup: &Checkup) -> Option<&Value> {
    checkup.manifest.as_ref()?.config_schema.as_ref()
}

fn text(desk: &Desk, checkup: &Checkup) -> String {
    let mut text = String::new();
    let mut say = |what: &str, value: String| {
        if !value.is_empty() {
            text += &format!("{what:<18}{}\n", plain(&value));
        }
    };
    if let Some(manifest) = &checkup.manifest {
        say("name", manifest.name.clone());
        say("version", manifest.version.clone());
        say("description", manifest.description.clone());
        say("capabilities", manifest.capabilities.join(", "));
        say("ABI", manifest.abi.to_string());
        say("qt-plugin-api", manifest.api_version.clone());
        say("compiler", manifest.rustc.clone());
        say("target", manifest.target.clone());
        say("panic", manifest.panic.clone());
        say("licence", manifest.licence.clone());
        say("homepage", manifest.homepage.clone());
        say("lane", super::lane(&desk.config, manifest).to_owned());
    }
    say("file", checkup.path.to_string_lossy().into_owned());
    say(
        "size",
        checkup
            .size
            .map(|size| format!("{size} bytes"))
            .unwrap_or_default(),
    );
    say("sha256", checkup.sha256.clone().unwrap_or_default());
    for companion in &checkup.companions {
        say("brings along", companion.to_string_lossy().into_owned());
    }
    say("tested", verdict(desk, checkup).unwrap_or_default());
    say(
        "trust",
        checkup
            .trust
            .as_ref()
            .map(plugin::Trust::words)
            .unwrap_or_default(),
    );
    if let Some(anatomy) = &checkup.anatomy {
        say(
            "built for",
            format!("{} {}-bit, {}", anatomy.format, anatomy.bits, anatomy.processor),
        );
        say("needs", anatomy.needed.join(", "));
        say(
            "needs glibc",
            anatomy.glibc_needed().unwrap_or_default().to_owned(),
        );
        say(
            "searches",
            [anatomy.rpath.clone(), anatomy.runpath.clone()]
                .concat()
                .join(", "),
        );
        say("exports", exports(&anatomy.exports, anatomy.more_exports));
    }
    if let Some(schema) = schema(checkup) {
        text += &format!("\n{}", options::table(schema));
    }
    if !checkup.findings.is_empty() {
        text += "\nIt has faults:\n";
        for finding in &checkup.findings {
            text += &format!(
                "  {}  it {}; {}\n",
                finding.code,
                plain(&finding.fault),
                plain(&finding.mend)
            );
        }
    }
    text
}

fn exports(names: &[String], more: bool) -> String {
    let mut shown = names
        .iter()
        .take(SHOWN_EXPORTS)
        .cloned()
        .collect::<Vec<_>>()
        .join(", ");
    let left = names.len().saturating_sub(SHOWN_EXPORTS);
    if left > 0 || more {
        shown += &format!(" and {left}{} more", if more { " or" } else { "" });
    }
    shown
}
