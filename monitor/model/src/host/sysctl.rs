//! Sysctls and file handles, as they were read.
//!
//! In: nothing. Out: plain data. Must not: take a value of `net.*` for the node's: each says whose it is.

use crate::host::net_scope::NetScope;

/// One sysctl as the kernel prints it.
#[derive(Clone, Debug, PartialEq)]
pub struct Sysctl {
    pub name: String,
    /// White space between fields is one blank.
    pub text: String,
    /// Every field as a number; empty when one of them is none.
    pub numbers: Vec<f64>,
    /// `None`: not a `net.*` sysctl, so it has one value on the node.
    pub scope: Option<NetScope>,
}

impl Sysctl {
    /// The value of a sysctl that is one number; vectors such as `net.ipv4.tcp_rmem` have none.
    #[must_use]
    pub fn number(&self) -> Option<f64> {
        match self.numbers.as_slice() {
            [number] => Some(*number),
            _ => None,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileHandles {
    pub used: u64,
    pub max: u64,
}
