//! Debian packages whose programs are called and which must not be installed.
//!
//! In: names of packages. Out: their files below `target/tools/debian/NAME`, where the tests look for programs.
//! Must not: install anything: a registry or a containerd would be started as a service, or take the place of Docker's.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::apt::{self, Apt};
use crate::install::install;
use crate::paths::Paths;
use crate::shell::Run as _;

pub(crate) fn ensure(paths: &Paths, packages: &[&str], purpose: &str) -> Result<()> {
    let folder = paths.tools().join("debian");
    let missing: Vec<&str> =
        packages.iter().copied().filter(|package| !folder.join(package).exists()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let list = missing.join(" ");
    if apt::probe() == Apt::Absent {
        bail!("{purpose} needs programs of Debian's packages {list}: put them into the path");
    }
    install(&format!("the files of {list} under target/tools/debian, for {purpose}"), || {
        unpack(&folder, &missing)
    })
}

fn unpack(folder: &Path, missing: &[&str]) -> Result<()> {
    if apt::probe() == Apt::Ready && !missing.iter().all(|package| apt::has_candidate(package)) {
        apt::apt_get().arg("update").run_quietly("refresh the package lists")?;
    }
    let draft = folder.join("new");
    if draft.exists() {
        fs::remove_dir_all(&draft).with_context(|| format!("failed to remove {}", draft.display()))?;
    }
    fs::create_dir_all(&draft).with_context(|| format!("failed to create {}", draft.display()))?;
    for &package in missing {
        // The unprivileged user of apt may not see into the workspace.
        apt::apt_get()
            .args(["--option", "APT::Sandbox::User=root", "download", package])
            .current_dir(&draft)
            .run_quietly("download a package")?;
        let prefix = format!("{package}_");
        let listed = fs::read_dir(&draft).with_context(|| format!("failed to list {}", draft.display()))?;
        let mut archives = listed
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&prefix)));
        let archive = archives.next().with_context(|| format!("apt-get downloaded no {package}"))?;
        let tree = draft.join(package);
        Command::new("dpkg-deb").arg("-x").arg(&archive).arg(&tree).run_quietly("unpack a package")?;
        let place = folder.join(package);
        fs::rename(&tree, &place).with_context(|| format!("failed to create {}", place.display()))?;
    }
    fs::remove_dir_all(&draft).with_context(|| format!("failed to remove {}", draft.display()))
}
