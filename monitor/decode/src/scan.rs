//! What a walk counted, as the kernel side counts it.
//!
//! In: a record and arrays of counters, see `monitor_abi::cell` and `monitor_abi::scan`; the clock of the walk. Out: cells
//! with names, seconds, targets. Must not: take a counter for something that no entry can be.

use std::time::Duration;

use monitor_abi::cell::{MAX_PAIRS, decode_map_cell, decode_target_cell, longest_unanswered};
use monitor_abi::class::{Due, State};
use monitor_abi::scan::found;
use monitor_model::clock::{ClockNow, Clocks};
use monitor_model::map_name::MapName;
use monitor_model::snapshot::{Cell, MapScan, SilentEntries, TargetCell, TargetState};
use monitor_model::target::TargetIndex;

/// What one walk counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawScan {
    /// `scan::found` words.
    pub found: [u64; found::LEN],
    /// `cell::map_cell` counters.
    pub cells: Vec<u64>,
    /// `cell::target_cell` counters; empty where targets were not asked for.
    pub target_cells: Vec<u64>,
    /// Entries by the timeout they show, see `monitor_abi::timeout`; nothing for NAT maps.
    pub timeouts: Vec<u64>,
    /// `read` calls the walk took.
    pub reads: u64,
}

impl RawScan {
    /// A word of the record.
    #[must_use]
    pub fn word(&self, index: usize) -> u64 {
        self.found.get(index).copied().unwrap_or(0)
    }

    #[must_use]
    pub fn clocks(&self) -> Clocks {
        Clocks { ktime_ns: self.word(found::KTIME_NS), jiffies: self.word(found::JIFFIES) }
    }
}

/// A target counter with its classes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PairCell {
    pub pair: usize,
    pub state: State,
    /// For too long, see `monitor_abi::silence`.
    pub silent: bool,
    pub expired: bool,
    pub entries: u64,
}

/// The targets' counters of one walk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PairCells {
    /// Without the empty ones.
    pub cells: Vec<PairCell>,
    /// The longest silence of an unanswered entry, of pairs that have some.
    pub longest: Vec<(usize, Duration)>,
}

/// What one walk counted, without the empty cells.
#[must_use]
pub fn map_scan(
    name: &MapName,
    raw: &RawScan,
    reading: ClockNow,
    monotonic: Duration,
    cost: Duration,
    interval: Duration,
) -> MapScan {
    let mut implausible = 0;
    let mut cells: Vec<Cell> = Vec::new();
    for (index, entries) in (0_u32..).zip(&raw.cells).filter(|(_, entries)| **entries > 0) {
        // A torn element may carry any bits, but its classes are always members of the enums.
        let Some((direction, state, due, protocol)) = decode_map_cell(index) else { continue };
        if matches!(due, Due::Ancient | Due::Far) {
            implausible += entries;
        }
        let cell = Cell { direction, state, due: due.shown(), protocol, entries: *entries };
        match cells.iter_mut().find(|known| Cell { entries: 0, ..**known } == Cell { entries: 0, ..cell }) {
            Some(known) => known.entries += entries,
            None => cells.push(cell),
        }
    }
    let overdue = raw.word(found::LEAST_LEFT).cast_signed().min(0).unsigned_abs();
    MapScan {
        monotonic,
        cost,
        interval,
        entries: cells.iter().map(|cell| cell.entries).sum(),
        implausible,
        cells,
        oldest_expired: if name.is_conntrack() { reading.seconds(overdue) } else { None },
        odd_flags: raw.word(found::ODD_FLAGS),
        odd_nexthdr: raw.word(found::ODD_NEXTHDR),
        no_report: raw.word(found::NO_REPORT),
        odd_lifetimes: None,
    }
}

/// What one walk counted of the targets.
#[must_use]
pub fn pair_cells(raw: &RawScan, reading: ClockNow) -> PairCells {
    let counted = (0_u32..).zip(&raw.target_cells).filter(|(_, entries)| **entries > 0);
    let cells = counted.filter_map(|(index, entries)| {
        let (pair, state, silent, expired) = decode_target_cell(index)?;
        Some(PairCell { pair, state, silent, expired, entries: *entries })
    });
    let longest = (0_u32..).zip(0..MAX_PAIRS).filter_map(|(number, pair)| {
        let units = raw.target_cells.get(longest_unanswered(number) as usize).filter(|units| **units > 0)?;
        Some((pair, reading.duration(*units)?))
    });
    PairCells { cells: cells.collect(), longest: longest.collect() }
}

