//! A simulated node as ctmon sees it: a walk now and then, the kernel's count each second.
//!
//! In: the node, when its maps are walked and whether the kernel counts. Out: what ctmon says beside the truth.
//! Must not: tell ctmon more than a walk or the kernel's counter would.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use monitor_abi::class::{Direction, Due, Protocol, State};
use monitor_model::map_name::{self, MapName};
use monitor_model::snapshot::{Cell, GcFacts, MapScan};
use monitor_source::cilium::gc::{GcWatch, Sample};
use support::simulate::gc::{Kind, Node, Pass};

/// Steps of a second.
const STEPS: u32 = 4;
/// The clock when the simulation begins: no instant is 0.
const START: f64 = 50_000.0;

/// How the node is watched.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Watching {
    /// Seconds between two walks, and the first of them.
    pub scan: f64,
    pub phase: f64,
    /// Whether the kernel's own count is read each second.
    pub counted: bool,
}

/// The node and who watches it.
pub(crate) struct Watched {
    pub node: Node,
    watching: Watching,
    watch: GcWatch,
    names: [MapName; 4],
    step: u32,
    next_scan: f64,
    next_count: f64,
    /// What was told, once after each walk.
    pub told: Vec<Told>,
}

/// What is told of the four maps at an instant.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Told {
    pub at: f64,
    pub facts: [Option<GcFacts>; 4],
}

impl Watched {
    pub(crate) fn new(watching: Watching, node: Node) -> Result<Self> {
        let mut names = map_name::global_maps();
        names.truncate(4);
        let names = names.try_into().ok().context("four maps")?;
        Ok(Self {
            node,
            watching,
            watch: GcWatch::default(),
            names,
            step: 0,
            next_scan: START + watching.phase,
            next_count: START + 0.1,
            told: Vec::new(),
        })
    }

    /// The instant on the clock of lifetimes.
    pub(crate) fn now(&self) -> f64 {
        START + f64::from(self.step) / f64::from(STEPS)
    }

    /// Plays so many seconds; `each` runs at the start of every whole one.
    pub(crate) fn play(&mut self, seconds: u32, mut each: impl FnMut(&mut Node, f64)) {
        for step in 0..seconds * STEPS {
            let now = self.now();
            if step.is_multiple_of(STEPS) {
                each(&mut self.node, now);
            }
            self.node.advance(now);
            let walks = now >= self.next_scan;
            // The daemon reads the counts right before it walks, too.
            if self.watching.counted && (now >= self.next_count || walks) {
                self.next_count = now + 1.0;
                for (index, name) in self.names.iter().enumerate() {
                    self.watch.count(name, 1, at(now), self.node.count(index));
                }
            }
            if walks {
                self.next_scan += self.watching.scan;
                self.scan(now);
            }
            self.step += 1;
        }
    }

    fn scan(&mut self, now: f64) {
        let seen: Vec<_> = (0..self.names.len()).map(|map| self.look(map, now)).collect();
        self.watch.observe(self.names.iter().zip(&seen).map(|(name, seen)| (name, 1, *seen)));
        let [tcp4, any4, tcp6, any6] = self.names.each_ref().map(|name| self.watch.facts(name, at(now)));
        self.told.push(Told { at: now, facts: [tcp4, any4, tcp6, any6] });
    }

    /// What a walk counts, through the classes it counts in.
    fn look(&self, map: usize, now: f64) -> Option<Sample> {
        let mut cells: Vec<Cell> = Vec::new();
        let mut oldest = 0;
        for (cohort, left, entries) in self.node.walk(map, now) {
            oldest = oldest.max(u64::try_from(-left).unwrap_or(0));
            let (direction, state) = match cohort.kind {
                Kind::Open => (Direction::Out, State::Established),
                Kind::Closed => (Direction::Out, State::Closed),
                Kind::Stateless => (Direction::Out, State::Stateless),
                Kind::Related => (Direction::Related, State::Stateless),
            };
            let protocol = if map.is_multiple_of(2) { Protocol::Tcp } else { Protocol::Udp };
            let due = due(left);
            cells.push(Cell { direction, state, due, protocol, entries });
        }
        let capacity = if map.is_multiple_of(2) { CAPACITY } else { CAPACITY / 2 };
        Sample::of(&scan(cells, at(now), oldest), 1, capacity)
    }

    /// The passes that took something from this map.
    pub(crate) fn real(&self, map: usize) -> Vec<&Pass> {
        self.node
            .passes
            .iter()
            .filter(|pass| pass.removed.get(map).is_some_and(|removed| *removed > 0))
            .collect()
    }

    /// How far a told pass may be from the real one, in seconds.
    fn blur(&self) -> f64 {
        if self.watching.counted { 2.5 } else { self.watching.scan + 2.0 }
    }

