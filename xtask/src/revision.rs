//! Which commit is built, and when it was made.
//!
//! In: git, and what the environment says instead. Out: a name and a time, or nothing where there is no commit.
//! Must not: ask the clock: two builds of one commit must not differ.

use std::process::Command;

use anyhow::{Context as _, Result};

use crate::paths::Paths;
use crate::shell::Run as _;

/// The commit's hash; with `-dirty` where files differ from it.
pub(crate) fn of(paths: &Paths) -> Option<String> {
    if let Ok(told) = std::env::var("CTMON_REVISION") {
        return Some(told);
    }
    // No tag is looked for: a tag says no more than the version, and may be moved.
    let describe = ["describe", "--always", "--abbrev=40", "--dirty", "--exclude=*"];
    let revision = Command::new("git").args(describe).current_dir(paths.root()).read_if_works()?;
    Some(revision.trim().to_owned())
}

/// Seconds since 1970 of the commit, or of `SOURCE_DATE_EPOCH`, see reproducible-builds.org.
pub(crate) fn time(paths: &Paths) -> Result<Option<u64>> {
    if let Ok(told) = std::env::var("SOURCE_DATE_EPOCH") {
        let seconds =
            told.parse().with_context(|| format!("SOURCE_DATE_EPOCH is {told:?}: expected seconds"))?;
        return Ok(Some(seconds));
    }
    let log = ["log", "-1", "--format=%ct"];
    let Some(time) = Command::new("git").args(log).current_dir(paths.root()).read_if_works() else {
        return Ok(None);
    };
    time.trim().parse().map(Some).with_context(|| format!("git gave {time:?} as a commit's time"))
}
