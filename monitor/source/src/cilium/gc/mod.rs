//! Watches Cilium's garbage collection by what disappears.
//!
//! In: per conntrack map and walk how many entries are dead and since when; each second the kernel's own count, where
//! there is one. Out: passes, their age, what they removed, the time between them. Must not: read anything, or tell what
//! it cannot know: a pass that may have been a deleted pod is left out, and so is the interval around it.
//!
//! A pass goes through the maps of an address family one after the other, within moments, and takes every dead entry. So
//! those maps are looked at together: one that still holds what was dead before proves that there was none.

mod between;
mod falls;
mod sample;
mod verdict;

use std::collections::BTreeMap;
use std::time::Duration;

use monitor_model::float::float;
use monitor_model::map_name::MapName;
use monitor_model::snapshot::GcFacts;

use self::between::{Between, ONE_PASS, Pass, UNDER_WAY, by_counts, by_walks};
use self::falls::Trace;
pub use self::sample::Sample;

/// Entries from which on their common disappearance means something.
const SIGNIFICANT: u64 = 3;
/// The walk that decides is not waited for longer: where the count falls all the time none is better than another.
const LONGEST_WAIT: Duration = Duration::from_secs(90);
/// How exactly the next pass is foreseen.
const PUNCTUAL: f64 = 3.0;
/// Deaths older than this weigh half as much in how many die a second.
const HALF_LIFE: f64 = 120.0;
/// Deaths are counted for so many seconds before there is a rate.
const RATE_AFTER: f64 = 40.0;

/// All conntrack maps, from walk to walk.
#[derive(Debug, Default)]
pub struct GcWatch {
    maps: BTreeMap<MapName, MapWatch>,
    /// IPv4, IPv6.
    families: [Family; 2],
}

#[derive(Debug)]
struct MapWatch {
    /// A map that was re-created is another map.
    id: u32,
    /// The walk that is compared with, and the latest one.
    before: Option<Sample>,
    latest: Option<Sample>,
    trace: Trace,
    /// Entries the last pass removed.
    removed: Option<u64>,
    dying: Rate,
}

/// The passes over the maps of one address family.
#[derive(Clone, Copy, Debug, Default)]
struct Family {
    passes: u64,
    last: Option<Duration>,
    /// Those before it, the latest first.
    earlier: [Option<Duration>; 8],
    /// The time between two passes with none between them, and the one before that.
    waits: [Option<Duration>; 2],
    /// When something was that may have been a pass.
    doubt: Option<Duration>,
    /// The last pass was found in the other family.
    shared: bool,
}

/// Entries that die a second.
#[derive(Clone, Copy, Debug, Default)]
struct Rate {
    deaths: f64,
    seconds: f64,
}

impl GcWatch {
    /// Takes the kernel's count of a map's entries.
    pub fn count(&mut self, name: &MapName, id: u32, at: Duration, entries: u64) {
        if let Some(map) = self.maps.get_mut(name).filter(|map| map.id == id) {
            map.trace.add(at, entries);
        } else {
            let mut map = MapWatch::new(id);
            map.trace.add(at, entries);
            self.maps.insert(name.clone(), map);
        }
    }

