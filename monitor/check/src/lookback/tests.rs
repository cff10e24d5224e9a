//! Lookback windows over written series and snapshots.
//!
//! In: values at seconds, snapshots. Out: pass or fail. Must not: read a clock or the node.

use monitor_abi::class::{Expiry, VictimState};
use monitor_model::drops::{DropReason, Drops};
use monitor_model::host::logs::LogCounts;
use monitor_model::snapshot::{CifsTarget, EvictionCell, MapEvictions, SilentEntries, TargetEvictions};

use super::*;
use crate::findings::of_lookback;
use crate::history::History;
use crate::testing::{self, defaults, parse};

/// Seconds, and a value at each.
fn window(length: u64, values: &[(u64, f64)]) -> Window {
    let (first, value) = values[0];
    let mut window = Window::begun(Duration::from_secs(first), value);
    for (now, value) in values {
        window.add(Duration::from_secs(*now), *value, Duration::from_secs(length));
    }
    window
}

#[test]
fn an_increase_is_what_was_gained_within_the_window() {
    let check = |values: &[(u64, f64)], now: u64, expected: f64| {
        let told =
            window(600, values).value(Over::Increase, Duration::from_secs(now), Duration::from_secs(600));
        assert_eq!(told, Some(expected), "{values:?}");
    };
    // What was counted before the first snapshot is not invented.
    check(&[(1_000, 500.0)], 1_000, 0.0);
    check(&[(1_000, 500.0), (1_015, 500.0), (1_030, 507.0)], 1_030, 7.0);
    // Ten minutes on it is forgotten.
    check(&[(1_000, 0.0), (1_015, 9.0), (1_600, 10.0), (1_700, 12.0)], 1_700, 3.0);
    // A counter that began anew gained what it shows.
    check(&[(1_000, 500.0), (1_015, 4.0)], 1_015, 4.0);
}

#[test]
fn a_rate_is_over_the_time_there_was() {
    let told = |now| {
        let window = window(600, &[(0, 0.0), (50, 10.0), (100, 20.0)]);
        window.value(Over::PerSecond, Duration::from_secs(now), Duration::from_secs(600))
    };
    assert_eq!(told(100), Some(0.2));
    assert_eq!(told(0), None, "no time, no rate");
}

#[test]
fn the_lower_quartile_needs_a_whole_window_and_forgives_a_moment() {
    let told = |values: &[(u64, f64)], now| {
        window(180, values).value(Over::LowerQuartile, Duration::from_secs(now), Duration::from_secs(180))
    };
    let steady: Vec<_> = (0..=12).map(|step| (step * 15, 2.0)).collect();
    assert_eq!(told(&steady[..12], 165), None, "too young");
    assert_eq!(told(&steady, 180), Some(2.0));
    let with_zeros = |zeros: &[usize]| {
        let mut values = steady.clone();
        for zero in zeros {
            values[*zero].1 = 0.0;
        }
        told(&values, 180)
    };
    // Thirteen values: the quartile is the fourth.
    assert_eq!(with_zeros(&[1, 5, 9]), Some(2.0));
    assert_eq!(with_zeros(&[1, 5, 9, 12]), Some(0.0));
    // One handshake that was slow is no reason.
    assert_eq!(with_zeros(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 11, 12]), Some(0.0));
}

#[test]
fn a_quartile_lies_where_prometheus_puts_it() {
    let check =
        |values: &[f64], expected| assert_eq!(lower_quartile(values.to_vec()), expected, "{values:?}");
    check(&[], None);
    check(&[3.0], Some(3.0));
    check(&[4.0, 0.0], Some(1.0));
    check(&[0.0, 4.0, 8.0], Some(2.0));
    check(&[8.0, 0.0, 4.0, 12.0], Some(3.0));
    check(&[1.0, 0.0, 2.0, 4.0, 3.0], Some(1.0));
}

