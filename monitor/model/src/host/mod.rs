//! The node beside Cilium's maps: plain data.
//!
//! In: nothing; the sources fill it. Out: mounts, sessions, sockets, sysctls, counters, logs.
//! Must not: read anything.

pub mod cifs;
pub mod iscsi;
pub mod logs;
pub mod mounts;
pub mod net_scope;
pub mod netstat;
pub mod sockets;
pub mod sysctl;
pub mod tcp_info;
