//! Processes that this one starts: they end with it, and use no more memory than they may.

use std::io;
use std::process::{Child, Command, ExitStatus};

pub use own::{Family, Helpers, end_with_family, exit, in_own_group, limit_memory};

/// How a child that was started by [`in_own_group`] ended, if it has. What it started ends with it: it may work on, as
/// a bridge to a broker does, and whoever takes the child's place would work beside it.
///
/// # Errors
///
/// When the system cannot say.
pub fn ended(family: &Family, child: &mut Child) -> io::Result<Option<ExitStatus>> {
    family.ended(child)
}

/// Kills a child that was started by [`in_own_group`], and what it started in turn.
pub fn kill_family(family: &Family, child: &mut Child) {
    family.kill(child);
    let _ = child.kill();
}

#[cfg(unix)]
mod own {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::{Child, Command, ExitStatus, io};
    use rustix::process::{
        Pid, Resource, Rlimit, Signal, WaitId, WaitIdOptions, getpgrp, getpid, getrlimit,
        kill_current_process_group, kill_process_group, setrlimit, waitid,
    };

    /// A child and what it starts. They are one group of processes here, which whoever is left alone leaves by
    /// itself: a worker's standard input ends with its host.
    #[derive(Debug)]
    pub struct Family {
        /// The child was waited for, so that its number may be another's by now.
        is_over: AtomicBool,
    }

    impl Family {
        /// The family of a child that was started just now, before it was told what to do.
        ///
        /// # Errors
        ///
        /// None on this system.
        #[expect(clippy::unnecessary_wraps, reason = "another system may refuse it")]
        pub fn of(_child: &Child) -> io::Result<Self> {
            Ok(Self {
                is_over: AtomicBool::new(false),
            })
        }

        pub(super) fn ended(&self, child: &mut Child) -> io::Result<Option<ExitStatus>> {
            if !self.is_over.load(Ordering::Acquire) {
                // Looked at and left: for as long as nobody waits for it, its number is its own and its group's.
                let look = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
                if waitid(WaitId::Pid(Pid::from_child(child)), look)?.is_none() {
                    return Ok(None);
                }
                self.kill(child);
                self.is_over.store(true, Ordering::Release);
            }
            child.try_wait()
        }

        pub(super) fn kill(&self, child: &mut Child) {
            if !self.is_over.load(Ordering::Acquire) {
                let _ = kill_process_group(Pid::from_child(child), Signal::KILL);
            }
        }
    }

    /// A command of a person's and what it starts, which are killed with this unless it is left: what a command that
    /// came to its end started may go on.
    #[derive(Debug)]
    pub struct Helpers(Option<Pid>);

    impl Helpers {
        /// Those of a child that was started by [`in_own_group`] just now. To be dropped before the child, whose number is
        /// its own only until it was waited for.
        pub fn of(child: &tokio::process::Child) -> Self {
            let number = child.id().and_then(|id| i32::try_from(id).ok());
            Self(number.and_then(Pid::from_raw))
        }

        /// The child has ended by itself.
        pub fn leave(mut self) {
            self.0 = None;
        }
    }

    impl Drop for Helpers {
        fn drop(&mut self) {
            if let Some(leader) = self.0 {
                let _ = kill_process_group(leader, Signal::KILL);
            }
        }
    }

    /// Starts a child in a group of its own: Ctrl-C at the terminal is for this process, which ends its children in
    /// order.
    pub fn in_own_group(command: &mut Command) {
        std::os::unix::process::CommandExt::process_group(command, 0);
    }

    /// Ends this process at once, and what it started, where it was itself started by [`in_own_group`]. Nothing that a
    /// library put down for the end of the process is run: it may hang, and what a plugin started may work on beside the one
    /// that takes its place.
    pub fn end_with_family() -> ! {
        if getpgrp() == getpid() {
            let _ = kill_current_process_group(Signal::KILL);
        }
        exit(0)
    }

