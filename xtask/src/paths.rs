//! Where things lie in the workspace.
//!
//! In: the directory of this package. Out: every path the verbs share, so that each is spelled once.
//! Must not: create anything.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

/// The architecture of this machine, for which everything is built unless an image of another one is asked for.
pub(crate) const ARCH: &str = std::env::consts::ARCH;

/// The host's own target, named, so that build scripts and macros stay dynamic while the result is static.
pub(crate) fn triple() -> String {
    triple_of(ARCH)
}

pub(crate) fn triple_of(arch: &str) -> String {
    format!("{arch}-unknown-linux-gnu")
}

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

    /// What `monitor/source/build.rs` embeds.
    pub(crate) fn bpf_object(&self, arch: &str) -> PathBuf {
        self.target().join("bpf").join(arch).join("ctmon-bpf.o")
    }

    /// What the suite leaves: which programs it built, what each step said and how it ended.
    pub(crate) fn suite(&self) -> PathBuf {
        self.target().join("suite-run")
    }

    /// The release binary.
    pub(crate) fn dist_binary(&self) -> PathBuf {
        self.dist_binary_for(ARCH)
    }

    /// Likewise; that of another architecture lies in a folder of its own.
    pub(crate) fn dist_binary_for(&self, arch: &str) -> PathBuf {
        let dist = self.target().join("dist");
        if arch == ARCH { dist.join("ctmon") } else { dist.join(arch).join("ctmon") }
    }

    /// The image for an architecture, as container engines call it.
    pub(crate) fn image(&self, arch: &str) -> PathBuf {
        self.target().join("image").join(format!("ctmon-{arch}.oci.tar"))
    }

    /// What a release is made of.
    pub(crate) fn release_artefacts(&self) -> PathBuf {
        self.target().join("release-artefacts")
    }

    /// The same for tests, made for an owner that does not exist.
    pub(crate) fn suite_artefacts(&self) -> PathBuf {
        self.target().join("suite-artefacts")
    }
}
