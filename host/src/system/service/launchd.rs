//! Agents and daemons of launchd.

#[cfg(target_os = "macos")]
use std::path::PathBuf;

use super::Plan;
#[cfg(target_os = "macos")]
use super::{ServiceError, State, must, run};
#[cfg(target_os = "macos")]
use crate::system;

/// The name that launchd wants, which is one of a domain turned round.
fn label(plan: &Plan) -> String {
    format!("local.{}", plan.name)
}

/// The property list.
#[cfg_attr(
    all(test, not(target_os = "macos")),
    allow(dead_code, reason = "the test reads it")
)]
pub(super) fn text(plan: &Plan) -> String {
    let words = std::iter::once(plan.program.display().to_string())
        .chain(plan.arguments.iter().cloned())
        .chain(["--kept-by".to_owned(), plan.name.clone()]);
    let words: String = words
        .map(|word| format!("    <string>{}</string>\n", escaped(&word)))
        .collect();
    let user = match plan.user.as_ref().filter(|_| plan.is_system) {
        Some(user) => format!("  <key>UserName</key><string>{}</string>\n", escaped(user)),
        None => String::new(),
    };
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <!DOCTYPE plist PUBLIC \"-//Apple//DTD PLIST 1.0//EN\" \"http://www.apple.com/DTDs/PropertyList-1.0.dtd\">\n\
         <plist version=\"1.0\">\n<dict>\n\
         \x20 <key>Label</key><string>{}</string>\n\
         \x20 <key>ProgramArguments</key>\n  <array>\n{words}  </array>\n\
         \x20 <key>WorkingDirectory</key><string>{}</string>\n{user}\
         \x20 <key>RunAtLoad</key><true/>\n\
         \x20 <key>KeepAlive</key><dict><key>SuccessfulExit</key><false/></dict>\n\
         \x20 <key>ThrottleInterval</key><integer>10</integer>\n\
         \x20 <key>ExitTimeOut</key><integer>30</integer>\n\
         \x20 <key>Umask</key><integer>63</integer>\n\
         \x20 <key>ProcessType</key><string>Interactive</string>\n\
         </dict>\n</plist>\n",
        escaped(&label(plan)),
        escaped(&plan.folder.display().to_string()),
    )
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(target_os = "macos")]
fn file(plan: &Plan) -> Result<PathBuf, ServiceError> {
    let name = format!("{}.plist", label(plan));
    if plan.is_system {
        return Ok(PathBuf::from("/Library/LaunchDaemons").join(name));
    }
    let home = system::home_dir().ok_or_else(|| ServiceError::NoManager("HOME is not set".to_owned()))?;
    Ok(home.join("Library/LaunchAgents").join(name))
}

#[cfg(target_os = "macos")]
fn domain(plan: &Plan) -> String {
    if plan.is_system {
        "system".to_owned()
    } else {
        format!("gui/{}", rustix::process::getuid().as_raw())
    }
}

#[cfg(target_os = "macos")]
fn target(plan: &Plan) -> String {
    format!("{}/{}", domain(plan), label(plan))
}

#[cfg(target_os = "macos")]
pub(super) fn install(plan: &Plan, force: bool) -> Result<Vec<String>, ServiceError> {
    let path = file(plan)?;
    let shown = system::shown(&path);
    let wrong = |e: std::io::Error| ServiceError::File {
        path: shown.clone(),
        what: "written",
        reason: e.to_string(),
    };
    let new = text(plan);
    let before = std::fs::read_to_string(&path).ok();
    if before.as_ref().is_some_and(|before| *before != new) && !force {
        return Err(ServiceError::Present(shown));
    }
    if before.is_some() {
        // One that is loaded keeps its old text; one that is not has nothing to be taken out of.
        run("launchctl", &["bootout", &target(plan)])?;
    }
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(wrong)?;
    }
    system::replace_file(&path, new.as_bytes()).map_err(wrong)?;
    if let Err(error) = must("launchctl", &["bootstrap", &domain(plan), &shown_whole(&path)]) {
        std::fs::remove_file(&path).ok();
        return Err(error);
    }
    Ok(vec![format!(
        "{shown} is written; it runs now, and from each logon on"
    )])
}

#[cfg(target_os = "macos")]
fn shown_whole(path: &std::path::Path) -> String {
    path.display().to_string()
}

#[cfg(target_os = "macos")]
pub(super) fn uninstall(plan: &Plan) -> Result<Vec<String>, ServiceError> {
    let path = file(plan)?;
    let shown = system::shown(&path);
    if !path.exists() {
        return Err(ServiceError::Absent(label(plan)));
    }
    run("launchctl", &["bootout", &target(plan)])?;
    std::fs::remove_file(&path).map_err(|e| ServiceError::File {
        path: shown.clone(),
        what: "removed",
        reason: e.to_string(),
    })?;
    Ok(vec![format!(
        "it is ended, and {shown} is gone; journal and logs stay where they are"
    )])
}

#[cfg(target_os = "macos")]
fn installed(plan: &Plan) -> Result<PathBuf, ServiceError> {
    Some(file(plan)?)
        .filter(|path| path.exists())
        .ok_or_else(|| ServiceError::Absent(label(plan)))
}

#[cfg(target_os = "macos")]
pub(super) fn start(plan: &Plan) -> Result<Vec<String>, ServiceError> {
    let path = installed(plan)?;
    if !run("launchctl", &["print", &target(plan)])?.is_well {
        must("launchctl", &["bootstrap", &domain(plan), &shown_whole(&path)])?;
    }
    must("launchctl", &["kickstart", &target(plan)])?;
    Ok(vec![format!("{} is started", label(plan))])
}

#[cfg(target_os = "macos")]
pub(super) fn stop(plan: &Plan) -> Result<Vec<String>, ServiceError> {
    installed(plan)?;
    // Asked to end it ends well, and is then not started again before the next logon.
    must("launchctl", &["kill", "SIGTERM", &target(plan)])?;
    Ok(vec![format!("{} is asked to end", label(plan))])
}

#[cfg(target_os = "macos")]
pub(super) fn state(plan: &Plan) -> Result<State, ServiceError> {
    let is_installed = file(plan)?.exists();
    let said = run("launchctl", &["print", &target(plan)])?;
    Ok(State {
        is_installed,
        is_running: said.is_well && said.out.lines().any(|line| line.trim() == "state = running"),
        detail: if said.is_well {
            said.out.trim().to_owned()
        } else {
            said.err
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_property_list_names_each_word_as_it_is() {
        let plan = Plan {
            name: "quanttrader".to_owned(),
            is_system: true,
            user: Some("trader".to_owned()),
            program: "/opt/a&b/qt-host".into(),
            arguments: vec!["--config".to_owned(), "/etc/<x>.json".to_owned()],
            folder: "/etc".into(),
            writable: Vec::new(),
        };
        let list = text(&plan);
        for part in [
            "<key>Label</key><string>local.quanttrader</string>",
            "<string>/opt/a&amp;b/qt-host</string>\n    <string>--config</string>\n    <string>/etc/&lt;x&gt;.json</string>",
            "<key>UserName</key><string>trader</string>",
        ] {
            assert!(list.contains(part), "{part}: {list}");
        }
        assert_eq!(list.matches("<dict>").count(), list.matches("</dict>").count());
        assert!(
            !text(&Plan {
                is_system: false,
                ..plan
            })
            .contains("UserName")
        );
    }
}
