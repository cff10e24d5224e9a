//! Starts a program as a container runtime does: a file system of its own, and what it may do taken away.
//!
//! In: a root folder, what is mounted in it, capabilities, seccomp filters. Out: a command that starts there.
//! Must not: change anything for the test itself: mounts are made in the child's own namespace and go with it.

use std::ffi::{CStr, CString};
use std::fs;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::ptr;

use anyhow::{Context as _, Result};
use seccompiler::BpfProgram;

use super::capability::{Capability, keep_only};
use super::os::c_path;

/// A read-only root, read-only mounts, no way to gain privileges; user and network are the test's own.
pub struct Container {
    root: PathBuf,
    /// What is shown, and where: paths outside, both.
    mounts: Vec<(CString, CString)>,
    capabilities: Vec<Capability>,
    filters: Vec<BpfProgram>,
}

impl Container {
    #[must_use]
    pub fn new(root: &Path) -> Self {
        Self { root: root.to_owned(), mounts: Vec::new(), capabilities: Vec::new(), filters: Vec::new() }
    }

    /// Shows `source`, a file or a folder, at `target` inside, with all that is mounted below it.
    pub fn mount(mut self, source: &Path, target: &str) -> Result<Self> {
        let place = self.root.join(target.trim_start_matches('/'));
        if source.is_dir() {
            fs::create_dir_all(&place).with_context(|| format!("failed to create {}", place.display()))?;
        } else if !place.exists() {
            let folder = place.parent().context("a file has a folder")?;
            fs::create_dir_all(folder).with_context(|| format!("failed to create {}", folder.display()))?;
            fs::write(&place, "").with_context(|| format!("failed to create {}", place.display()))?;
        }
        self.mounts.push((c_path(source)?, c_path(&place)?));
        Ok(self)
    }

    #[must_use]
    pub fn capabilities(mut self, kept: &[Capability]) -> Self {
        kept.clone_into(&mut self.capabilities);
        self
    }

    #[must_use]
    pub fn seccomp(mut self, filters: Vec<BpfProgram>) -> Self {
        self.filters = filters;
        self
    }

    /// A command whose program is a path inside.
    pub fn command(self, program: &str) -> Result<Command> {
        let Self { root, mounts, capabilities, filters } = self;
        let root = c_path(&root)?;
        let mut command = Command::new(program);
        command.env_clear();
        let set_up = move || {
            unshare_mounts()?;
            bind(&root, &root)?;
            for (source, target) in &mounts {
                bind(source, target)?;
                make_read_only(target)?;
            }
            make_read_only(&root)?;
            change_root(&root)
        };
        // SAFETY: between fork and exec the closure only makes system calls and reads memory that the fork copied.
        unsafe { command.pre_exec(set_up) };
        keep_only(&mut command, &capabilities);
        let confine = move || {
            forbid_new_privileges()?;
            // Last, as runtimes do: what was called above is refused from here on.
            filters.iter().try_for_each(|filter| {
                // Where the call itself failed is all that can be told here, see `std::os::unix::process`.
                seccompiler::apply_filter(filter).map_err(|_| io::Error::last_os_error())
            })
        };
        // SAFETY: as above; installing a filter that was compiled before allocates nothing unless it fails.
        unsafe { command.pre_exec(confine) };
        Ok(command)
    }
}

fn unshare_mounts() -> io::Result<()> {
    // SAFETY: takes no pointer; concerns the calling process only, which is the child.
    checked(unsafe { libc::unshare(libc::CLONE_NEWNS) })?;
    mount(None, c"/", libc::MS_REC | libc::MS_PRIVATE)
}

fn bind(source: &CStr, target: &CStr) -> io::Result<()> {
    mount(Some(source), target, libc::MS_BIND | libc::MS_REC)
}

fn make_read_only(target: &CStr) -> io::Result<()> {
    mount(None, target, libc::MS_BIND | libc::MS_REMOUNT | libc::MS_RDONLY)
}

fn mount(source: Option<&CStr>, target: &CStr, flags: libc::c_ulong) -> io::Result<()> {
    let source = source.map_or(ptr::null(), CStr::as_ptr);
    // SAFETY: all strings end with a zero byte; with these flags neither a type nor data is read.
    checked(unsafe { libc::mount(source, target.as_ptr(), ptr::null(), flags, ptr::null()) })
}

/// Not `pivot_root`, which the initramfs of a virtual machine refuses; without `CAP_SYS_CHROOT` it is as final.
fn change_root(root: &CStr) -> io::Result<()> {
    // SAFETY: `root` ends with a zero byte.
    checked(unsafe { libc::chroot(root.as_ptr()) })?;
    // SAFETY: the string ends with a zero byte.
    checked(unsafe { libc::chdir(c"/".as_ptr()) })
}

fn forbid_new_privileges() -> io::Result<()> {
    // SAFETY: takes integers only; concerns the calling process, which is the child.
    checked(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) })
}

fn checked(answer: libc::c_int) -> io::Result<()> {
    if answer == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
