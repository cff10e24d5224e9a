//! Waiting for a condition.
//!
//! In: what is waited for and how to look. Out: what was found, or an error that names what did not come.
//! Must not: stand in for a time that is itself under test.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::node::PATIENCE;

/// Between two looks.
pub(crate) const POLL: Duration = Duration::from_millis(20);

/// Waits until `look` gives something.
pub fn wait_for<T>(what: &str, mut look: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look()? {
            return Ok(found);
        }
        if Instant::now() > end {
            bail!("no {what} within {PATIENCE:?}");
        }
        thread::sleep(POLL);
    }
}

/// Waits until `condition` holds.
pub fn wait_until(what: &str, mut condition: impl FnMut() -> Result<bool>) -> Result<()> {
    wait_for(what, || Ok(condition()?.then_some(())))
}
