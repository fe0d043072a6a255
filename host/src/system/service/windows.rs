//! A task of Windows' scheduler, from the logon on. miniQMT's terminal lives on a desktop and wants a person to log in
//! there, which a service has not: so the task is what `service install` makes, and --system makes it one of the machine's
//! start, for brokers that need no desktop.

use super::Plan;
#[cfg(windows)]
use super::{ServiceError, State, must, run};

/// A minute after it ended, however it did and however often, it is started again; one that runs is left alone
/// (`IgnoreNew`). What the scheduler calls a restart on failure gives up after a number of them.
const AGAIN: &str =
    "<Repetition><Interval>PT1M</Interval><StopAtDurationEnd>false</StopAtDurationEnd></Repetition>";

/// The task, as the scheduler reads it.
#[cfg_attr(all(test, not(windows)), allow(dead_code, reason = "the test reads it"))]
pub(super) fn text(plan: &Plan) -> String {
    let kept = ["--kept-by", &plan.name];
    let words = plan.arguments.iter().map(String::as_str).chain(kept);
    let words: Vec<String> = words.map(quoted).collect();
    let user = match &plan.user {
        Some(user) => format!("<UserId>{}</UserId>", escaped(user)),
        None => String::new(),
    };
    let (trigger, logon) = if plan.is_system {
        (
            format!("<BootTrigger>{AGAIN}<Enabled>true</Enabled></BootTrigger>"),
            "S4U",
        )
    } else {
        // Without a user it means everybody's logon, which takes an administrator.
        (
            format!("<LogonTrigger>{AGAIN}<Enabled>true</Enabled>{user}</LogonTrigger>"),
            "InteractiveToken",
        )
    };
    // The numbers are those of the text: a task ends after three days, and on batteries, unless it is told otherwise.
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-16\"?>\r\n\
         <Task version=\"1.2\" xmlns=\"http://schemas.microsoft.com/windows/2004/02/mit/task\">\r\n\
         <RegistrationInfo><Description>quantTrader, an execution client</Description></RegistrationInfo>\r\n\
         <Triggers>{trigger}</Triggers>\r\n\
         <Principals><Principal id=\"Author\">{user}<LogonType>{logon}</LogonType>\
         <RunLevel>LeastPrivilege</RunLevel></Principal></Principals>\r\n\
         <Settings><MultipleInstancesPolicy>IgnoreNew</MultipleInstancesPolicy>\
         <DisallowStartIfOnBatteries>false</DisallowStartIfOnBatteries>\
         <StopIfGoingOnBatteries>false</StopIfGoingOnBatteries>\
         <ExecutionTimeLimit>PT0S</ExecutionTimeLimit>\
         <Priority>4</Priority></Settings>\r\n\
         <Actions Context=\"Author\"><Exec><Command>{}</Command><Arguments>{}</Arguments>\
         <WorkingDirectory>{}</WorkingDirectory></Exec></Actions>\r\n\
         </Task>\r\n",
        escaped(&plan.program.display().to_string()),
        escaped(&words.join(" ")),
        escaped(&plan.folder.display().to_string()),
    )
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

/// One word of a command line, as programs of Microsoft's C library take it apart.
fn quoted(word: &str) -> String {
    if !word.is_empty() && !word.contains([' ', '\t', '"']) {
        return word.to_owned();
    }
    let mut quoted = String::from("\"");
    let mut slashes = 0;
    for c in word.chars() {
        match c {
            '\\' => slashes += 1,
            '"' => {
                // Each before a quotation mark counts twice, and the mark needs one of its own.
                quoted.push_str(&"\\".repeat(slashes + 1));
                slashes = 0;
            }
            _ => slashes = 0,
        }
        quoted.push(c);
    }
    quoted.push_str(&"\\".repeat(slashes));
    quoted.push('"');
    quoted
}

#[cfg(windows)]
pub(super) fn install(plan: &Plan, force: bool) -> Result<Vec<String>, ServiceError> {
    if known(plan)? && !force {
        return Err(ServiceError::Present(format!("the task {}", plan.name)));
    }
    let wrong = |e: std::io::Error| ServiceError::File {
        path: "a file for the task".to_owned(),
        what: "written",
        reason: e.to_string(),
    };
    let folder = tempfile::tempdir().map_err(wrong)?;
    let file = folder.path().join("task.xml");
    // The scheduler takes UTF-16 with its mark alone.
    let task = text(plan);
    let units = std::iter::once(0xFEFF).chain(task.encode_utf16());
    let bytes: Vec<u8> = units.flat_map(u16::to_le_bytes).collect();
    std::fs::write(&file, bytes).map_err(wrong)?;
    let path = file.display().to_string();
    must("schtasks", &["/Create", "/F", "/TN", &plan.name, "/XML", &path])?;
    let mut said = vec![format!(
        "the task {} is made; `service start` starts it at once",
        plan.name
    )];
    if plan.is_system {
        said.push(
            "it starts with the machine and has no desktop: miniQMT's terminal does, so for it install without --system"
                .to_owned(),
        );
    } else {
        said.push(
            "it starts when you log on, as miniQMT's terminal needs it, and ends when you log off".to_owned(),
        );
    }
    Ok(said)
}

#[cfg(windows)]
fn known(plan: &Plan) -> Result<bool, ServiceError> {
    Ok(run("schtasks", &["/Query", "/TN", &plan.name])?.is_well)
}

#[cfg(windows)]
fn installed(plan: &Plan) -> Result<(), ServiceError> {
    if known(plan)? {
        Ok(())
    } else {
        Err(ServiceError::Absent(format!("the task {}", plan.name)))
    }
}

