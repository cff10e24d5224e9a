//! Finds Cilium's conntrack and NAT maps by their pins.
//!
//! In: the bpffs root. Out: per map a read-only descriptor and what the kernel says of it, or why not.
//! Must not: open a map for writing, or trust a kernel map name (cut to 15 characters, they collide).
//!
//! Names and shapes: <https://github.com/cilium/cilium/blob/v1.18.0/pkg/maps/ctmap/ctmap.go>,
//! <https://github.com/cilium/cilium/blob/v1.18.0/pkg/maps/nat/nat.go>.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use monitor_model::map_name::{
    GLOBALS, MAX_PER_CLUSTER, MapName, MapProblem, ProblemReason, per_cluster_map,
};
use monitor_model::snapshot::NO_COMMON_LRU;

use crate::bpf::sys::{self, MapInfo};

/// `BPF_MAP_TYPE_LRU_HASH`.
const LRU_HASH: u32 = 9;
/// `BPF_FS_MAGIC`, <https://github.com/torvalds/linux/blob/v6.1/include/uapi/linux/magic.h#L84>.
const BPF_FS_MAGIC: i128 = 0xcafe_4a11;

/// An open map.
#[derive(Debug)]
pub struct OpenMap {
    pub fd: OwnedFd,
    pub info: MapInfo,
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

/// Opens the pin read-only and checks type and sizes. `Ok(None)`: there is no such pin, which is normal.
pub fn open(map: &MapName, bpffs: &Path) -> Result<Option<OpenMap>, MapProblem> {
    let path = map.path(bpffs);
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
    check(map, &info)?;
    Ok(Some(OpenMap { fd, info }))
}

/// Compares what the kernel says with what this map must be.
fn check(map: &MapName, info: &MapInfo) -> Result<(), MapProblem> {
    if info.map_type != LRU_HASH {
        return Err(MapProblem {
            reason: ProblemReason::Type,
            detail: format!(
                "map {} is of type {}, expected {LRU_HASH} (LRU hash)",
                map.with_aliases(),
                info.map_type
            ),
        });
    }
    let (key_size, value_size) = map.shape().sizes();
    if (info.key_size as usize, info.value_size as usize) != (key_size, value_size) {
        return Err(MapProblem {
            reason: ProblemReason::Layout,
            detail: format!(
                "map {} has keys of {} and values of {} bytes, expected {key_size} and {value_size}",
                map.with_aliases(),
                info.key_size,
                info.value_size
            ),
        });
    }
    Ok(())
}

/// Whether every CPU owns its own share of the map (Cilium's `bpf.distributedLRU.enabled`).
#[must_use]
pub fn is_per_cpu(info: &MapInfo) -> bool {
    info.map_flags & NO_COMMON_LRU != 0
}

#[cfg(test)]
mod tests {
    use monitor_model::map_name::Table;

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
        let problem = check(&map, &info).unwrap_err();
        assert_eq!(problem.reason, ProblemReason::Layout);
        assert!(problem.detail.contains("48") && problem.detail.contains("56"), "{}", problem.detail);
        let info = MapInfo { map_type: 1, ..info };
        assert_eq!(check(&map, &info).unwrap_err().reason, ProblemReason::Type);
        let info = MapInfo { map_type: LRU_HASH, key_size: 14, value_size: 56, ..MapInfo::default() };
        assert_eq!(check(&map, &info), Ok(()));
    }
}
