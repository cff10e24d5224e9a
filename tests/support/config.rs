//! Configurations that many tests share.
//!
//! In: what a test adds. Out: YAML. Must not: hold what one test alone needs.

/// A scan each second, and no target but those of the configuration.
pub const QUICK: &str = "interval: 1s\ntargets_from_host: false\n";

/// The storage server of the capture and of the simulated incident, with one service.
pub const SMB: &str =
    "targets: [{name: qnap, addresses: [192.168.100.180], services: [{name: smb, ports: [445]}]}]\n";

/// The same server with all its services, as the first of several targets: further ones follow line by line.
pub const TARGETS: &str = "targets:
- name: qnap
  addresses: [192.168.100.180]
  services: [{name: smb, ports: [445]}, {name: iscsi, ports: [3260]}, {name: api, ports: [8080, 443]}]
";

/// [`QUICK`], served on a free port of loopback, and what follows.
#[must_use]
pub fn daemon(more: &str) -> String {
    format!("listen: '127.0.0.1:0'\n{QUICK}{more}")
}
