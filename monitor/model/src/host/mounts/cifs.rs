//! CIFS: shares that speak SMB.
//!
//! In: nothing. Out: its [`FileSystem`]. Must not: know what its client counts.

use super::family::{Family, FileSystem, VolumeSigns};

impl Family {
    pub const CIFS: Self = Self(&FileSystem {
        name: "cifs",
        types: &["cifs", "smb3"],
        service: "smb",
        default_port: 445,
        server: server_of,
        private_options: &["username", "user", "password", "pass", "domain", "credentials"],
        own_connection: &["nosharesock", "multichannel"],
        sharing_advice: "the mount option nosharesock gives each its own",
        volume: VolumeSigns {
            spec: None,
            words: &["smb", "cifs"],
            prefixes: &["smb.", "//"],
            mount_options: &[
                "cache=",
                "dir_mode=",
                "file_mode=",
                "vers=3.0",
                "vers=3.1",
                "noserverino",
                "nobrl",
            ],
        },
    });
}

/// Of `//server/share` or `\\server\share`.
fn server_of(source: &str) -> &str {
    source.trim_start_matches(['/', '\\']).split(['/', '\\']).next().unwrap_or_default()
}
