//! Bytes and text of the outside into plain data.
//!
//! In: what was read, as it came: keys and values, counters, files of /proc and /sys, messages, manifests. Out: values of
//! [`monitor_model`], or why there are none. Must not: read anything itself, or trust a byte: every entry point takes any
//! bytes there may be.

#[cfg(test)]
#[macro_use]
mod testing;

pub mod btf;
pub mod cilium;
pub mod error;
pub mod host;
pub mod manifest;
pub mod scan;
pub mod timeouts;
pub mod victim;
mod yaml;
