//! A task of Windows' scheduler, from the logon on. miniQMT's terminal lives on a desktop and wants a person to log in
//! there, which a service has not: so the task is what `service install` makes, and --system makes it one of the machine's
//! start, for brokers that need no desktop.

use super::{Plan, Said, ServiceError};
#[cfg(windows)]
use super::{State, run};
#[cfg(windows)]
use std::time::{Duration, Instant};

/// How long `service start` waits for a host that ends, and how long between two looks.
#[cfg(windows)]
const PATIENCE: Duration = Duration::from_secs(30);
#[cfg(windows)]
const LOOK: Duration = Duration::from_millis(500);

/// What the scheduler's program ends with for a task that is not there, where it is asked for its error's number.
#[expect(
    clippy::cast_possible_wrap,
    reason = "Windows shows the number's bits as a code"
)]
const NO_SUCH_TASK: i32 = 0x8007_0002_u32 as i32;

/// A minute after it ended, however it did and however often, it is started again; one that runs is left alone
/// (`IgnoreNew`). What the scheduler calls a restart on failure gives up after a number of them.
const AGAIN: &str =
    "<Repetition><Interval>PT1M</Interval><StopAtDurationEnd>false</StopAtDurationEnd></Repetition>";

/// The task, as the scheduler reads it.
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
    // A trigger repeats only once it was fired, which a logon or a start of the machine may be long in coming: the time that has
    // passed has the task repeat from the moment on that `service start` enables it. Until then it must not, so it is made
    // disabled.
    let trigger = format!(
        "{trigger}<TimeTrigger>{AGAIN}<StartBoundary>2000-01-01T00:00:00</StartBoundary><Enabled>true</Enabled></TimeTrigger>"
    );
    // The numbers are those of the text: a task ends after three days, and on batteries, unless it is told otherwise.
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-16\"?>\r\n\
         <Task version=\"1.2\" xmlns=\"http://schemas.microsoft.com/windows/2004/02/mit/task\">\r\n\
         <RegistrationInfo><Description>quantTrader, an execution client</Description></RegistrationInfo>\r\n\
         <Triggers>{trigger}</Triggers>\r\n\
         <Principals><Principal id=\"Author\">{user}<LogonType>{logon}</LogonType>\
         <RunLevel>LeastPrivilege</RunLevel></Principal></Principals>\r\n\
         <Settings><Enabled>false</Enabled><MultipleInstancesPolicy>IgnoreNew</MultipleInstancesPolicy>\
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

/// What the steps below work on.
trait Hands {
    /// Runs a program of the system.
    fn run(&mut self, program: &str, arguments: &[&str]) -> Result<Said, ServiceError>;

    /// Waits a little; false once that was long enough.
    fn wait(&mut self) -> bool;

    /// Runs one that must end well.
    fn must(&mut self, program: &str, arguments: &[&str]) -> Result<String, ServiceError> {
        let said = self.run(program, arguments)?;
        super::well(program, arguments, said)
    }
}

/// This system's.
#[cfg(windows)]
struct Real {
    since: Instant,
}

#[cfg(windows)]
impl Real {
    fn new() -> Self {
        Self {
            since: Instant::now(),
        }
    }
}

#[cfg(windows)]
impl Hands for Real {
    fn run(&mut self, program: &str, arguments: &[&str]) -> Result<Said, ServiceError> {
        run(program, arguments)
    }

    fn wait(&mut self) -> bool {
        std::thread::sleep(LOOK);
        self.since.elapsed() < PATIENCE
    }
}

