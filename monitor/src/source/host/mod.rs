//! The node itself: sysctls, mounts, sessions, sockets, logs.

pub mod cifs;
pub mod iscsi;
pub mod logs;
pub mod mounts;
pub mod sockets;
pub mod sysctl;