    /// Ends this process at once with this code. Nothing that a library put down for the end of the process is run, since it
    /// may hang.
    #[allow(unsafe_code)]
    pub fn exit(code: u8) -> ! {
        // SAFETY: it takes a number and never comes back.
        unsafe { libc::_exit(code.into()) }
    }

    /// What is limited: where the system can tell it, what is written to, and else every address.
    const MEMORY: Resource = if cfg!(any(target_os = "linux", target_os = "android")) {
        Resource::Data
    } else {
        Resource::As
    };

    /// Limits the memory of this process.
    pub fn limit_memory(bytes: u64) -> io::Result<()> {
        // A lower limit of the system's or the user's stays.
        let bytes = getrlimit(MEMORY).maximum.map_or(bytes, |most| most.min(bytes));
        let limit = Rlimit {
            current: Some(bytes),
            maximum: Some(bytes),
        };
        Ok(setrlimit(MEMORY, limit)?)
    }
}

#[cfg(windows)]
mod own {
    use super::{Child, Command, ExitStatus, io};
    use win_custody::{Job, JobLimits, Process, ProcessAccess};

    /// A child and what it starts: a job, which ends with the last handle to it, and thus with this process, however
    /// that ends.
    #[derive(Debug)]
    pub struct Family(Job);

    impl Family {
        /// The family of a child that was started just now, before it was told what to do.
        ///
        /// # Errors
        ///
        /// When the system does not take it in, as when it ended already.
        pub fn of(child: &Child) -> io::Result<Self> {
            let job = Job::create(&JobLimits::new().kill_on_close(true))?;
            job.assign(child)?;
            Ok(Self(job))
        }

        pub(super) fn ended(&self, child: &mut Child) -> io::Result<Option<ExitStatus>> {
            let ended = child.try_wait()?;
            if ended.is_some() {
                self.kill(child);
            }
            Ok(ended)
        }

        pub(super) fn kill(&self, _child: &mut Child) {
            // The exit code of what is killed here in any other way.
            let _ = self.0.terminate(1);
        }
    }

    /// A command of a person's and what it starts, which are killed with this unless it is left: what a command that
    /// came to its end started may go on.
    #[derive(Debug)]
    pub struct Helpers(Option<Job>);

    impl Helpers {
        /// Those of a child that was started just now. One that the system does not take in stands alone.
        pub fn of(child: &tokio::process::Child) -> Self {
            Self(Self::job_of(child).ok())
        }

        #[allow(unsafe_code)]
        fn job_of(child: &tokio::process::Child) -> io::Result<Job> {
            let handle = child
                .raw_handle()
                .ok_or_else(|| io::Error::other("the child has ended"))?;
            // SAFETY: the child keeps its handle open for as long as it is borrowed here.
            let handle = unsafe { std::os::windows::io::BorrowedHandle::borrow_raw(handle) };
            // It does not end with its last handle: what is left goes on.
            let job = Job::create(&JobLimits::new())?;
            job.assign(&handle)?;
            Ok(job)
        }

        /// The child has ended by itself.
        pub fn leave(mut self) {
            self.0 = None;
        }
    }

    impl Drop for Helpers {
        fn drop(&mut self) {
            if let Some(job) = &self.0 {
                // The exit code of what is killed here in any other way.
                let _ = job.terminate(1);
            }
        }
    }

    /// Starts a child in a group of its own: Ctrl-C at the console is for this process, which ends its children in
    /// order.
    pub fn in_own_group(command: &mut Command) {
        const CREATE_NEW_PROCESS_GROUP: u32 = 0x200;
        std::os::windows::process::CommandExt::creation_flags(command, CREATE_NEW_PROCESS_GROUP);
    }

    /// Ends this process. What it started ends with the job, which the process that started this one holds and closes.
    pub fn end_with_family() -> ! {
        exit(0)
    }

