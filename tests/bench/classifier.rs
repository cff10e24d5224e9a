//! What a scan counts, counted in user space: the work that batch and key-by-key reads are measured with.
//!
//! In: keys and values as the kernel hands them out. Out: the same counters as a scan's.
//! Must not: do less than the programs do; [`Classifier::check`] compares every counter.

use anyhow::{Result, ensure};
use monitor_abi::cell::{CHUNK, MAP_CHUNKS, TARGET_CHUNKS, longest_unanswered, map_cell, target_cell};
use monitor_abi::cilium::{TUPLE_F_KNOWN, ct_flag};
use monitor_abi::class::{Due, State};
use monitor_abi::scan::found;
use monitor_abi::silence::{is_too_long, silent};
use monitor_abi::timeout::{self, Class};
use monitor_decode::cilium::ct::decode_ct;
use monitor_decode::scan::RawScan;
use monitor_model::clock::ClockNow;
use monitor_model::ct::CtRow;
use monitor_model::target::TargetIndex;
use monitor_source::bpf::Ask;

/// What entries are classified by.
pub(crate) struct Rules {
    pub targets: TargetIndex,
    pub ask: Ask,
}

/// Counters of one pass.
pub(crate) struct Classifier<'r> {
    rules: &'r Rules,
    bounds: [i64; 11],
    clock: ClockNow,
    seen: u64,
    odd_flags: u64,
    odd_nexthdr: u64,
    least_left: i64,
    no_report: u64,
    lost: [u64; timeout::CLASSES],
    cells: Vec<u64>,
    target_cells: Vec<u64>,
    timeouts: Vec<u64>,
}

impl<'r> Classifier<'r> {
    pub(crate) fn new(rules: &'r Rules, now: u32) -> Self {
        Self {
            rules,
            bounds: rules.ask.bounds.map(i64::from),
            clock: ClockNow::ktime(now),
            seen: 0,
            odd_flags: 0,
            odd_nexthdr: 0,
            least_left: i64::MAX,
            no_report: 0,
            lost: [0; timeout::CLASSES],
            cells: vec![0; CHUNK * MAP_CHUNKS],
            target_cells: vec![0; CHUNK * TARGET_CHUNKS],
            timeouts: vec![0; CHUNK],
        }
    }

    pub(crate) fn add(&mut self, key: &[u8], value: &[u8]) {
        let Ok(row) = decode_ct(key, value) else { return };
        self.seen += 1;
        if row.nexthdr == 0 {
            self.odd_nexthdr += 1;
        } else if row.flags & !ct_flag::KNOWN != 0 || row.tuple_flags & !TUPLE_F_KNOWN != 0 {
            self.odd_flags += 1;
        }
        self.show(&row);
        let left = self.clock.units_left(row.lifetime).unwrap_or_default();
        self.least_left = self.least_left.min(left);
        let due = Due::number_of(left, &self.bounds);
        bump(&mut self.cells, map_cell(row.direction as u8, row.state as u8, due, row.protocol as u8));
        if let Some(found) = self.rules.targets.classify(&row) {
            let pair = u32::try_from(found.pair).unwrap_or(u32::MAX);
            let (state, direction) = (row.state as u8, row.direction as u8);
            let units = row.last_report().map(|report| silent(self.clock.now, report));
            let after = self.rules.ask.stale_after;
            let too_long = units.is_some_and(|units| is_too_long(state, direction, left < 0, units, after));
            bump(&mut self.target_cells, target_cell(pair, state, too_long, left < 0));
            if too_long && row.state == State::Opening {
                raise(&mut self.target_cells, longest_unanswered(pair), units.unwrap_or(0).into());
            }
        }
    }

    /// Counts the timeout the entry shows.
    fn show(&mut self, row: &CtRow) {
        let Some(report) = row.last_report() else {
            self.no_report += 1;
            return;
        };
        let class = Class::number_of(row.state as u8, row.direction as u8);
        let value = row.lifetime.wrapping_sub(report);
        for place in timeout::places(class, value) {
            if let Some(word) = self.timeouts.get_mut(place)
                && let Some(counted) = timeout::counted(*word, value)
            {
                *word = counted;
                return;
            }
        }
        if let Some(lost) = self.lost.get_mut(usize::from(class)) {
            *lost += 1;
        }
    }

    pub(crate) const fn seen(&self) -> u64 {
        self.seen
    }

    /// Whether every counter is the scan's, taken at the same instant of an unchanged map.
    pub(crate) fn check(&self, scan: &RawScan) -> Result<()> {
        let counted =
            [self.seen, self.odd_flags, self.odd_nexthdr, self.least_left.cast_unsigned(), self.no_report];
        let scanned =
            [found::WALKED, found::ODD_FLAGS, found::ODD_NEXTHDR, found::LEAST_LEFT, found::NO_REPORT]
                .map(|index| scan.word(index));
        ensure!(counted == scanned, "user space counted {counted:?}, the programs {scanned:?}");
        ensure!(self.cells == scan.cells, "user space counted other cells of the map");
        ensure!(self.target_cells == scan.target_cells, "user space counted other cells of the targets");
        // Which value found no place depends on the order of the entries: a generated map has few enough.
        ensure!(self.lost == [0; timeout::CLASSES], "more values than are counted: {:?}", self.lost);
        let sorted = |places: &[u64]| {
            let mut words = places.to_vec();
            words.sort_unstable();
            words
        };
        ensure!(sorted(&self.timeouts) == sorted(&scan.timeouts), "user space counted other timeouts");
        Ok(())
    }
}

fn bump(cells: &mut [u64], cell: u32) {
    if let Some(count) = cells.get_mut(cell as usize) {
        *count += 1;
    }
}

fn raise(cells: &mut [u64], cell: u32, to: u64) {
    if let Some(most) = cells.get_mut(cell as usize) {
        *most = to.max(*most);
    }
}
