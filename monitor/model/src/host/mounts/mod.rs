//! Mounts of network file systems, and what of their options differs from what is expected.
//!
//! In: mounts that were read. Out: those that share a superblock or a server, options that are missing; the file systems
//! there are ([`Family::ALL`]), each in a file of its own. Must not: read mounts.

use std::net::IpAddr;

mod cifs;
mod family;
mod nfs;

pub use crate::host::mounts::family::{Family, FileSystem, VolumeSigns};

/// Every network file system whose mounts are read, in the order of what they are compared and printed in.
impl Family {
    pub const ALL: &[Self] = &[Self::CIFS, Self::NFS];
}

/// One mount point of a network file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    pub family: Family,
    /// `major:minor`: the same for every bind mount of one superblock.
    pub device: String,
    pub mount_point: String,
    /// `//server/share` or `server:/export`.
    pub source: String,
    /// The server's name or address as the mount command had it.
    pub server: String,
    /// From `addr=`, or from the source if that is an address.
    pub address: Option<IpAddr>,
    pub port: u16,
    /// Those of the mount point, then those of the superblock; user names are left out.
    pub options: Vec<String>,
}

/// Whose mounts these are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MountSource {
    /// The mount namespace of pid 1: the node's, if procfs is the node's.
    Pid1,
    /// Our own: pid 1's is hidden from us, and kubelet's mounts may be missing here.
    Own,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mounts {
    pub source: MountSource,
    pub mounts: Vec<Mount>,
}

/// An expected option that is not in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OptionDifference {
    pub expected: String,
    /// The option of the same name that is in force instead.
    pub found: Option<String>,
}

/// The expected options that a mount does not have. `actimeo=N` is also there when the kernel spells it as
/// `acregmax=N,acdirmax=N`.
#[must_use]
pub fn missing_options(mount: &Mount, expected: &[String]) -> Vec<OptionDifference> {
    expected
        .iter()
        .filter(|option| !has_option(mount, option))
        .map(|option| OptionDifference { expected: option.clone(), found: same_name(mount, option) })
        .collect()
}

/// Distinct superblocks in the order of their first mount: what shares a superblock shares its options.
#[must_use]
pub fn superblocks(mounts: &[Mount]) -> Vec<&Mount> {
    let mut seen: Vec<&Mount> = Vec::new();
    for mount in mounts {
        if !seen.iter().any(|other| other.device == mount.device && other.source == mount.source) {
            seen.push(mount);
        }
    }
    seen
}

/// Servers with the superblocks that go through them: more than one shares one connection unless `nosharesock`
/// or `nconnect` says otherwise, and hangs with it.
#[must_use]
pub fn by_server(mounts: &[Mount]) -> Vec<(&str, Vec<&Mount>)> {
    let mut servers: Vec<(&str, Vec<&Mount>)> = Vec::new();
    for mount in superblocks(mounts) {
        match servers.iter_mut().find(|(_, of)| of.iter().all(|first| same_server(first, mount))) {
            Some((_, of)) => of.push(mount),
            None => servers.push((&mount.server, vec![mount])),
        }
    }
    servers
}

fn same_server(one: &Mount, other: &Mount) -> bool {
    let address = match (one.address, other.address) {
        (Some(one), Some(other)) => one == other,
        _ => one.server.eq_ignore_ascii_case(&other.server),
    };
    address && one.port == other.port && one.family == other.family
}

fn has_option(mount: &Mount, wanted: &str) -> bool {
    let has = |wanted: &str| mount.options.iter().any(|option| option == wanted);
    has(wanted)
        || wanted
            .strip_prefix("actimeo=")
            .is_some_and(|value| has(&format!("acregmax={value}")) && has(&format!("acdirmax={value}")))
}

fn same_name(mount: &Mount, wanted: &str) -> Option<String> {
    let (name, _) = wanted.split_once('=').unwrap_or((wanted, ""));
    // The kernel prints one of these per mount point, and nothing for strictatime.
    let rivals: &[&str] = match name {
        "noatime" | "relatime" | "strictatime" => &["noatime", "relatime"],
        "ro" | "rw" => &["ro", "rw"],
        "hard" | "soft" | "softerr" => &["hard", "soft", "softerr"],
        "actimeo" => &["actimeo", "acregmax"],
        _ => &[name],
    };
    mount
        .options
        .iter()
        .find(|option| rivals.contains(&option.split_once('=').map_or(option.as_str(), |(name, _)| name)))
        .cloned()
}
