//! Which timeouts the entries of a map show, as a walk counted them.
//!
//! In: words of the walk's array, see `monitor_abi::timeout`. Out: how many entries of a class show which value. Must not:
//! say which of them is in force: that takes all maps.

use std::collections::BTreeMap;

use monitor_abi::scan::found;
use monitor_abi::timeout::{self, Class};

use crate::scan::RawScan;

/// Entries of one class and the value they show, in clock units.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeoutCount {
    pub class: Class,
    pub units: u32,
    pub entries: u64,
}

/// What the entries of one map show.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TimeoutCounts {
    pub values: Vec<TimeoutCount>,
    /// Entries that showed more different values than are counted.
    pub lost: BTreeMap<Class, u64>,
}

impl TimeoutCounts {
    /// What a walk counted.
    #[must_use]
    pub fn of(raw: &RawScan) -> Self {
        let values = Class::ALL.into_iter().flat_map(|class| {
            let places = raw.timeouts.get(timeout::row(class)).unwrap_or_default();
            places.iter().filter_map(move |word| {
                let (units, entries) = timeout::decode(*word)?;
                Some(TimeoutCount { class, units, entries })
            })
        });
        let lost = |class: Class| raw.word(found::LOST + class as usize);
        let lost = Class::ALL.into_iter().filter(|class| lost(*class) > 0).map(|class| (class, lost(class)));
        Self { values: values.collect(), lost: lost.collect() }
    }

    /// The values of one class.
    pub fn of_class(&self, class: Class) -> impl Iterator<Item = &TimeoutCount> {
        self.values.iter().filter(move |value| value.class == class)
    }
}
