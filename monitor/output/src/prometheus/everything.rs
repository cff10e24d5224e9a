//! A node of which everything is known, for tests that want a sample of each metric.
//!
//! In: captured files and numbers. Out: settings and a snapshot. Must not: leave a part of a snapshot empty.

use std::time::Duration;

use monitor_abi::class::{Direction, Due, Expiry, Protocol, State, VictimState};
use monitor_config::Settings;
use monitor_model::drops::Drops;
use monitor_model::host::logs::{LogCounts, Totals};
use monitor_model::map_name::{MapProblem, ProblemReason, global_maps};
use monitor_model::snapshot::deep::{DeepFacts, NatDeep, ServiceDeep, TargetDeep, Untracked};
use monitor_model::snapshot::{
    Cell, Content, EvictionCell, Evictions, GcFacts, KernelCount, MapEvictions, MapState, PresentMap,
    SilentEntries, Snapshot, TargetCell, TargetEvictions, TimeoutFact, TimeoutSource,
};
use monitor_model::timeouts::TimeoutClass;

use crate::testing::{node, walked};

/// What the node is compared with.
pub(super) fn settings() -> Settings {
    crate::testing::parse(
        "expect: {preset: nas-tuning, gc_interval: {at_most: 5m}, map_capacity: {ct_tcp: {at_least: 524288}}}",
    )
}

pub(super) fn snapshot(settings: &Settings) -> Snapshot {
    let mut snapshot = node("restarted", "silent", "failed", settings);
    snapshot.monotonic = Duration::from_secs(60);
    snapshot.timeouts = vec![TimeoutFact {
        class: TimeoutClass::Tcp,
        source: TimeoutSource::Entries,
        value: Duration::from_secs(21_605),
    }];
    snapshot.maps = maps();
    for state in &mut snapshot.targets {
        state.cells = vec![TargetCell { state: State::Closed, expired: Some(false), entries: 3 }];
        state.silent = Some(SilentEntries { lingering_closed: 2, unanswered: 1, ..SilentEntries::default() });
    }
    snapshot.evictions = evictions();
    snapshot.drops =
        Some(Drops { packets: Some(Default::default()), retries: vec![("ipv4", [1, 2, 3, 4, 5])] });
    snapshot.deep = Some(deep());
    snapshot.host.logs = Some(LogCounts {
        matches: vec![("rate_limiter".to_owned(), 2)],
        totals: Totals { skipped_bytes: 5, failures: 1, ..Totals::default() },
        files: 3,
        skipped_files: 1,
    });
    snapshot
}

fn maps() -> Vec<MapState> {
    let problem = MapProblem { reason: ProblemReason::Layout, detail: "a key of 15 bytes".to_owned() };
    let contents = [
        Content::Present(conntrack()),
        Content::Problem(problem),
        Content::Absent,
        Content::Present(PresentMap {
            gc: None,
            kernel: None,
            memory_bytes: None,
            percpu_share: None,
            ..conntrack()
        }),
        Content::Present(nat()),
        Content::Absent,
    ];
    let state = |(map, content)| MapState { map, content, recreations: 1 };
    global_maps().into_iter().zip(contents).map(state).collect()
}

fn conntrack() -> PresentMap {
    let mut map = walked(40);
    let cell = Cell {
        direction: Direction::Out,
        state: State::Closed,
        due: Due::ALL[1],
        protocol: Protocol::Tcp,
        entries: 40,
    };
    map.scan.cells = vec![cell];
    map.scan.oldest_expired = Some(7);
    map.scan.odd_lifetimes = Some(1);
    map.percpu_share = Some(512);
    map.memory_bytes = Some(1 << 20);
    map.kernel = Some(KernelCount { entries: 41, peak: 44 });
    map.gc = Some(GcFacts {
        passes: 2,
        last_pass_age: Some(Duration::from_secs(9)),
        last_removed: Some(12),
        interval: Some(Duration::from_secs(300)),
        ..GcFacts::default()
    });
    map
}

fn nat() -> PresentMap {
    let mut map = walked(10);
    map.scan.cells = vec![Cell {
        direction: Direction::In,
        state: State::Established,
        due: Due::ALL[0],
        protocol: Protocol::Tcp,
        entries: 10,
    }];
    map
}

fn evictions() -> Evictions {
    let cells = vec![EvictionCell { state: VictimState::ALL[0], expiry: Expiry::ALL[0], evicted: 4 }];
    let (target, service) = ("qnap".to_owned(), "smb".to_owned());
    Evictions {
        recursion_misses: Some(0),
        maps: vec![MapEvictions { map_name: "ct4_global".to_owned(), cells: cells.clone() }],
        targets: vec![TargetEvictions { target, service, cells }],
        victims_lost: 1,
        ..Evictions::default()
    }
}

fn deep() -> DeepFacts {
    DeepFacts {
        monotonic: Duration::from_secs(50),
        nat: vec![NatDeep {
            map_name: "snat_v4_external".to_owned(),
            port_usage_max: 0.25,
            orphans: Some(2),
            broken_pairs: Some(1),
        }],
        targets: vec![TargetDeep {
            target: "qnap".to_owned(),
            orphans: Some(1),
            broken_pairs: Some(0),
            collisions: 3,
            collisions_alive: Some(2),
            ghosts: Some(1),
            untracked: Some(Untracked { idle: 1, ..Untracked::default() }),
        }],
        services: vec![ServiceDeep {
            target: "qnap".to_owned(),
            service: "smb".to_owned(),
            ports_used: 7,
            port_usage: 0.125,
        }],
        ..DeepFacts::default()
    }
}
