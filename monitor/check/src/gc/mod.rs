//! What Cilium's gc does to this node, in plain words.
//!
//! In: a snapshot. Out: its passes, the rate at which entries die here, where that leads map by map, and what helps, which
//! depends on how the interval is set. Must not: judge: a quiet node drifts too, whether that hurts is for the alerts. Nor
//! advise what changes nothing.

pub mod steady_state;

use std::time::Duration;

use monitor_abi::class::State;
use monitor_model::duration;
use monitor_model::float::float;
use monitor_model::map_name::Table;
use monitor_model::snapshot::{MapState, PresentMap, Snapshot, ratio};

use self::steady_state::{Inflow, Interval, SteadyState, next_interval, steady_state};

/// One snapshot shows how many die a second once something has been dead for so long, or so many are.
const TELLING_AGE: u64 = 60;
const TELLING_COUNT: u64 = 30;
/// What is closed lives on for so long.
const CLOSED: u64 = 10;
/// What other intervals are compared with: where Cilium's own rule starts.
const FIVE: Duration = Duration::from_secs(300);
/// Longer than Cilium ever waits.
const NEVER: Duration = Duration::from_secs(46_800);
/// A difference below this is none.
const WORTH: f64 = 1.1;
/// Nor is one of fewer entries.
const FEW: f64 = 100.0;
/// A map that fills further between two passes may be too small.
const CROWDED: f64 = 0.25;

/// Where this node is heading.
#[derive(Clone, Debug, PartialEq)]
pub struct Outlook {
    rule: Rule,
    interval: Option<Duration>,
    before: Option<Duration>,
    last_pass: Option<Duration>,
    last_removed: Option<u64>,
    /// TCP connections that close a second, as far as it is known.
    closing: f64,
    /// The maps of which it is known how many die.
    maps: Vec<MapOutlook>,
    /// Those that hold something, of which nothing is known yet.
    unknown: Vec<String>,
    /// How long the oldest dead entry of the node has been dead.
    oldest: Duration,
    /// The longest interval that comes back at the present rule.
    settled: Duration,
}

/// Where one map is heading.
#[derive(Clone, Debug, PartialEq)]
struct MapOutlook {
    name: String,
    table: Table,
    dying: f64,
    capacity: f64,
    /// At the most, right before a pass: as it is, with a fixed 5m, with maps twice as big.
    settles: f64,
    at_five: f64,
    doubled: f64,
}

/// How the interval is set, and how that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rule {
    /// Cilium's configuration says so.
    Configured(Interval),
    /// Passes keep their distance where Cilium's own rule would change it.
    Observed(Duration),
    /// Neither is known: Cilium's own rule.
    Default,
}

/// What helps a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Help {
    /// Passes have stopped.
    Agent,
    /// A fixed interval in place of Cilium's own rule.
    Fix,
    /// A shorter one in place of the one that is configured.
    Shorten,
    /// The map is what is too small.
    Size,
    /// Nothing has to.
    Nothing,
    /// It is not known yet what would.
    Unknown,
}

impl Rule {
    fn of(snapshot: &Snapshot) -> Self {
        let set = |value: Option<Duration>| value.filter(|value| !value.is_zero());
        let agent = snapshot.agent.as_ref();
        match agent.map(|agent| (set(agent.gc_interval), set(agent.gc_max_interval))) {
            Some((Some(fixed), _)) => Self::Configured(Interval::Fixed(fixed)),
            Some((None, Some(cap))) => Self::Configured(Interval::Capped(cap)),
            Some((None, None)) => Self::Configured(Interval::Adaptive),
            None => kept(snapshot).map_or(Self::Default, Self::Observed),
        }
    }

    const fn interval(self) -> Interval {
        match self {
            Self::Configured(interval) => interval,
            Self::Observed(interval) => Interval::Fixed(interval),
            Self::Default => Interval::Adaptive,
        }
    }
}

