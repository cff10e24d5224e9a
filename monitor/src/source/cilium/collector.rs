//! Watches Cilium's garbage collector by what disappears between two scans.
//!
//! In: per conntrack map and scan how many entries are dead and since when. Out: passes, their age, what they removed,
//! the time between them. Must not: read anything, or take a refreshed or evicted entry for a pass.
//!
//! How a pass shows in counts: an entry that was dead at one scan is dead for longer at the next, unless something
//! took it. The collector takes every dead entry at once, so that the oldest one left has died since. Three other
//! things take dead entries away: a new packet (only a SYN revives a closed entry), eviction (from the end of the LRU
//! list, of the living too), and the removal of a pod (of its entries, living too). None of them takes all dead
//! entries of a map and leaves the living ones, unless there are next to none: a map with too few to be sure of is
//! believed only where another map saw a pass at the same time, since the collector goes through all maps in one pass.

use std::collections::BTreeMap;
use std::time::Duration;

use monitor_abi::class::{Direction, State};

use super::pins::MapName;
use crate::snapshot::{GcFacts, MapScan};

/// Dead entries that are neither closed nor RELATED, from which on their common disappearance is a pass.
const TELLING: u64 = 3;
/// Living entries from which on their disappearance, together with the dead, tells of a flush.
const FLUSH_FROM: u64 = 16;

/// What one walk says of a map's dead entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// When the walk was made.
    pub at: Duration,
    pub living: u64,
    pub dead: u64,
    /// Dead entries with both closing bits: traffic does not bring them back.
    pub dead_closed: u64,
    /// Dead RELATED entries: every new connection between their two ends writes them anew.
    pub dead_related: u64,
    /// Seconds since the first of them died, 0 without any.
    pub oldest: u64,
    /// Seconds of one unit of the lifetimes' clock, rounded up: ages are known to that only.
    pub unit: u64,
}

/// All conntrack maps, from scan to scan.
#[derive(Debug, Default)]
pub struct CollectorWatch {
    maps: BTreeMap<MapName, MapWatch>,
}

#[derive(Debug)]
struct MapWatch {
    /// A map that was re-created is another map.
    id: u32,
    seen: Seen,
    /// Entries that die per second, from the last two scans without a pass between them.
    dying: f64,
    passes: u64,
    last: Option<Pass>,
    before_last: Option<Duration>,
}

#[derive(Clone, Copy, Debug)]
struct Pass {
    at: Duration,
    removed: u64,
}

/// What happened between two walks of a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    NoPass,
    /// All dead entries went, but so few that traffic may have taken them.
    Perhaps,
    Pass,
}

impl Seen {
    /// What a walk counted; `None` while the clock is unknown, and for NAT maps.
    #[must_use]
    pub fn of(scan: &MapScan, unit: u64, _capacity: u64) -> Option<Self> {
        let oldest = scan.oldest_expired?;
        let dead = |pass: &dyn Fn(Direction, State) -> bool| {
            scan.count(|cell| cell.due.expired() == Some(true) && pass(cell.direction, cell.state))
        };
        let all = dead(&|_, _| true);
        Some(Self {
            at: scan.monotonic,
            living: scan.entries.saturating_sub(all),
            dead: all,
            dead_closed: dead(&|direction, state| state == State::Closed && direction != Direction::Related),
            dead_related: dead(&|direction, _| direction == Direction::Related),
            oldest,
            unit,
        })
    }

    /// What lies between this walk and the next one.
    fn until(&self, next: &Self) -> Verdict {
        let elapsed = next.at.saturating_sub(self.at).as_secs();
        // Whatever was dead for longer than a unit is told apart from what died since.
        let tellable = self.dead > 0 && self.oldest > 2 * self.unit;
        let all_gone = next.dead == 0 || next.oldest <= elapsed + self.unit;
        let flushed = self.living >= FLUSH_FROM && next.living < self.living / 4;
        if !tellable || !all_gone || flushed {
            return Verdict::NoPass;
        }
        let others = self.dead.saturating_sub(self.dead_closed + self.dead_related);
        if self.dead_closed > 0 || others >= TELLING { Verdict::Pass } else { Verdict::Perhaps }
    }

    /// When the pass between this walk and the next one was: just before the first death that it left.
    fn pass_before(&self, next: &Self) -> Duration {
        if next.dead == 0 {
            return self.at + next.at.saturating_sub(self.at) / 2;
        }
        next.at.saturating_sub(Duration::from_secs(next.oldest)).max(self.at)
    }
}

