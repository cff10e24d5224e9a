//! Passes, their times, what they removed and the interval, beside Cilium's own rule run against tables of lifetimes.
//!
//! In: nodes with bursts, deleted pods, signals, evictions, flushes; walks 1 s to 60 s apart, with and without the
//! kernel's count. Out: pass or fail. Must not: ask for what cannot be known from what is seen.

use anyhow::{Context, Result, ensure};
use support::simulate::gc::{ANY4, ANY6, Kind, Node, TCP4, TCP6};
use support::simulate::gc_interval::GcInterval;

use crate::watched::{CAPACITY, Watched, Watching, watching};

const SMALL: u64 = CAPACITY / 2;

fn fixed(seconds: u64) -> GcInterval {
    GcInterval::fixed(std::time::Duration::from_secs(seconds))
}

/// A node whose first pass is so many seconds after it begins to be watched.
fn node(gc: GcInterval, first_pass: f64) -> Node {
    Node::new(CAPACITY, SMALL, gc, 50_000.0 + first_pass)
}

/// Short connections a second, and the RELATED and UDP entries beside them.
fn churn(node: &mut Node, rate: u64, now: f64) {
    node.add(TCP4, Kind::Closed, 1, rate, now);
    node.add(ANY4, Kind::Stateless, 1, rate.div_ceil(10), now);
}

fn for_all(test: impl Fn(Watching) -> Result<()>) -> Result<()> {
    for watching in watching() {
        test(watching)?;
    }
    Ok(())
}

#[test]
fn the_passes_of_the_adaptive_gc_are_told() -> Result<()> {
    for_all(|watching| {
        let mut watched = Watched::new(watching, node(GcInterval::default(), 90.0))?;
        watched.node.add(TCP4, Kind::Open, 0, 4_000, 50_000.0);
        // 90, 540, 1215, 2228.
        watched.play(2_300, |node, now| churn(node, 1, now));
        watched.ensure_true()?;
        watched.ensure_found(TCP4, 10)?;
        let facts = watched.last(TCP4)?;
        let [now, before] =
            [facts.interval, facts.interval_before].map(|time| time.map_or(0, |time| time.as_secs()));
        let blur = if watching.counted { 2 } else { watching.scan as u64 + 2 };
        ensure!(now.abs_diff(1_013) <= blur && before.abs_diff(675) <= blur, "{facts:?}, {watching:?}");
        Ok(())
    })
}

#[test]
fn a_burst_that_ends_is_no_flush() -> Result<()> {
    for (rate, pass) in [(3_642, 80.0), (2_560, 77.0), (3_000, 83.0), (3_000, 75.5)] {
        for_all(|watching| {
            let mut watched = Watched::new(watching, node(fixed(30), pass - 60.0))?;
            watched.node.add(TCP4, Kind::Open, 0, 40, 50_000.0);
            watched.play(70, |node, now| churn(node, rate, now));
            watched.play(60, |_, _| {});
            watched.ensure_true()?;
            if watching.scan <= 15.0 {
                watched.ensure_found(TCP4, 20_000)?;
            }
            Ok(())
        })?;
    }
    Ok(())
}

#[test]
fn a_pod_that_is_deleted_with_all_the_dead_is_no_pass() -> Result<()> {
    for (living, dead) in [(60, 5), (2_000, 300), (40, 3_000)] {
        for gone in [20, 22, 25, 27, 29, 31, 35] {
            for_all(|watching| {
                // The next pass is hours away.
                let mut watched = Watched::new(watching, node(GcInterval::default(), 20_000.0))?;
                watched.node.add(TCP4, Kind::Open, 0, 500, 50_000.0);
                watched.node.add(TCP4, Kind::Open, 7, living + dead, 50_000.0);
                watched.node.close(TCP4, 7, dead, 50_000.0);
                watched.play(gone + 60, |_, _| {});
                watched.node.delete_pod(7);
                watched.play(100, |_, _| {});
                watched.ensure_true()
            })?;
        }
    }
    Ok(())
}

#[test]
fn a_flush_is_no_pass() -> Result<()> {
    for flushed in [20, 22, 25, 27, 29, 31, 35] {
        for_all(|watching| {
            let mut watched = Watched::new(watching, node(GcInterval::default(), 20_000.0))?;
            watched.node.add(TCP4, Kind::Open, 0, 3_000, 50_000.0);
            watched.play(flushed + 60, |node, now| churn(node, 5, now));
            watched.node.flush();
            watched.play(100, |node, now| {
                churn(node, 5, now);
                // What is open comes back with its next packet.
                node.add(TCP4, Kind::Open, 0, 20, now);
            });
            watched.ensure_true()
        })?;
    }
    Ok(())
}

