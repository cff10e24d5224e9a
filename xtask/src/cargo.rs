//! Cargo inside cargo.
//!
//! In: what to build. Out: commands whose environment is that of the user's shell, not of `cargo run`.
//! Must not: know what is built, or how cargo writes its messages.
//!
//! `cargo xtask` leaves `CARGO`, `CARGO_PKG_*`, `RUSTUP_TOOLCHAIN`, `LD_LIBRARY_PATH` and more behind in our
//! environment. A build with another compiler would pick up the wrong one or rebuild what is up to date.

use std::env;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use cargo_metadata::{Artifact, Message, TargetKind};
use serde::{Deserialize, Serialize};

use crate::install::{self, install};
use crate::paths::{Paths, triple};
use crate::shell::Run as _;

/// Set by cargo for the process it runs; never meant for a build that process starts.
const LEFT_BY_CARGO_RUN: &[&str] = &["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_NAME"];

/// What a build with another compiler may keep: where crates come from, and rustup's own state.
const KEPT_FOR_OTHER_COMPILERS: &[&str] = &[
    "CARGO_HOME",
    "CARGO_HTTP_",
    "CARGO_NET_",
    "CARGO_REGISTR",
    "CARGO_SOURCE_",
    "CARGO_TERM_",
    "RUSTUP_HOME",
    "RUSTUP_AUTO_INSTALL",
    "RUST_BACKTRACE",
];

/// Cargo with the toolchain that runs us, as the user would call it in the workspace.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(program());
    for (name, _) in env::vars_os() {
        if name.to_str().is_some_and(|name| starts_with_any(name, LEFT_BY_CARGO_RUN)) {
            command.env_remove(&name);
        }
    }
    command.env_remove("LD_LIBRARY_PATH");
    command
}

/// Runs `program` (a cargo or rustup) free of every build setting of this environment.
pub(crate) fn for_other_compiler(program: impl Into<OsString>) -> Command {
    let mut command = Command::new(program.into());
    for (name, _) in env::vars_os() {
        let disturbs = name.to_str().is_some_and(|name| {
            (name.starts_with("CARGO") || name.starts_with("RUST"))
                && !starts_with_any(name, KEPT_FOR_OTHER_COMPILERS)
        });
        if disturbs {
            command.env_remove(&name);
        }
    }
    command.env_remove("LD_LIBRARY_PATH");
    command
}

/// Downloads every crate of the lock file that is not here yet.
pub(crate) fn fetch(paths: &Paths) -> Result<()> {
    let fetch = |flags: &[&str]| {
        let mut command = cargo();
        command.args(["fetch", "--locked", "--target", &triple()]).args(flags).current_dir(paths.root());
        command
    };
    if fetch(&["--offline"]).read_if_works().is_some() {
        return Ok(());
    }
    install("the crates of Cargo.lock", || fetch(&[]).run_quietly("download crates"))
}

/// What `cargo fmt` and `cargo clippy` run.
pub(crate) fn ensure_components() -> Result<()> {
    for (component, subcommand) in [("rustfmt", "fmt"), ("clippy", "clippy")] {
        let works = || cargo().args([subcommand, "--version"]).read_if_works().is_some();
        if works() {
            continue;
        }
        let added = install(&format!("the component {component} of the toolchain"), || {
            Command::new("rustup").args(["component", "add", component]).run_quietly("add a component")
        });
        match added {
            Err(error) if install::is_refusal(&error) => return Err(error),
            _ if works() => {}
            _ => bail!("`cargo {subcommand}` does not work here: rustup component add {component}"),
        }
    }
    Ok(())
}

