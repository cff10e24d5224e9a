//! How a source fared.
//!
//! In: a reading. Out: what it found, and a [`SourceState`] with its duration and, where it failed, why.
//! Must not: list a source that is off.

use monitor_model::one_line::one_line;
use monitor_model::snapshot::SourceState;

use crate::bpf::sys;

/// Reads a source and notes how it fared; one that is off is not noted.
pub(super) fn read_source<T, E: std::error::Error + 'static>(
    sources: &mut Vec<SourceState>,
    name: &'static str,
    read: impl FnOnce() -> Result<Option<T>, E>,
) -> Option<T> {
    let begun = sys::monotonic();
    let read = read();
    let duration = sys::monotonic().saturating_sub(begun);
    let (found, error) = match read {
        Ok(None) => return None,
        Ok(found) => (found, None),
        Err(error) => (None, Some(one_line(&error))),
    };
    sources.push(SourceState { name, duration, error });
    found
}
