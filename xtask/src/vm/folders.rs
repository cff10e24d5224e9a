//! Folders of what a machine boots with.
//!
//! In: the path of a file. Out: the folder it lies in. Must not: know what lies there.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

pub(super) fn create_parent(path: &Path) -> Result<()> {
    let dir = path.parent().with_context(|| format!("{} has no directory", path.display()))?;
    fs::create_dir_all(dir).with_context(|| format!("failed to create {}", dir.display()))
}
