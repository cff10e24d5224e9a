//! Whose network namespace answered.
//!
//! In: nothing. Out: [`NetScope`]. Must not: decide it.

/// Whose network namespace answers here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NetScope {
    /// The one of pid 1: the node's, if procfs is the node's.
    Node,
    /// Ours, and pid 1 has another: without `hostNetwork` these are the pod's values, not the node's.
    Own,
    /// Nothing of pid 1's namespace can be seen.
    Unknown,
}

impl NetScope {
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Own => "own",
            Self::Unknown => "unknown",
        }
    }
}
