//! Sums of what the SMB client counts, by target.
//!
//! In: one reading of the client after the other. Out: [`CifsTarget`]s that only grow. Must not: go back when a
//! share is unmounted: the kernel forgets its counters with the mount, a counter of ours may not.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use monitor_model::host::cifs::{Cifs, Op, Server, Share};
use monitor_model::snapshot::{CifsTarget, MountState};
use monitor_model::target::TargetIndex;

/// What was counted since the beginning.
#[derive(Clone, Debug, Default)]
pub struct CifsSums {
    /// Whether there was a reading before: what the first one finds was counted before the beginning.
    begun: bool,
    /// The kernel's own counters when they were last looked at.
    seen: BTreeMap<Counter, u64>,
    reconnects: BTreeMap<String, u64>,
    operations: BTreeMap<(String, Op), u64>,
    /// Targets that have, or had, a share.
    with_shares: BTreeSet<String>,
}

/// One of the kernel's counters, with what it counts on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Counter {
    Reconnects(Option<String>, Vec<IpAddr>),
    Operations(String, String, Op),
}

impl CifsSums {
    /// Takes over what was counted since the last reading.
    pub fn add(&mut self, now: &Cifs, mounts: Option<&MountState>, targets: &TargetIndex) -> Vec<CifsTarget> {
        let named = |server: &Server| {
            let by_address = server.addresses.iter().find_map(|address| targets.target_of(*address));
            let target = by_address.and_then(|index| targets.targets().get(index));
            target.map(|target| target.name.clone()).or_else(|| {
                mounts.zip(server.name.as_deref()).and_then(|(mounts, name)| target_of_name(name, mounts))
            })
        };
        let servers: Vec<(Option<String>, &Server)> =
            now.servers.iter().flatten().map(|server| (named(server), server)).collect();
        let mut seen = BTreeMap::new();
        for (target, server) in &servers {
            let (Some(target), Some(reconnects)) = (target, server.reconnects()) else { continue };
            let counter = Counter::Reconnects(server.name.clone(), server.addresses.clone());
            let new = self.advance(&mut seen, counter, reconnects);
            let sum = self.reconnects.entry(target.clone()).or_default();
            *sum = sum.saturating_add(new);
        }
        for share in &now.stats.shares {
            let same_name =
                |server: &Server| server.name.as_deref().is_some_and(|name| is_called(share, name));
            let target = servers
                .iter()
                .find(|(_, server)| same_name(server))
                .and_then(|(target, _)| target.clone())
                .or_else(|| mounts.and_then(|mounts| target_of_name(&share.server, mounts)));
            let Some(target) = target else { continue };
            self.with_shares.insert(target.clone());
            for (op, count, _) in share.operations.iter() {
                let counter = Counter::Operations(share.server.clone(), share.share.clone(), op);
                let new = self.advance(&mut seen, counter, count);
                let sum = self.operations.entry((target.clone(), op)).or_default();
                *sum = sum.saturating_add(new);
            }
        }
        self.seen = seen;
        self.begun = true;
        targets.targets().iter().map(|target| self.target(&target.name, &servers, now)).collect()
    }

    /// How much a counter grew. One that is smaller than before began anew: with another mount, or at 2^32, where all that
    /// is lost is what was left to it since the last reading.
    fn advance(&self, seen: &mut BTreeMap<Counter, u64>, counter: Counter, now: u64) -> u64 {
        // Two sessions may have a tree of the same share: they are told apart by nothing the kernel prints.
        let twice = seen.contains_key(&counter);
        let new = match self.seen.get(&counter) {
            _ if twice => 0,
            Some(before) if *before <= now => now - before,
            Some(_) => now,
            None if self.begun => now,
            None => 0,
        };
        seen.entry(counter).or_insert(now);
        new
    }

    fn target(&self, name: &str, servers: &[(Option<String>, &Server)], now: &Cifs) -> CifsTarget {
        let mine = || servers.iter().filter(|(target, _)| target.as_deref() == Some(name));
        let listed = now.servers.is_some();
        let operations = |op: &Op| (*op, self.operations.get(&(name.to_owned(), *op)).copied().unwrap_or(0));
        CifsTarget {
            target: name.to_owned(),
            sessions: listed.then(|| mine().map(|(_, server)| server.sessions as u64).sum()),
            reconnects: listed.then(|| self.reconnects.get(name).copied().unwrap_or(0)),
            operations: if self.with_shares.contains(name) {
                Op::ALL.iter().map(operations).collect()
            } else {
                Vec::new()
            },
        }
    }
}

