//! What comes from outside and stays: packages, tools, downloads.
//!
//! In: what is missing and how to get it. Out: it is there, how long that took; with `--no-install` a line that says what
//! would have been installed, and an error. Must not: install anything that was not announced first.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::shell::say;

static FORBIDDEN: AtomicBool = AtomicBool::new(false);
/// Milliseconds that installing has taken in this process.
static TAKEN_MS: AtomicU64 = AtomicU64::new(0);

/// From now on nothing is installed.
pub(crate) fn forbid() {
    FORBIDDEN.store(true, Ordering::Relaxed);
}

pub(crate) fn is_forbidden() -> bool {
    FORBIDDEN.load(Ordering::Relaxed)
}

/// How long installing took so far.
pub(crate) fn taken() -> Duration {
    Duration::from_millis(TAKEN_MS.load(Ordering::Relaxed))
}

/// Something that would have been installed.
#[derive(Debug)]
struct Refused(String);

impl fmt::Display for Refused {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "missing: {}", self.0)
    }
}

impl std::error::Error for Refused {}

/// Says what is being installed and does it, or says what would be and does not.
pub(crate) fn install<T>(what: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    if is_forbidden() {
        println!("would install {what}");
        return Err(Refused(what.to_owned()).into());
    }
    say(&format!("installing {what}"));
    let begun = Instant::now();
    let done = work();
    let took = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
    TAKEN_MS.fetch_add(took, Ordering::Relaxed);
    done
}

/// Whether this is the error of what would have been installed.
pub(crate) fn is_refusal(error: &anyhow::Error) -> bool {
    error.is::<Refused>()
}

/// Each of them is there after this; with `--no-install` every one that is missing has been named, since all are asked for.
pub(crate) fn all(asked: impl Iterator<Item = Result<()>>, purpose: &str) -> Result<()> {
    let mut missing = 0;
    for done in asked {
        match done {
            Err(error) if is_refusal(&error) => missing += 1,
            done => done?,
        }
    }
    if missing > 0 {
        bail!("{purpose} needs what is missing here, and --no-install forbids to install it");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    // The switch is the whole process's: one test for both ways.
    #[test]
    fn what_is_forbidden_is_not_done_and_what_is_done_is_timed() {
        let before = taken();
        let done = install("a moment", || {
            std::thread::sleep(Duration::from_millis(5));
            Ok(7)
        });
        assert_eq!(done.unwrap(), 7);
        assert!(taken() >= before + Duration::from_millis(5));
        assert!(
            install("nothing", || -> Result<()> { bail!("it broke") }).unwrap_err().to_string() == "it broke"
        );
    }
}
