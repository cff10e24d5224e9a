//! `build`: the binary that ships.
//!
//! In: the workspace. Out: `target/dist/ctmon`, static, so that it runs in an empty image and in a bare initramfs.
//! Must not: need a rustup target beyond the host's.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result};

use crate::paths::{ARCH, Paths};
use crate::shell::{Run as _, say};
use crate::{cargo, ebpf};

/// The host's own target, named, so that build scripts and macros stay dynamic while the result is static.
pub(crate) fn triple() -> String {
    format!("{ARCH}-unknown-linux-gnu")
}

/// The user's flags and ours: glibc linked in.
pub(crate) fn static_rustflags() -> String {
    let users = std::env::var("RUSTFLAGS").unwrap_or_default();
    format!("{users} -C target-feature=+crt-static").trim_start().to_owned()
}

pub(crate) fn run(paths: &Paths) -> Result<PathBuf> {
    ebpf::run(paths, &ebpf::Args::default())?;
    say("building ctmon, static, release");
    let messages = cargo::cargo()
        .args(["build", "--release", "--package", "monitor", "--bin", "ctmon", "--target", &triple()])
        .args(["--message-format", "json-render-diagnostics"])
        .current_dir(paths.root())
        .env("RUSTFLAGS", static_rustflags())
        .env("CARGO_PROFILE_RELEASE_STRIP", "symbols")
        .read("build ctmon")?;
    let built = cargo::executable(&messages, "ctmon")?;
    let binary = paths.dist_binary();
    let dir = binary.parent().context("the binary has no directory")?;
    fs::create_dir_all(dir).with_context(|| format!("failed to create {}", dir.display()))?;
    // A running binary cannot be written to, but its name can be given to a new one.
    let draft = binary.with_extension("new");
    fs::copy(&built, &draft).with_context(|| format!("failed to copy {}", built.display()))?;
    fs::rename(&draft, &binary).with_context(|| format!("failed to replace {}", binary.display()))?;
    let bytes =
        fs::metadata(&binary).with_context(|| format!("failed to measure {}", binary.display()))?.len();
    let name = binary.strip_prefix(paths.root()).unwrap_or(&binary);
    say(&format!("wrote {}, {} KiB", name.display(), bytes / 1024));
    Ok(binary)
}