    /// Takes the latest walk of every conntrack map: its id and what it saw. Walks taken before are skipped, unknown
    /// ones and absent maps end what was watched.
    pub fn observe<'a>(&mut self, walks: impl IntoIterator<Item = (&'a MapName, u32, Option<Sample>)>) {
        let mut present = Vec::new();
        for (name, id, latest) in walks {
            present.push(name);
            // Another map behind the pin begins anew.
            if self.maps.get(name).is_some_and(|map| map.id != id) {
                self.maps.remove(name);
            }
            let map = self.maps.entry(name.clone()).or_insert_with(|| MapWatch::new(id));
            match latest {
                Some(latest) if map.latest.is_some_and(|known| latest.at <= known.at) => {}
                Some(latest) => map.latest = Some(latest),
                None => *map = MapWatch::new(id),
            }
        }
        self.maps.retain(|name, _| present.contains(&name));
        let passed = [false, true].map(|v6| self.compare(v6));
        self.share(passed);
    }

    /// Compares the latest walks of a family's maps with those before. Whether that was decided, and when a pass was that was due.
    fn compare(&mut self, v6: bool) -> (bool, Option<Duration>) {
        let maps = || self.maps.iter().filter(|(name, _)| name.v6 == v6);
        let walks = || maps().filter_map(|(name, map)| Some((name, map, map.before?, map.latest?)));
        let walks: Vec<_> = walks().collect();
        let family = self.family(v6);
        let counted = walks.iter().all(|(_, map, before, _)| map.counted_since(before.at));
        let mut between = if counted { by_counts(&walks, &family) } else { Between::default() };
        let waited = walks.iter().map(|(_, _, before, latest)| latest.at.saturating_sub(before.at)).max();
        let ahead = || walks.iter().any(|(_, map, before, latest)| map.is_behind(before, latest));
        if counted && waited < Some(LONGEST_WAIT) && (between.under_way || ahead()) {
            return (false, None);
        }
        // Passes that follow each other faster than counts are read leave no fall.
        if !walks.is_empty() && between.passes.is_empty() && !between.disturbed && between.doubt.is_none() {
            between = by_walks(&walks, &family);
        }
        (true, self.record(v6, between))
    }

    /// Writes down what was between the walks; the latest are those to compare with from now on.
    fn record(&mut self, v6: bool, between: Between) -> Option<Duration> {
        let Between { passes, doubt, disturbed, under_way: _ } = between;
        let mut family = self.family(v6);
        let mut due = None;
        for pass in &passes {
            due = family.foresees(pass.at).then_some(pass.at);
            family.pass(pass.at, pass.oldest, &self.family(!v6));
        }
        if let Some(doubt) = doubt {
            family.doubt = Some(doubt);
        }
        if let Some(place) = self.families.get_mut(usize::from(v6)) {
            *place = family;
        }
        for (name, map) in self.maps.iter_mut().filter(|(name, _)| name.v6 == v6) {
            let Some(latest) =
                map.latest.filter(|latest| map.before.is_none_or(|before| before.at < latest.at))
            else {
                continue;
            };
            let of_map = |pass: &Pass| pass.removed.get(name).copied();
            if let Some(last) = passes.last() {
                map.removed = of_map(last);
            }
            if let Some(before) = map.before.replace(latest)
                && !disturbed
                && doubt.is_none()
            {
                let removed: u64 = passes.iter().filter_map(of_map).sum();
                map.dying.add(&before, &latest, removed);
            }
            map.trace.forget(latest.at);
        }
        due
    }

    /// A pass that was due goes through both families: it counts for the other too, where nothing may have been dead.
    /// One that a signal brought goes through its own.
    fn share(&mut self, passed: [(bool, Option<Duration>); 2]) {
        for (v6, other) in [(false, passed.last()), (true, passed.first())] {
            let own = passed.get(usize::from(v6));
            let (Some(&(_, Some(at))), Some(&(true, None))) = (other, own) else { continue };
            let maps =
                || self.maps.iter().filter(|(name, _)| name.v6 == v6).filter_map(|(_, map)| map.latest);
            let stayed = |latest: Sample| {
                let since = verdict::seconds(latest.at.saturating_sub(at)) + latest.unit + 1;
                latest.dead > 0 && latest.oldest > since
            };
            let mut family = self.family(v6);
            if maps().next().is_none()
                || maps().any(stayed)
                || family.last.is_some_and(|last| last + ONE_PASS >= at)
            {
                continue;
            }
            let other = self.family(!v6);
            family.passes += 1;
            family.shared = true;
            (family.last, family.waits, family.doubt) = (Some(at), other.waits, other.doubt);
            if let Some(place) = self.families.get_mut(usize::from(v6)) {
                *place = family;
            }
            for (_, map) in self.maps.iter_mut().filter(|(name, _)| name.v6 == v6) {
                map.removed = None;
            }
        }
    }

    fn family(&self, v6: bool) -> Family {
        self.families.get(usize::from(v6)).copied().unwrap_or_default()
    }

    /// What is known of a map's passes at `now`.
    #[must_use]
    pub fn facts(&self, name: &MapName, now: Duration) -> Option<GcFacts> {
        let map = self.maps.get(name)?;
        map.latest?;
        let Family { passes, last, waits: [wait, before], earlier: _, doubt: _, shared: _ } =
            self.family(name.v6);
        // For so long there was no pass for certain: what would have been taken is there.
        let family = self.maps.iter().filter(|(other, _)| other.v6 == name.v6);
        let proven = family.filter_map(|(_, map)| map.latest).map(|latest| {
            let waited = Duration::from_secs(latest.oldest);
            if latest.dead > 0 { waited + now.saturating_sub(latest.at) } else { Duration::ZERO }
        });
        let proven = proven.max().unwrap_or_default();
        Some(GcFacts {
            passes,
            last_pass_age: last.map(|last| now.saturating_sub(last)),
            last_removed: last.and(map.removed),
            interval: wait.map(|wait| wait.max(proven)),
            interval_before: before,
            dying: map.dying.known(),
        })
    }
}

