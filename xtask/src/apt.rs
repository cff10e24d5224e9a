//! Debian packages.
//!
//! In: names of packages and what they are for. Out: those packages installed, or one line that says what to do.
//! Must not: call apt when nothing is missing; upgrade anything; change the machine's sources.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, bail};

use crate::install::install;
use crate::shell::Run as _;

/// Whether this process can install packages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Apt {
    /// apt-get is here and we are root.
    Ready,
    /// apt-get is here and we may not use it.
    NotRoot,
    /// Another distribution.
    Absent,
}

pub(crate) fn probe() -> Apt {
    if !Path::new("/usr/bin/apt-get").exists() {
        Apt::Absent
    } else if is_root() {
        Apt::Ready
    } else {
        Apt::NotRoot
    }
}

/// Installs those of `packages` that are missing.
pub(crate) fn ensure(packages: &[&str], purpose: &str) -> Result<()> {
    let missing = if packages.is_empty() { Vec::new() } else { missing(packages) };
    if missing.is_empty() {
        return Ok(());
    }
    let list = missing.join(" ");
    match probe() {
        Apt::Ready => {}
        Apt::NotRoot => bail!("{purpose} needs packages that only root can install: apt-get install {list}"),
        Apt::Absent => {
            bail!("{purpose} needs what Debian packages as {list}: install it with your system's tools")
        }
    }
    install(&format!("the packages {list} for {purpose}"), || {
        if !missing.iter().all(|package| has_candidate(package)) {
            apt_get().arg("update").run_quietly("refresh the package lists")?;
        }
        apt_get()
            .args(["install", "--yes", "--no-install-recommends", "--no-upgrade"])
            .args(&missing)
            .run_quietly("install packages")
    })
}

/// Whether the package lists offer `package`.
pub(crate) fn has_candidate(package: &str) -> bool {
    Command::new("apt-cache")
        .args(["policy", package])
        .env("LC_ALL", "C")
        .read_if_works()
        .is_some_and(|policy| parse_candidate(&policy))
}

pub(crate) fn apt_get() -> Command {
    let mut command = Command::new("apt-get");
    command.env("DEBIAN_FRONTEND", "noninteractive").env("LC_ALL", "C").arg("--quiet=2");
    command
}

fn missing<'a>(packages: &[&'a str]) -> Vec<&'a str> {
    // dpkg-query fails when one name is unknown and still prints the others.
    let installed = Command::new("dpkg-query")
        .args(["--show", "--showformat", "${db:Status-Status} ${Package}\n"])
        .args(packages)
        .output()
        .map(|output| String::from_utf8_lossy(&output.stdout).into_owned())
        .unwrap_or_default();
    packages.iter().copied().filter(|package| !parse_installed(&installed, package)).collect()
}

fn parse_installed(statuses: &str, package: &str) -> bool {
    statuses.lines().any(|line| line.strip_prefix("installed ") == Some(package))
}

fn parse_candidate(policy: &str) -> bool {
    policy
        .lines()
        .filter_map(|line| line.trim().strip_prefix("Candidate: "))
        .any(|candidate| candidate != "(none)")
}

fn is_root() -> bool {
    Command::new("id").arg("-u").read_if_works().is_some_and(|uid| uid.trim() == "0")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_status_installed_counts() {
        let statuses = "installed cpio\nconfig-files bpftool\nnot-installed wrk\n";
        assert!(parse_installed(statuses, "cpio"));
        assert!(!parse_installed(statuses, "bpftool"));
        assert!(!parse_installed(statuses, "wrk"));
        assert!(!parse_installed(statuses, "cpi"));
    }

    #[test]
    fn a_package_known_only_by_name_has_no_candidate() {
        assert!(parse_candidate("cpio:\n  Installed: (none)\n  Candidate: 2.13\n"));
        assert!(!parse_candidate("rustc-web:\n  Installed: (none)\n  Candidate: (none)\n"));
        assert!(!parse_candidate(""));
    }
}