    /// Ends this process at once with this code. Nothing that a library put down for the end of the process is run, since it
    /// may hang.
    pub fn exit(code: u8) -> ! {
        if let Ok(own) = Process::open(std::process::id(), ProcessAccess::Terminate) {
            let _ = own.terminate(code.into());
        }
        std::process::exit(code.into())
    }

    /// Limits the memory of this process, and of each that it starts.
    pub fn limit_memory(bytes: u64) -> io::Result<()> {
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        Job::create(&JobLimits::new().process_memory(bytes))?.assign_current_process()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Stdio;

    /// Set in the child that the tests below start: the test program itself.
    const OWN_TEST: &str = "system::children::tests::the_child_of_these_tests";
    const CHILD: &str = "QT_TEST_CHILD";

    fn child(what: &str) -> Command {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args(["--exact", OWN_TEST, "--nocapture"])
            .env(CHILD, what)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        in_own_group(&mut command);
        command
    }

    /// Run by the tests below; by itself it has nothing to show.
    #[test]
    fn the_child_of_these_tests() {
        match std::env::var(CHILD).as_deref() {
            Ok("limited") => {
                limit_memory(64 << 20).unwrap();
                println!("\nlimited");
            }
            Ok("parent") => {
                // It never ends by itself, and holds this one's standard output open as long as it lives.
                let mut grandchild = child_that_stays();
                println!("\nstarted");
                grandchild.wait().unwrap();
            }
            Ok("leaves") => {
                // As a worker that is killed: what it started stays behind.
                let grandchild = child_that_stays();
                println!("\nstarted");
                drop(grandchild);
            }
            Ok("stays") => loop {
                std::thread::park();
            },
            _ => {}
        }
    }

    fn child_that_stays() -> Child {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args(["--exact", OWN_TEST, "--nocapture"])
            .env(CHILD, "stays")
            .stdin(Stdio::null())
            .stdout(Stdio::inherit());
        command.spawn().unwrap()
    }

    #[test]
    fn a_killed_family_takes_its_grandchildren_along() {
        use std::io::{BufRead, BufReader, Read};
        let mut parent = child("parent").spawn().unwrap();
        let family = Family::of(&parent).unwrap();
        let mut said = BufReader::new(parent.stdout.take().unwrap());
        let mut line = String::new();
        while line.trim() != "started" {
            line.clear();
            assert_ne!(said.read_line(&mut line).unwrap(), 0, "it ended");
        }
        kill_family(&family, &mut parent);
        // Comes to its end only once nobody holds the other side.
        said.read_to_string(&mut line).unwrap();
        assert!(!parent.wait().unwrap().success());
    }

    /// The child ends by itself, and is seen to have ended before anybody kills anything.
    #[test]
    fn what_a_child_started_ends_with_it_when_the_child_ends_first() {
        use std::io::Read;
        let mut parent = child("leaves").spawn().unwrap();
        let family = Family::of(&parent).unwrap();
        let mut said = parent.stdout.take().unwrap();
        let (done, is_done) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let mut text = String::new();
            // Comes to its end only once nobody holds the other side.
            said.read_to_string(&mut text).unwrap();
            done.send(text).unwrap();
        });
        let until = std::time::Instant::now() + std::time::Duration::from_secs(20);
        let status = loop {
            if let Some(status) = ended(&family, &mut parent).unwrap() {
                break status;
            }
            assert!(std::time::Instant::now() < until, "it does not end");
            std::thread::sleep(std::time::Duration::from_millis(2));
        };
        assert!(status.success(), "{status}");
        let text = is_done.recv_timeout(std::time::Duration::from_secs(20));
        assert!(text.expect("what it started lives on").contains("started"));
        // And again, now that its number may be another's.
        assert_eq!(ended(&family, &mut parent).unwrap(), Some(status));
        kill_family(&family, &mut parent);
    }

    #[test]
    fn a_process_takes_a_limit_of_memory_upon_itself() {
        let out = child("limited").output().unwrap();
        let said = String::from_utf8_lossy(&out.stdout).into_owned();
        assert!(said.contains("\nlimited"), "{said}");
    }
}
