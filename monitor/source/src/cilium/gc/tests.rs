//! Single walks and counts, where the model beside Cilium's own rule would show a failure less plainly.

use monitor_model::map_name;

use super::*;

fn tcp() -> MapName {
    map_name::global_maps().remove(0)
}

fn any() -> MapName {
    map_name::global_maps().remove(1)
}

fn tcp_v6() -> MapName {
    map_name::global_maps().remove(2)
}

/// A walk at `at` that saw 100 living entries and this many dead ones.
fn walk(at: u64, dead_closed: u64, dead_related: u64, others: u64, oldest: u64) -> Sample {
    let dead = dead_closed + dead_related + others;
    Sample {
        at: Duration::from_secs(at),
        entries: 100 + dead,
        capacity: 4_096,
        dead,
        dead_closed,
        dead_related,
        oldest,
        unit: 1,
        closing: 0,
        left: [0, 0, 0, 100],
        open: 100,
    }
}

fn facts(watch: &GcWatch, name: &MapName, at: u64) -> GcFacts {
    watch.facts(name, Duration::from_secs(at)).unwrap()
}

/// Passes counted over these walks of one map.
fn count(walks: &[Sample]) -> u64 {
    let mut watch = GcWatch::default();
    for sample in walks {
        watch.observe([(&tcp(), 7, Some(*sample))]);
    }
    facts(&watch, &tcp(), 10_000).passes
}

#[test]
fn a_pass_is_when_every_dead_entry_is_gone() {
    assert_eq!(count(&[walk(0, 5, 0, 0, 200), walk(15, 0, 0, 0, 0)]), 1);
    assert_eq!(count(&[walk(0, 5, 0, 0, 200), walk(15, 2, 0, 0, 9)]), 1, "two died after the pass");
    assert_eq!(count(&[walk(0, 5, 0, 0, 200), walk(15, 6, 0, 0, 215)]), 0, "one more died");
    assert_eq!(count(&[walk(0, 9, 0, 0, 200), walk(15, 2, 0, 0, 80)]), 0, "the oldest were evicted");
}

#[test]
fn traffic_that_revives_a_few_entries_is_no_pass() {
    assert_eq!(count(&[walk(0, 0, 4, 2, 200), walk(15, 0, 0, 0, 0)]), 0);
    assert_eq!(count(&[walk(0, 0, 0, 3, 200), walk(15, 0, 0, 0, 0)]), 1, "three others at once are");
    assert_eq!(count(&[walk(0, 0, 0, 0, 0), walk(15, 0, 0, 0, 0)]), 0);
}

#[test]
fn maps_of_a_family_are_heard_together() {
    let told = |few: Sample, after: Sample| {
        let mut watch = GcWatch::default();
        watch.observe([(&any(), 1, Some(few)), (&tcp(), 2, Some(walk(0, 30, 0, 0, 250)))]);
        watch.observe([(&any(), 1, Some(after)), (&tcp(), 2, Some(walk(15, 0, 0, 0, 0)))]);
        [any(), tcp()].map(|name| facts(&watch, &name, 20).passes)
    };
    assert_eq!(told(walk(0, 0, 4, 0, 200), walk(15, 0, 0, 0, 0)), [1, 1], "the other map confirms");
    assert_eq!(told(walk(0, 0, 0, 4, 200), walk(15, 0, 0, 4, 215)), [0, 0], "the other map objects");
}

#[test]
fn a_family_without_dead_entries_takes_over_what_the_other_tells() {
    let mut watch = GcWatch::default();
    let both = |at, dead, oldest| [(tcp(), walk(at, dead, 0, 0, oldest)), (tcp_v6(), walk(at, 0, 0, 0, 0))];
    for pass in 0..4 {
        for walks in [both(300 * pass, 30, 290), both(300 * pass + 15, 0, 0)] {
            watch.observe(walks.iter().map(|(name, sample)| (name, 1, Some(*sample))));
        }
    }
    let (v4, v6) = (facts(&watch, &tcp(), 920), facts(&watch, &tcp_v6(), 920));
    assert_eq!((v4.passes, v6.passes), (4, 2), "those that were due");
    assert_eq!((v4.interval, v4.last_pass_age), (v6.interval, v6.last_pass_age));
    assert_eq!(v4.interval, Some(Duration::from_secs(300)));
}

#[test]
fn a_flush_and_another_map_behind_the_pin_are_no_pass() {
    let flushed = Sample { entries: 3, left: [0, 0, 0, 3], ..walk(15, 0, 0, 0, 0) };
    assert_eq!(count(&[walk(0, 50, 0, 0, 200), flushed]), 0);
    let mut watch = GcWatch::default();
    watch.observe([(&tcp(), 7, Some(walk(0, 50, 0, 0, 200)))]);
    watch.observe([(&tcp(), 8, Some(walk(15, 0, 0, 0, 0)))]);
    assert_eq!(facts(&watch, &tcp(), 20).passes, 0);
    watch.observe([(&tcp(), 8, None)]);
    assert_eq!(watch.facts(&tcp(), Duration::ZERO), None, "no clock, nothing known");
    watch.observe([]);
    assert!(watch.maps.is_empty());
}

#[test]
fn before_the_second_pass_the_interval_is_unknown_and_only_the_dead_lengthen_it() {
    let mut watch = GcWatch::default();
    for sample in [walk(0, 5, 0, 0, 200), walk(15, 0, 0, 0, 0), walk(300, 30, 0, 0, 280)] {
        watch.observe([(&tcp(), 7, Some(sample))]);
    }
    assert_eq!(
        (facts(&watch, &tcp(), 300).last_removed, facts(&watch, &tcp(), 300).interval),
        (Some(5), None)
    );
    watch.observe([(&tcp(), 7, Some(walk(315, 1, 0, 0, 5)))]);
    let interval = |watch: &GcWatch, at| facts(watch, &tcp(), at).interval.unwrap().as_millis();
    // The passes were at 7.5 (between two scans) and before 310.
    assert_eq!(interval(&watch, 320), 297_500);
    assert_eq!(facts(&watch, &tcp(), 320).last_pass_age, Some(Duration::from_secs(15)));
    // The one dead entry proves that there was no pass since.
    assert_eq!(interval(&watch, 910), 600_000);
    watch.observe([(&tcp(), 7, Some(walk(915, 0, 0, 0, 0)))]);
    assert_eq!(interval(&watch, 5_000), 297_500, "nothing is dead: nobody knows");
}
