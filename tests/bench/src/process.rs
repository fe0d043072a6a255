//! CPU and memory of processes, and the clock that all of them share.

use rustix::process::{Pid, Signal, kill_process};
use rustix::time::{ClockId, clock_gettime};

/// What a process has used.
#[derive(Debug, Clone, Copy, Default)]
pub struct Usage {
    /// User and system seconds.
    pub cpu_seconds: f64,
    /// Resident MB, files that are mapped included.
    pub resident_mb: f64,
    /// Resident MB that are not a file's.
    pub own_mb: f64,
    /// The most that was ever resident, MB.
    pub peak_mb: f64,
}

/// What the process has used; `None` once it has ended.
pub fn usage(pid: u32) -> Option<Usage> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    // Ticks of 10 ms, as Linux has them on every machine that this runs on.
    let ticks = fields.get(11)?.parse::<f64>().ok()? + fields.get(12)?.parse::<f64>().ok()?;
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let mb = |name: &str| -> Option<f64> {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        let kb = line.trim_matches(|c: char| !c.is_ascii_digit());
        Some(kb.parse::<f64>().ok()? * 1024.0 / 1e6)
    };
    Some(Usage {
        cpu_seconds: ticks / 100.0,
        resident_mb: mb("VmRSS:")?,
        own_mb: mb("RssAnon:")?,
        peak_mb: mb("VmHWM:")?,
    })
}

/// SIGTERM.
pub fn terminate(pid: u32) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).unwrap();
    kill_process(pid, Signal::TERM).ok();
}

/// The monotonic clock in ns, the same in every process.
pub fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    u64::try_from(now.tv_sec).unwrap() * 1_000_000_000 + u64::try_from(now.tv_nsec).unwrap()
}

/// The processor time of this thread in ns: what others do on the machine meanwhile does not count.
pub fn thread_ns() -> u64 {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    u64::try_from(now.tv_sec).unwrap() * 1_000_000_000 + u64::try_from(now.tv_nsec).unwrap()
}

/// From one moment to another in ms.
pub fn ms_between(from_ns: u64, to_ns: u64) -> f64 {
    to_ns.saturating_sub(from_ns) as f64 / 1e6
}
