//! What left over time, read from the journal.

use std::path::Path;

use qt_core::{Event, UtcMillis};

use super::load::Commit;
use super::{JournalError, open_read_only};

/// When cancels were answered, in order: each is one that reached the broker.
///
/// # Errors
///
/// The journal cannot be read.
pub(crate) fn cancels(path: &Path) -> Result<Vec<UtcMillis>, JournalError> {
    let conn = open_read_only(path)?;
    let at = |source| JournalError::sql(path, source);
    let mut query = conn
        .prepare("SELECT seq, at_ms, facts, digest, link FROM commits WHERE facts LIKE '%CancelAnswered%' ORDER BY seq")
        .map_err(at)?;
    let mut rows = query.query([]).map_err(at)?;
    let mut found = Vec::new();
    while let Some(row) = rows.next().map_err(at)? {
        let facts = Commit::read(row, path)?.facts(path)?;
        let answered = facts
            .iter()
            .filter(|fact| matches!(fact.event, Event::CancelAnswered { .. }));
        found.extend(answered.map(|fact| fact.at));
    }
    Ok(found)
}
