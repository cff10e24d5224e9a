//! `bench`: what reading costs.
//!
//! In: the binary `bench` of the package `tests`, built as it ships. Out: what it prints.
//! Must not: measure anything itself.

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;

use anyhow::{Context as _, Result};
use clap::Subcommand;

use crate::paths::Paths;
use crate::shell::Run as _;
use crate::{apt, build, cargo};

#[derive(Subcommand)]
pub(crate) enum What {
    /// A scan against an empty iterator, key-by-key reads, batch lookups and bpftool, in one run
    Scan {
        /// Handed to the bench: `--rounds N`, `--entries N,N`, `--write` for the table in docs/
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
}

pub(crate) fn run(paths: &Paths, what: &What) -> Result<()> {
    let What::Scan { arguments } = what;
    apt::ensure(&["bpftool"], "comparing with bpftool")?;
    let ctmon = build::run(paths)?;
    let messages = cargo::cargo()
        .args(["build", "--release", "--package", "tests", "--bin", "bench"])
        .args(["--message-format", "json-render-diagnostics"])
        .current_dir(paths.root())
        .read("build the bench")?;
    let bench = cargo::executable(&messages, "bench")?;
    let error = std::process::Command::new(&bench)
        .arg("scan")
        .args(arguments)
        .env("CTMON_BIN", ctmon)
        .current_dir(paths.root())
        .exec();
    Err(error).with_context(|| format!("failed to start {}", bench.display()))
}