#[test]
fn a_full_table_that_evicts_is_no_pass_and_no_pass_removes_more_than_was_there() -> Result<()> {
    for_all(|watching| {
        // No pass for as long as it takes to fill the table, then one.
        let mut watched = Watched::new(watching, node(fixed(10_000), 300.5))?;
        watched.play(420, |node, now| churn(node, 1_200, now));
        watched.ensure_true()?;
        ensure!(watched.node.evicted > 100_000, "{} evicted", watched.node.evicted);
        let real = watched.real(TCP4);
        let pass = real.first().context("no pass")?;
        if watching.counted {
            watched.ensure_found(TCP4, 1)?;
            let removed = watched.last(TCP4)?.last_removed.context("not told")?;
            let truth = pass.removed.first().copied().unwrap_or(0);
            ensure!(removed.abs_diff(truth) * 20 < truth, "{removed} told, really {truth}, {watching:?}");
        }
        Ok(())
    })
}

#[test]
fn where_nothing_dies_the_interval_does_not_grow() -> Result<()> {
    for_all(|watching| {
        let mut watched = Watched::new(watching, node(fixed(30), 10.0))?;
        watched.node.add(TCP4, Kind::Open, 0, 4_000, 50_000.0);
        watched.play(200, |node, now| churn(node, 20, now));
        // Nothing dies any more, then a little.
        watched.play(300, |_, _| {});
        watched.play(20, |node, now| churn(node, 20, now));
        watched.play(100, |_, _| {});
        watched.ensure_true()?;
        let mut longest = 0.0_f64;
        for told in &watched.told {
            for facts in told.facts.iter().flatten() {
                longest = longest.max(facts.interval.map_or(0.0, |interval| interval.as_secs_f64()));
            }
        }
        let blur = if watching.counted { 3.0 } else { 1.2 * watching.scan + 5.0 };
        ensure!(longest <= 30.0 + blur.max(watching.scan), "{longest} s told for 30 s, {watching:?}");
        Ok(())
    })
}

#[test]
fn maps_of_one_pass_share_what_they_know() -> Result<()> {
    for_all(|watching| {
        let mut watched = Watched::new(watching, node(fixed(120), 10.0))?;
        watched.play(900, |node, now| {
            node.add(TCP4, Kind::Closed, 1, 20, now);
            // Of these one dies now and then.
            if (now as u64).is_multiple_of(290) {
                node.add(ANY6, Kind::Stateless, 1, 1, now);
            }
        });
        watched.ensure_true()?;
        let (told, quiet) = (watched.last(TCP4)?, watched.last(ANY6)?);
        let (Some(told), Some(quiet)) = (told.interval, quiet.interval) else {
            ensure!(!watching.counted, "no interval: {told:?}, {quiet:?}");
            return Ok(());
        };
        ensure!(
            told.as_secs_f64() <= 125.0 + watching.scan && quiet.as_secs_f64() <= 125.0 + watching.scan,
            "{told:?}, {quiet:?}, {watching:?}"
        );
        Ok(())
    })
}

#[test]
fn passes_by_signal_are_told_and_of_one_family_only() -> Result<()> {
    for_all(|watching| {
        let mut watched = Watched::new(watching, node(fixed(20_000), 20_000.0))?;
        let both = |node: &mut Node, now: f64| {
            churn(node, 3_000, now);
            node.add(TCP6, Kind::Closed, 1, 50, now);
        };
        watched.play(100, both);
        ensure!(
            watched.told.is_empty() || watched.last(TCP4)?.passes == 0,
            "{:?}, {watching:?}",
            watched.last(TCP4)
        );
        // 90 in 16 s.
        watched.play(16, |node, now| {
            both(node, now);
            for part in 0..6 {
                node.signal(false, now + f64::from(part) / 6.0);
            }
        });
        watched.play(watching.scan as u32 + 8, both);
        watched.ensure_true()?;
        let facts = watched.last(TCP4)?;
        ensure!(facts.passes >= 1, "not seen at all: {watching:?}");
        if watching.counted || watching.scan <= 15.0 {
            let interval = facts.interval;
            ensure!(
                interval.is_none_or(|interval| interval.as_secs_f64() < 35.0 + watching.scan),
                "{facts:?} {watching:?}"
            );
        }
        ensure!(watched.last(TCP6)?.passes == 0, "{:?}", watched.last(TCP6));
        Ok(())
    })
}