fn is_called(share: &Share, server: &str) -> bool {
    share.server.eq_ignore_ascii_case(server)
}

/// The target of the mounts that use this name for their server.
fn target_of_name(server: &str, mounts: &MountState) -> Option<String> {
    mounts
        .mounts
        .iter()
        .find(|mount| mount.value.server.eq_ignore_ascii_case(server))
        .and_then(|mount| mount.target.clone())
}

#[cfg(test)]
mod tests {
    use monitor_model::prefix::Prefix;
    use monitor_model::target::TargetSpec;

    use super::super::super::testing::{TempDir, fixture};
    use super::super::read_cifs;
    use super::*;

    fn reading(state: &str) -> Cifs {
        let dir = TempDir::new();
        for name in ["Stats", "DebugData"] {
            dir.write(&format!("proc/fs/cifs/{name}"), &fixture(&format!("cifs/{state}/{name}")));
        }
        read_cifs(&dir.host()).unwrap().unwrap()
    }

    fn targets() -> TargetIndex {
        let target = |name: &str, address: [u8; 4]| TargetSpec {
            name: name.to_owned(),
            prefixes: vec![Prefix::host(address.into())],
            services: vec![],
        };
        TargetIndex::new(vec![target("qnap", [192, 168, 100, 180]), target("idle", [10, 0, 0, 1])]).unwrap()
    }

    fn operations(target: &CifsTarget) -> u64 {
        target.operations.iter().map(|(_, count)| count).sum()
    }

    #[test]
    fn what_was_counted_before_the_beginning_is_not_ours() {
        let [qnap, idle] =
            CifsSums::default().add(&reading("6.12-restarted"), None, &targets()).try_into().unwrap();
        assert_eq!((qnap.sessions, qnap.reconnects), (Some(1), Some(0)));
        assert_eq!((qnap.operations.len(), operations(&qnap)), (Op::ALL.len(), 0));
        assert_eq!((idle.sessions, idle.reconnects, idle.operations.len()), (Some(0), Some(0), 0));
    }

    #[test]
    fn a_restarted_server_is_one_reconnect_and_an_unmounted_one_takes_nothing_away() {
        let (mut sums, targets) = (CifsSums::default(), targets());
        sums.add(&reading("6.12-used"), None, &targets);
        let after = sums.add(&reading("6.12-restarted"), None, &targets);
        assert_eq!(after[0].reconnects, Some(1));
        let counted = operations(&after[0]);
        assert!(counted > 0);

        let mut gone = reading("6.12-restarted");
        gone.stats.shares.clear();
        gone.servers = Some(vec![]);
        let without = sums.add(&gone, None, &targets);
        assert_eq!((without[0].sessions, without[0].reconnects), (Some(0), Some(1)));
        assert_eq!(operations(&without[0]), counted);

        // Mounted anew: everything the kernel counts on the new mount is new.
        let used = reading("6.12-used");
        let new: u64 =
            used.stats.shares.iter().flat_map(|share| share.operations.iter()).map(|(_, n, _)| n).sum();
        let again = sums.add(&used, None, &targets);
        assert_eq!((again[0].reconnects, operations(&again[0])), (Some(1), counted + new));
    }

    #[test]
    fn counters_fall_wrap_and_overflow_without_harm() {
        let with = |count: u64| {
            let mut now = reading("6.12-used");
            let text =
                format!("CIFS Session: 1\n1) \\\\192.168.100.180\\media\nCreates: {count} total 0 failed\n");
            now.stats = monitor_decode::host::cifs::parse_stats(text.as_bytes()).unwrap();
            now
        };
        let (mut sums, targets) = (CifsSums::default(), targets());
        let mut add = |count: u64| operations(&sums.add(&with(count), None, &targets)[0]);
        let limit = 1 << 32;
        // Begun, grown, wrapped, grown, mounted anew; then what no kernel counts.
        assert_eq!([limit - 10, limit - 4, 3, 5, 1].map(&mut add), [0, 6, 9, 11, 12]);
        assert_eq!([u64::MAX, 0, u64::MAX, 7].map(&mut add), [u64::MAX; 4]);
    }

    #[test]
    fn without_debug_data_sessions_are_unknown_not_zero() {
        let mut now = reading("6.12-used");
        now.servers = None;
        let [qnap, _] = CifsSums::default().add(&now, None, &targets()).try_into().unwrap();
        assert_eq!((qnap.sessions, qnap.reconnects), (None, None));
    }
}
