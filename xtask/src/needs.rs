//! Everything that verbs and steps need, met at once.
//!
//! In: needs. Out: all of them are there, or with `--no-install` every one that is missing has been named.
//! Must not: be called by what meets a need.

use anyhow::Result;

use crate::need::Need;
use crate::paths::Paths;
use crate::{apt, build, cargo, ebpf, install, npm, python, unpacked, vm};

fn meet(need: Need, paths: &Paths, purpose: &str) -> Result<()> {
    match need {
        Need::Packages(packages) => apt::ensure(packages, purpose),
        Need::Crates => cargo::fetch(paths),
        Need::Components => cargo::ensure_components(),
        Need::EbpfCompiler => ebpf::ensure_compiler(),
        Need::EbpfLinker => ebpf::ensure_linker(paths),
        Need::Python => python::ensure(paths),
        Need::Npm => npm::ensure(paths),
        Need::Unpacked(packages) => unpacked::ensure(paths, packages, purpose),
        Need::Machines => vm::ensure_machines(paths),
        Need::Arm64 => build::ensure_cross("aarch64").map(drop),
    }
}

/// All of them are there after this; with `--no-install` every one that is missing has been named.
pub(crate) fn ensure(paths: &Paths, needs: &[Need], purpose: &str) -> Result<()> {
    // One call of apt for all, and no need twice.
    let of_apt: Vec<&str> = needs.iter().flat_map(Need::packages).copied().collect();
    let others = needs.iter().enumerate().filter(|(index, need)| {
        need.packages().is_empty() && !needs.iter().take(*index).any(|before| before == *need)
    });
    let apt = std::iter::once(apt::ensure(&of_apt, purpose));
    install::all(apt.chain(others.map(|(_, need)| meet(*need, paths, purpose))), purpose)
}