impl Family {
    fn pass(&mut self, at: Duration, oldest: Duration, other: &Self) {
        let known = self.last.is_some_and(|last| at.abs_diff(last) <= ONE_PASS);
        if std::mem::take(&mut self.shared) && known {
            return;
        }
        let wait = self.last.map(|last| at.saturating_sub(last));
        // Another pass between the two would have taken what was dead by then. Where the interval stays, or grows by half as
        // Cilium lets it, that leaves no room for one once something was dead for five eighths of the time.
        let doubted = self.doubt.is_some_and(|doubt| self.last.is_none_or(|last| doubt > last));
        // The other family saw one in between, of which nothing here says that it went through that family alone.
        let between = |passed: Duration| {
            self.last.is_some_and(|last| passed > last + ONE_PASS && passed + ONE_PASS < at)
                && oldest < at.saturating_sub(passed) + ONE_PASS
        };
        let doubted =
            doubted || other.last.iter().chain(other.earlier.iter().flatten()).copied().any(between);
        if let Some(wait) = wait.filter(|wait| oldest * 8 > *wait * 5 && !doubted) {
            self.waits = [Some(wait), self.waits.first().copied().flatten()];
        }
        self.passes += 1;
        self.earlier.rotate_right(1);
        if let Some(first) = self.earlier.first_mut() {
            *first = self.last;
        }
        self.last = Some(at);
    }

    /// Whether a pass is due at this instant, by the interval or by half as much again.
    fn foresees(&self, at: Duration) -> bool {
        let (Some(last), [Some(wait), _]) = (self.last, self.waits) else { return false };
        let [at, wait] = [at.saturating_sub(last), wait].map(|time| time.as_secs_f64());
        [wait, wait * 1.5].iter().any(|due| (at - due).abs() <= PUNCTUAL)
    }
}

impl MapWatch {
    fn new(id: u32) -> Self {
        Self {
            id,
            before: None,
            latest: None,
            trace: Trace::default(),
            removed: None,
            dying: Rate::default(),
        }
    }

    /// Whether the kernel's counts reach from then to the latest walk.
    fn counted_since(&self, walk: Duration) -> bool {
        self.trace
            .last()
            .is_some_and(|(at, _)| at + UNDER_WAY >= self.latest.map_or(walk, |latest| latest.at))
    }

    /// Whether the walk lacks what the count does not lack yet.
    fn is_behind(&self, before: &Sample, latest: &Sample) -> bool {
        let lacking = before.surely_dead(0).max(SIGNIFICANT) / 2 + self.trace.came(2);
        self.trace.last().is_some_and(|(_, counted)| latest.entries + lacking < counted)
    }
}

impl Rate {
    fn add(&mut self, before: &Sample, latest: &Sample, removed: u64) {
        let elapsed = latest.at.saturating_sub(before.at).as_secs_f64();
        let died = float(latest.dead + removed) - float(before.dead);
        let kept = 0.5_f64.powf(elapsed / HALF_LIFE);
        self.deaths = self.deaths * kept + died.max(0.0);
        self.seconds = self.seconds * kept + elapsed;
    }

    fn known(&self) -> Option<f64> {
        (self.seconds >= RATE_AFTER).then(|| self.deaths / self.seconds)
    }
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
mod tests;