    /// No report is wrong: no pass that did not take place, no age of another pass, no more entries removed than
    /// there were, no interval that never was in force. What is unknown may be missing.
    pub(crate) fn ensure_true(&self) -> Result<()> {
        for told in &self.told {
            for (map, facts) in told.facts.iter().enumerate() {
                let Some(facts) = facts else { continue };
                self.ensure_true_of(map, told.at, facts).with_context(|| {
                    format!("map {map} at {}: {facts:?}, {:?}", told.at - START, self.watching)
                })?;
            }
        }
        Ok(())
    }

    fn ensure_true_of(&self, map: usize, now: f64, facts: &GcFacts) -> Result<()> {
        let family = map / 2;
        let real: Vec<&Pass> = self
            .node
            .passes
            .iter()
            .filter(|pass| pass.at <= now && pass.families.get(family) == Some(&true))
            .collect();
        let times = || real.iter().map(|pass| pass.at - START).collect::<Vec<_>>();
        ensure!(facts.passes <= real.len() as u64, "{} passes, really {:?}", facts.passes, times());
        if let Some(age) = facts.last_pass_age {
            let when = now - age.as_secs_f64();
            let near = real.iter().min_by(|a, b| (a.at - when).abs().total_cmp(&(b.at - when).abs()));
            let near = near.context("a pass before the first")?;
            ensure!((near.at - when).abs() <= self.blur(), "at {}, really {:?}", when - START, times());
        }
        if let Some(removed) = facts.last_removed {
            ensure!(removed <= CAPACITY, "removed {removed} of {CAPACITY}");
        }
        if let Some(interval) = facts.interval {
            let interval = interval.as_secs_f64();
            // The wait that is under way counts once it is the longer one.
            let waits = real.windows(2).filter_map(|pair| Some(pair.last()?.at - pair.first()?.at));
            let open = real.last().map(|last| now - last.at);
            let known = waits.chain(open).any(|wait| (wait - interval).abs() <= 2.0 * self.blur() + 1.0);
            let late = open.is_some_and(|open| interval <= open + self.blur());
            ensure!(known || late, "interval {interval}, really {:?}", times());
        }
        Ok(())
    }

    /// Every pass that removed at least so many entries from the map was reported, and the last number removed is
    /// nearly right.
    pub(crate) fn ensure_found(&self, map: usize, at_least: u64) -> Result<()> {
        let told = self.told.last().context("never walked")?;
        let facts = told.facts.get(map).copied().flatten().context("nothing known")?;
        let first = self.told.first().map_or(0.0, |told| told.at);
        let of_map = |pass: &Pass| pass.removed.get(map).copied().unwrap_or(0);
        let real: Vec<&Pass> = self
            .real(map)
            .into_iter()
            // The last pass may wait for one more walk.
            .filter(|pass| pass.at > first && pass.at < told.at - 6.0 && of_map(pass) >= at_least)
            .collect();
        let list: Vec<_> = real.iter().map(|pass| (pass.at - START, of_map(pass))).collect();
        ensure!(
            facts.passes >= real.len() as u64,
            "{} passes of map {map} told, really {list:?}, {:?}",
            facts.passes,
            self.watching
        );
        Ok(())
    }

    /// What was told of a map at the end.
    pub(crate) fn last(&self, map: usize) -> Result<GcFacts> {
        self.told.last().and_then(|told| told.facts.get(map).copied().flatten()).context("nothing known")
    }
}

/// Entries of the TCP maps at the most: that of a small node's.
pub(crate) const CAPACITY: u64 = 131_072;

/// The class of an entry with so many seconds left.
pub(crate) fn due(left: i64) -> Due {
    match left {
        ..=-43_200 => Due::Overdue12h,
        -43_199..=-3_600 => Due::Overdue1h,
        -3_599..=-600 => Due::Overdue10m,
        -599..=-1 => Due::Overdue,
        0..=10 => Due::Within10s,
        11..=60 => Due::Within60s,
        _ => Due::Within8000s,
    }
}

/// A walk that counted these.
pub(crate) fn scan(cells: Vec<Cell>, at: Duration, oldest: u64) -> MapScan {
    MapScan {
        monotonic: at,
        cost: Duration::ZERO,
        interval: Duration::ZERO,
        entries: cells.iter().map(|cell| cell.entries).sum(),
        cells,
        oldest_expired: Some(oldest),
        implausible: 0,
        odd_flags: 0,
        odd_nexthdr: 0,
        no_report: 0,
        odd_lifetimes: None,
    }
}

fn at(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

/// Every way to watch: with and without the kernel's count, walks from 1 s to 60 s apart, at several phases.
pub(crate) fn watching() -> Vec<Watching> {
    let mut all = Vec::new();
    for counted in [true, false] {
        for scan in [1.0, 5.0, 15.0, 30.0, 60.0] {
            for part in 0..4 {
                let phase = scan * f64::from(part) / 4.0;
                all.push(Watching { scan, phase, counted });
            }
        }
    }
    all
}
