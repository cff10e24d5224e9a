//! The kernel's own type information, read once for the loader and for the offsets no library knows.
//!
//! In: /sys/kernel/btf/vmlinux. Out: [`KernelTypes`]. Must not: keep the bytes: there are millions.

use aya::{Btf, BtfError, Endianness};
use monitor_decode::btf::{Places, parse_places};

const PATH: &str = "/sys/kernel/btf/vmlinux";

/// The kernel's types, parsed for the loader, and what was searched for in them.
#[derive(Debug)]
pub(super) struct KernelTypes {
    pub(super) btf: Btf,
    pub(super) places: Places,
}

impl KernelTypes {
    /// Reads and parses them. The file's bytes, 5 MB and more, are gone before anything is loaded.
    pub(super) fn read(function: &str) -> Result<Self, BtfError> {
        let bytes = std::fs::read(PATH).map_err(|error| BtfError::FileError { path: PATH.into(), error })?;
        let places = parse_places(&bytes, function).unwrap_or_default();
        Ok(Self { btf: Btf::parse(&bytes, Endianness::default())?, places })
    }
}