#[cfg(windows)]
pub(super) fn uninstall(plan: &Plan) -> Result<Vec<String>, ServiceError> {
    installed(plan)?;
    end(plan)?;
    must("schtasks", &["/Delete", "/F", "/TN", &plan.name])?;
    Ok(vec![format!(
        "the task {} is gone; journal and logs stay where they are",
        plan.name
    )])
}

#[cfg(windows)]
pub(super) fn start(plan: &Plan) -> Result<Vec<String>, ServiceError> {
    installed(plan)?;
    must("schtasks", &["/Change", "/TN", &plan.name, "/ENABLE"])?;
    must("schtasks", &["/Run", "/TN", &plan.name])?;
    Ok(vec![format!("the task {} is started", plan.name)])
}

/// Otherwise a minute passes, and it runs again.
#[cfg(windows)]
pub(super) fn stay_ended(name: &str) -> Result<String, ServiceError> {
    must("schtasks", &["/Change", "/TN", name, "/DISABLE"])?;
    Ok(format!(
        "the task {name} stays ended, at the next logon and start of the machine, too, until `qt-host service start`"
    ))
}

/// The scheduler would kill it; the program's own word lets it finish what is in hand.
#[cfg(windows)]
fn end(plan: &Plan) -> Result<(), ServiceError> {
    let program = plan.program.display().to_string();
    let words: Vec<&str> = plan
        .arguments
        .iter()
        .map(String::as_str)
        .chain(["stop", "--json"])
        .collect();
    let said = must(&program, &words)?;
    if said.contains("\"ran\":false") && state(plan)?.is_running {
        return Err(ServiceError::Failed {
            command: format!("{program} {}", words.join(" ")),
            said: format!(
                "no qt-host runs there, and the task {} does; name the configuration that it was installed with: --config FILE, \
                 and --data-dir where that was given",
                plan.name
            ),
        });
    }
    Ok(())
}

#[cfg(windows)]
pub(super) fn stop(plan: &Plan) -> Result<Vec<String>, ServiceError> {
    installed(plan)?;
    let said = stay_ended(&plan.name)?;
    if let Err(error) = end(plan) {
        // It runs on, and is to be kept running.
        must("schtasks", &["/Change", "/TN", &plan.name, "/ENABLE"])?;
        return Err(error);
    }
    Ok(vec![format!("the task {} has ended", plan.name), said])
}

#[cfg(windows)]
pub(super) fn state(plan: &Plan) -> Result<State, ServiceError> {
    // Its words are in the system's language: only the number of a state is the same everywhere.
    let query = format!("(Get-ScheduledTask -TaskName '{}').State.value__", plan.name);
    let said = run(
        "powershell",
        &["-NoProfile", "-NonInteractive", "-Command", &query],
    )?;
    let is_installed = known(plan)?;
    Ok(State {
        is_installed,
        // 4 is a task that runs.
        is_running: is_installed && said.out.trim() == "4",
        detail: if is_installed {
            format!("State={}", said.out.trim())
        } else {
            "not installed".to_owned()
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_as_the_c_library_reads_them() {
        for (word, expected) in [
            ("plain", "plain"),
            ("", r#""""#),
            ("a b", r#""a b""#),
            (r"C:\x y\", r#""C:\x y\\""#),
            (r#"say "x""#, r#""say \"x\"""#),
            (r#"a\"b c"#, r#""a\\\"b c""#),
        ] {
            assert_eq!(quoted(word), expected, "{word}");
        }
    }

    /// After three failures nothing started it again before the next logon.
    #[test]
    fn a_task_is_started_again_every_minute_without_end_and_never_twice() {
        for is_system in [false, true] {
            let plan = Plan {
                name: "quanttrader".to_owned(),
                is_system,
                user: None,
                program: "qt-host.exe".into(),
                arguments: Vec::new(),
                folder: "C:".into(),
                writable: Vec::new(),
            };
            let task = text(&plan);
            assert!(
                task.contains("Trigger><Repetition><Interval>PT1M</Interval><StopAtDurationEnd>false"),
                "{task}"
            );
            assert!(
                task.contains("<MultipleInstancesPolicy>IgnoreNew</MultipleInstancesPolicy>")
                    && !task.contains("<Duration>")
                    && !task.contains("<Count>"),
                "{task}"
            );
        }
    }

    #[test]
    fn a_task_starts_at_logon_and_one_of_the_machine_with_it() {
        let plan = Plan {
            name: "quanttrader".to_owned(),
            is_system: false,
            user: Some(r"DESK\me".to_owned()),
            program: r"C:\a & b\qt-host.exe".into(),
            arguments: vec!["--config".to_owned(), r"C:\my files\c.json".to_owned()],
            folder: r"C:\my files".into(),
            writable: Vec::new(),
        };
        let task = text(&plan);
        for part in [
            r"<Enabled>true</Enabled><UserId>DESK\me</UserId></LogonTrigger>",
            r"<UserId>DESK\me</UserId><LogonType>InteractiveToken",
            r"<Command>C:\a &amp; b\qt-host.exe</Command>",
            r#"<Arguments>--config "C:\my files\c.json" --kept-by quanttrader</Arguments>"#,
            "<ExecutionTimeLimit>PT0S</ExecutionTimeLimit>",
        ] {
            assert!(task.contains(part), "{part}: {task}");
        }
        let machine = text(&Plan {
            is_system: true,
            user: Some("trader".to_owned()),
            ..plan
        });
        assert!(
            machine.contains("<BootTrigger><Repetition>")
                && machine.contains("<UserId>trader</UserId><LogonType>S4U"),
            "{machine}"
        );
    }
}
