//! What was between two walks of an address family's maps: passes, or something else.
//!
//! In: the walks, the kernel's counts between them, what is known of the passes before. Out: the passes found. Must not:
//! remember: what comes of it is for the watch.

use std::collections::BTreeMap;
use std::time::Duration;

use monitor_model::float::float;
use monitor_model::map_name::MapName;

use super::falls::Fall;
use super::sample::Sample;
use super::verdict::{self, Opinion, Suspicion};
use super::{Family, MapWatch, SIGNIFICANT, rounded};

/// Falls of several maps that begin so close to each other are one pass.
pub(super) const ONE_PASS: Duration = Duration::from_secs(3);
/// A walk so soon after a fall may have met the pass on its way through the maps: the next one decides.
pub(super) const UNDER_WAY: Duration = Duration::from_secs(2);

/// A pass, and what it removed by map.
pub(super) struct Pass {
    pub(super) at: Duration,
    pub(super) removed: BTreeMap<MapName, u64>,
    /// How long the oldest of what it took had been dead.
    pub(super) oldest: Duration,
}

/// What was between two walks of a family's maps.
#[derive(Default)]
pub(super) struct Between {
    pub(super) passes: Vec<Pass>,
    pub(super) doubt: Option<Duration>,
    /// Something else than a pass removed entries.
    pub(super) disturbed: bool,
    /// The last of it was right before the walk, which may have met a pass half-way.
    pub(super) under_way: bool,
}

pub(super) type Walks<'a> = [(&'a MapName, &'a MapWatch, Sample, Sample)];

/// Falls of several maps that are close enough to be of one pass.
type Event<'a> = (Suspicion, BTreeMap<&'a MapName, Fall>);

/// By the falls of the kernel's counts, those of several maps together.
pub(super) fn by_counts(walks: &Walks<'_>, family: &Family) -> Between {
    let mut between = Between::default();
    for (when, falls) in events(walks) {
        let previous = between.passes.last().map(|pass: &Pass| pass.at);
        let when = Suspicion { follows: previous, ..when };
        let opinion = |(name, map, before, after): &(&MapName, &MapWatch, Sample, Sample)| {
            verdict::by_count(before, after, falls.get(name), &map.trace, when)
        };
        // When the count was read the first time after it: within a second of the pass.
        let at = when.from + when.until.saturating_sub(when.from).min(Duration::from_secs(1)) / 2;
        match together(walks.iter().map(opinion), || family.foresees(at)) {
            Verdict::Passed => {
                let removed = walks.iter().map(|(name, _, _, after)| {
                    let removed =
                        falls.get(name).map_or(0, |fall| fall.removed().min(fall.before + fall.blur()));
                    ((*name).clone(), removed.min(after.capacity))
                });
                let removed = removed.collect();
                let aged = |(_, _, before, _): &(&MapName, &MapWatch, Sample, Sample)| {
                    let since = at.saturating_sub(before.at);
                    let dead = (before.dead > 0).then(|| Duration::from_secs(before.oldest) + since);
                    let closing = (before.closing > 0).then(|| since.saturating_sub(Duration::from_secs(11)));
                    dead.max(closing)
                };
                // A pass after another one within the same walks took what died since.
                let oldest = match previous {
                    Some(previous) => at.saturating_sub(previous),
                    None => walks.iter().filter_map(aged).max().unwrap_or_default(),
                };
                between.passes.push(Pass { at, removed, oldest });
            }
            Verdict::Doubt => {
                between.doubt = Some(at);
                between.under_way |= is_recent(when, walks);
            }
            Verdict::No => {
                between.under_way |= is_recent(when, walks);
                // What is a few entries in a map of many disturbs nothing.
                between.disturbed |= walks.iter().any(|(name, _, before, _)| {
                    falls
                        .get(name)
                        .is_some_and(|fall| fall.removed() * 2 > before.surely_dead(0).max(SIGNIFICANT))
                });
            }
        }
    }
    between
}

/// What may have been a pass, one after the other.
fn events<'w>(walks: &'w Walks<'_>) -> Vec<Event<'w>> {
    let mut events: Vec<Event<'w>> = Vec::new();
    for (name, fall) in falls(walks) {
        let near = |when: &Suspicion| fall.from <= when.from + ONE_PASS;
        if let Some((when, maps)) =
            events.last_mut().filter(|(when, maps)| near(when) && !maps.contains_key(name))
        {
            when.until = when.until.max(fall.until);
            maps.insert(name, fall);
        } else {
            let when = Suspicion { from: fall.from, until: fall.until, follows: None };
            events.push((when, BTreeMap::from([(name, fall)])));
        }
    }
    events
}

