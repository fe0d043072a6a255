//! Named points at which a test ends the process as kill -9 would.

/// Ends the process at once when the test armed `name`, or panics or waits where it armed that; nothing at all in a release.
pub(crate) fn die_at(name: &str) {
    // `fail` registers points by literal names; here the name is looked up at run time.
    let _ = name;
    #[cfg(feature = "failpoints")]
    if fail::eval(name, |_| ()).is_some() {
        crate::system::die_now();
    }
}

/// The number that a test armed `name` with; nothing at all in a release.
pub(crate) fn number(name: &str) -> Option<u64> {
    let _ = name;
    #[cfg(feature = "failpoints")]
    return fail::eval(name, |number| number.and_then(|number| number.parse().ok())).flatten();
    #[cfg(not(feature = "failpoints"))]
    None
}

/// Takes the points that `FAILPOINTS` arms; to be called once, at the start.
pub(crate) fn arm() {
    #[cfg(feature = "failpoints")]
    std::mem::forget(fail::FailScenario::setup());
}