impl CollectorWatch {
    /// Takes the latest walk of every conntrack map: its id and what it saw. Walks taken before are skipped, unknown
    /// ones and absent maps end what was watched.
    pub fn observe<'a>(&mut self, walks: impl IntoIterator<Item = (&'a MapName, u32, Option<Seen>)>) {
        let mut uncertain = Vec::new();
        let mut present = Vec::new();
        for (name, id, seen) in walks {
            present.push(name);
            let Some(seen) = seen else {
                self.maps.remove(name);
                continue;
            };
            match self.maps.get_mut(name).filter(|map| map.id == id) {
                None => {
                    let fresh = MapWatch { id, seen, dying: 0.0, passes: 0, last: None, before_last: None };
                    self.maps.insert(name.clone(), fresh);
                }
                Some(map) if seen.at <= map.seen.at => {}
                Some(map) => match map.seen.until(&seen) {
                    Verdict::NoPass => map.quiet(seen),
                    Verdict::Pass => map.pass(seen),
                    Verdict::Perhaps => uncertain.push((name, seen)),
                },
            }
        }
        for (name, seen) in uncertain {
            let during = |map: &MapWatch, from: Duration| map.last.is_some_and(|pass| pass.at >= from);
            let from = self.maps.get(name).map_or(seen.at, |map| map.seen.at);
            let confirmed = self.maps.values().any(|map| during(map, from));
            let Some(map) = self.maps.get_mut(name) else { continue };
            if confirmed { map.pass(seen) } else { map.quiet(seen) }
        }
        self.maps.retain(|name, _| present.contains(&name));
    }

    pub fn count(&mut self, _name: &MapName, _id: u32, _at: Duration, _entries: u64) {}

    /// What is known of a map's passes at `now`.
    #[must_use]
    pub fn facts(&self, name: &MapName, now: Duration) -> Option<GcFacts> {
        let map = self.maps.get(name)?;
        let age = map.last.map(|pass| now.saturating_sub(pass.at));
        let between = map.last.zip(map.before_last).map(|(last, before)| last.at.saturating_sub(before));
        Some(GcFacts {
            passes: map.passes,
            last_pass_age: age,
            last_removed: map.last.map(|pass| pass.removed),
            // A pass that is late says that the interval has grown since.
            interval: between.zip(age).map(|(between, age)| between.max(age)),
        })
    }
}

impl MapWatch {
    fn quiet(&mut self, seen: Seen) {
        let elapsed = seen.at.saturating_sub(self.seen.at).as_secs_f64();
        if elapsed > 0.0 && seen.dead >= self.seen.dead {
            self.dying = as_f64(seen.dead - self.seen.dead) / elapsed;
        }
        self.seen = seen;
    }

