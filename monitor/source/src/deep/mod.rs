//! The deep scan: every conntrack and NAT map streamed once and joined in user space.
//!
//! In: a collector with its maps open, the last snapshot, the host's sockets. Out: [`DeepOutcome`].
//! Must not: look anything up in Cilium's maps, run on a scrape, or keep more than fingerprints between scans.

pub mod fingerprint;
pub mod join;
pub mod ports;

use std::collections::BTreeMap;
use std::ops::{ControlFlow, RangeInclusive};
use std::time::Duration;

use monitor_decode::cilium::ct::decode_ct;
use monitor_decode::cilium::nat::decode_nat;
use monitor_model::map_name::{MapName, Table};
use monitor_model::one_line::one_line;
use monitor_model::snapshot::deep::{
    DeepFacts, DeepOutcome, NatDeep, PortUse, ServiceDeep, TargetDeep, Untracked,
};
use monitor_model::snapshot::{Snapshot, SourceState, ratio};
use monitor_model::target::TargetIndex;
use monitor_model::timeouts::TimeoutClass;
use monitor_model::walk::WalkEvent;

use self::fingerprint::Fingerprints;
use self::join::{Context, HostView, Join, Joined, Suspects, TargetCounts};
use self::ports::PortTable;
use super::bpf::{ScanError, sys};
use super::collect::Collector;
use super::host::HostError;
use super::host::addresses::{OWN, read_addresses};
use super::host::net_scope::must_see_node;
use super::host::sockets::{MAX_SOCKETS, read_sockets};

/// Why it is unknown which entries have a socket.
#[derive(Debug, thiserror::Error)]
enum Unseen {
    #[error(transparent)]
    Host(#[from] HostError),
    #[error("failed to read {count} of the host's sockets to targets: at most {MAX_SOCKETS} are read")]
    Sockets { count: u64 },
}

/// Destinations shown by name.
const SHOWN: usize = 10;

/// Remembers between two deep scans what the next one has to confirm.
#[derive(Debug, Default)]
pub struct DeepScan {
    fingerprints: Fingerprints,
    suspects: BTreeMap<MapName, Suspects>,
}

/// Maps of one family, and of one cluster.
struct Group {
    ct: Vec<MapName>,
    nat: Option<MapName>,
    v6: bool,
    /// Whether the node's own connections are in it.
    global: bool,
}

/// What the groups add up to.
#[expect(clippy::struct_excessive_bools, reason = "each says by itself whether one number is known")]
struct Sum {
    entries: u64,
    targets: Vec<TargetCounts>,
    confirmed: bool,
    any_nat: bool,
    clock_known: bool,
    sockets_known: bool,
    ghosts_known: bool,
    nat: Vec<NatDeep>,
    /// By pair of target and service.
    pairs: Vec<u64>,
    fullest: Vec<PortUse>,
}

impl DeepScan {
    /// Scans once. Orphans and half pairs are known from the second time on; without the host's sockets what they show
    /// is unknown, and the source says why.
    pub fn run(
        &mut self,
        collector: &mut Collector,
        snapshot: &Snapshot,
        range: &RangeInclusive<u16>,
    ) -> DeepOutcome {
        let begun = sys::monotonic();
        let targets = collector.targets().clone();
        let (host, problem) = match host_view(collector, snapshot, &targets, *range.start()) {
            Ok(host) => (host, None),
            Err(error) => (None, Some(error.to_string())),
        };
        let joined = self.join(collector, snapshot, &targets, host, range);
        // Millions of fingerprints came and went.
        sys::trim_heap();
        let duration = sys::monotonic().saturating_sub(begun);
        let (facts, error) = match joined {
            Ok(facts) => (Some(DeepFacts { monotonic: begun, duration, ..facts }), problem),
            Err(error) => (None, Some(one_line(&error))),
        };
        DeepOutcome { facts, source: SourceState { name: "deep", duration, error } }
    }

