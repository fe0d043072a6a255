//! Processes as this system shows and ends them.

pub use own::{ABORT, EXIT_3, KILLED, SEGFAULT, STACK_OVERFLOW, ask_to_end, children, kill_9, runs};

#[cfg(unix)]
mod own {
    use std::process::{Child, Command, Stdio};

    /// How the log tells of a process that was killed.
    pub const KILLED: &str = "signal: 9 (SIGKILL)";
    /// And of one that touched memory that is not its own,
    pub const SEGFAULT: &str = "signal: 11 (SIGSEGV)";
    /// that gave up,
    pub const ABORT: &str = "signal: 6 (SIGABRT)";
    /// that called itself too deep,
    pub const STACK_OVERFLOW: &str = "signal: 6 (SIGABRT)";
    /// and that ended by itself with 3.
    pub const EXIT_3: &str = "exit status: 3";

    /// SIGTERM.
    pub fn ask_to_end(child: &Child, _stop: &mut Command) {
        signal(child.id(), "-TERM");
    }

    /// kill -9 of any process; one that is gone already is as well.
    ///
    /// # Panics
    /// When there is no `kill`.
    pub fn kill_9(id: u32) {
        signal(id, "-KILL");
    }

    fn signal(id: u32, name: &str) {
        Command::new("kill")
            .args([name, &id.to_string()])
            .stderr(Stdio::null())
            .status()
            .unwrap();
    }

    /// The processes that `parent` started and that live.
    ///
    /// # Panics
    /// Where there is no `/proc`.
    #[must_use]
    pub fn children(parent: u32) -> Vec<u32> {
        let mut found = Vec::new();
        for entry in std::fs::read_dir("/proc").unwrap().flatten() {
            let Some(id) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
                continue;
            };
            let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
            // The name before it, in brackets, may hold anything.
            let mut fields = stat
                .rsplit_once(')')
                .map_or("", |(_, rest)| rest)
                .split_whitespace();
            let (state, father) = (fields.next(), fields.next());
            if father == Some(&*parent.to_string()) && !matches!(state, Some("Z" | "X")) {
                found.push(id);
            }
        }
        found
    }

    /// Whether a process still runs; one that ended and that nobody has waited for does not.
    #[must_use]
    pub fn runs(id: u32) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
        let state = stat
            .rsplit_once(')')
            .and_then(|(_, rest)| rest.split_whitespace().next());
        state.is_some_and(|state| !matches!(state, "Z" | "X"))
    }
}

#[cfg(windows)]
mod own {
    use std::process::{Child, Command, Stdio};

    /// How the log tells of a process that was killed: by whatever code who killed it chose.
    pub const KILLED: &str = "exit code: ";
    /// And of one that touched memory that is not its own,
    pub const SEGFAULT: &str = "exit code: 0xc0000005";
    /// that gave up,
    pub const ABORT: &str = "exit code: 0xc0000409";
    /// that called itself too deep,
    pub const STACK_OVERFLOW: &str = "exit code: 0xc00000fd";
    /// and that ended by itself with 3.
    pub const EXIT_3: &str = "exit code: 3";

    /// `qt-host stop`: what Task Scheduler's user has, where nobody sits at a console.
    pub fn ask_to_end(_child: &Child, stop: &mut Command) {
        let out = stop.output().unwrap();
        assert!(
            out.status.success(),
            "stop: {}",
            String::from_utf8_lossy(&out.stderr)
        );
    }

    /// Ends any process at once; one that is gone already is as well.
    ///
    /// # Panics
    /// When there is no `taskkill`.
    pub fn kill_9(id: u32) {
        Command::new("taskkill")
            .args(["/F", "/PID", &id.to_string()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .unwrap();
    }

    /// The processes that `parent` started and that live.
    #[must_use]
    pub fn children(parent: u32) -> Vec<u32> {
        let of_parent = |(father, id): (u32, u32)| (father == parent).then_some(id);
        processes().into_iter().filter_map(of_parent).collect()
    }

    /// Whether a process still runs.
    #[must_use]
    pub fn runs(id: u32) -> bool {
        processes().iter().any(|(_, found)| *found == id)
    }

    /// All processes, each behind the one that started it.
    fn processes() -> Vec<(u32, u32)> {
        let out = Command::new("wmic")
            .args(["process", "get", "ParentProcessId,ProcessId"])
            .stdin(Stdio::null())
            .output()
            .unwrap();
        // UTF-16, whose digits and spaces are those of ASCII with a zero between.
        let text: Vec<u8> = out.stdout.into_iter().filter(|byte| *byte != 0).collect();
        let text = String::from_utf8_lossy(&text).into_owned();
        let found: Vec<(u32, u32)> = text
            .lines()
            .filter_map(|line| {
                let mut numbers = line.split_whitespace().map_while(|word| word.parse().ok());
                Some((numbers.next()?, numbers.next()?))
            })
            .collect();
        assert!(!found.is_empty(), "wmic lists no process: {text}");
        found
    }
}
