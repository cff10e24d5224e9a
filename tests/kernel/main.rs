//! Tests that need a kernel: maps of Cilium's shape, walked by the built programs, told by the built binary.
//!
//! In: embedded fixtures, this machine's (or the virtual machine's) kernel, the binary. Out: pass or fail, never a
//! silent skip. Must not: touch the machine's own bpffs, or depend on how fast anything is.

mod attack;
mod capture;
mod collect;
mod commands;
mod counts;
mod daemon;
mod deep;
mod drops;
mod evictions;
mod generated;
mod history;
mod host;
mod maps;
mod pod;
mod scan;
mod silence;
mod storage;
mod web;