/// The interval, if it stayed as it was although what the last pass removed would have changed it.
fn kept(snapshot: &Snapshot) -> Option<Duration> {
    let facts = || conntrack(snapshot).filter_map(|(_, present)| Some((present, present.gc?)));
    let (interval, before) = facts().find_map(|(_, gc)| gc.interval.zip(gc.interval_before))?;
    let share = facts()
        .filter_map(|(present, gc)| Some(ratio(gc.last_removed?, present.capacity.into())))
        .fold(0.0, f64::max);
    let [now, before] = [interval, before].map(|time| time.as_secs_f64());
    // As exact as the time between passes is known.
    let near = |a: f64, b: f64| (a - b).abs() <= 3.0 + 0.05 * b;
    (near(now, before) && !near(next_interval(before, share), before))
        .then(|| Duration::from_secs_f64(now.round()))
}

fn conntrack(snapshot: &Snapshot) -> impl Iterator<Item = (&MapState, &PresentMap)> {
    snapshot.present().filter(|(map, _)| map.map.is_conntrack())
}

fn dead(present: &PresentMap) -> u64 {
    present.scan.count(|cell| cell.due.expired() == Some(true))
}

/// Entries that die a second; `None` while it is unknown.
fn dying(map: &MapState, present: &PresentMap) -> Option<f64> {
    if let Some(counted) = present.gc.and_then(|gc| gc.dying) {
        return Some(counted);
    }
    let oldest = present.scan.oldest_expired?;
    let dead = dead(present);
    // What is dead now died since the oldest of it did; what is closed now dies within the next 10 s.
    let (died, within) = if map.map.table == Table::CtTcp {
        let closing =
            present.scan.count(|cell| cell.state == State::Closed && cell.due.expired() == Some(false));
        (dead + closing, oldest + CLOSED)
    } else {
        (dead, oldest)
    };
    let telling = oldest >= TELLING_AGE || (died >= TELLING_COUNT && within >= CLOSED);
    (telling && died > 0).then(|| float(died) / float(within))
}

/// The outlook; `None` while no conntrack map is read, or the clock is unknown.
#[must_use]
pub fn outlook(snapshot: &Snapshot) -> Option<Outlook> {
    let (mut names, mut inflows, mut unknown, mut closing) = (Vec::new(), Vec::new(), Vec::new(), 0.0);
    for (map, present) in conntrack(snapshot) {
        present.scan.oldest_expired?;
        let living = float(present.scan.entries.saturating_sub(dead(present)));
        let Some(dying) = dying(map, present) else {
            if present.scan.entries > 0 {
                unknown.push(map.map.name.clone());
            }
            continue;
        };
        if map.map.table == Table::CtTcp {
            closing += dying;
        }
        names.push(map);
        inflows.push(Inflow { living, dying, capacity: f64::from(present.capacity) });
    }
    let seconds = conntrack(snapshot).filter_map(|(_, present)| present.scan.oldest_expired).max()?;
    let rule = Rule::of(snapshot);
    let gc = conntrack(snapshot).filter_map(|(_, present)| present.gc);
    let gc = gc.filter(|gc| gc.last_pass_age.is_some()).min_by_key(|gc| gc.last_pass_age);
    let interval = gc.and_then(|gc| gc.interval);
    let run = |maps: &[Inflow], rule| steady_state(maps, rule, interval);
    let doubled: Vec<_> = inflows.iter().map(|map| Inflow { capacity: map.capacity * 2.0, ..*map }).collect();
    let present = run(&inflows, rule.interval());
    let five = run(&inflows, Interval::Fixed(FIVE));
    let doubled = run(&doubled, rule.interval());
    let at = |end: &SteadyState, index: usize| end.entries.get(index).copied().unwrap_or_default();
    let maps = names.iter().zip(&inflows).enumerate().map(|(index, (map, inflow))| MapOutlook {
        name: map.map.name.clone(),
        table: map.map.table,
        dying: inflow.dying,
        capacity: inflow.capacity,
        settles: at(&present, index),
        at_five: at(&five, index),
        doubled: at(&doubled, index),
    });
    Some(Outlook {
        rule,
        interval,
        before: gc.and_then(|gc| gc.interval_before),
        last_pass: gc.and_then(|gc| gc.last_pass_age),
        last_removed: gc.map(|_| removed(snapshot)),
        closing,
        maps: maps.collect(),
        unknown,
        oldest: Duration::from_secs(seconds),
        settled: present.interval,
    })
}

