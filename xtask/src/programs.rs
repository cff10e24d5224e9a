//! Every test program and the binary under test, compiled once: static, so that the same files run here and in a bare
//! virtual machine.
//!
//! In: the packages that ship or test. Out: a list of executables, kept for the steps that come later.
//! Must not: compile anything a second time with other flags.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};

use crate::build;
use crate::cargo::{self, Executable, Kind};
use crate::paths::{Paths, triple};
use crate::shell::{Run as _, say};

/// Always together: a selection of its own would have features of its own, and be compiled anew.
pub(crate) const PACKAGES: &[&str] = &[
    "monitor-abi",
    "monitor-model",
    "monitor-decode",
    "monitor-config",
    "monitor-source",
    "monitor-check",
    "monitor-output",
    "monitor-serve",
    "monitor",
    "tests",
];

/// What was compiled.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Programs {
    executables: Vec<Executable>,
}

/// The flags that every call of cargo on the suite's own code shares.
pub(crate) fn flags() -> Vec<String> {
    let mut flags = ["--profile", "suite", "--target"].map(str::to_owned).to_vec();
    flags.push(triple());
    flags
}

/// Those packages as arguments.
pub(crate) fn packages() -> Vec<&'static str> {
    PACKAGES.iter().flat_map(|package| ["--package", package]).collect()
}

/// Compiles them and keeps the list.
pub(crate) fn build(paths: &Paths) -> Result<Programs> {
    say("building ctmon and every test, static");
    let messages = cargo::cargo()
        .args(["test", "--no-run"])
        .args(flags())
        .args(packages())
        .args(["--message-format", "json-render-diagnostics"])
        .current_dir(paths.root())
        .env("RUSTFLAGS", build::static_rustflags())
        .read("build ctmon and its tests")?;
    let programs = Programs { executables: cargo::executables(&messages)? };
    programs.ctmon()?;
    let list = list(paths);
    let dir = list.parent().context("the list of programs has no directory")?;
    fs::create_dir_all(dir).with_context(|| format!("failed to create {}", dir.display()))?;
    let text = serde_json::to_string_pretty(&programs).context("failed to write a list of programs")?;
    fs::write(&list, text).with_context(|| format!("failed to write {}", list.display()))?;
    Ok(programs)
}

/// Those that were built last.
pub(crate) fn built(paths: &Paths) -> Result<Programs> {
    let list = list(paths);
    let text = fs::read_to_string(&list)
        .with_context(|| format!("failed to read {}: the step `programs` makes it", list.display()))?;
    serde_json::from_str(&text).with_context(|| format!("failed to read {}", list.display()))
}

fn list(paths: &Paths) -> PathBuf {
    paths.suite().join("programs.json")
}

impl Programs {
    /// The binary under test.
    pub(crate) fn ctmon(&self) -> Result<&Path> {
        let is_it = |program: &&Executable| program.kind == Kind::Binary && program.target == "ctmon";
        let found =
            self.executables.iter().find(is_it).context("cargo reported no executable called ctmon")?;
        Ok(&found.path)
    }

    /// The unit tests of every package, and the tests of the package that ships.
    pub(crate) fn unit(&self) -> Vec<&Executable> {
        let of_suite = |program: &&Executable| program.kind == Kind::Test && !is_in(program, "tests");
        self.executables.iter().filter(|program| program.kind == Kind::Unit || of_suite(program)).collect()
    }

    /// Test targets of the package `tests`, by name; a name that ends in `*` stands for all that begin so.
    pub(crate) fn tests(&self, names: &[&str]) -> Result<Vec<&Executable>> {
        let fits = |name: &str, target: &str| match name.strip_suffix('*') {
            Some(beginning) => target.starts_with(beginning),
            None => target == name,
        };
        let mut found = Vec::new();
        for name in names {
            let before = found.len();
            found.extend(self.executables.iter().filter(|program| {
                program.kind == Kind::Test && is_in(program, "tests") && fits(name, &program.target)
            }));
            if found.len() == before {
                bail!("the package tests has no test target called {name}");
            }
        }
        Ok(found)
    }

    /// What the tests of the package `tests` start.
    pub(crate) fn helpers(&self) -> impl Iterator<Item = &Executable> {
        self.executables.iter().filter(|program| program.kind == Kind::Binary && is_in(program, "tests"))
    }
}

fn is_in(program: &Executable, package: &str) -> bool {
    program.package.file_name().is_some_and(|name| name == package)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn programs() -> Programs {
        let program = |package: &str, target: &str, kind| Executable {
            package: Path::new("/w").join(package),
            target: target.to_owned(),
            kind,
            path: Path::new("/t").join(target),
        };
        Programs {
            executables: vec![
                program("monitor", "monitor", Kind::Unit),
                program("monitor", "ctmon", Kind::Unit),
                program("monitor", "ctmon", Kind::Binary),
                program("monitor", "memory", Kind::Test),
                program("tests", "support", Kind::Unit),
                program("tests", "ctmon-sim", Kind::Binary),
                program("tests", "kernel", Kind::Test),
                program("tests", "golden", Kind::Test),
            ],
        }
    }

    #[test]
    fn every_test_is_a_unit_test_or_called_by_its_name() {
        let programs = programs();
        let names = |found: Vec<&Executable>| -> Vec<String> {
            found.into_iter().map(|program| program.target.clone()).collect()
        };
        assert_eq!(names(programs.unit()), ["monitor", "ctmon", "memory", "support"]);
        assert_eq!(names(programs.tests(&["kern*"]).unwrap()), ["kernel"]);
        assert_eq!(names(programs.helpers().collect()), ["ctmon-sim"]);
        assert!(programs.tests(&["gold"]).unwrap_err().to_string().contains("gold"));
    }

    #[test]
    fn the_binary_under_test_is_not_its_unit_tests() {
        assert_eq!(programs().ctmon().unwrap(), Path::new("/t/ctmon"));
    }
}