#[test]
fn passes_under_load_are_told_with_their_times_and_numbers() -> Result<()> {
    for (seconds, rate) in [(30, 3_150), (45, 1_500), (300, 300)] {
        for_all(|watching| {
            let mut watched = Watched::new(watching, node(fixed(seconds), 21.0))?;
            watched.node.add(TCP4, Kind::Open, 0, 2_000, 50_000.0);
            watched.play(u32::try_from(seconds)? * 6, |node, now| churn(node, rate, now));
            watched.ensure_true()?;
            if watching.counted || watching.scan < seconds as f64 {
                watched.ensure_found(TCP4, 10)?;
                let facts = watched.last(TCP4)?;
                let interval = facts.interval.context("no interval")?.as_secs_f64();
                let blur = if watching.counted { 2.0 } else { watching.scan + 2.0 };
                ensure!((interval - seconds as f64).abs() <= blur, "{facts:?} for {seconds} s, {watching:?}");
                let removed = facts.last_removed.context("removed is not told")?;
                let truth = seconds * rate;
                let blur =
                    if watching.counted { truth / 10 } else { truth / 5 + watching.scan as u64 * rate };
                ensure!(removed.abs_diff(truth) <= blur, "{removed} for {truth}, {watching:?}");
            }
            Ok(())
        })?;
    }
    Ok(())
}

/// A small generator: the same seed plays the same node.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit.max(1)
    }
}

/// Deletions, closings and signals fall where chance puts them, every minute or two. A deleted pod that had everything dead
/// there is and nothing that lived cannot be told from a pass that a signal brought: how often that happens is bounded.
#[test]
fn whatever_happens_next_to_nothing_that_is_told_is_wrong() -> Result<()> {
    let all = watching();
    let mut wrong = Vec::new();
    for seed in 0..120_u64 {
        let mut dice = Dice(seed * 7_919 + 1);
        let watching =
            all.get(usize::try_from(dice.below(all.len() as u64))?).copied().context("no watching")?;
        let gc = match dice.below(3) {
            0 => GcInterval::default(),
            1 => fixed(30 + 15 * dice.below(8)),
            _ => GcInterval::capped(std::time::Duration::from_secs(120)),
        };
        let first = dice.below(300) as f64 + 0.25 * dice.below(4) as f64;
        let mut watched = Watched::new(watching, node(gc, first))?;
        watched.node.add(TCP4, Kind::Open, 0, 200 + dice.below(5_000), 50_000.0);
        watched.node.add(TCP6, Kind::Open, 0, dice.below(500), 50_000.0);
        let mut rate = dice.below(200);
        let mut story = Vec::new();
        watched.play(900, |node, now| {
            if dice.below(60) == 0 {
                rate = [0, 1, 20, 300, 2_000][usize::try_from(dice.below(5)).unwrap_or(0)];
                story.push(format!("{now}: {rate} a second"));
            }
            churn(node, rate, now);
            // Where nothing dies, a signal when a pass is due anyway cannot be told from one.
            node.add(TCP6, Kind::Closed, 2, 1 + rate / 50, now);
            if dice.below(40) == 0 {
                let (pod, open) = (3 + dice.below(4) as u8, dice.below(400));
                node.add(TCP4, Kind::Open, pod, open, now);
                node.add(ANY4, Kind::Stateless, pod, open / 4, now);
            }
            if dice.below(30) == 0 {
                node.close(TCP4, 3 + dice.below(4) as u8, dice.below(300), now);
            }
            if dice.below(150) == 0 {
                let pod = 3 + dice.below(4) as u8;
                story.push(format!("{now}: pod {pod} deleted"));
                node.delete_pod(pod);
            }
            if dice.below(400) == 0 {
                story.push(format!("{now}: signal"));
                node.signal(false, now);
            }
        });
        if let Err(error) = watched.ensure_true().with_context(|| format!("seed {seed}: {story:?}")) {
            wrong.push(format!("{error:#}"));
        }
    }
    println!("{} of 120 nodes: {wrong:#?}", wrong.len());
    ensure!(wrong.len() <= 6, "{} of 120 nodes were told something wrong", wrong.len());
    Ok(())
}