/// What the last pass took from all maps.
fn removed(snapshot: &Snapshot) -> u64 {
    conntrack(snapshot).filter_map(|(_, present)| present.gc?.last_removed).sum()
}

impl Outlook {
    /// All of it in one line: the last pass, the interval and its trend, what happens if nothing is done, what a fixed 5m
    /// would change.
    #[must_use]
    pub fn words(&self) -> String {
        format!("{}; {}; {}", self.passes(), self.rates(), self.forecast())
    }

    /// What was seen of passes, and how the interval is set.
    #[must_use]
    pub fn passes(&self) -> String {
        let last = match (self.last_pass, self.last_removed) {
            (Some(age), Some(removed)) => {
                format!(
                    "the collector's last pass was {} ago and removed {removed}",
                    duration::format_seconds(age)
                )
            }
            (Some(age), None) => {
                format!("the collector's last pass was {} ago", duration::format_seconds(age))
            }
            (None, _) if self.oldest.is_zero() => "no pass of the collector was seen yet".to_owned(),
            (None, _) => format!(
                "no pass of the collector was seen yet, and of what is dead the oldest since {}",
                duration::format_seconds(self.oldest)
            ),
        };
        let apart = self.interval.map_or_else(String::new, |interval| {
            let trend = match self.before {
                Some(before) if interval > before + before / 10 => {
                    format!(" and grow ({} before)", duration::format_seconds(before))
                }
                Some(before) if interval + before / 10 < before => {
                    format!(" and shrink ({} before)", duration::format_seconds(before))
                }
                Some(_) => ", as before".to_owned(),
                None => String::new(),
            };
            format!(", passes are {} apart{trend}", duration::format_seconds(interval))
        });
        let set = match self.rule {
            Rule::Configured(Interval::Fixed(interval)) => {
                format!(", the configuration says {}", duration::format(interval))
            }
            Rule::Configured(Interval::Capped(cap)) => {
                format!(", the configuration says at most {}", duration::format(cap))
            }
            Rule::Observed(_) => ": a fixed interval".to_owned(),
            Rule::Configured(Interval::Adaptive) | Rule::Default => String::new(),
        };
        format!("{last}{apart}{set}")
    }

    fn rates(&self) -> String {
        let known: f64 = self.maps.iter().map(|map| map.dying).sum();
        let missing = if self.unknown.is_empty() {
            String::new()
        } else {
            format!(" (of {} not known yet)", self.unknown.join(", "))
        };
        if self.maps.is_empty() {
            return format!("how many entries die a second is not known yet{missing}");
        }
        format!(
            "about {} connections close here a second, {} entries of any kind die{missing}",
            short(self.closing),
            short(known)
        )
    }

    /// Where it leads, map by map.
    #[must_use]
    pub fn forecast(&self) -> String {
        if self.maps.is_empty() {
            return "where that leads is not known yet".to_owned();
        }
        let each = |number: fn(&MapOutlook) -> f64| {
            let settling = self.maps.iter().filter(|map| map.settles >= 1.0);
            settling
                .map(|map| format!("{} about {}", map.name, about(number(map))))
                .collect::<Vec<_>>()
                .join(", ")
        };
        let present = format!(
            "if nothing changes, passes settle at {} apart and the maps hold at the most {}",
            whole_minutes(self.settled),
            each(|map| map.settles)
        );
        let differs = |a: fn(&MapOutlook) -> f64| {
            self.maps.iter().any(|map| (a(map) - map.settles).abs() > (WORTH - 1.0) * map.settles + FEW)
        };
        let five = if differs(|map| map.at_five) {
            format!("at a fixed 5m {}", each(|map| map.at_five))
        } else {
            "a fixed 5m would change nothing".to_owned()
        };
        let bigger = if self.maps.iter().any(|map| map.doubled > map.settles * WORTH + FEW) {
            format!("; maps twice as big would hold {}", each(|map| map.doubled))
        } else {
            String::new()
        };
        format!("{present}, {five}{bigger}")
    }

