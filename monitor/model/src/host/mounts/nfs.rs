//! NFS, whichever version.
//!
//! In: nothing. Out: its [`FileSystem`]. Must not: know the client's statistics: they name no server.

use super::family::{Family, FileSystem, VolumeSigns};

impl Family {
    pub const NFS: Self = Self(&FileSystem {
        name: "nfs",
        types: &["nfs", "nfs4"],
        service: "nfs",
        default_port: 2049,
        server: server_of,
        private_options: &[],
        own_connection: &["nconnect"],
        sharing_advice: "the mount option nconnect gives them several",
        volume: VolumeSigns { spec: Some("nfs"), words: &["nfs"], prefixes: &["nfs."], mount_options: &[] },
    });
}

/// Of `server:/export` or `[2001:db8::1]:/export`.
fn server_of(source: &str) -> &str {
    if source.starts_with('[') {
        return source.split_inclusive(']').next().unwrap_or_default();
    }
    source.split_once(':').map_or(source, |(server, _)| server)
}