/// The falls between the walks that no eviction explains, the earliest first.
fn falls<'w>(walks: &'w Walks<'_>) -> Vec<(&'w MapName, Fall)> {
    let mut all = Vec::new();
    for (name, map, before, after) in walks {
        let unexplained =
            |fall: &Fall| fall.removed() >= 1 && !is_eviction(fall, before.capacity) && fall.from <= after.at;
        let falls = map.trace.since(before.at).into_iter().filter(unexplained);
        all.extend(falls.map(|fall| (*name, fall)));
    }
    all.sort_by_key(|(_, fall)| fall.from);
    all
}

fn is_recent(when: Suspicion, walks: &Walks<'_>) -> bool {
    walks.iter().any(|(.., after)| when.until + UNDER_WAY > after.at)
}

/// By the walks alone.
pub(super) fn by_walks(walks: &Walks<'_>, family: &Family) -> Between {
    let opinions = walks.iter().map(|(_, _, before, after)| verdict::by_walks(before, after));
    let first = walks.iter().map(|(_, _, before, _)| before.at).min().unwrap_or_default();
    let latest = walks.iter().map(|(.., after)| after.last_chance()).min().unwrap_or_default().max(first);
    // Where many die, the first death that is left follows the pass at once; where few do, it may have been any time.
    let busy = walks
        .iter()
        .any(|(_, map, before, _)| before.closing > 1 || map.dying.known().is_some_and(|rate| rate > 0.5));
    let at = if busy { latest } else { first + latest.saturating_sub(first) / 2 };
    match together(opinions, || family.foresees(at)) {
        Verdict::No => Between::default(),
        Verdict::Doubt => Between { doubt: Some(at), ..Between::default() },
        Verdict::Passed => {
            let removed = walks.iter().map(|(name, map, before, _)| {
                let since = at.saturating_sub(before.at).as_secs_f64();
                // What died after the walk was never seen dead, but went with the rest.
                let rate = map.dying.known().unwrap_or(0.0).max(float(before.closing) / 10.0);
                let removed = before.dead + rounded(rate * since);
                ((*name).clone(), removed.min(before.entries).min(before.capacity))
            });
            let removed = removed.collect();
            let elapsed = walks.iter().map(|(_, _, before, after)| after.at.saturating_sub(before.at)).max();
            let elapsed = elapsed.unwrap_or_default();
            // The oldest went with the first pass after the walk. Where there may have been two since, it was that one.
            let single = family.last.is_some_and(|last| at.saturating_sub(last) + UNDER_WAY >= elapsed * 2);
            let until = if single { at.saturating_sub(first) } else { Duration::ZERO };
            let oldest = walks.iter().filter(|(_, _, before, _)| before.dead > 0);
            let oldest = oldest.map(|(_, _, before, _)| Duration::from_secs(before.oldest) + until).max();
            let pass = Pass { at, removed, oldest: oldest.unwrap_or_default() };
            Between { passes: vec![pass], disturbed: true, ..Between::default() }
        }
    }
}

/// What the maps say together.
enum Verdict {
    No,
    Doubt,
    Passed,
}

fn together(opinions: impl Iterator<Item = Opinion>, foreseen: impl Fn() -> bool) -> Verdict {
    let opinions: Vec<_> = opinions.collect();
    let says = |opinion| opinions.contains(&opinion);
    if says(Opinion::Against) {
        return Verdict::No;
    }
    let doubtful = says(Opinion::Doubtful) || (says(Opinion::Perhaps) && !says(Opinion::For));
    match (doubtful, says(Opinion::For)) {
        (true, _) if foreseen() => Verdict::Passed,
        (true, _) => Verdict::Doubt,
        (false, true) => Verdict::Passed,
        (false, false) => Verdict::No,
    }
}

/// A full map makes room a few hundred entries at a time.
fn is_eviction(fall: &Fall, capacity: u64) -> bool {
    fall.before * 10 >= capacity * 9 && fall.removed() <= 256 + fall.blur() + capacity / 50
}