    /// What helps one map; empty where nothing needs to be done.
    #[must_use]
    pub fn advice(&self, map_name: &str) -> String {
        let map = self.maps.iter().find(|map| map.name == map_name);
        self.help(map).words(self, map)
    }

    /// What helps the node, where its maps fill with dead entries or will; empty where nothing does.
    #[must_use]
    pub fn general_advice(&self) -> String {
        let heaviest = self.maps.iter().max_by(|a, b| a.share().total_cmp(&b.share()));
        let worth = heaviest.is_some_and(|map| map.settles > map.at_five * WORTH + FEW);
        match self.help(heaviest) {
            help @ Help::Agent => help.words(self, heaviest),
            help @ (Help::Fix | Help::Shorten) if worth => help.words(self, heaviest),
            Help::Fix | Help::Shorten | Help::Size | Help::Unknown | Help::Nothing => String::new(),
        }
    }

    fn help(&self, map: Option<&MapOutlook>) -> Help {
        let fixed = match self.rule {
            Rule::Configured(Interval::Fixed(interval)) | Rule::Observed(interval) => Some(interval),
            Rule::Configured(_) | Rule::Default => None,
        };
        let late = fixed.map_or(NEVER, |fixed| (fixed * 3).max(FIVE));
        if self.oldest > late {
            return Help::Agent;
        }
        // The oldest dead entry proves how long there was no pass, whoever saw one.
        let apart = self.interval.unwrap_or_default().max(self.oldest);
        let Some(map) = map else { return if apart > FIVE { Help::Fix } else { Help::Unknown } };
        if map.settles > map.at_five * WORTH {
            return if fixed.is_some() { Help::Shorten } else { Help::Fix };
        }
        if map.settles > map.capacity * CROWDED { Help::Size } else { Help::Nothing }
    }
}

impl MapOutlook {
    /// How much of the map is dead at the most, if nothing changes.
    fn share(&self) -> f64 {
        (self.settles - self.at_five).abs() / self.capacity.max(1.0)
            + self.settles / self.capacity.max(1.0) / 1e3
    }
}

impl Help {
    fn words(self, outlook: &Outlook, map: Option<&MapOutlook>) -> String {
        match self {
            Self::Agent => format!(
                "nothing was collected for {}: see whether the agent runs and has endpoints on this node (`cilium-dbg \
                 status`, and \"garbage collector\" in its log)",
                duration::format_seconds(outlook.oldest)
            ),
            Self::Fix => {
                "the remedy is a fixed or capped interval of Cilium's collector: `conntrackGCInterval: 5m` \
                          (Helm) or `conntrack-gc-max-interval`; a bigger map makes it worse"
                    .to_owned()
            }
            Self::Shorten => {
                "the interval is fixed, and longer than this load allows: `conntrackGCInterval: 5m`; a \
                              bigger map only holds more of what is dead"
                    .to_owned()
            }
            Self::Size => {
                let names = map.map_or(Table::CtTcp, |map| map.table).aliases();
                let worse = map.is_some_and(|map| map.at_five > map.settles * WORTH + FEW);
                let five = if worse { "a fixed 5m would make it worse" } else { "a fixed 5m would not help" };
                format!(
                    "what dies between two passes is what the map holds: fewer connections (`ctmon top` tells who opens \
                     them) or a bigger map ({names}) help, {five}"
                )
            }
            Self::Nothing => String::new(),
            Self::Unknown => {
                "what would help is not known yet: two passes tell, or the running daemon (--daemon), or \
                              Cilium's configuration (--cilium-config)"
                    .to_owned()
            }
        }
    }
}

fn whole_minutes(time: Duration) -> String {
    let seconds = time.as_secs();
    duration::format(Duration::from_secs(if seconds < 600 { seconds } else { seconds / 60 * 60 }))
}

/// A prediction to three digits: more would claim to know the next hours.
fn about(entries: f64) -> String {
    let unit = 10_f64.powf((entries.max(1.0).log10().floor() - 2.0).max(0.0));
    format!("{:.0}", (entries / unit).round() * unit)
}

fn short(rate: f64) -> String {
    if rate >= 10.0 { format!("{rate:.0}") } else { format!("{rate:.2}") }
}

#[cfg(test)]
mod tests;
