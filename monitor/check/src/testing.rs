//! A node put together from captured files, for the tests of what is made of it.

use std::time::{Duration, SystemTime};

use monitor_abi::scan::Clock;
use monitor_config::Settings;
use monitor_model::count_plan;
use monitor_model::snapshot::{
    ClockFacts, Evictions, HostTargetFacts, MapScan, PresentMap, Snapshot, SocketState, TargetSocket,
    TargetState, Totals,
};
use monitor_model::target::{ServiceSpec, TargetIndex, TargetSpec};
use monitor_source::host::Host;
use monitor_source::host::collect::{HostCollector, Wanted};
use monitor_source::host::sockets::captured;
use monitor_source::host::storage::Storage;
use monitor_source::host::testing::{TempDir, fixture, fixture_path};

use crate::{Catalog, Finding, History};

/// The settings of this configuration.
pub(crate) fn parse(text: &str) -> Settings {
    monitor_config::parse::<Catalog>(text).unwrap()
}

/// The settings without any.
pub(crate) fn defaults() -> Settings {
    Settings::defaults::<Catalog>()
}

/// What the preset for storage expects.
pub(crate) fn nas_tuning() -> Settings {
    parse("expect: {preset: nas-tuning}")
}

/// The captured server as a target.
pub(crate) fn targets() -> TargetIndex {
    let service = |name: &str, port| ServiceSpec { name: name.to_owned(), ports: vec![port], protocol: None };
    let qnap = TargetSpec {
        name: "qnap".to_owned(),
        prefixes: vec!["192.168.100.180".parse().unwrap()],
        services: vec![service("smb", 445), service("iscsi", 3260)],
    };
    TargetIndex::new(vec![qnap]).unwrap()
}

/// A node whose SMB client, sockets and iSCSI session are in these captured states; no map was walked.
pub(crate) fn node(cifs: &str, sockets: &str, iscsi: &str, settings: &Settings) -> Snapshot {
    let dir = TempDir::new();
    let copy = |to: &str, from: &str| dir.write(to, &fixture(from));
    copy("proc/1/mountinfo", "mounts/mountinfo-6.12");
    copy("proc/fs/cifs/Stats", &format!("cifs/6.12-{cifs}/Stats"));
    copy("proc/fs/cifs/DebugData", &format!("cifs/6.12-{cifs}/DebugData"));
    copy("proc/sys/fs/file-nr", "sysctl/file-nr");
    copy("proc/sys/fs/file-max", "sysctl/file-max");
    copy("proc/sys/net/ipv4/tcp_keepalive_time", "sysctl/tcp_keepalive_time");
    for name in ["snmp", "netstat", "softnet_stat"] {
        copy(&format!("proc/1/net/{name}"), &format!("netstat/{name}-6.12"));
    }
    let host = Host { sysfs: fixture_path(&format!("iscsi/6.12-{iscsi}/sys")), ..dir.host() };
    let mut snapshot = snapshot(&host, settings);
    let sockets = captured(&format!("6.12-{sockets}")).into_iter().map(|socket| {
        let remote = socket.remote;
        let (target, service) = targets()
            .names_of_tcp(remote.ip(), remote.port())
            .map(|(a, b)| (a.to_owned(), b.to_owned()))
            .unwrap();
        TargetSocket { target, service, socket }
    });
    snapshot.host.sockets = Some(SocketState { sockets: sockets.collect(), skipped: 0, undecoded: 0 });
    snapshot
}

/// What one reading of this host tells; no map was walked.
pub(crate) fn snapshot(host: &Host, settings: &Settings) -> Snapshot {
    let targets = targets();
    let wanted = Wanted {
        targets: false,
        sysctls: settings.expect.sysctls.keys().cloned().collect(),
        logs: settings.logs.clone(),
    };
    let mut collector = HostCollector::default();
    collector.follow_logs(&wanted.logs);
    let mut sources = Vec::new();
    let state = collector.collect(
        host,
        &wanted,
        Storage::read(host),
        &targets,
        HostTargetFacts::default(),
        &mut sources,
    );
    Snapshot {
        wall: SystemTime::UNIX_EPOCH,
        monotonic: Duration::ZERO,
        duration: Duration::ZERO,
        interval: Duration::from_secs(15),
        totals: Totals::default(),
        clock: ClockFacts { mode: Clock::Ktime, forced: true, hz: None },
        timeouts: vec![],
        maps: vec![],
        maps_skipped: 0,
        targets: targets
            .pairs()
            .map(|(target, service)| TargetState {
                target: target.to_owned(),
                service: service.to_owned(),
                cells: vec![],
                silent: None,
            })
            .collect(),
        evictions: Evictions::default(),
        initiators: vec![],
        map_count: count_plan::Plan::default(),
        agent: None,
        drops: None,
        deep: None,
        host: state,
        sources,
    }
}

/// A walked conntrack map with so many entries, nothing else known of it.
pub(crate) fn walked(entries: u64) -> PresentMap {
    PresentMap {
        id: 1,
        key_size: 14,
        value_size: 56,
        capacity: 4_096,
        flags: 0,
        percpu_share: None,
        memory_bytes: None,
        scan: MapScan {
            monotonic: Duration::ZERO,
            cost: Duration::ZERO,
            interval: Duration::ZERO,
            entries,
            implausible: 0,
            cells: Vec::new(),
            oldest_expired: None,
            odd_flags: 0,
            odd_nexthdr: 0,
            no_report: 0,
            odd_lifetimes: None,
        },
        kernel: None,
        gc: None,
    }
}

/// A host of which nothing is known.
pub(crate) fn nothing(settings: &Settings) -> Snapshot {
    snapshot(&TempDir::new().host(), settings)
}

/// What is found without a daemon.
pub(crate) fn findings(snapshot: &Snapshot, settings: &Settings) -> Vec<Finding> {
    findings_with(snapshot, None, settings)
}

/// What is found with what a daemon remembers.
pub(crate) fn findings_with(
    snapshot: &Snapshot,
    history: Option<&History>,
    settings: &Settings,
) -> Vec<Finding> {
    crate::findings(&crate::readings(snapshot, settings), snapshot, history, settings)
}
