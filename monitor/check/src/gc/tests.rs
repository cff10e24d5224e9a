//! Cases for every branch of what is said of the gc.

use monitor_abi::class::{Direction, Due, Protocol};
use monitor_model::agent_config::AgentConfig;
use monitor_model::map_name;
use monitor_model::snapshot::{Cell, Content, GcFacts};

use super::*;
use crate::testing::{defaults, nothing, walked};

const TCP: &str = "ct4_global";

/// What is seen of one TCP map.
#[derive(Clone, Copy)]
struct Case {
    living: u64,
    dead: u64,
    oldest: u64,
    capacity: u32,
    gc: Option<GcFacts>,
    fixed: Option<u64>,
}

const QUIET: Case = Case { living: 3_000, dead: 0, oldest: 0, capacity: 524_288, gc: None, fixed: None };

const fn seconds(number: u64) -> Duration {
    Duration::from_secs(number)
}

fn gc(interval: u64, before: u64, removed: u64) -> GcFacts {
    GcFacts {
        passes: 3,
        last_pass_age: Some(seconds(20)),
        last_removed: Some(removed),
        interval: Some(seconds(interval)),
        interval_before: Some(seconds(before)),
        dying: None,
    }
}

fn seen(case: Case) -> Outlook {
    let Case { living, dead, oldest, capacity, gc, fixed } = case;
    let mut snapshot = nothing(&defaults());
    let cell = |state, due, entries| Cell {
        direction: Direction::Out,
        state,
        due,
        protocol: Protocol::Tcp,
        entries,
    };
    let mut present = PresentMap { capacity, gc, ..walked(living + dead) };
    present.scan.oldest_expired = Some(oldest);
    present.scan.cells =
        vec![cell(State::Established, Due::Within8000s, living), cell(State::Closed, Due::Overdue, dead)];
    let map = map_name::global_maps().into_iter().next().unwrap();
    snapshot.maps = vec![MapState { map, content: Content::Present(present), recreations: 0 }];
    snapshot.agent =
        fixed.map(|fixed| AgentConfig { gc_interval: Some(seconds(fixed)), ..AgentConfig::default() });
    outlook(&snapshot).unwrap()
}

fn check(case: Case, words: &[&str], advice: &str) {
    let outlook = seen(case);
    let told = outlook.words();
    for part in words {
        assert!(told.contains(part), "{part:?} is not in {told:?}");
    }
    let found = outlook.advice(TCP);
    assert!(found.contains(advice), "{advice:?} is not in {found:?}");
}

#[test]
fn the_incident_is_told_with_its_numbers() {
    let incident = Case { dead: 600, oldest: 590, capacity: 147_295, ..QUIET };
    check(
        incident,
        &[
            "no pass of the collector was seen yet",
            "about 1.00 connections close here a second",
            "passes settle at 2h8m apart and the maps hold at the most ct4_global about 10700",
            "at a fixed 5m ct4_global about 3300",
            "maps twice as big would hold ct4_global about 20",
        ],
        "`conntrackGCInterval: 5m` (Helm) or",
    );
    assert!(seen(incident).general_advice().contains("conntrackGCInterval: 5m"));
}

#[test]
fn a_fixed_short_interval_wants_a_bigger_map_or_less_churn() {
    // 65 % of 103,458 entries are dead, the oldest since 25 s, passes are 30 s apart: told by the configuration, by two
    // equal intervals, or by nothing.
    let busy = Case { living: 35_683, dead: 67_775, oldest: 25, capacity: 131_072, ..QUIET };
    let size = "fewer connections (`ctmon top` tells who opens them) or a bigger map (ct4_global, ct6_global, bpf.ctTcpMax) help, a fixed 5m \
                would make it worse";
    check(Case { fixed: Some(30), ..busy }, &["the configuration says 30s"], size);
    check(
        Case { gc: Some(gc(30, 30, 80_000)), ..busy },
        &["passes are 30s apart, as before: a fixed interval"],
        size,
    );
    for case in [busy, Case { fixed: Some(30), ..busy }, Case { gc: Some(gc(30, 30, 80_000)), ..busy }] {
        let outlook = seen(case);
        assert!(!outlook.advice(TCP).contains("conntrackGCInterval"), "{}", outlook.advice(TCP));
        assert_eq!(outlook.general_advice(), "", "{}", outlook.words());
    }
}

#[test]
fn a_fixed_long_interval_wants_a_shorter_one() {
    let slow = Case { dead: 3_000, oldest: 3_000, ..QUIET };
    check(
        Case { fixed: Some(3_600), ..slow },
        &["the configuration says 1h"],
        "the interval is fixed, and longer",
    );
    check(
        Case { gc: Some(gc(3_600, 3_600, 3_600)), ..slow },
        &["a fixed interval"],
        "the interval is fixed, and longer",
    );
}

#[test]
fn passes_that_stopped_are_told_before_anything_else() {
    let check_all = |case: Case| check(case, &[], "see whether the agent runs");
    check_all(Case { dead: 500, oldest: 50_000, ..QUIET });
    check_all(Case { dead: 500, oldest: 1_000, fixed: Some(300), ..QUIET });
    check(Case { dead: 500, oldest: 40_000, ..QUIET }, &[], "conntrackGCInterval");
}

#[test]
fn what_is_not_known_yet_is_said_and_nothing_is_advised() {
    check(
        QUIET,
        &[
            "how many entries die a second is not known yet (of ct4_global",
            "where that leads is not known yet",
        ],
        "not known yet",
    );
    assert_eq!(seen(QUIET).general_advice(), "");
    let few = Case { dead: 3, oldest: 9, ..QUIET };
    check(few, &["not known yet"], "not known yet");
}

#[test]
fn where_five_minutes_change_nothing_there_is_no_remedy() {
    let fixed = Case { dead: 250, oldest: 250, fixed: Some(300), ..QUIET };
    check(fixed, &["a fixed 5m would change nothing"], "");
    assert_eq!((seen(fixed).advice(TCP), seen(fixed).general_advice()), (String::new(), String::new()));
}

#[test]
fn the_interval_is_told_with_its_trend() {
    let with =
        |interval, before| Case { dead: 600, oldest: 590, gc: Some(gc(interval, before, 1_204)), ..QUIET };
    check(
        with(675, 450),
        &["last pass was 20s ago and removed 1204, passes are 11m15s apart and grow (7m30s before)"],
        "",
    );
    check(with(120, 300), &["passes are 2m apart and shrink (5m before)"], "");
}

#[test]
fn no_map_is_said_to_hold_more_than_its_capacity() {
    let outlook = seen(Case { living: 100_000, dead: 15_000, oldest: 30, capacity: 131_072, ..QUIET });
    for map in &outlook.maps {
        assert!(map.settles <= 131_072.0 && map.at_five <= 131_072.0, "{map:?}");
    }
}

#[test]
fn the_rate_of_a_map_whose_dead_are_young_counts() {
    // 59,047 in one map, the oldest dead since 25 s: not 0.00 a second.
    let outlook = seen(Case { living: 9_000, dead: 50_047, oldest: 25, capacity: 131_072, ..QUIET });
    assert!(outlook.closing > 1_000.0, "{outlook:?}");
}
