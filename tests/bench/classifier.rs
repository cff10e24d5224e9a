//! What a scan counts, counted in user space: the work that batch and key-by-key reads are measured with.
//!
//! In: keys and values as the kernel hands them out. Out: the same counters as a scan's.
//! Must not: do less than the programs do; [`Classifier::check`] compares every counter.

use anyhow::{Result, ensure};
use monitor::source::bpf::{Ask, RawScan};
use monitor::source::cilium::clock::Reading;
use monitor::source::cilium::ct::CtRow;
use monitor::source::cilium::linger::LingerBounds;
use monitor::source::cilium::target::TargetIndex;
use monitor_abi::cell::{CHUNK, MAP_CHUNKS, TARGET_CHUNKS, map_cell, target_cell};
use monitor_abi::cilium::{TUPLE_F_KNOWN, ct_flag};
use monitor_abi::class::Due;
use monitor_abi::scan::found;

/// What entries are classified by.
pub(crate) struct Rules {
    pub targets: TargetIndex,
    pub ask: Ask,
    pub silence: LingerBounds,
}

/// Counters of one pass.
pub(crate) struct Classifier<'r> {
    rules: &'r Rules,
    bounds: [i64; 11],
    clock: Reading,
    seen: u64,
    odd_flags: u64,
    odd_nexthdr: u64,
    least_left: i64,
    cells: Vec<u64>,
    target_cells: Vec<u64>,
}

impl<'r> Classifier<'r> {
    pub(crate) fn new(rules: &'r Rules, now: u32) -> Self {
        Self {
            rules,
            bounds: rules.ask.bounds.map(i64::from),
            clock: Reading::ktime(now),
            seen: 0,
            odd_flags: 0,
            odd_nexthdr: 0,
            least_left: i64::MAX,
            cells: vec![0; CHUNK * MAP_CHUNKS],
            target_cells: vec![0; CHUNK * TARGET_CHUNKS],
        }
    }

    pub(crate) fn add(&mut self, key: &[u8], value: &[u8]) {
        let Ok(row) = CtRow::decode(key, value) else { return };
        self.seen += 1;
        if row.nexthdr == 0 {
            self.odd_nexthdr += 1;
        } else if row.flags & !ct_flag::KNOWN != 0 || row.tuple_flags & !TUPLE_F_KNOWN != 0 {
            self.odd_flags += 1;
        }
        let left = self.clock.units_left(row.lifetime).unwrap_or_default();
        self.least_left = self.least_left.min(left);
        let due = Due::number_of(left, &self.bounds);
        bump(&mut self.cells, map_cell(row.direction as u8, row.state as u8, due, row.protocol as u8));
        if let Some(found) = self.rules.targets.classify(&row) {
            let lingering = self.rules.silence.lingers(&row, Some(self.clock)) == Some(true);
            let pair = u32::try_from(found.pair).unwrap_or(u32::MAX);
            bump(&mut self.target_cells, target_cell(pair, row.state as u8, lingering, left < 0));
        }
    }

    pub(crate) const fn seen(&self) -> u64 {
        self.seen
    }

    /// Whether every counter is the scan's, taken at the same instant of an unchanged map.
    pub(crate) fn check(&self, scan: &RawScan) -> Result<()> {
        let counted = [self.seen, self.odd_flags, self.odd_nexthdr, self.least_left.cast_unsigned()];
        let scanned = [found::WALKED, found::ODD_FLAGS, found::ODD_NEXTHDR, found::LEAST_LEFT]
            .map(|index| scan.word(index));
        ensure!(counted == scanned, "user space counted {counted:?}, the programs {scanned:?}");
        ensure!(self.cells == scan.cells, "user space counted other cells of the map");
        ensure!(self.target_cells == scan.target_cells, "user space counted other cells of the targets");
        Ok(())
    }
}

fn bump(cells: &mut [u64], cell: u32) {
    if let Some(count) = cells.get_mut(cell as usize) {
        *count += 1;
    }
}
