//! What Cilium's collector does to this node, in plain words.
//!
//! In: a snapshot. Out: the rate at which connections end here, where that leads, and the one remedy.
//! Must not: judge: a quiet node drifts too, whether that hurts is for the alerts.

use std::time::Duration;

use monitor_abi::class::State;

use super::plateau::{Inflow, Interval, Plateau, plateau};
use crate::config::duration;
use crate::snapshot::{GcFacts, Snapshot};
use crate::source::cilium::pins::Table;

/// Dead entries pile up for at least this long before they tell a rate.
const TELLING: u64 = 60;
/// What the remedy is compared at: where Cilium's own rule starts.
const REMEDY: Duration = Duration::from_secs(300);

/// Where this node is heading.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Outlook {
    /// TCP connections that close a second.
    pub closing: f64,
    /// Entries of any kind that die a second.
    pub dying: f64,
    pub living: f64,
    /// At the interval's present rule.
    pub plateau: Plateau,
    /// With maps of twice the size.
    pub doubled: Plateau,
    /// With the remedy.
    pub remedied: Plateau,
    /// Whether Cilium's configuration fixes or caps the interval already.
    pub bounded: bool,
}

/// The outlook; `None` while dead entries do not tell yet how many die.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^52")]
pub fn outlook(snapshot: &Snapshot) -> Option<Outlook> {
    let (mut maps, mut living, mut closing) = (Vec::new(), 0, 0.0);
    for (map, present) in snapshot.present().filter(|(map, _)| map.map.is_conntrack()) {
        let scan = &present.scan;
        let oldest = scan.oldest_expired?;
        let dead = scan.count(|cell| cell.due.expired() == Some(true));
        living += scan.entries - dead;
        if oldest < TELLING {
            continue;
        }
        // What is dead now died since the oldest of it did.
        maps.push(Inflow { dying: dead as f64 / oldest as f64, capacity: f64::from(present.capacity) });
        if map.map.table == Table::CtTcp {
            let closed = scan.count(|cell| cell.due.expired() == Some(true) && cell.state == State::Closed);
            closing += closed as f64 / oldest as f64;
        }
    }
    let dying: f64 = maps.iter().map(|map| map.dying).sum();
    if dying <= 0.0 {
        return None;
    }
    let rule = configured(snapshot);
    let living = living as f64;
    let doubled: Vec<_> = maps.iter().map(|map| Inflow { capacity: map.capacity * 2.0, ..*map }).collect();
    Some(Outlook {
        closing,
        dying,
        living,
        plateau: plateau(living, &maps, rule),
        doubled: plateau(living, &doubled, rule),
        remedied: plateau(living, &maps, Interval::Fixed(REMEDY)),
        bounded: rule != Interval::Adaptive,
    })
}

/// What was seen of the collector's passes over one map, in words; `None` before the first.
#[must_use]
pub fn passes(gc: &GcFacts) -> Option<String> {
    let GcFacts { passes: _, last_pass_age, last_removed, interval } = gc;
    let seconds = |duration: &Duration| duration::format(Duration::from_secs(duration.as_secs()));
    let age = seconds(last_pass_age.as_ref()?);
    let removed = last_removed.map_or_else(String::new, |removed| format!(" and removed {removed}"));
    let apart =
        interval.map_or_else(String::new, |interval| format!(", passes are {} apart", seconds(&interval)));
    Some(format!("the collector's last pass over it was {age} ago{removed}{apart}"))
}

/// How Cilium's configuration says the interval is set; without a copy of it, its own rule.
fn configured(snapshot: &Snapshot) -> Interval {
    let set = |value: Option<Duration>| value.filter(|value| !value.is_zero());
    let agent = snapshot.agent.as_ref();
    match agent.map(|agent| (set(agent.gc_interval), set(agent.gc_max_interval))) {
        Some((Some(fixed), _)) => Interval::Fixed(fixed),
        Some((None, Some(cap))) => Interval::Capped(cap),
        _ => Interval::Adaptive,
    }
}

impl Outlook {
    /// The numbers, as one sentence after another.
    #[must_use]
    pub fn words(&self) -> String {
        let Self { closing, dying, living, plateau, doubled, remedied, bounded } = self;
        let rate = format!(
            "about {} connections close here a second, {} entries of any kind die, {living:.0} live",
            short(*closing),
            short(*dying)
        );
        let interval = |plateau: &Plateau| duration::format(whole_minutes(plateau.interval));
        if *bounded {
            return format!(
                "{rate}; at the configured interval of {} the tables hold {} entries at the most",
                interval(plateau),
                about(plateau.entries)
            );
        }
        let bigger = if doubled.entries > plateau.entries * 1.05 {
            format!("maps twice as big make it {} at {}", about(doubled.entries), interval(doubled))
        } else {
            "bigger maps do not help".to_owned()
        };
        format!(
            "{rate}; at this capacity Cilium's collector slows itself down to a pass every {} and the tables reach \
             {} entries, {bigger}; at a fixed 5m they hold {}",
            interval(plateau),
            about(plateau.entries),
            about(remedied.entries)
        )
    }

    /// Whether the collector's own rule makes the tables hold more dead entries than living ones.
    #[must_use]
    pub fn mostly_dead(&self) -> bool {
        !self.bounded && self.plateau.entries > self.living * 2.0
    }
}

fn whole_minutes(duration: Duration) -> Duration {
    if duration.as_secs() < 60 { duration } else { Duration::from_secs(duration.as_secs() / 60 * 60) }
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
mod tests {
    use super::*;

    #[test]
    fn passes_are_told_as_far_as_they_were_seen() {
        let gc = GcFacts {
            passes: 1,
            last_pass_age: Some(Duration::from_millis(750_900)),
            last_removed: Some(1_204),
            interval: None,
        };
        assert_eq!(passes(&GcFacts::default()), None);
        let once = "the collector's last pass over it was 12m30s ago and removed 1204";
        assert_eq!(passes(&gc).unwrap(), once);
        let again = GcFacts { interval: Some(Duration::from_secs(27_000)), ..gc };
        assert_eq!(passes(&again).unwrap(), format!("{once}, passes are 7h30m apart"));
    }

    fn outlook(bounded: bool) -> Outlook {
        let maps = [Inflow { dying: 1.0, capacity: 524_288.0 }, Inflow { dying: 0.3, capacity: 262_144.0 }];
        let doubled = maps.map(|map| Inflow { capacity: map.capacity * 2.0, ..map });
        let five = Interval::Fixed(REMEDY);
        let rule = if bounded { five } else { Interval::Adaptive };
        Outlook {
            closing: 1.0,
            dying: 1.3,
            living: 4_000.0,
            plateau: plateau(4_000.0, &maps, rule),
            doubled: plateau(4_000.0, &doubled, rule),
            remedied: plateau(4_000.0, &maps, five),
            bounded,
        }
    }

    #[test]
    fn the_incident_is_told_with_its_numbers() {
        let words = outlook(false).words();
        for part in [
            "about 1.00 connections close here a second",
            "a pass every 10h49m and the tables reach 54600 entries",
            "maps twice as big make it",
            "at a fixed 5m they hold 4390",
        ] {
            assert!(words.contains(part), "{part:?} is not in {words:?}");
        }
        assert!(outlook(false).mostly_dead());
    }

    #[test]
    fn a_bounded_interval_is_no_trouble() {
        let outlook = outlook(true);
        assert!(
            outlook.words().contains("at the configured interval of 5m the tables hold 4390"),
            "{}",
            outlook.words()
        );
        assert!(!outlook.mostly_dead());
    }
}