    fn join(
        &mut self,
        collector: &mut Collector,
        snapshot: &Snapshot,
        targets: &TargetIndex,
        host: Option<HostView>,
        range: &RangeInclusive<u16>,
    ) -> Result<DeepFacts, ScanError> {
        let mut sum = Sum {
            entries: 0,
            targets: vec![TargetCounts::default(); targets.targets().len()],
            confirmed: true,
            any_nat: false,
            clock_known: true,
            sockets_known: host.is_some(),
            ghosts_known: host.is_some(),
            nat: Vec::new(),
            pairs: vec![0; targets.pairs().count()],
            fullest: Vec::new(),
        };
        let mut context = Context {
            fingerprints: &self.fingerprints,
            targets,
            tcp_timeout: snapshot.timeout(TimeoutClass::Tcp),
            host,
        };
        let groups = groups(&collector.open_maps());
        self.suspects.retain(|name, _| groups.iter().any(|group| group.nat.as_ref() == Some(name)));
        for group in groups {
            // The host's sockets are of the node's own maps; those of other clusters come last.
            if !group.global {
                context.host = None;
            }
            let before = group.nat.as_ref().and_then(|name| self.suspects.get(name));
            let (joined, ports) = join_group(collector, snapshot, &context, &group, before, range)?;
            if let Some(suspects) = sum.add(joined, &ports, &group, targets)
                && let Some(name) = &group.nat
            {
                self.suspects.insert(name.clone(), suspects);
            }
        }
        Ok(sum.finish(targets, range))
    }
}

/// Streams the maps of a group, conntrack first.
fn join_group(
    collector: &mut Collector,
    snapshot: &Snapshot,
    context: &Context<'_>,
    group: &Group,
    before: Option<&Suspects>,
    range: &RangeInclusive<u16>,
) -> Result<(Joined, PortTable), ScanError> {
    let expected = |wanted: &dyn Fn(&MapName) -> bool| {
        let entries: u64 = snapshot
            .present()
            .filter(|(map, _)| wanted(&map.map))
            .map(|(_, present)| present.scan.entries.min(present.capacity.into()))
            .sum();
        // Some may come while the maps are read.
        usize::try_from(entries + entries / 32).unwrap_or(0)
    };
    let mut join = Join::new(context, expected(&|name| group.ct.contains(name)));
    let mut clock = None;
    collector.stream(|name| group.ct.contains(name), &mut |step| {
        match step {
            WalkEvent::Map { name: _, clock: now } => clock = now,
            // Sizes were checked when the map was opened.
            WalkEvent::Entry { key, value } => {
                if let Ok(row) = decode_ct(key, value) {
                    join.ct(&row, clock);
                }
            }
        }
        ControlFlow::Continue(())
    })?;
    let is_nat = |name: &MapName| group.nat.as_ref() == Some(name);
    let mut join = join.finish_ct(group.v6, expected(&is_nat));
    let mut ports = PortTable::new(range.clone());
    collector.stream(is_nat, &mut |step| {
        if let WalkEvent::Entry { key, value } = step
            && let Ok(row) = decode_nat(key, value)
        {
            join.nat(&row, &mut ports);
        }
        ControlFlow::Continue(())
    })?;
    Ok((join.finish(before), ports))
}

impl Sum {
    /// Adds a group; gives its suspects back.
    fn add(
        &mut self,
        joined: Joined,
        ports: &PortTable,
        group: &Group,
        targets: &TargetIndex,
    ) -> Option<Suspects> {
        let Joined { entries, targets: counts, confirmed, clock_known, ghosts_known, suspects } = joined;
        self.entries += entries;
        self.clock_known &= clock_known;
        self.ghosts_known &= ghosts_known || !group.global;
        for (sum, counts) in self.targets.iter_mut().zip(counts) {
            sum.add(&counts);
        }
        let name = group.nat.as_ref()?;
        self.any_nat = true;
        self.confirmed &= confirmed.is_some();
        for (destination, used) in ports.iter() {
            let client = monitor_model::tuple::Endpoint { address: destination.translated, port: 0 };
            let found = targets.classify_ends(client, destination.remote, destination.nexthdr);
            if let Some(most) = found.and_then(|found| self.pairs.get_mut(found.pair)) {
                *most = used.max(*most);
            }
        }
        let fullest = ports.fullest(SHOWN);
        self.nat.push(NatDeep {
            map_name: name.name.clone(),
            port_usage_max: fullest.first().map_or(0.0, |line| line.usage),
            orphans: confirmed.map(|(orphans, _)| orphans),
            broken_pairs: confirmed.map(|(_, halves)| halves),
        });
        self.fullest.extend(fullest);
        Some(suspects)
    }

