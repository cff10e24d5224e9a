//! A folder for the files of one test.
//!
//! In: a word for its name. Out: an empty folder below the system's temporary one, removed with the value.
//! Must not: hold what outlives the value.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result};

/// A folder of its own; removed, with all that is in it, when dropped.
#[derive(Debug)]
pub struct Folder(PathBuf);

impl Folder {
    /// An empty one.
    pub fn new(what: &str) -> Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = env::temp_dir().join(format!("ctmon-{what}-{}-{number}", process::id()));
        fs::create_dir_all(&path).with_context(|| format!("failed to create {}", path.display()))?;
        // kustomize takes no path that leads through a link.
        Ok(Self(path.canonicalize().with_context(|| format!("failed to resolve {}", path.display()))?))
    }

    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The path of a file in it.
    pub fn join(&self, name: impl AsRef<Path>) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            eprintln!("failed to remove {}: {error}", self.0.display());
        }
    }
}
