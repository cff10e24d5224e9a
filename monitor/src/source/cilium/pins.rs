//! Finds Cilium's conntrack and NAT maps by their pins.
//!
//! In: the bpffs root. Out: per map a read-only descriptor and what the kernel says of it, or why not.
//! Must not: open a map for writing, or trust a kernel map name (cut to 15 characters, they collide).
//!
//! Names and shapes: <https://github.com/cilium/cilium/blob/v1.18.0/pkg/maps/ctmap/ctmap.go>,
//! <https://github.com/cilium/cilium/blob/v1.18.0/pkg/maps/nat/nat.go>.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use crate::snapshot::NO_COMMON_LRU;
use crate::source::bpf::sys::{self, MapInfo};

/// Where Cilium pins its maps, below the bpffs root.
pub const GLOBALS: &str = "tc/globals";
/// `BPF_MAP_TYPE_LRU_HASH`.
const LRU_HASH: u32 = 9;
/// `BPF_FS_MAGIC`, <https://github.com/torvalds/linux/blob/v6.1/include/uapi/linux/magic.h#L84>.
const BPF_FS_MAGIC: i128 = 0xcafe_4a11;
/// Per-cluster maps read at the most.
pub const MAX_PER_CLUSTER: usize = 32;

/// Which program fits a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Shape {
    Ct4,
    Ct6,
    Nat4,
    Nat6,
}

/// What a map holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Table {
    CtTcp,
    CtAny,
    Nat,
}

/// One map ctmon knows: its name as the label `map_name`, and what it should look like.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MapName {
    /// The pin's name without `cilium_`.
    pub name: String,
    pub table: Table,
    pub v6: bool,
}

/// An open map.
#[derive(Debug)]
pub struct OpenMap {
    pub fd: OwnedFd,
    pub info: MapInfo,
}

/// Why a pin that exists cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MapProblem {
    pub reason: ProblemReason,
    /// One line with what was expected and found.
    pub detail: String,
}

/// The label `reason` of `ctmon_map_problem`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ProblemReason {
    /// Another map type than LRU hash.
    Type,
    /// Other key or value sizes.
    Layout,
    /// The kernel refused to open it.
    Refused,
    /// It opened, but could not be walked.
    Scan,
}

/// There is no bpffs where it was looked for: nothing can be pinned there.
#[derive(Debug, thiserror::Error)]
pub enum BpffsError {
    #[error("failed to look at {path}: {source}: mount bpffs there, or name its place with --bpffs")]
    Look {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error(
        "{path} is not a bpffs: mount one there (mount -t bpf bpf {path}), or name its place with --bpffs"
    )]
    Other { path: PathBuf },
}

/// Makes sure that the path is a bpffs, where alone Cilium's pins can be.
pub fn check_bpffs(path: &Path) -> Result<(), BpffsError> {
    match rustix::fs::statfs(path) {
        Ok(found) if i128::from(found.f_type) == BPF_FS_MAGIC => Ok(()),
        Ok(_) => Err(BpffsError::Other { path: path.to_owned() }),
        Err(error) => Err(BpffsError::Look { path: path.to_owned(), source: error.into() }),
    }
}

/// The six maps of a node, in display order.
#[must_use]
pub fn global_maps() -> Vec<MapName> {
    [
        ("ct4_global", Table::CtTcp, false),
        ("ct_any4_global", Table::CtAny, false),
        ("ct6_global", Table::CtTcp, true),
        ("ct_any6_global", Table::CtAny, true),
        ("snat_v4_external", Table::Nat, false),
        ("snat_v6_external", Table::Nat, true),
    ]
    .into_iter()
    .map(|(name, table, v6)| MapName { name: name.to_owned(), table, v6 })
    .collect()
}

/// A per-cluster inner map by its pin name; `None` for anything else, the outer maps included.
#[must_use]
pub fn per_cluster_map(pin: &str) -> Option<MapName> {
    const OUTER: [(&str, Table, bool); 6] = [
        ("per_cluster_ct_tcp4_", Table::CtTcp, false),
        ("per_cluster_ct_any4_", Table::CtAny, false),
        ("per_cluster_ct_tcp6_", Table::CtTcp, true),
        ("per_cluster_ct_any6_", Table::CtAny, true),
        ("per_cluster_snat_v4_external_", Table::Nat, false),
        ("per_cluster_snat_v6_external_", Table::Nat, true),
    ];
    let name = pin.strip_prefix("cilium_")?;
    OUTER.iter().find_map(|&(outer, table, v6)| {
        let cluster: u32 = name.strip_prefix(outer)?.parse().ok()?;
        // The canonical spelling only, so that two pins never share a name.
        (format!("{outer}{cluster}") == name).then(|| MapName { name: name.to_owned(), table, v6 })
    })
}