    fn finish(mut self, targets: &TargetIndex, range: &RangeInclusive<u16>) -> DeepFacts {
        let ports = PortTable::new(range.clone()).ports();
        self.fullest.sort_by_key(|line| (std::cmp::Reverse(line.ports), line.remote));
        self.fullest.truncate(SHOWN);
        let confirmed = self.any_nat && self.confirmed;
        let of_target = |(spec, counts): (&monitor_model::target::TargetSpec, TargetCounts)| TargetDeep {
            target: spec.name.clone(),
            orphans: confirmed.then_some(counts.orphans),
            broken_pairs: confirmed.then_some(counts.broken_pairs),
            collisions: counts.collisions,
            collisions_alive: self.clock_known.then_some(counts.collisions_alive),
            ghosts: self.ghosts_known.then_some(counts.ghosts),
            untracked: self.sockets_known.then_some(counts.untracked),
        };
        let by_target = targets.targets().iter().zip(self.targets.iter().copied()).map(of_target).collect();
        let services = targets.pairs().zip(&self.pairs).filter(|_| self.any_nat);
        DeepFacts {
            monotonic: Duration::ZERO,
            duration: Duration::ZERO,
            entries: self.entries,
            targets: by_target,
            services: services
                .map(|((target, service), used)| ServiceDeep {
                    target: target.to_owned(),
                    service: service.to_owned(),
                    ports_used: *used,
                    port_usage: ratio(*used, ports),
                })
                .collect(),
            nat: self.nat,
            fullest: self.fullest,
        }
    }
}

impl TargetCounts {
    fn add(&mut self, other: &Self) {
        let Self { collisions, collisions_alive, ghosts, untracked, orphans, broken_pairs } = *other;
        let Untracked { low_port, no_masquerade, idle, unknown } = untracked;
        self.collisions += collisions;
        self.collisions_alive += collisions_alive;
        self.ghosts += ghosts;
        self.orphans += orphans;
        self.broken_pairs += broken_pairs;
        self.untracked.low_port += low_port;
        self.untracked.no_masquerade += no_masquerade;
        self.untracked.idle += idle;
        self.untracked.unknown += unknown;
    }
}

/// What the host's sockets towards targets are; `Ok(None)` where they are unknown, or too many to say.
fn host_view(
    collector: &Collector,
    snapshot: &Snapshot,
    targets: &TargetIndex,
    first_port: u16,
) -> Result<Option<HostView>, Unseen> {
    let host = &collector.settings().host;
    must_see_node(host)?;
    let Some(addresses) = read_addresses(host, OWN)? else { return Ok(None) };
    let sockets = read_sockets(|address| targets.target_of(address.to_canonical()).is_some())
        .map_err(HostError::from)?;
    // One in TIME_WAIT sent something within the minute after which an entry without a socket is a ghost.
    let count = sockets.skipped + sockets.undecoded;
    if count > 0 {
        return Err(Unseen::Sockets { count });
    }
    let translates = || collector.has_open(|map| map.table == Table::Nat && map.is_global());
    let configured = snapshot.agent.as_ref().and_then(|agent| agent.bpf_masquerade);
    let masquerades = configured.unwrap_or_else(translates);
    Ok(Some(HostView { addresses, sockets: sockets.sockets, first_port, masquerades }))
}

/// The maps in groups, the node's own first.
fn groups(maps: &[MapName]) -> Vec<Group> {
    let mut groups: BTreeMap<(bool, String, bool), Group> = BTreeMap::new();
    for map in maps {
        let cluster = if map.is_global() { "" } else { map.name.rsplit('_').next().unwrap_or_default() };
        let key = (!map.is_global(), cluster.to_owned(), map.v6);
        let group = groups.entry(key).or_insert_with(|| Group {
            ct: Vec::new(),
            nat: None,
            v6: map.v6,
            global: map.is_global(),
        });
        if map.is_conntrack() { group.ct.push(map.clone()) } else { group.nat = Some(map.clone()) }
    }
    groups.into_values().filter(|group| !group.ct.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use monitor_model::map_name;

    use super::*;

    #[test]
    fn maps_are_joined_within_their_family_and_cluster() {
        let mut maps = map_name::global_maps();
        for pin in ["cilium_per_cluster_ct_tcp4_3", "cilium_per_cluster_snat_v4_external_3"] {
            maps.extend(map_name::per_cluster_map(pin));
        }
        let found: Vec<_> = groups(&maps)
            .iter()
            .map(|group| {
                let ct: Vec<_> = group.ct.iter().map(|map| map.name.as_str()).collect();
                (ct.join(" "), group.nat.as_ref().map(|map| map.name.clone()).unwrap_or_default())
            })
            .collect();
        let expected = [
            ("ct4_global ct_any4_global", "snat_v4_external"),
            ("ct6_global ct_any6_global", "snat_v6_external"),
            ("per_cluster_ct_tcp4_3", "per_cluster_snat_v4_external_3"),
        ];
        assert_eq!(found, expected.map(|(ct, nat)| (ct.to_owned(), nat.to_owned())));
    }
}
