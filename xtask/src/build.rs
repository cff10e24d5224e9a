//! `build`: the binary that ships.
//!
//! In: the workspace. Out: `target/dist/ctmon`, static, so that it runs in an empty image and in a bare initramfs.
//! Must not: need a rustup target beyond the host's, unless another architecture is asked for.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::install::install;
use crate::paths::{ARCH, Paths, triple_of};
use crate::shell::{Run as _, say};
use crate::{apt, cargo, ebpf, install};

/// What builds for arm64 elsewhere: the linker, which also compiles the C of a dependency, and a C library.
const CROSS_PACKAGES: &[&str] = &["gcc-aarch64-linux-gnu", "libc6-dev-arm64-cross"];

/// The user's flags and ours: glibc linked in.
pub(crate) fn static_rustflags() -> String {
    let users = std::env::var("RUSTFLAGS").unwrap_or_default();
    format!("{users} -C target-feature=+crt-static").trim_start().to_owned()
}

pub(crate) fn run(paths: &Paths) -> Result<PathBuf> {
    run_for(paths, ARCH, None)
}

/// The binary for nodes of this architecture, which says that it is of this commit. Every commit is another binary
/// then, minutes to build, so only what leaves the machine is told.
pub(crate) fn run_for(paths: &Paths, arch: &str, revision: Option<&str>) -> Result<PathBuf> {
    let binary = paths.dist_binary_for(arch);
    place(&compile(paths, arch, revision, None)?, &binary)?;
    let bytes =
        fs::metadata(&binary).with_context(|| format!("failed to measure {}", binary.display()))?.len();
    let name = binary.strip_prefix(paths.root()).unwrap_or(&binary);
    say(&format!("wrote {}, {} KiB", name.display(), bytes / 1024));
    Ok(binary)
}

/// The same where cargo leaves it, below `target_dir` instead of the usual place if that is given.
pub(crate) fn compile(
    paths: &Paths,
    arch: &str,
    revision: Option<&str>,
    target_dir: Option<&Path>,
) -> Result<PathBuf> {
    let linker = if arch == ARCH { None } else { Some(ensure_cross(arch)?) };
    ebpf::run(paths, &ebpf::Args::for_arch(arch))?;
    say(&format!("building ctmon, static, release, for {arch}"));
    let mut build = cargo::cargo();
    build
        .args(["build", "--release", "--package", "monitor", "--bin", "ctmon", "--target", &triple_of(arch)])
        .args(["--message-format", "json-render-diagnostics"])
        .current_dir(paths.root())
        .env("RUSTFLAGS", static_rustflags())
        .env("CARGO_PROFILE_RELEASE_STRIP", "symbols");
    if let Some((variable, program)) = linker {
        build.env(variable, program);
    }
    if let Some(revision) = revision {
        build.env("CTMON_REVISION", revision);
    }
    if let Some(dir) = target_dir {
        build.env("CARGO_TARGET_DIR", dir);
    }
    cargo::executable(&build.read("build ctmon")?, "ctmon")
}

fn place(built: &Path, binary: &Path) -> Result<()> {
    let dir = binary.parent().context("the binary has no directory")?;
    fs::create_dir_all(dir).with_context(|| format!("failed to create {}", dir.display()))?;
    // A running binary cannot be written to, but its name can be given to a new one.
    let draft = binary.with_extension("new");
    fs::copy(built, &draft).with_context(|| format!("failed to copy {}", built.display()))?;
    fs::rename(&draft, binary).with_context(|| format!("failed to replace {}", binary.display()))
}

/// The standard library and a linker for another architecture; the linker as cargo is told of it.
pub(crate) fn ensure_cross(arch: &str) -> Result<(&'static str, &'static str)> {
    if (ARCH, arch) != ("x86_64", "aarch64") {
        bail!("building for {arch} on {ARCH} is not prepared: build on a machine of that architecture");
    }
    let triple = triple_of(arch);
    if !has_standard_library(&triple) {
        let added = install(&format!("the target {triple} of the toolchain"), || {
            Command::new("rustup").args(["target", "add", &triple]).run_quietly("add a target")
        });
        match added {
            Err(error) if install::is_refusal(&error) => return Err(error),
            _ if has_standard_library(&triple) => {}
            _ => bail!(
                "the toolchain has no standard library for {triple}: rustup target add {triple}, and the packages {}",
                CROSS_PACKAGES.join(" ")
            ),
        }
    }
    apt::ensure(CROSS_PACKAGES, &format!("linking for {arch}"))?;
    Ok(("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER", "aarch64-linux-gnu-gcc"))
}

fn has_standard_library(triple: &str) -> bool {
    Command::new("rustc")
        .args(["--print", "target-libdir", "--target", triple])
        .read_if_works()
        .is_some_and(|dir| Path::new(dir.trim()).is_dir())
}
