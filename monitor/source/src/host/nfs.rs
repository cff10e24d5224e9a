//! The kernel's NFS client: its mounts are all it tells.
//!
//! In: mounts. Out: where they go. Must not: read the client's statistics: they name no server.

use monitor_model::host::mounts::Family;

use super::storage::Protocol;

pub(super) const PROTOCOL: Protocol =
    Protocol { service: "nfs", endpoints: |storage| storage.mounted(Family::Nfs) };
