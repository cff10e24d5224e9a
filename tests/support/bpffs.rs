//! A bpffs of one's own, with Cilium's folder in it.
//!
//! In: a directory, or none. Out: a mount with `tc/globals`, gone with the value.
//! Must not: touch the machine's own bpffs.

use std::env;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result};

use crate::sys;

/// Where Cilium pins its maps below the root of the bpffs.
pub const GLOBALS: &str = "tc/globals";

/// A private bpffs; unmounted and removed when dropped.
#[derive(Debug)]
pub struct Bpffs {
    root: PathBuf,
    mounted: bool,
    created: bool,
}

impl Bpffs {
    /// Mounts one in a fresh directory below the system's temporary directory.
    pub fn mount() -> Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let parent = env::temp_dir();
        fs::create_dir_all(&parent).with_context(|| format!("failed to create {}", parent.display()))?;
        loop {
            let name = format!("ctmon-bpffs-{}-{}", process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
            let root = parent.join(name);
            match fs::create_dir(&root) {
                Ok(()) => return Self::mount_on(root, true),
                // Left behind by a killed process of the same number: take the next name.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => {
                    return Err(error).with_context(|| format!("failed to create {}", root.display()));
                }
            }
        }
    }

    /// Uses `root`: mounts a bpffs there unless it is one already.
    pub fn mount_at(root: &Path) -> Result<Self> {
        let created = !root.exists();
        fs::create_dir_all(root).with_context(|| format!("failed to create {}", root.display()))?;
        if sys::is_bpffs(root)? {
            let used = Self { root: root.to_owned(), mounted: false, created: false };
            used.make_globals()?;
            return Ok(used);
        }
        Self::mount_on(root.to_owned(), created)
    }

    fn mount_on(root: PathBuf, created: bool) -> Result<Self> {
        // From here on a failure drops the value, which takes away whatever was made.
        let mut bpffs = Self { root, mounted: false, created };
        sys::mount_bpffs(&bpffs.root)?;
        bpffs.mounted = true;
        bpffs.make_globals()?;
        Ok(bpffs)
    }

    fn make_globals(&self) -> Result<()> {
        let globals = self.globals();
        fs::create_dir_all(&globals).with_context(|| format!("failed to create {}", globals.display()))
    }

    /// Whether this value mounted it, and takes it away with all pins.
    #[must_use]
    pub const fn is_own(&self) -> bool {
        self.mounted
    }

    /// What `ctmon --bpffs` is given.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The folder of Cilium's pins.
    #[must_use]
    pub fn globals(&self) -> PathBuf {
        self.root.join(GLOBALS)
    }

    /// The path of a pin.
    #[must_use]
    pub fn pin(&self, name: &str) -> PathBuf {
        self.globals().join(name)
    }

    /// Removes a pin; the map lives on while somebody holds it.
    pub fn unpin(&self, name: &str) -> Result<()> {
        let path = self.pin(name);
        fs::remove_file(&path).with_context(|| format!("failed to unpin {}", path.display()))
    }
}

impl Drop for Bpffs {
    fn drop(&mut self) {
        if self.mounted
            && let Err(error) = sys::unmount(&self.root)
        {
            eprintln!("{error:#}");
            return;
        }
        // Only a directory of our own making is removed, and only while it is empty.
        if self.created
            && let Err(error) = fs::remove_dir(&self.root)
        {
            eprintln!("failed to remove {}: {error}", self.root.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_has_the_globals_and_leaves_nothing_behind() {
        let bpffs = Bpffs::mount().unwrap();
        let root = bpffs.root().to_owned();
        assert!(sys::is_bpffs(&bpffs.globals()).unwrap());
        drop(bpffs);
        assert!(!root.exists());
    }

    #[test]
    fn an_existing_bpffs_is_used_and_stays() {
        let outer = Bpffs::mount().unwrap();
        drop(Bpffs::mount_at(outer.root()).unwrap());
        assert!(sys::is_bpffs(outer.root()).unwrap());
    }

    #[test]
    fn a_plain_directory_gets_a_mount_and_stays_when_it_was_there() {
        let dir = env::temp_dir().join(format!("ctmon-plain-{}", process::id()));
        fs::create_dir(&dir).unwrap();
        let bpffs = Bpffs::mount_at(&dir).unwrap();
        assert!(sys::is_bpffs(&dir).unwrap());
        drop(bpffs);
        assert!(!sys::is_bpffs(&dir).unwrap());
        fs::remove_dir(&dir).unwrap();
    }
}
