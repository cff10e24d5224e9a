//! Data comes in: the only folder with IO, privilege and unsafe.

pub mod bpf;
pub mod cilium;
pub mod collect;
pub mod daemon;
pub mod deep;
pub mod descriptors;
pub mod host;
pub mod manifest;
pub mod process;
mod sources;
