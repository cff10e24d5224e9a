//! What comes from outside and stays: packages, tools, downloads.
//!
//! In: what is missing and how to get it. Out: it is there, how long that took; with `--no-install` a line that says what
//! would have been installed, and an error. Must not: install anything that was not announced first.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::paths::Paths;
use crate::shell::say;
use crate::{apt, cargo, ebpf, npm, python, unpacked, vm};

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

/// What a verb or a step cannot do without.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    /// Debian packages whose programs are called.
    Packages(&'static [&'static str]),
    /// Every crate of the lock file.
    Crates,
    /// rustfmt and clippy.
    Components,
    EbpfCompiler,
    EbpfLinker,
    Python,
    Npm,
    /// Debian packages whose programs are called and which must not be installed.
    Unpacked(&'static [&'static str]),
    /// Kernels, their emulator, and the servers that one of them plays with.
    Machines,
    /// What links for the other architecture.
    Arm64,
}

impl Need {
    fn ensure(self, paths: &Paths, purpose: &str) -> Result<()> {
        match self {
            Self::Packages(packages) => apt::ensure(packages, purpose),
            Self::Crates => cargo::fetch(paths),
            Self::Components => cargo::ensure_components(),
            Self::EbpfCompiler => ebpf::ensure_compiler(),
            Self::EbpfLinker => ebpf::ensure_linker(paths),
            Self::Python => python::ensure(paths),
            Self::Npm => npm::ensure(paths),
            Self::Unpacked(packages) => unpacked::ensure(paths, packages, purpose),
            Self::Machines => vm::ensure_machines(paths),
            Self::Arm64 => crate::build::ensure_cross("aarch64").map(drop),
        }
    }
}

/// All of them are there after this; with `--no-install` every one that is missing has been named.
pub(crate) fn ensure(paths: &Paths, needs: &[Need], purpose: &str) -> Result<()> {
    // One call of apt for all, and no need twice.
    let of_apt: Vec<&str> = needs.iter().flat_map(Need::packages).copied().collect();
    let mut missing = 0;
    let mut note = |done: Result<()>| match done {
        Err(error) if is_refusal(&error) => {
            missing += 1;
            Ok(())
        }
        done => done,
    };
    note(apt::ensure(&of_apt, purpose))?;
    for (index, need) in needs.iter().enumerate() {
        let (before, _) = needs.split_at(index);
        if need.packages().is_empty() && !before.contains(need) {
            note(need.ensure(paths, purpose))?;
        }
    }
    if missing > 0 {
        bail!("{purpose} needs what is missing here, and --no-install forbids to install it");
    }
    Ok(())
}

impl Need {
    const fn packages(&self) -> &'static [&'static str] {
        match self {
            Self::Packages(packages) => packages,
            _ => &[],
        }
    }
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
