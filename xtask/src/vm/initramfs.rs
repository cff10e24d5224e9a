//! The whole world of the virtual machine.
//!
//! In: static binaries and the fixtures beside them. Out: an initramfs for every kernel.
//! Must not: depend on the kernel that boots it, or on a library of this machine.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

use super::folders::create_parent;
use super::modules::Modules;
use crate::cargo::Executable;
use crate::shell::Run as _;

const INIT: &str = include_str!("init.sh");
const BUSYBOX: &str = "/bin/busybox";

/// What goes in.
pub(super) struct Contents<'a> {
    pub(super) ctmon: &'a Path,
    /// Of the package `tests`.
    pub(super) tests: &'a [&'a Executable],
    /// The programs that tests start.
    pub(super) helpers: &'a [&'a Executable],
    /// The directory of the package `tests`: copied to the same path, where tests look for fixtures.
    pub(super) package: &'a Path,
    /// Of the kernels that boot it.
    pub(super) modules: &'a [Modules],
}

/// What `sock_diag` needs of a kernel that has it as modules; init.sh loads what lies below the kernel's release.
const MODULES: [&str; 1] = ["tcp_diag"];

/// Lays out `tree` anew and packs it into `archive`.
pub(super) fn pack(contents: &Contents<'_>, tree: &Path, archive: &Path) -> Result<()> {
    let Contents { ctmon, tests, helpers, package, modules } = *contents;
    if tree.exists() {
        fs::remove_dir_all(tree).with_context(|| format!("failed to remove {}", tree.display()))?;
    }
    place(Path::new(BUSYBOX), &tree.join("bin/busybox"))?;
    strip(ctmon, &tree.join("bin/ctmon"))?;
    write_script(&tree.join("init"), INIT)?;
    for Executable { target, path, .. } in tests {
        strip(path, &tree.join("tests").join(target))?;
    }
    for Executable { path, .. } in helpers {
        // A test knows the programs of its package by the path cargo gave it.
        strip(path, &inside(tree, path)?)?;
    }
    copy_tree(package, &inside(tree, package)?)?;
    for modules in modules {
        modules.place(&MODULES, &tree.join("modules").join(&modules.release))?;
    }
    write_script(&tree.join("environment"), &environment(package))?;
    archive_tree(tree, archive)
}

fn environment(package: &Path) -> String {
    format!("export CARGO_MANIFEST_DIR='{}' CTMON_BIN=/bin/ctmon CTMON_VM=1\n", package.display())
}

/// The word on the kernel's command line that names parts of tests' names: it becomes a variable of init.
pub(super) fn filter(names: &[impl AsRef<str>]) -> Result<String> {
    let names: Vec<&str> = names.iter().map(AsRef::as_ref).collect();
    let is_name = |name: &&str| name.chars().all(|c| c.is_ascii_alphanumeric() || "_:-".contains(c));
    if !names.iter().all(is_name) {
        bail!("a filter is part of a test's name: letters, digits, _, : and -");
    }
    Ok(format!("CTMON_VM_FILTER={}", names.join(",")))
}

fn inside(tree: &Path, path: &Path) -> Result<PathBuf> {
    let relative = path.strip_prefix("/").with_context(|| format!("{} is not absolute", path.display()))?;
    Ok(tree.join(relative))
}

fn write_script(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("failed to write {}", path.display()))?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))
        .with_context(|| format!("failed to make {} executable", path.display()))
}

pub(super) fn place(from: &Path, to: &Path) -> Result<()> {
    create_parent(to)?;
    fs::copy(from, to).with_context(|| format!("failed to copy {} to {}", from.display(), to.display()))?;
    Ok(())
}

/// Debug information is most of a test binary; the symbols stay for backtraces.
fn strip(from: &Path, to: &Path) -> Result<()> {
    create_parent(to)?;
    Command::new("strip").arg("--strip-debug").arg("-o").arg(to).arg(from).run_quietly("strip a test binary")
}

fn copy_tree(from: &Path, to: &Path) -> Result<()> {
    for entry in fs::read_dir(from).with_context(|| format!("failed to list {}", from.display()))? {
        let entry = entry.with_context(|| format!("failed to list {}", from.display()))?;
        let (source, copy) = (entry.path(), to.join(entry.file_name()));
        if source.is_dir() {
            copy_tree(&source, &copy)?;
        } else {
            place(&source, &copy)?;
        }
    }
    Ok(())
}

/// Not compressed: the emulated processor would have to unpack it, and nothing is transported.
pub(super) fn archive_tree(tree: &Path, archive: &Path) -> Result<()> {
    let packed =
        fs::File::create(archive).with_context(|| format!("failed to create {}", archive.display()))?;
    let mut cpio = Command::new("cpio")
        .args(["--create", "--format=newc", "--null", "--quiet", "--owner=0:0"])
        .current_dir(tree)
        .stdin(Stdio::piped())
        .stdout(packed)
        .spawn()
        .context("failed to start cpio")?;
    let mut names = Vec::new();
    list(tree, Path::new(""), &mut names)?;
    let mut input = cpio.stdin.take().context("cpio has no input")?;
    input.write_all(&names).context("failed to hand the names of files to cpio")?;
    drop(input);
    let status = cpio.wait().context("failed to wait for cpio")?;
    if !status.success() {
        bail!("failed to pack the initramfs: cpio: {status}");
    }
    Ok(())
}

/// Every path below `tree`, directories before what they hold, each ended by a zero byte.
fn list(tree: &Path, below: &Path, names: &mut Vec<u8>) -> Result<()> {
    let dir = tree.join(below);
    let mut entries: Vec<_> = fs::read_dir(&dir)
        .and_then(Iterator::collect::<std::io::Result<_>>)
        .with_context(|| format!("failed to list {}", dir.display()))?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let name = below.join(entry.file_name());
        names.extend_from_slice(name.as_os_str().as_encoded_bytes());
        names.push(0);
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            list(tree, &name, names)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_cannot_become_a_command() {
        assert!(filter(&["x'; reboot; '"]).is_err());
        assert!(filter(&["x init=/bin/sh"]).is_err());
        assert_eq!(filter(&["iter::late_pins", "maps::"]).unwrap(), "CTMON_VM_FILTER=iter::late_pins,maps::");
    }
}
