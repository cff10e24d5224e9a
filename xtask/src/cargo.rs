//! Cargo inside cargo.
//!
//! In: what to build. Out: commands whose environment is that of the user's shell, not of `cargo run`.
//! Must not: know what is built.
//!
//! `cargo xtask` leaves `CARGO`, `CARGO_PKG_*`, `RUSTUP_TOOLCHAIN`, `LD_LIBRARY_PATH` and more behind in our
//! environment. A build with another compiler would pick up the wrong one or rebuild what is up to date.

use std::env;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;

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

/// The cargo that runs us, else the one in the path.
pub(crate) fn program() -> OsString {
    env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

/// An executable cargo reports with `--message-format=json-render-diagnostics`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Executable {
    pub(crate) target: String,
    pub(crate) kind: Kind,
    pub(crate) path: PathBuf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Binary,
    Test,
    /// Build scripts and examples.
    Other,
}

#[derive(Deserialize)]
struct Message {
    reason: String,
    target: Option<Target>,
    executable: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
    kind: Vec<String>,
}

impl Target {
    fn kind(&self) -> Kind {
        match self.kind.first().map(String::as_str) {
            Some("bin") => Kind::Binary,
            Some("test") => Kind::Test,
            _ => Kind::Other,
        }
    }
}

/// The executables among cargo's messages, in its order.
pub(crate) fn executables(messages: &str) -> Result<Vec<Executable>> {
    let mut found = Vec::new();
    for line in messages.lines().filter(|line| line.starts_with('{')) {
        let message: Message = serde_json::from_str(line).context("failed to read a message of cargo")?;
        if message.reason != "compiler-artifact" {
            continue;
        }
        if let (Some(target), Some(path)) = (message.target, message.executable) {
            found.push(Executable { kind: target.kind(), target: target.name, path });
        }
    }
    Ok(found)
}

/// The one executable of that name.
pub(crate) fn executable(messages: &str, name: &str) -> Result<PathBuf> {
    match executables(messages)?.into_iter().find(|executable| executable.target == name) {
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

    const MESSAGES: &str = concat!(
        r#"{"reason":"compiler-artifact","target":{"name":"libc","kind":["lib"]},"executable":null}"#,
        "\n",
        r#"{"reason":"compiler-artifact","target":{"name":"kernel","kind":["test"]},"executable":"/t/kernel-1f"}"#,
        "\nwarning: not a message\n",
        r#"{"reason":"build-finished","success":true}"#,
        "\n",
    );

    #[test]
    fn libraries_and_stray_lines_are_no_executables() {
        let kernel = Executable { target: "kernel".into(), kind: Kind::Test, path: "/t/kernel-1f".into() };
        assert_eq!(executables(MESSAGES).unwrap(), [kernel]);
    }

    #[test]
    fn an_executable_that_was_not_built_is_an_error_naming_it() {
        let error = executable(MESSAGES, "ctmon").unwrap_err();
        assert!(error.to_string().contains("ctmon"), "{error}");
    }
}