/// The cargo that runs us, else the one in the path.
pub(crate) fn program() -> OsString {
    env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

/// An executable cargo reports with `--message-format=json-render-diagnostics`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Executable {
    /// The directory of its package.
    pub(crate) package: PathBuf,
    pub(crate) target: String,
    pub(crate) kind: Kind,
    pub(crate) path: PathBuf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Kind {
    Binary,
    /// The tests inside a library or a binary.
    Unit,
    Test,
    /// Build scripts and examples.
    Other,
}

impl Kind {
    fn of(artifact: &Artifact) -> Self {
        match (artifact.target.kind.first(), artifact.profile.test) {
            (Some(TargetKind::Bin), false) => Self::Binary,
            (Some(TargetKind::Bin | TargetKind::Lib), true) => Self::Unit,
            (Some(TargetKind::Test), _) => Self::Test,
            _ => Self::Other,
        }
    }
}

impl Executable {
    /// `None` for a library: nothing of it can be run.
    fn of(artifact: Artifact) -> Option<Self> {
        let kind = Kind::of(&artifact);
        let package = artifact.manifest_path.parent()?.into();
        Some(Self { package, target: artifact.target.name, kind, path: artifact.executable?.into() })
    }
}

/// The executables among cargo's messages, in its order.
pub(crate) fn executables(messages: &str) -> Result<Vec<Executable>> {
    let mut found = Vec::new();
    for message in Message::parse_stream(messages.as_bytes()) {
        if let Message::CompilerArtifact(artifact) = message.context("failed to read a message of cargo")? {
            found.extend(Executable::of(artifact));
        }
    }
    Ok(found)
}

/// The one executable of that name.
pub(crate) fn executable(messages: &str, name: &str) -> Result<PathBuf> {
    let is_it = |executable: &Executable| executable.target == name && executable.kind != Kind::Unit;
    match executables(messages)?.into_iter().find(is_it) {
        Some(executable) => Ok(executable.path),
        None => bail!("cargo reported no executable called {name}"),
    }
}

fn starts_with_any(name: &str, prefixes: &[&str]) -> bool {
    prefixes.iter().any(|prefix| name.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As cargo 1.95 writes it, without what nobody here reads of features and file names.
    fn artifact(package: &str, target: &str, kind: &str, test: bool, executable: &str) -> String {
        format!(
            r#"{{"reason":"compiler-artifact","package_id":"path+file:///w/{package}#{package}@0.1.0","manifest_path":"/w/{package}/Cargo.toml","target":{{"kind":["{kind}"],"crate_types":["{kind}"],"name":"{target}","src_path":"/w/{package}/main.rs","edition":"2024","doc":true,"doctest":false,"test":true}},"profile":{{"opt_level":"0","debuginfo":0,"debug_assertions":true,"overflow_checks":true,"test":{test}}},"features":[],"filenames":[],"executable":{executable},"fresh":true}}"#
        )
    }

    fn messages() -> String {
        let lines = [
            artifact("libc", "libc", "lib", false, "null"),
            artifact("tests", "kernel", "test", true, r#""/t/kernel-1f""#),
            artifact("tests", "ctmon-sim", "bin", true, r#""/t/sim-1f""#),
            artifact("tests", "ctmon-sim", "bin", false, r#""/t/sim""#),
            artifact("tests", "build-script-build", "custom-build", false, r#""/t/build""#),
            "warning: not a message".to_owned(),
            r#"{"reason":"build-finished","success":true}"#.to_owned(),
        ];
        lines.join("\n")
    }

    #[test]
    fn libraries_and_stray_lines_are_no_executables() {
        let found = executables(&messages()).unwrap();
        let seen: Vec<_> = found.iter().map(|found| (found.target.as_str(), found.kind)).collect();
        assert_eq!(
            seen,
            [
                ("kernel", Kind::Test),
                ("ctmon-sim", Kind::Unit),
                ("ctmon-sim", Kind::Binary),
                ("build-script-build", Kind::Other)
            ]
        );
        assert!(found.iter().all(|found| found.package == std::path::Path::new("/w/tests")));
    }

    #[test]
    fn an_executable_is_not_taken_for_its_own_tests() {
        assert_eq!(executable(&messages(), "ctmon-sim").unwrap(), std::path::Path::new("/t/sim"));
    }

    #[test]
    fn an_executable_that_was_not_built_is_an_error_naming_it() {
        let error = executable(&messages(), "ctmon").unwrap_err();
        assert!(error.to_string().contains("ctmon"), "{error}");
    }
}
