//! What Cilium's datapath counts of its failures: drops by reason, tries at a source port.
//!
//! In: `cilium_metrics` and the maps of allocation retries, by their pins, opened anew each time. Out: [`monitor_model::drops::Drops`], raw sums.
//! Must not: be used on conntrack or NAT maps: this reads key by key, which is for maps of a few counters.
//!
//! The pin of `cilium_metrics` may come to hold another map than the one Cilium's programs count in: `cilium-dbg bpf
//! metrics list` replaces it where maps are preallocated. A map in use counts forwarded packets too, so one without any
//! counter is not in use, and its drops are unknown instead of none.
//!
//! The key's first two bytes are reason and direction in every version; from 1.16 on line and file of the source
//! follow, so that one reason has many keys: sums do not care.
//! <https://github.com/cilium/cilium/blob/v1.18.0/pkg/maps/metricsmap/metricsmap.go>, words of
//! <https://github.com/cilium/cilium/blob/v1.18.0/pkg/monitor/api/drop.go>.

use std::io;
use std::path::{Path, PathBuf};

use monitor_model::drops::{DropReason, Packets, RETRIES, Retries};
use monitor_model::map_name::GLOBALS;

use crate::bpf::sys::PerCpuMap;

/// Words of a counter of `cilium_metrics`: packets, then bytes.
const METRICS_VALUE: usize = 2;

/// A counter that is pinned and cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum DropsError {
    #[error("failed to read pinned map {path}: {source}")]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error(
        "pinned map {path} has keys of {key} and values of {value} bytes: this Cilium version is not supported"
    )]
    Layout { path: PathBuf, key: u32, value: u32 },
    #[error(
        "pinned map {path} counts nothing, not even forwarded packets: Cilium's programs count in another map, as after \
         `cilium-dbg bpf metrics list` replaced the pin; restart this node's cilium-agent"
    )]
    Unused { path: PathBuf },
}

/// Reads what was dropped; `Ok(None)` where nothing counts it, as without Cilium.
pub fn read_packets(bpffs: &Path) -> Result<Option<Packets>, DropsError> {
    let path = bpffs.join(GLOBALS).join("cilium_metrics");
    let Some((packets, counters)) = read(&path, (8, 16), sum_packets)? else { return Ok(None) };
    if counters == 0 {
        return Err(DropsError::Unused { path });
    }
    Ok(Some(packets))
}

/// Reads the tries at source ports; `Ok(None)` before 1.18, which began to count them.
pub fn read_retries(bpffs: &Path) -> Result<Option<Vec<Retries>>, DropsError> {
    let mut retries = Vec::new();
    for (family, name) in [("ipv4", "cilium_snat_v4_alloc_retries"), ("ipv6", "cilium_snat_v6_alloc_retries")]
    {
        let path = bpffs.join(GLOBALS).join(name);
        retries.extend(read(&path, (4, 4), sum_retries)?.map(|counts| (family, counts)));
    }
    Ok((!retries.is_empty()).then_some(retries))
}

fn read<T>(
    path: &Path,
    sizes: (u32, u32),
    read: impl FnOnce(&mut PerCpuMap) -> io::Result<T>,
) -> Result<Option<T>, DropsError> {
    let failed = |source| DropsError::Read { path: path.to_owned(), source };
    let mut map = match PerCpuMap::open(path) {
        Ok(map) => map,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let (key, value) = (map.info().key_size, map.info().value_size);
    if (key, value) != sizes {
        return Err(DropsError::Layout { path: path.to_owned(), key, value });
    }
    read(&mut map).map(Some).map_err(failed)
}

/// The sums, and how many counters of whatever reason there are.
fn sum_packets(map: &mut PerCpuMap) -> io::Result<(Packets, usize)> {
    let mut sums = Packets::default();
    let mut counters = 0;
    let mut key = map.next_key(None)?;
    // The datapath only ever adds keys; the bound is for a map that is not Cilium's.
    for _ in 0..map.info().max_entries {
        let Some(known) = key else { break };
        counters += 1;
        if let [reason, direction, ..] = *known.as_slice() {
            let row = DropReason::position(reason).and_then(|row| sums.get_mut(row));
            if let Some(sum) = row.and_then(|row| row.get_mut(usize::from(direction & 3)))
                && let Some(shares) = map.lookup(&known)?
            {
                *sum += shares.chunks_exact(METRICS_VALUE).filter_map(<[u64]>::first).sum::<u64>();
            }
        }
        key = map.next_key(Some(&known))?;
    }
    Ok((sums, counters))
}

/// Slot `i` counts allocations that took `i` retries, the last slot those that gave up.
fn sum_retries(map: &mut PerCpuMap) -> io::Result<[u64; RETRIES.len()]> {
    let mut sums = [0; RETRIES.len()];
    let slots = map.info().max_entries;
    for slot in 0..slots {
        let Some(shares) = map.lookup(&slot.to_ne_bytes())? else { continue };
        let count: u64 = shares.iter().map(|share| share & u64::from(u32::MAX)).sum();
        if let Some(sum) = sums.get_mut(retry_class(slot, slots)) {
            *sum += count;
        }
    }
    Ok(sums)
}

/// The index into [`RETRIES`] of a slot of so many.
const fn retry_class(slot: u32, slots: u32) -> usize {
    match slot {
        _ if slot + 1 >= slots => 4,
        0 => 0,
        1..=4 => 1,
        5..=16 => 2,
        _ => 3,
    }
}

#[cfg(test)]
mod tests {
    use monitor_model::drops::Drops;

    use super::*;

    #[test]
    fn the_last_slot_is_those_that_gave_up_whatever_the_number_of_slots() {
        let classes = [0, 1, 4, 5, 16, 17, 31, 32].map(|slot| RETRIES[retry_class(slot, 33)]);
        assert_eq!(classes, ["0", "1_4", "1_4", "5_16", "5_16", "17_31", "17_31", "exhausted"]);
        assert_eq!(RETRIES[retry_class(32, 129)], "17_31", "128 retries were allowed before 1.18");
        assert_eq!(RETRIES[retry_class(128, 129)], "exhausted");
    }

    #[test]
    fn ports_run_short_when_many_tries_are_needed_or_none_was_found() {
        let drops = |retries, no_mapping| {
            let mut packets = Packets::default();
            packets[1][2] = no_mapping;
            Drops { packets: Some(packets), retries: vec![("ipv4", retries)] }.scarce_ports()
        };
        assert_eq!(drops([1_000_000, 900, 0, 0, 0], 0), 0, "a busy node");
        assert_eq!(drops([0, 0, 1, 20, 300], 4_000), 4_321);
        assert_eq!(Drops::default().scarce_ports(), 0, "where nobody counts");
    }
}
