//! Where things lie in the workspace.
//!
//! In: the directory of this package. Out: every path the verbs share, so that each is spelled once.
//! Must not: create anything.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

/// The architecture of this machine, which is also the one everything is built for.
pub(crate) const ARCH: &str = std::env::consts::ARCH;

/// The workspace on disk.
#[derive(Debug, Clone)]
pub(crate) struct Paths {
    root: PathBuf,
}

impl Paths {
    pub(crate) fn of_workspace() -> Result<Self> {
        // Cargo names the package at run time; a copied binary falls back on where it was built.
        let package = std::env::var_os("CARGO_MANIFEST_DIR")
            .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
        let root = package
            .join("..")
            .canonicalize()
            .with_context(|| format!("failed to find the workspace above {}", package.display()))?;
        Ok(Self { root })
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn target(&self) -> PathBuf {
        self.root.join("target")
    }

    /// Pinned tools that no Debian package has.
    pub(crate) fn tools(&self) -> PathBuf {
        self.target().join("tools")
    }

    /// What `monitor/build.rs` embeds.
    pub(crate) fn bpf_object(&self, arch: &str) -> PathBuf {
        self.target().join("bpf").join(arch).join("ctmon-bpf.o")
    }

    /// The release binary.
    pub(crate) fn dist_binary(&self) -> PathBuf {
        self.target().join("dist").join("ctmon")
    }
}
