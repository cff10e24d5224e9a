//! What a verb or a step cannot do without.
//!
//! In: nothing. Out: [`Need`]. Must not: know how a need is met: `needs` does.

/// What a verb or a step cannot do without.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    /// Debian packages whose programs are called.
    Packages(&'static [&'static str]),
    /// Every crate of the lock file.
    Crates,
    /// rustfmt and clippy.
    Components,
    EbpfCompiler,
    EbpfLinker,
    Python,
    Npm,
    /// Debian packages whose programs are called and which must not be installed.
    Unpacked(&'static [&'static str]),
    /// Kernels, their emulator, and the servers that one of them plays with.
    Machines,
    /// What links for the other architecture.
    Arm64,
}

impl Need {
    pub(crate) const fn packages(&self) -> &'static [&'static str] {
        match self {
            Self::Packages(packages) => packages,
            _ => &[],
        }
    }
}