#[cfg(windows)]
pub(super) fn install(plan: &Plan, force: bool) -> Result<Vec<String>, ServiceError> {
    let hands = &mut Real::new();
    let is_known = known(hands, plan)?;
    if is_known && !force {
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
    make(hands, plan, &file.display().to_string(), is_known)
}

/// Gives the file to the scheduler. One that was kept running before goes on to be.
fn make(
    hands: &mut impl Hands,
    plan: &Plan,
    file: &str,
    is_known: bool,
) -> Result<Vec<String>, ServiceError> {
    let was_enabled = is_known && look(hands, plan)?.is_enabled;
    hands.must("schtasks", &["/Create", "/F", "/TN", &plan.name, "/XML", file])?;
    let start = if was_enabled {
        hands.must("schtasks", &["/Change", "/TN", &plan.name, "/ENABLE"])?;
        "it starts within a minute where none runs"
    } else {
        "`service start` starts it at once, and has it start by itself from then on"
    };
    let mut said = vec![format!("the task {} is made; {start}", plan.name)];
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

fn known(hands: &mut impl Hands, plan: &Plan) -> Result<bool, ServiceError> {
    Ok(hands.run("schtasks", &["/Query", "/TN", &plan.name])?.is_well)
}

fn installed(hands: &mut impl Hands, plan: &Plan) -> Result<(), ServiceError> {
    if known(hands, plan)? {
        Ok(())
    } else {
        Err(ServiceError::Absent(format!("the task {}", plan.name)))
    }
}

#[cfg(windows)]
pub(super) fn uninstall(plan: &Plan) -> Result<Vec<String>, ServiceError> {
    remove(&mut Real::new(), plan)
}

fn remove(hands: &mut impl Hands, plan: &Plan) -> Result<Vec<String>, ServiceError> {
    finish(hands, plan)?;
    hands.must("schtasks", &["/Delete", "/F", "/TN", &plan.name])?;
    Ok(vec![format!(
        "the task {} is gone; journal and logs stay where they are",
        plan.name
    )])
}

#[cfg(windows)]
pub(super) fn start(plan: &Plan) -> Result<Vec<String>, ServiceError> {
    begin(&mut Real::new(), plan)
}

/// The scheduler does not start a task that runs, and says it did: one that is just ending is waited for.
fn begin(hands: &mut impl Hands, plan: &Plan) -> Result<Vec<String>, ServiceError> {
    installed(hands, plan)?;
    let name = &plan.name;
    let before = look(hands, plan)?;
    if before.is_running && before.is_enabled {
        // Nobody stopped it: it goes on, and is started again whenever it ends.
        return Ok(vec![format!("the task {name} runs already")]);
    }
    let mut is_running = before.is_running;
    while is_running && hands.wait() {
        is_running = look(hands, plan)?.is_running;
    }
    hands.must("schtasks", &["/Change", "/TN", name, "/ENABLE"])?;
    if is_running {
        return Err(ServiceError::Failed {
            command: "qt-host service start".to_owned(),
            said: format!(
                "the task {name} was disabled and still runs a host, whose end was waited for; the task is enabled again, leaves \
                 that host alone, and starts another within a minute of its end; `qt-host service status` shows it"
            ),
        });
    }
    hands.must("schtasks", &["/Run", "/TN", name])?;
    let mut said = Vec::new();
    if before.is_running {
        said.push(format!(
            "the host that the task {name} ran before was ending, and has ended"
        ));
    }
    said.push(format!("the task {name} is started"));
    Ok(said)
}

/// Otherwise a minute passes, and it runs again.
#[cfg(windows)]
pub(super) fn stay_ended(name: &str) -> Result<Option<String>, ServiceError> {
    disable(&mut Real::new(), name)
}

/// `None` where the task is gone, which starts nothing.
fn disable(hands: &mut impl Hands, name: &str) -> Result<Option<String>, ServiceError> {
    let arguments = ["/Change", "/TN", name, "/DISABLE"];
    let said = hands.run("schtasks", &arguments)?;
    if !said.is_well
        && hands.run("schtasks", &["/Query", "/TN", name, "/HRESULT"])?.code == Some(NO_SUCH_TASK)
    {
        return Ok(None);
    }
    super::well("schtasks", &arguments, said)?;
    Ok(Some(format!(
        "the task {name} stays ended, at the next logon and start of the machine, too, until `qt-host service start`"
    )))
}

/// The scheduler would kill it; the program's own word lets it finish what is in hand.
fn end(hands: &mut impl Hands, plan: &Plan) -> Result<(), ServiceError> {
    let program = plan.program.display().to_string();
    let words: Vec<&str> = plan
        .arguments
        .iter()
        .map(String::as_str)
        .chain(["stop", "--json"])
        .collect();
    let said = hands.must(&program, &words)?;
    if said.contains("\"ran\":false") && look(hands, plan)?.is_running {
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
    let mut said = vec![format!("the task {} has ended", plan.name)];
    said.extend(finish(&mut Real::new(), plan)?);
    Ok(said)
}

/// Ends it, and has it stay ended; what is to be known of that.
fn finish(hands: &mut impl Hands, plan: &Plan) -> Result<Option<String>, ServiceError> {
    installed(hands, plan)?;
    let was_enabled = look(hands, plan)?.is_enabled;
    let said = disable(hands, &plan.name)?;
    if let Err(error) = end(hands, plan) {
        // One that runs on is to be kept running. One that took the wish and is slow would be back a minute after its end, and
        // so would one that was stopped before.
        if was_enabled && !error.to_string().contains(super::LINGERS) {
            hands.must("schtasks", &["/Change", "/TN", &plan.name, "/ENABLE"])?;
        }
        return Err(error);
    }
    Ok(said)
}

/// How the task stands.
struct Seen {
    /// A host of it runs.
    is_running: bool,
    /// Its triggers start it.
    is_enabled: bool,
    /// The number of its state, in the system's own words.
    state: String,
}

fn look(hands: &mut impl Hands, plan: &Plan) -> Result<Seen, ServiceError> {
    // Its words are in the system's language: only the number of a state is the same everywhere. That of a task that runs does
    // not tell whether it is enabled.
    let query = format!(
        "$t = Get-ScheduledTask -TaskName '{}'; $t.State.value__; [int]$t.Settings.Enabled",
        plan.name
    );
    let said = hands.run(
        "powershell",
        &["-NoProfile", "-NonInteractive", "-Command", &query],
    )?;
    let mut words = said.out.split_whitespace();
    let state = words.next().unwrap_or_default().to_owned();
    Ok(Seen {
        // 4 is a task that runs.
        is_running: state == "4",
        // Where that is not said it stands as most do.
        is_enabled: words.next() != Some("0"),
        state,
    })
}

#[cfg(windows)]
pub(super) fn state(plan: &Plan) -> Result<State, ServiceError> {
    let hands = &mut Real::new();
    let seen = look(hands, plan)?;
    let is_installed = known(hands, plan)?;
    Ok(State {
        is_installed,
        is_running: is_installed && seen.is_running,
        detail: if is_installed {
            format!("State={}", seen.state)
        } else {
            "not installed".to_owned()
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A scheduler with one task, which does what Windows' is documented to do.
    #[derive(Default)]
    struct Scheduler {
        is_known: bool,
        is_enabled: bool,
        is_running: bool,
        /// Looks until the process of a host that let go of its place is gone.
        ends_after: Option<u32>,
        /// What `qt-host stop` fails with.
        refusal: Option<String>,
        looks_left: u32,
        did: Vec<String>,
    }

    impl Scheduler {
        fn new(is_enabled: bool, is_running: bool) -> Self {
            Self {
                is_known: true,
                is_enabled,
                is_running,
                looks_left: 60,
                ..Self::default()
            }
        }
    }

    impl Hands for Scheduler {
        fn run(&mut self, program: &str, arguments: &[&str]) -> Result<Said, ServiceError> {
            let (mut out, mut err, mut code) = (String::new(), String::new(), 0);
            let asks_for_a_number = arguments.contains(&"/HRESULT");
            match (program, arguments[0], arguments.last().copied()) {
                ("schtasks", _, _) if !self.is_known && arguments[0] != "/Create" => {
                    code = if asks_for_a_number { NO_SUCH_TASK } else { 1 };
                }
                ("schtasks", "/Query", _) => {}
                ("schtasks", "/Create", _) => {
                    (self.is_known, self.is_enabled) = (true, false);
                    self.did.push("create".to_owned());
                }
                ("schtasks", "/Change", Some(how)) => {
                    self.is_enabled = how == "/ENABLE";
                    self.did.push(how.to_owned());
                }
                // One that runs is left alone, and that is no failure.
                ("schtasks", "/Run", _) => {
                    let how = if self.is_running { "run, ignored" } else { "run" };
                    self.is_running = true;
                    self.did.push(how.to_owned());
                }
                ("schtasks", "/Delete", _) => {
                    self.is_known = false;
                    self.did.push("delete".to_owned());
                }
                ("powershell", ..) => {
                    let state = if self.is_running { 4 } else { 3 };
                    out = format!("{state}\r\n{}\r\n", i32::from(self.is_enabled));
                }
                ("qt-host.exe", "stop", Some("--json")) => {
                    self.did.push("stop".to_owned());
                    match &self.refusal {
                        Some(why) => (err, code) = (why.clone(), 1),
                        None => {
                            out = format!("{{\"done\":true,\"ran\":{}}}", self.is_running);
                            self.is_running &= self.ends_after.is_some();
                        }
                    }
                }
                other => panic!("{other:?}"),
            }
            Ok(Said {
                is_well: code == 0,
                code: Some(code),
                out,
                err,
            })
        }

        fn wait(&mut self) -> bool {
            self.did.push("wait".to_owned());
            self.looks_left -= 1;
            if let Some(looks) = &mut self.ends_after {
                *looks -= 1;
                self.is_running = *looks > 0;
            }
            self.looks_left > 0
        }
    }

    fn bare() -> Plan {
        Plan {
            name: "quanttrader".to_owned(),
            is_system: false,
            user: None,
            program: "qt-host.exe".into(),
            arguments: Vec::new(),
            folder: "C:".into(),
            writable: Vec::new(),
        }
    }

    /// The scheduler ignored the start, as the process of before was not gone, and nothing ran in the end.
    #[test]
    fn a_start_right_after_a_stop_waits_for_the_end_and_starts_it() {
        let mut scheduler = Scheduler::new(true, true);
        scheduler.ends_after = Some(3);
        assert!(finish(&mut scheduler, &bare()).unwrap().is_some());
        assert!(scheduler.is_running && !scheduler.is_enabled);
        let said = begin(&mut scheduler, &bare()).unwrap();
        assert_eq!(
            scheduler.did,
            ["/DISABLE", "stop", "wait", "wait", "wait", "/ENABLE", "run"]
        );
        assert!(scheduler.is_running && scheduler.is_enabled);
        assert!(said[0].contains("was ending, and has ended"), "{said:?}");
        assert_eq!(said[1], "the task quanttrader is started");
    }

    #[test]
    fn a_start_waits_no_longer_than_its_patience_and_does_not_say_that_it_started() {
        let mut scheduler = Scheduler::new(false, true);
        let error = begin(&mut scheduler, &bare()).unwrap_err().to_string();
        assert!(error.contains("still runs a host"), "{error}");
        assert_eq!(scheduler.did.iter().filter(|did| *did == "wait").count(), 60);
        assert_eq!(scheduler.did.last().unwrap(), "/ENABLE");
    }

    #[test]
    fn a_start_of_what_runs_and_is_kept_says_so_and_touches_nothing() {
        let mut scheduler = Scheduler::new(true, true);
        let said = begin(&mut scheduler, &bare()).unwrap();
        assert_eq!(said, ["the task quanttrader runs already"]);
        assert!(scheduler.did.is_empty(), "{:?}", scheduler.did);
        let mut stopped = Scheduler::new(false, false);
        begin(&mut stopped, &bare()).unwrap();
        assert_eq!(stopped.did, ["/ENABLE", "run"]);
    }

    /// The host said as critical that a task which was gone might start it again.
    #[test]
    fn a_task_that_is_gone_needs_no_word_to_stay_ended_and_one_that_refuses_does() {
        let mut scheduler = Scheduler::new(true, true);
        remove(&mut scheduler, &bare()).unwrap();
        assert_eq!(scheduler.did, ["/DISABLE", "stop", "delete"]);
        assert_eq!(disable(&mut scheduler, "quanttrader"), Ok(None));
        struct Refusing;
        impl Hands for Refusing {
            fn run(&mut self, _: &str, arguments: &[&str]) -> Result<Said, ServiceError> {
                let is_question = arguments[0] == "/Query";
                Ok(Said {
                    is_well: is_question,
                    code: Some(i32::from(!is_question)),
                    out: String::new(),
                    err: "access is denied".to_owned(),
                })
            }

            fn wait(&mut self) -> bool {
                false
            }
        }
        let error = disable(&mut Refusing, "quanttrader").unwrap_err();
        assert!(error.to_string().contains("access is denied"), "{error}");
    }

    /// The task was enabled again after each stop that failed, and so was one that a person had stopped, or whose host was ending.
    #[test]
    fn a_stop_that_fails_leaves_kept_what_runs_on_and_ended_what_is_to_end() {
        let slow = crate::control::ControlError::Lingers { within_s: 30 }.to_string();
        let no_configuration = "no configuration".to_owned();
        for (was_enabled, refusal, is_enabled) in [
            (true, no_configuration.clone(), true),
            (true, slow, false),
            (false, no_configuration, false),
        ] {
            let mut scheduler = Scheduler::new(was_enabled, true);
            scheduler.refusal = Some(refusal.clone());
            let error = finish(&mut scheduler, &bare()).unwrap_err().to_string();
            assert!(error.contains(&refusal), "{error}");
            assert_eq!(scheduler.is_enabled, is_enabled, "{refusal}: {:?}", scheduler.did);
        }
    }

    #[test]
    fn a_task_that_is_replaced_is_kept_as_before() {
        for was_enabled in [true, false] {
            let mut scheduler = Scheduler::new(was_enabled, was_enabled);
            make(&mut scheduler, &bare(), "task.xml", true).unwrap();
            assert_eq!(scheduler.is_enabled, was_enabled);
        }
        let mut scheduler = Scheduler::default();
        let said = make(&mut scheduler, &bare(), "task.xml", false).unwrap();
        assert!(
            !scheduler.is_enabled && said[0].contains("`service start`"),
            "{said:?}"
        );
    }

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
            let plan = Plan { is_system, ..bare() };
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
            // A logon or a start of the machine is past when `service start` comes, and fires nothing then.
            assert!(
                task.contains(&format!(
                    "<TimeTrigger>{AGAIN}<StartBoundary>2000-01-01T00:00:00</StartBoundary><Enabled>true</Enabled></TimeTrigger>\
                     </Triggers>"
                )),
                "{task}"
            );
            // Nothing trades that was only installed.
            assert!(task.contains("<Settings><Enabled>false</Enabled>"), "{task}");
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
