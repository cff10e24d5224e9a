//! Files and messages of the kernel beside Cilium's maps, and what is below the kubelet's folder of logs.

pub mod addresses;
pub mod cifs;
pub mod cpus;
pub mod cri;
pub mod fdinfo;
pub mod iscsi;
pub mod mounts;
pub mod netstat;
pub mod pod_logs;
pub mod sock_diag;
pub mod sysctl;
pub mod tcp_info;