/// The per-cluster maps that are pinned, sorted, and how many beyond the limit were left out.
pub fn per_cluster_maps(bpffs: &Path) -> io::Result<(Vec<MapName>, usize)> {
    let mut found = Vec::new();
    match std::fs::read_dir(bpffs.join(GLOBALS)) {
        Ok(entries) => {
            for entry in entries {
                found.extend(entry?.file_name().to_str().and_then(per_cluster_map));
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    found.sort_by_key(|map| {
        (map.name.trim_end_matches(|c: char| c.is_ascii_digit()).to_owned(), map.name.len(), map.name.clone())
    });
    let skipped = found.len().saturating_sub(MAX_PER_CLUSTER);
    found.truncate(MAX_PER_CLUSTER);
    Ok((found, skipped))
}

impl MapName {
    #[must_use]
    pub fn shape(&self) -> Shape {
        match (self.table, self.v6) {
            (Table::Nat, false) => Shape::Nat4,
            (Table::Nat, true) => Shape::Nat6,
            (_, false) => Shape::Ct4,
            (_, true) => Shape::Ct6,
        }
    }

    #[must_use]
    pub fn is_conntrack(&self) -> bool {
        self.table != Table::Nat
    }

    /// Whether it is one of the node's own maps, not the inner map of another cluster.
    #[must_use]
    pub fn is_global(&self) -> bool {
        !self.name.starts_with("per_cluster_")
    }

    /// The pin's path.
    #[must_use]
    pub fn path(&self, bpffs: &Path) -> PathBuf {
        bpffs.join(GLOBALS).join(format!("cilium_{}", self.name))
    }

    /// Opens the pin read-only and checks type and sizes. `Ok(None)`: there is no such pin, which is normal.
    pub fn open(&self, bpffs: &Path) -> Result<Option<OpenMap>, MapProblem> {
        let path = self.path(bpffs);
        let refused = |what: &str, error: &io::Error| MapProblem {
            reason: ProblemReason::Refused,
            detail: format!("failed to {what} pinned map {}: {error}", path.display()),
        };
        let fd = match sys::open_pinned_read_only(&path) {
            Ok(fd) => fd,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(refused("open", &error)),
        };
        let info = sys::map_info(fd.as_fd()).map_err(|error| refused("inspect", &error))?;
        self.check(&info)?;
        Ok(Some(OpenMap { fd, info }))
    }

    /// Compares what the kernel says with what this map must be.
    fn check(&self, info: &MapInfo) -> Result<(), MapProblem> {
        if info.map_type != LRU_HASH {
            return Err(MapProblem {
                reason: ProblemReason::Type,
                detail: format!(
                    "map {} is of type {}, expected {LRU_HASH} (LRU hash)",
                    self.name, info.map_type
                ),
            });
        }
        let (key_size, value_size) = self.shape().sizes();
        if (info.key_size as usize, info.value_size as usize) != (key_size, value_size) {
            return Err(MapProblem {
                reason: ProblemReason::Layout,
                detail: format!(
                    "map {} has keys of {} and values of {} bytes, expected {key_size} and {value_size}",
                    self.name, info.key_size, info.value_size
                ),
            });
        }
        Ok(())
    }
}

impl fmt::Display for MapName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.name)
    }
}

impl Shape {
    /// Key and value size in bytes.
    #[must_use]
    pub const fn sizes(self) -> (usize, usize) {
        use monitor_abi::cilium::{CtEntry, NatEntryV4, NatEntryV6, TupleV4, TupleV6};
        match self {
            Self::Ct4 => (size_of::<TupleV4>(), size_of::<CtEntry>()),
            Self::Ct6 => (size_of::<TupleV6>(), size_of::<CtEntry>()),
            Self::Nat4 => (size_of::<TupleV4>(), size_of::<NatEntryV4>()),
            Self::Nat6 => (size_of::<TupleV6>(), size_of::<NatEntryV6>()),
        }
    }
}

impl ProblemReason {
    /// Every reason, in display order.
    pub const ALL: &[Self] = &[Self::Type, Self::Layout, Self::Refused, Self::Scan];

    /// The label value.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Type => "type",
            Self::Layout => "layout",
            Self::Refused => "refused",
            Self::Scan => "scan",
        }
    }
}

/// Whether every CPU owns its own share of the map (Cilium's `bpf.distributedLRU.enabled`).
#[must_use]
pub fn is_per_cpu(info: &MapInfo) -> bool {
    info.map_flags & NO_COMMON_LRU != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn per_cluster_names_are_inner_maps_in_their_canonical_spelling() {
        let check = |pin: &str, expected: Option<&str>| {
            assert_eq!(per_cluster_map(pin).map(|map| map.name).as_deref(), expected, "{pin}");
        };
        check("cilium_per_cluster_ct_tcp4_3", Some("per_cluster_ct_tcp4_3"));
        check("cilium_per_cluster_snat_v6_external_255", Some("per_cluster_snat_v6_external_255"));
        check("cilium_per_cluster_ct_tcp4", None);
        check("cilium_per_cluster_ct_tcp4_03", None);
        check("cilium_per_cluster_ct_tcp4_x", None);
        check("cilium_ct4_global", None);
    }

    #[test]
    fn a_map_of_another_shape_is_refused_with_both_sizes() {
        let map = MapName { name: "ct4_global".into(), table: Table::CtTcp, v6: false };
        let info = MapInfo { map_type: LRU_HASH, key_size: 14, value_size: 48, ..MapInfo::default() };
        let problem = map.check(&info).unwrap_err();
        assert_eq!(problem.reason, ProblemReason::Layout);
        assert!(problem.detail.contains("48") && problem.detail.contains("56"), "{}", problem.detail);
        let info = MapInfo { map_type: 1, ..info };
        assert_eq!(map.check(&info).unwrap_err().reason, ProblemReason::Type);
        let info = MapInfo { map_type: LRU_HASH, key_size: 14, value_size: 56, ..MapInfo::default() };
        assert_eq!(map.check(&info), Ok(()));
    }
}