    fn pass(&mut self, seen: Seen) {
        let at = self.seen.pass_before(&seen);
        // What died between the last walk and the pass was never seen dead, but went with the rest.
        let unseen = self.dying * at.saturating_sub(self.seen.at).as_secs_f64();
        let removed = self.seen.dead + rounded(unseen);
        self.before_last = self.last.map(|pass| pass.at);
        self.last = Some(Pass { at, removed });
        self.passes += 1;
        self.seen = seen;
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^52")]
fn as_f64(count: u64) -> f64 {
    count as f64
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a rate that is not negative times seconds of one interval"
)]
fn rounded(count: f64) -> u64 {
    count.round() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::cilium::clock::{Clock, Reading};
    use crate::source::cilium::pins;

    fn tcp() -> MapName {
        pins::global_maps().remove(0)
    }

    fn any() -> MapName {
        pins::global_maps().remove(1)
    }

    /// A walk at `at` that saw 100 living entries and this many dead ones.
    fn walk(at: u64, dead_closed: u64, dead_related: u64, others: u64, oldest: u64) -> Seen {
        let dead = dead_closed + dead_related + others;
        let at = Duration::from_secs(at);
        Seen { at, living: 100, dead, dead_closed, dead_related, oldest, unit: 1 }
    }

    fn passes(watch: &CollectorWatch, name: &MapName) -> u64 {
        watch.facts(name, Duration::from_secs(10_000)).unwrap().passes
    }

    /// Passes counted over these walks of one map.
    fn count(walks: &[Seen]) -> u64 {
        let mut watch = CollectorWatch::default();
        for seen in walks {
            watch.observe([(&tcp(), 7, Some(*seen))]);
        }
        passes(&watch, &tcp())
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
        assert_eq!(count(&[walk(0, 1, 0, 0, 2), walk(15, 0, 0, 0, 0)]), 0, "too young to be told");
    }

    #[test]
    fn what_one_map_cannot_tell_another_confirms() {
        let mut watch = CollectorWatch::default();
        let (few, many) = (walk(0, 0, 4, 0, 200), walk(0, 30, 0, 0, 250));
        watch.observe([(&any(), 1, Some(few)), (&tcp(), 2, Some(many))]);
        let after = walk(15, 0, 0, 0, 0);
        watch.observe([(&any(), 1, Some(after)), (&tcp(), 2, Some(after))]);
        assert_eq!((passes(&watch, &any()), passes(&watch, &tcp())), (1, 1));
    }

    #[test]
    fn a_flush_and_another_map_behind_the_pin_are_no_pass() {
        let flushed = Seen { living: 3, ..walk(15, 0, 0, 0, 0) };
        assert_eq!(count(&[walk(0, 50, 0, 0, 200), flushed]), 0);
        let mut watch = CollectorWatch::default();
        watch.observe([(&tcp(), 7, Some(walk(0, 50, 0, 0, 200)))]);
        watch.observe([(&tcp(), 8, Some(walk(15, 0, 0, 0, 0)))]);
        assert_eq!(passes(&watch, &tcp()), 0);
        watch.observe([(&tcp(), 8, None)]);
        assert_eq!(watch.facts(&tcp(), Duration::ZERO), None, "no clock, nothing known");
    }

    #[test]
    fn before_the_second_pass_the_interval_is_unknown_and_a_late_pass_lengthens_it() {
        let mut watch = CollectorWatch::default();
        let facts = |watch: &CollectorWatch, at| watch.facts(&tcp(), Duration::from_secs(at)).unwrap();
        for seen in [walk(0, 5, 0, 0, 200), walk(15, 0, 0, 0, 0), walk(300, 30, 0, 0, 280)] {
            watch.observe([(&tcp(), 7, Some(seen))]);
        }
        assert_eq!((facts(&watch, 300).last_removed, facts(&watch, 300).interval), (Some(5), None));
        watch.observe([(&tcp(), 7, Some(walk(315, 1, 0, 0, 5)))]);
        // The passes were at 7.5 (between two scans) and 310.
        assert_eq!(facts(&watch, 320).interval, Some(Duration::from_millis(302_500)));
        assert_eq!(facts(&watch, 320).last_pass_age, Some(Duration::from_secs(10)));
        assert_eq!(facts(&watch, 910).interval, Some(Duration::from_secs(600)));
    }

    /// A table that only the collector cleans, on either clock, scanned every 15 s: every pass is found, and the time
    /// between two of them to within a scan.
    fn simulate(reading: impl Fn(u64) -> Reading, unit: u64) {
        const SCAN: u64 = 15;
        const CAPACITY: f64 = 147_295.0;
        let mut watch = CollectorWatch::default();
        let mut lifetimes = std::collections::VecDeque::new();
        let (mut interval, mut next_pass, mut real) = (300_u64, 300_u64, Vec::new());
        for second in 0..90_000_u64 {
            let now = reading(second);
            if second % 2 == 0 {
                // One closed connection every two seconds: it lives 10 s more.
                lifetimes
                    .push_back(now.now + u32::try_from(now.units(Duration::from_secs(10)).unwrap()).unwrap());
            }
            if second == next_pass {
                let before = lifetimes.len();
                lifetimes.retain(|lifetime: &u32| !now.expired(*lifetime).unwrap());
                let removed = before - lifetimes.len();
                let share = f64::from(u32::try_from(removed).unwrap()) / CAPACITY;
                real.push((second, interval, removed));
                if share > 0.0 && share < 0.05 {
                    interval = (interval * 3).div_ceil(2).min(43_200);
                }
                next_pass = second + interval;
            }
            if second % SCAN != 7 {
                continue;
            }
            // They die in the order in which they came.
            let dead = lifetimes.partition_point(|lifetime| now.expired(*lifetime).unwrap()) as u64;
            let first = lifetimes.front().filter(|_| dead > 0);
            let oldest = first.map_or(0, |lifetime| -now.seconds_left(*lifetime).unwrap());
            let seen = Seen {
                at: Duration::from_secs(second),
                living: 4_000,
                dead,
                dead_closed: dead,
                dead_related: 0,
                oldest: u64::try_from(oldest).unwrap(),
                unit,
            };
            watch.observe([(&tcp(), 7, Some(seen))]);
            let facts = watch.facts(&tcp(), seen.at).unwrap();
            assert_eq!(facts.passes, real.len() as u64, "at {second} s");
            let (Some(&(last, interval, removed)), true) = (real.last(), real.len() > 1) else { continue };
            let near = |found: Duration, expected: u64, within: u64| {
                assert!(found.as_secs().abs_diff(expected) <= within, "{found:?} at {second}: {expected}");
            };
            near(facts.last_pass_age.unwrap(), second - last, SCAN);
            near(facts.interval.unwrap(), interval.max(second - last), SCAN);
            assert!(
                facts.last_removed.unwrap().abs_diff(removed as u64) <= SCAN,
                "removed {removed}: {facts:?}"
            );
        }
        assert!(real.len() >= 11, "{real:?}");
    }

    #[test]
    fn passes_and_interval_of_a_simulated_collector_are_found_within_one_scan() {
        simulate(|second| Reading::ktime(50_000 + u32::try_from(second).unwrap()), 1);
        for hz in [100, 250, 1000] {
            let jiffies = |second: u64| u32::try_from((70_000_000 + second * u64::from(hz)) >> 8).unwrap();
            simulate(
                |second| Reading { mode: Clock::Jiffies, now: jiffies(second), hz },
                256_u64.div_ceil(hz.into()),
            );
        }
    }
}
