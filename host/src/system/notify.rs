//! Tells the system's keeper how the program stands, where there is one that wants to know: systemd's `sd_notify`.

use std::time::Duration;

/// How the program stands.
#[derive(Debug, Clone, Copy)]
#[cfg_attr(not(target_os = "linux"), allow(dead_code, reason = "nobody listens there"))]
pub enum Stand<'a> {
    /// It is still starting, and is not to be given up before this time has passed once more.
    Starting {
        /// The time.
        within: Duration,
        /// A line for people.
        status: &'a str,
    },
    /// It trades.
    Ready,
    /// It lives; to be said again within the time of [`watchdog`].
    Alive,
    /// It is ending.
    Stopping,
    /// A line for people.
    Status(&'a str),
}

/// Says it. Nobody may be listening, and a keeper that does not hear is no reason to do anything else.
#[cfg(target_os = "linux")]
pub fn tell(stand: Stand<'_>) {
    use sd_notify::NotifyState;
    let state = match stand {
        Stand::Starting { within, status } => {
            let within = u32::try_from(within.as_micros()).unwrap_or(u32::MAX);
            let _ = sd_notify::notify(&[
                NotifyState::ExtendTimeoutUsec(within),
                NotifyState::Status(status),
            ]);
            return;
        }
        Stand::Ready => NotifyState::Ready,
        Stand::Alive => NotifyState::Watchdog,
        Stand::Stopping => NotifyState::Stopping,
        Stand::Status(text) => NotifyState::Status(text),
    };
    let _ = sd_notify::notify(&[state]);
}

/// Says it to nobody.
#[cfg(not(target_os = "linux"))]
pub fn tell(_stand: Stand<'_>) {}

/// Within which time the keeper wants to hear that the program lives; `None` where it does not.
pub fn watchdog() -> Option<Duration> {
    #[cfg(target_os = "linux")]
    return sd_notify::watchdog_enabled();
    #[cfg(not(target_os = "linux"))]
    None
}
