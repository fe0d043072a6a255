//! Units of systemd.

use std::path::PathBuf;

use super::{Plan, Said, ServiceError, State, must, run};
use crate::system;

/// What is taken from the program, wherever it runs: it needs none of it. Memory that is writable and executable is left to
/// it, since a broker's plugin may run an interpreter that makes code.
const FOR_ALL: &str = "\
NoNewPrivileges=yes
LockPersonality=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
RestrictNamespaces=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged
SystemCallErrorNumber=EPERM
UMask=0077
";

/// What only a unit of the machine may take.
const FOR_THE_MACHINE: &str = "\
ProtectSystem=strict
ProtectHome=read-only
PrivateTmp=yes
PrivateDevices=yes
PrivateUsers=yes
PrivateMounts=yes
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectKernelLogs=yes
ProtectControlGroups=yes
ProtectClock=yes
ProtectHostname=yes
ProtectProc=invisible
ProcSubset=pid
CapabilityBoundingSet=
AmbientCapabilities=
RemoveIPC=yes
";

/// The unit.
pub(super) fn text(plan: &Plan) -> String {
    let command: Vec<String> = std::iter::once(plan.program.display().to_string())
        .chain(plan.arguments.iter().cloned())
        .map(|word| quoted(&word))
        .collect();
    let folder = escaped(&plan.folder.display().to_string());
    let mut service = format!(
        "Type=notify\nNotifyAccess=main\nExecStart={}\nWorkingDirectory={folder}\n",
        command.join(" ")
    );
    if let Some(user) = plan.user.as_ref().filter(|_| plan.is_system) {
        service.push_str(&format!("User={user}\n"));
    }
    // 2, 3 and 4 are for a person to mend: another start would end the same way.
    service.push_str(
        "Restart=on-failure\nRestartSec=15\nRestartPreventExitStatus=2 3 4\nWatchdogSec=60\nTimeoutStartSec=180\n\
         TimeoutStopSec=30\nKillMode=mixed\nLimitNOFILE=65536\n",
    );
    service.push_str(FOR_ALL);
    if plan.is_system {
        service.push_str(FOR_THE_MACHINE);
        for path in &plan.writable {
            let path = quoted(&path.display().to_string());
            service.push_str(&format!("ReadWritePaths={path}\n"));
        }
    }
    let (after, wanted_by) = if plan.is_system {
        (
            "Wants=network-online.target\nAfter=network-online.target\n",
            "multi-user.target",
        )
    } else {
        ("", "default.target")
    };
    format!(
        "# Written by `qt-host service install`; `qt-host service uninstall` takes it away.\n[Unit]\nDescription=quantTrader, \
         an execution client\n{after}StartLimitIntervalSec=0\n\n[Service]\n{service}\n[Install]\n\
         WantedBy={wanted_by}\n"
    )
}

/// Without the meaning that systemd gives to `%`.
fn escaped(text: &str) -> String {
    text.replace('%', "%%")
}

/// One word of a line, whatever is in it.
fn quoted(word: &str) -> String {
    let inner = escaped(word)
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('$', "$$")
        .replace('\n', "\\n");
    format!("\"{inner}\"")
}

fn unit(plan: &Plan) -> String {
    format!("{}.service", plan.name)
}

fn file(plan: &Plan) -> Result<PathBuf, ServiceError> {
    let folder = if plan.is_system {
        PathBuf::from("/etc/systemd/system")
    } else {
        std::env::var_os("XDG_CONFIG_HOME")
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
            .or_else(|| system::home_dir().map(|home| home.join(".config")))
            .ok_or_else(|| {
                ServiceError::NoManager("HOME is not set: nobody knows where your units lie".to_owned())
            })?
            .join("systemd/user")
    };
    Ok(folder.join(unit(plan)))
}

fn scoped<'a>(plan: &Plan, arguments: &[&'a str]) -> Vec<&'a str> {
    let scope: &[&str] = if plan.is_system { &[] } else { &["--user"] };
    [scope, arguments].concat()
}

fn systemctl(plan: &Plan, arguments: &[&str]) -> Result<String, ServiceError> {
    must("systemctl", &scoped(plan, arguments))
}

/// Whether there is anybody to tell.
fn reach(plan: &Plan) -> Result<(), ServiceError> {
    let Said { is_well, err, .. } = run("systemctl", &scoped(plan, &["show-environment"]))?;
    if is_well {
        return Ok(());
    }
    let who = if plan.is_system {
        "the machine's systemd"
    } else {
        "your user's systemd"
    };
    Err(ServiceError::NoManager(format!(
        "{who} does not answer ({err}); log in so that it runs, or take the unit from `service install --print`"
    )))
}

