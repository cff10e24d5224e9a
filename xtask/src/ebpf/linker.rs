//! The BPF linker, at a pinned version.
//!
//! In: `target/tools`. Out: `target/tools/bin/bpf-linker`, compiled from the package registry when missing.
//! Must not: touch a bpf-linker that the user installed elsewhere.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::cargo;
use crate::install::install;
use crate::paths::Paths;
use crate::shell::Run as _;

/// Newer ones default to LLVM 23, which no compiler in the plan speaks.
const VERSION: &str = "0.10.3";

pub(super) fn ensure(paths: &Paths) -> Result<PathBuf> {
    let linker = paths.tools().join("bin").join("bpf-linker");
    let found = Command::new(&linker).arg("--version").read_if_works();
    if found.is_some_and(|version| version.trim() == format!("bpf-linker {VERSION}")) {
        return Ok(linker);
    }
    install(&format!("bpf-linker {VERSION} under target/tools, once: about two minutes"), || {
        cargo::for_other_compiler(cargo::program())
            .args(["install", "bpf-linker", "--locked", "--force", "--version", VERSION, "--root"])
            .arg(paths.tools())
            // Outside the workspace, whose configuration is not the linker's.
            .current_dir("/")
            .run_quietly("install bpf-linker")
    })?;
    Ok(linker)
}

/// The search path with the linker first.
pub(super) fn search_path(linker: &Path) -> Result<OsString> {
    let bin = linker.parent().context("the linker has no directory")?.to_owned();
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::join_paths(std::iter::once(bin).chain(std::env::split_paths(&path)))
        .context("failed to put bpf-linker into the search path")
}
