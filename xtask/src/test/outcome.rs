//! How a step ended, told by the process that ran it to the one that started it.
//!
//! In: a tally or an error. Out: a small file, and what it said.
//! Must not: be believed when it is of an earlier run.

use std::fs;
use std::path::PathBuf;
use std::process::ExitStatus;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use crate::install;
use crate::paths::Paths;
use crate::tally::Tally;

/// Clock ticks a second, in which /proc counts on every architecture.
const TICKS: f64 = 100.0;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Outcome {
    pub(super) passed: u64,
    pub(super) failed: u64,
    /// Why it failed, beyond failed tests.
    pub(super) error: Option<String>,
    /// Seconds of processors, of the step and all it started and waited for.
    pub(super) processor: f64,
    /// Seconds that installing took.
    pub(super) installing: f64,
}

impl Outcome {
    /// What `done` means, and what this process has used up to now.
    pub(super) fn of(done: &Result<Tally>) -> Self {
        let (tally, error) = match done {
            Ok(tally) => (*tally, None),
            Err(error) => (Tally::ONE_FAILED, Some(format!("{error:#}"))),
        };
        Self {
            passed: tally.passed,
            failed: tally.failed,
            error,
            processor: processor().unwrap_or_default(),
            installing: install::taken().as_secs_f64(),
        }
    }

    pub(super) fn tally(&self) -> Tally {
        Tally { passed: self.passed, failed: self.failed }
    }

    pub(super) fn write(&self, paths: &Paths, step: &str) -> Result<()> {
        let path = file(paths, step);
        let dir = path.parent().context("an outcome has a directory")?;
        fs::create_dir_all(dir).with_context(|| format!("failed to create {}", dir.display()))?;
        let text = serde_json::to_string(self).context("failed to write down how a step ended")?;
        fs::write(&path, text).with_context(|| format!("failed to write {}", path.display()))
    }

    /// What the process of a step left; one that left nothing failed.
    pub(super) fn read(paths: &Paths, step: &str, status: ExitStatus) -> Self {
        let told = fs::read_to_string(file(paths, step)).ok();
        told.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_else(|| {
            let nothing: Result<Tally> = Err(anyhow::anyhow!("it ended without a result: {status}"));
            Self { processor: 0.0, installing: 0.0, ..Self::of(&nothing) }
        })
    }

    /// Forgets an earlier run.
    pub(super) fn remove(paths: &Paths, step: &str) {
        // Nothing there is the usual case.
        let _ = fs::remove_file(file(paths, step));
    }
}

fn file(paths: &Paths, step: &str) -> PathBuf {
    paths.suite().join("outcomes").join(format!("{step}.json"))
}

/// Seconds of processors that this process and its children took.
fn processor() -> Option<f64> {
    parse_processor(&fs::read_to_string("/proc/self/stat").ok()?)
}

/// The fields 14 to 17: own and children's time, in user mode and in the kernel.
fn parse_processor(stat: &str) -> Option<f64> {
    // The name in parentheses may hold blanks.
    let (_, fields) = stat.rsplit_once(") ")?;
    let ticks: Vec<f64> =
        fields.split(' ').skip(11).take(4).map(str::parse).collect::<Result<_, _>>().ok()?;
    (ticks.len() == 4).then(|| ticks.iter().sum::<f64>() / TICKS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn children_count_as_much_as_the_process_itself() {
        let stat = "7 (a (b) c) S 1 7 7 0 -1 4194304 100 200 0 0 150 50 1000 300 20 0 1 0 100 0 0";
        assert_eq!(parse_processor(stat), Some(15.0));
        assert_eq!(parse_processor("7 (x) S 1 7"), None);
        assert!(processor().is_some());
    }

    #[test]
    fn an_error_is_one_failure_with_its_reason() {
        let outcome = Outcome::of(&Err(anyhow::anyhow!("no")));
        assert_eq!((outcome.tally(), outcome.error.as_deref()), (Tally::ONE_FAILED, Some("no")));
        assert_eq!(Outcome::of(&Ok(Tally::ONE_PASSED)).tally(), Tally::ONE_PASSED);
    }
}