pub(super) fn install(plan: &Plan, force: bool) -> Result<Vec<String>, ServiceError> {
    reach(plan)?;
    if let Some(missing) = plan.writable.iter().find(|path| plan.is_system && !path.is_dir()) {
        // It could not be made from within: all but these folders is read-only there.
        return Err(ServiceError::NoFolder {
            path: missing.display().to_string(),
            user: plan.user.clone().unwrap_or_else(|| "root".to_owned()),
        });
    }
    let path = file(plan)?;
    let shown = system::shown(&path);
    let wrong = |what, e: std::io::Error| ServiceError::File {
        path: shown.clone(),
        what,
        reason: e.to_string(),
    };
    let new = text(plan);
    let before = std::fs::read_to_string(&path).ok();
    if before.as_ref().is_some_and(|before| *before != new) && !force {
        return Err(ServiceError::Present(shown));
    }
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(|e| wrong("written", e))?;
    }
    system::replace_file(&path, new.as_bytes()).map_err(|e| wrong("written", e))?;
    let known = systemctl(plan, &["daemon-reload"]).and_then(|_| systemctl(plan, &["enable", &unit(plan)]));
    if let Err(error) = known {
        // As it was before: nothing half done.
        match before {
            Some(before) => system::replace_file(&path, before.as_bytes()).ok(),
            None => std::fs::remove_file(&path).ok(),
        };
        systemctl(plan, &["daemon-reload"]).ok();
        return Err(error);
    }
    let mut said = vec![format!(
        "{shown} is written; it starts by itself from now on, and at once with `service start`"
    )];
    if !plan.is_system {
        said.push(
            "it runs while you are logged in; `loginctl enable-linger` has it run from the machine's start on".to_owned(),
        );
    }
    Ok(said)
}

pub(super) fn uninstall(plan: &Plan) -> Result<Vec<String>, ServiceError> {
    let path = file(plan)?;
    let shown = system::shown(&path);
    if !path.exists() {
        return Err(ServiceError::Absent(unit(plan)));
    }
    reach(plan)?;
    systemctl(plan, &["disable", "--now", &unit(plan)])?;
    std::fs::remove_file(&path).map_err(|e| ServiceError::File {
        path: shown.clone(),
        what: "removed",
        reason: e.to_string(),
    })?;
    systemctl(plan, &["daemon-reload"])?;
    Ok(vec![format!(
        "it is ended, and {shown} is gone; journal and logs stay where they are"
    )])
}

fn installed(plan: &Plan) -> Result<(), ServiceError> {
    if file(plan)?.exists() {
        Ok(())
    } else {
        Err(ServiceError::Absent(unit(plan)))
    }
}

pub(super) fn start(plan: &Plan) -> Result<Vec<String>, ServiceError> {
    installed(plan)?;
    // It comes back once the program says that it trades.
    systemctl(plan, &["start", &unit(plan)])?;
    Ok(vec![format!("{} trades", unit(plan))])
}

pub(super) fn stop(plan: &Plan) -> Result<Vec<String>, ServiceError> {
    installed(plan)?;
    systemctl(plan, &["stop", &unit(plan)])?;
    Ok(vec![format!("{} has ended", unit(plan))])
}

pub(super) fn state(plan: &Plan) -> Result<State, ServiceError> {
    let is_installed = file(plan)?.exists();
    reach(plan)?;
    let fields = [
        "ActiveState",
        "SubState",
        "MainPID",
        "NRestarts",
        "StatusText",
        "Result",
    ];
    let fields: Vec<String> = fields.iter().map(|field| format!("--property={field}")).collect();
    let mut arguments = vec!["show", "--no-pager"];
    let name = unit(plan);
    arguments.extend(fields.iter().map(String::as_str));
    arguments.push(&name);
    let said = systemctl(plan, &arguments)?;
    let is_running = said.lines().any(|line| line == "ActiveState=active");
    Ok(State {
        is_installed,
        is_running,
        detail: said.trim().to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(is_system: bool) -> Plan {
        Plan {
            name: "quanttrader".to_owned(),
            is_system,
            user: Some("trader".to_owned()),
            program: "/opt/q t/qt-host".into(),
            arguments: vec!["--config".to_owned(), "/etc/100%/$x\"y.json".to_owned()],
            folder: "/etc/100%".into(),
            writable: vec!["/var/lib/q t".into()],
        }
    }

    #[test]
    fn a_unit_names_each_word_as_it_is() {
        let unit = text(&plan(true));
        assert!(
            unit.contains(r#"ExecStart="/opt/q t/qt-host" "--config" "/etc/100%%/$$x\"y.json""#),
            "{unit}"
        );
        assert!(
            unit.contains("WorkingDirectory=/etc/100%%\n") && unit.contains("User=trader\n"),
            "{unit}"
        );
        assert!(unit.contains("ReadWritePaths=\"/var/lib/q t\"\n"), "{unit}");
        assert!(
            unit.contains("Type=notify\n") && unit.contains("WatchdogSec=60\n"),
            "{unit}"
        );
    }

    /// It gave up after a hundred seconds, as while a broker's terminal was away.
    #[test]
    fn a_unit_never_gives_up_starting_the_host_again() {
        for is_system in [false, true] {
            let unit = text(&plan(is_system));
            assert!(
                unit.contains("StartLimitIntervalSec=0\n") && !unit.contains("StartLimitBurst"),
                "{unit}"
            );
            assert!(unit.contains("Restart=on-failure\nRestartSec=15\n"), "{unit}");
        }
    }

    #[test]
    fn a_users_unit_asks_for_nothing_that_only_the_machine_may_do() {
        let unit = text(&plan(false));
        for key in [
            "User=",
            "ProtectSystem",
            "ReadWritePaths",
            "CapabilityBoundingSet",
            "network-online",
        ] {
            assert!(!unit.contains(key), "{key}: {unit}");
        }
        assert!(
            unit.contains("WantedBy=default.target\n") && unit.contains("NoNewPrivileges=yes\n"),
            "{unit}"
        );
    }
}
