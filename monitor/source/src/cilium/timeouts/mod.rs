//! Cilium's conntrack timeouts, as entries say them: lifetime less the last report.
//!
//! In: how many entries of each class show which value, map by map. Out: the timeouts in force, and how many entries break
//! the rule. Must not: assume a default (1.14 and 1.18 differ, and so do tuned nodes), or believe a single entry.
//!
//! A packet sets the lifetime to now and the timeout, and the last report is a report interval older at the most. So a
//! value is never below the timeout, and up to that interval above, but for a few: about one connection in 25,000 that is
//! reset on two processors at once keeps both closing bits and the lifetime of an open one.

use std::collections::BTreeMap;
use std::time::Duration;

use monitor_abi::timeout::Class;
use monitor_decode::timeouts::TimeoutCounts;
use monitor_model::clock::ClockNow;
use monitor_model::snapshot::{TimeoutFact, TimeoutSource};
use monitor_model::timeouts::{ROUNDING, TimeoutClass};

/// One part in this many of a class has to show a value or less before it counts: fewer are those that break the rule.
const PART: u64 = 20;

/// The timeouts in force, in clock units.
#[derive(Clone, Debug, Default)]
pub struct Timeouts {
    /// A class without entries keeps what its last ones showed.
    seen: BTreeMap<Class, u32>,
}

impl Timeouts {
    /// Takes over what all maps show at the moment.
    pub fn observe<'s>(&mut self, maps: impl Iterator<Item = &'s TimeoutCounts> + Clone) {
        for class in [Class::Tcp, Class::Syn, Class::ServiceTcp, Class::Any, Class::ServiceAny] {
            self.seen.extend(smallest(maps.clone(), class, u32::MAX).map(|units| (class, units)));
        }
        // Closed entries that keep the lifetime of open ones say nothing about how long closed ones are kept.
        let open = self.least_open().unwrap_or(u32::MAX);
        self.seen.extend(smallest(maps, Class::Fin, open).map(|units| (Class::Fin, units)));
    }

    /// What is known now, on the clock of the entries.
    #[must_use]
    pub fn facts(&self, clock: Option<ClockNow>) -> Vec<TimeoutFact> {
        let Some(clock) = clock else { return Vec::new() };
        let fact = |(&class, &units): (&Class, &u32)| {
            let class = named(class)?;
            Some(TimeoutFact { class, source: TimeoutSource::Entries, value: clock.duration(units.into())? })
        };
        let mut facts: Vec<_> = self.seen.iter().filter_map(fact).collect();
        facts.sort_by_key(|fact| fact.class);
        facts
    }

    /// Closed entries of a map that are kept for longer than closed ones are: by Cilium's configuration if that is known, and
    /// a report interval. `None` while nothing says how long that is.
    #[must_use]
    pub fn odd(
        &self,
        map: &TimeoutCounts,
        configured: Option<Duration>,
        interval: Duration,
        clock: Option<ClockNow>,
    ) -> Option<u64> {
        let clock = clock?;
        let units = |duration| Some(u32::try_from(clock.units_of_at_least(duration)?).unwrap_or(u32::MAX));
        let fin = configured.and_then(units).or_else(|| self.seen.get(&Class::Fin).copied());
        let most = match fin {
            Some(fin) => fin.saturating_add(units(interval)?).saturating_add(ROUNDING),
            None if map.of_class(Class::Fin).next().is_none() => u32::MAX,
            None => self.least_open()?.checked_sub(1)?,
        };
        // A lifetime before the report is torn, not long.
        let far = |units: u32| units > most && units.cast_signed() > 0;
        Some(map.of_class(Class::Fin).filter(|value| far(value.units)).map(|value| value.entries).sum())
    }

    fn least_open(&self) -> Option<u32> {
        [Class::Tcp, Class::ServiceTcp].iter().filter_map(|class| self.seen.get(class)).min().copied()
    }
}

/// What Cilium's configuration says, in the same words; keys that are not set say nothing.
pub fn configured(timeouts: &BTreeMap<TimeoutClass, Duration>) -> impl Iterator<Item = TimeoutFact> {
    let fact = |(&class, &value)| TimeoutFact { class, source: TimeoutSource::CiliumConfig, value };
    timeouts.iter().filter(|(class, _)| class.is_lifetime()).map(fact)
}

/// The smallest value below `bound` that, with those below it, one entry in [`PART`] of the class shows. `None` without
/// such entries, and where more showed other values than are counted.
fn smallest<'s>(maps: impl Iterator<Item = &'s TimeoutCounts>, class: Class, bound: u32) -> Option<u32> {
    let mut values: BTreeMap<u32, u64> = BTreeMap::new();
    let mut lost = 0;
    for map in maps {
        lost += map.lost.get(&class).copied().unwrap_or(0);
        for value in map.of_class(class).filter(|value| value.units < bound) {
            *values.entry(value.units).or_default() += value.entries;
        }
    }
    let entries: u64 = values.values().sum();
    if lost > entries {
        return None;
    }
    let mut so_far = 0;
    values.into_iter().find_map(|(units, shown)| {
        so_far += shown;
        (so_far * PART >= entries).then_some(units)
    })
}

const fn named(class: Class) -> Option<TimeoutClass> {
    match class {
        Class::Tcp => Some(TimeoutClass::Tcp),
        Class::Syn => Some(TimeoutClass::Syn),
        Class::Fin => Some(TimeoutClass::Fin),
        Class::ServiceTcp => Some(TimeoutClass::ServiceTcp),
        Class::Any => Some(TimeoutClass::Any),
        Class::ServiceAny => Some(TimeoutClass::ServiceAny),
        Class::None => None,
    }
}

#[cfg(test)]
mod tests;
