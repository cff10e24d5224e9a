//! What every test of ctmon stands on: maps of Cilium's shape in a private bpffs, captures, references, a daemon.
//!
//! In: the running kernel and the embedded captures. Out: maps, records, counts, processes to test against.
//! Must not: use `monitor` or `monitor-abi`. What the agent says is compared with what stands here, so the two
//! may share no line of code.

pub mod bpffs;
pub mod cilium;
pub mod cli_text;
pub mod clock;
pub mod config;
pub mod daemon;
pub mod fixture;
pub mod folder;
pub mod generate;
pub mod host;
pub mod http;
pub mod network;
pub mod node;
pub mod objects;
pub mod page;
pub mod player;
pub mod pod;
pub mod reference;
pub mod released;
pub mod seccomp;
pub mod simulate;
pub mod sys;
pub mod wait;