/// Sums the walks by target and service.
#[must_use]
pub fn target_states<'a>(
    index: &TargetIndex,
    walks: &(impl Iterator<Item = &'a PairCells> + Clone),
    decided: bool,
) -> Vec<TargetState> {
    let build = |(pair, (target, service)): (usize, (&str, &str))| {
        let mine = || walks.clone().flat_map(|walk| &walk.cells).filter(move |cell| cell.pair == pair);
        let sum = |pass: &dyn Fn(&PairCell) -> bool| {
            mine().filter(|cell| pass(cell)).map(|cell| cell.entries).sum::<u64>()
        };
        let expiries: &[Option<bool>] = if decided { &[Some(false), Some(true)] } else { &[None] };
        let cells = State::ALL.iter().flat_map(|&state| {
            expiries.iter().map(move |&expired| TargetCell {
                state,
                expired,
                entries: sum(&|cell| {
                    cell.state == state && expired.is_none_or(|expired| cell.expired == expired)
                }),
            })
        });
        let longest = walks.clone().flat_map(|walk| &walk.longest).filter(|(known, _)| *known == pair);
        let silent = || SilentEntries {
            lingering_closed: sum(&|cell| cell.silent && cell.state == State::Closed),
            lingering_half_closed: sum(&|cell| cell.silent && cell.state.is_half_closed()),
            unanswered: sum(&|cell| cell.silent && cell.state == State::Opening),
            longest_unanswered: longest.map(|(_, silent)| *silent).max(),
        };
        TargetState {
            target: target.to_owned(),
            service: service.to_owned(),
            cells: cells.collect(),
            silent: decided.then(silent),
        }
    };
    index.pairs().enumerate().map(build).collect()
}

#[cfg(test)]
mod tests {
    use monitor_abi::cell::{CHUNK, MAP_CHUNKS, TARGET_CHUNKS};
    use monitor_model::clock::Clock;
    use monitor_model::map_name::global_maps;
    use monitor_model::target::TargetSpec;
    use proptest::prelude::*;
    use proptest::{array, collection};

    use super::*;

    proptest! {
        #[test]
        fn any_counters_are_decoded_into_partitions_that_hold(
            cells in collection::vec((0..CHUNK * MAP_CHUNKS, 0..1_000_u64), 0..200),
            owned in collection::vec((0..CHUNK * TARGET_CHUNKS, 0..1_000_u64), 0..200),
            found in array::uniform32(any::<u64>()),
            hz in prop_oneof![Just(0_u32), Just(100), Just(250), any::<u32>()],
            mode in prop_oneof![Just(Clock::Undecided), Just(Clock::Ktime), Just(Clock::Jiffies)],
        ) {
            let mut raw = RawScan {
                found: std::array::from_fn(|word| found[word]),
                cells: vec![0; CHUNK * MAP_CHUNKS],
                target_cells: vec![0; CHUNK * TARGET_CHUNKS],
                timeouts: vec![0; CHUNK],
                reads: 1,
            };
            for (cell, entries) in cells {
                raw.cells[cell] += entries;
            }
            for (cell, entries) in owned {
                raw.target_cells[cell] += entries;
            }
            let name = &global_maps()[0];
            let reading = ClockNow { mode, now: 5, hz };
            let scan = map_scan(name, &raw, reading, Duration::ZERO, Duration::ZERO, Duration::ZERO);

            // What no entry can be is in no partition; everything else is in exactly one cell of it.
            let numbers = (0_u32..).zip(&raw.cells);
            let real: u64 =
                numbers.filter(|(cell, _)| decode_map_cell(*cell).is_some()).map(|(_, entries)| entries).sum();
            prop_assert_eq!(scan.entries, real);
            prop_assert_eq!(scan.count(|_| true), real);
            let expiries = [None, Some(false), Some(true)];
            let by_expiry: u64 =
                expiries.iter().map(|wanted| scan.count(|cell| cell.due.expired() == *wanted)).sum();
            prop_assert_eq!(by_expiry, real);
            prop_assert!(scan.cells.iter().all(|cell| cell.due == cell.due.shown()));
            prop_assert!(scan.implausible <= real);

            let pairs = pair_cells(&raw, reading);
            let index = TargetIndex::new(vec![TargetSpec {
                name: "all".to_owned(),
                prefixes: vec!["0.0.0.0/0".parse().unwrap()],
                services: Vec::new(),
            }]).unwrap();
            for decided in [false, true] {
                let states = target_states(&index, &[&pairs].into_iter(), decided);
                let mine = || pairs.cells.iter().filter(|cell| cell.pair == 0);
                prop_assert_eq!(states.len(), 1);
                prop_assert_eq!(states[0].count(|_| true), mine().map(|cell| cell.entries).sum::<u64>());
                prop_assert_eq!(states[0].silent.is_some(), decided);
                if let Some(silent) = states[0].silent {
                    let judged = mine().filter(|cell| cell.silent && (cell.state.is_stale() || cell.state == State::Opening));
                    let sum: u64 = judged.map(|cell| cell.entries).sum();
                    prop_assert_eq!(silent.lingering() + silent.unanswered, sum);
                }
            }
        }
    }
}