#[test]
fn pieces_are_few_however_often_and_long_one_looks() {
    let mut window = Window::begun(Duration::ZERO, 0.0);
    for millisecond in 0..500_000_u32 {
        let now = Duration::from_millis(millisecond.into());
        window.add(now, f64::from(millisecond), Duration::from_secs(60));
        assert!(window.pieces.len() <= PIECES as usize + 1);
    }
}

/// What is found after ten minutes in which every counter rose by one and two connections stayed unanswered.
#[test]
fn each_alert_is_found_by_what_its_expression_selects() {
    let settings = defaults();
    let mut lookback = Lookback::default();
    let mut last = None;
    for step in 0..=40_u64 {
        let mut snapshot = testing::node("used", "restarted", "logged-in", &settings);
        snapshot.monotonic = Duration::from_secs(step * 15);
        let cells = |state, expiry| vec![EvictionCell { state, expiry, evicted: step }];
        let of_map = |map_name: &str, state, expiry| MapEvictions {
            map_name: map_name.to_owned(),
            cells: cells(state, expiry),
        };
        snapshot.evictions.maps = vec![
            of_map("ct4_global", VictimState::Established, Expiry::False),
            of_map("ct6_global", VictimState::Established, Expiry::True),
            of_map("ct_any4_global", VictimState::Stateless, Expiry::False),
        ];
        snapshot.evictions.targets = vec![TargetEvictions {
            target: "qnap".to_owned(),
            service: "smb".to_owned(),
            cells: cells(VictimState::Opening, Expiry::False),
        }];
        let mut packets = [[0; 4]; DropReason::ALL.len()];
        packets[0] = [0, step, step, 0];
        packets[1] = [0, 0, step * 15, 0];
        snapshot.drops = Some(Drops { packets: Some(packets), retries: Vec::new() });
        snapshot.host.logs =
            Some(LogCounts { matches: vec![("no-backend".to_owned(), step)], ..LogCounts::default() });
        snapshot.host.cifs.as_mut().unwrap().targets = vec![CifsTarget {
            target: "qnap".to_owned(),
            sessions: Some(1),
            reconnects: Some(step),
            operations: Vec::new(),
        }];
        let smb = snapshot.targets.iter_mut().find(|state| state.service == "smb").unwrap();
        // At every sixth scan a SYN was sent again a moment ago.
        let unanswered = if step.is_multiple_of(6) { 0 } else { 2 };
        smb.silent = Some(SilentEntries { unanswered, ..SilentEntries::default() });
        lookback.observe(&snapshot, &settings);
        last = Some(snapshot);
    }
    let last = last.unwrap();
    let history = History::of(&last, lookback.read(last.monotonic, &settings), Vec::new());
    let mut found: Vec<_> = of_lookback(&history, &settings)
        .into_iter()
        .map(|finding| {
            format!("{} {}{}: {}", finding.check, finding.map_name, finding.target, finding.evidence)
        })
        .collect();
    found.sort();
    let expected = [
        "CtmonCifsReconnecting qnap: the SMB client reconnected 40 times in the last 15m: the sessions do not last",
        "CtmonInsertFailures : the datapath failed 80 times to insert a conntrack entry in the last 15m: as many new \
         connections failed",
        "CtmonLiveEvictions ct4_global: 40 entries of live connections were evicted from ct4_global in the last 10m to \
         make room",
        "CtmonLiveEvictions qnap: 40 live connections towards qnap were evicted in the last 10m: they stall until they \
         time out",
        "CtmonLogPattern : pod logs matched the pattern no-backend 40 times in the last 15m",
        "CtmonNatMappingFailures : 1 packets a second found no port to be translated to in the last 10m: connections \
         out of the cluster fail",
        "CtmonTargetUnanswered qnap: at three of four scans in the last 3m about 2 connections or more to its service smb had \
         sent a SYN and heard nothing",
    ];
    assert_eq!(found, expected);
    let off = parse("thresholds: {LiveEvictions: null, TargetUnanswered: null}");
    assert_eq!(of_lookback(&history, &off).len(), 4);
}
