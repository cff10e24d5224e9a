//! Who fills the table: entries per remote end, in bounded memory.
//!
//! In: rows, one by one. Out: [`TopReport`], the remote ends with the most entries.
//! Must not: grow beyond [`CAPACITY`] remote ends: a table of a million entries may have a million of them.
//!
//! Counts are exact until the table is full. From then on it is the space-saving algorithm (Metwally, Agrawal, El
//! Abbadi, 2005): a new remote end takes the place of the one with the fewest entries and inherits its count as
//! its error. A count is never too low, too high by at most its error, and every remote end with more than
//! entries / capacity is in the table.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::net::IpAddr;

use monitor_abi::class::{Direction, State};

use super::ct::CtRow;
use super::tuple::{Endpoint, has_ports};

/// Remote ends counted exactly.
pub const CAPACITY: usize = 65_536;

/// Bytes the table may take, see below.
const MOST_BYTES: usize = 24 << 20;

const _: () = {
    // The hash table has at most twice as many buckets, each with one control byte more. Taking slots over leaves
    // tombstones: being more than half full it then doubles once, and has room to clean up in place ever after.
    // A table or vector that grows holds its old half too.
    let index = (4 + 2) * CAPACITY * (size_of::<(Remote, u32)>() + 1);
    let slots = CAPACITY * size_of::<Slot>();
    assert!(index + slots * 3 / 2 + CAPACITY * size_of::<u32>() <= MOST_BYTES);
};

/// What is counted together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Grouping {
    /// Entries of the same remote address and port. A remote end that opened the connection took a new port for it:
    /// such clients are counted by their address alone.
    #[default]
    Endpoint,
    /// Entries of the same remote address.
    Address,
}

/// Whom entries are counted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Remote {
    pub address: IpAddr,
    /// `None` where every port of the address is counted together.
    pub port: Option<u16>,
}

impl Remote {
    fn of(row: &CtRow, grouping: Grouping) -> Self {
        let end = row.remote();
        let named = grouping == Grouping::Endpoint && !(has_ports(row.nexthdr) && end == row.initiator);
        Self { address: end.address, port: named.then_some(end.port) }
    }
}

/// `address:port`, or `address:*`; IPv6 addresses in brackets.
impl fmt::Display for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.port, self.address) {
            (Some(port), address) => Endpoint { address, port }.fmt(f),
            (None, IpAddr::V4(address)) => write!(f, "{address}:*"),
            (None, IpAddr::V6(address)) => write!(f, "[{address}]:*"),
        }
    }
}

/// The table while it is being filled.
#[derive(Debug)]
pub struct TopTable {
    capacity: usize,
    grouping: Grouping,
    entries: u64,
    /// Remote end to slot.
    index: HashMap<Remote, u32>,
    slots: Vec<Slot>,
    /// Slots as a binary heap, the fewest entries first; empty until the table is full.
    heap: Vec<u32>,
}

/// One remote end. `count` is everything seen since it took the slot, plus `error`.
#[derive(Clone, Copy, Debug)]
struct Slot {
    remote: Remote,
    count: u32,
    error: u32,
    states: [u32; State::ALL.len()],
    directions: [u32; Direction::ALL.len()],
    /// Where the heap holds this slot.
    place: u32,
}

/// The remote ends with the most entries, most first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopReport {
    pub grouping: Grouping,
    pub rows: Vec<TopRow>,
    /// Entries counted, those of remote ends beyond `rows` included.
    pub entries: u64,
    /// Remote ends in the table.
    pub remotes: usize,
    /// The most by which any count is too high; 0 means all counts are exact.
    pub max_error: u32,
}

/// A remote end and its entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopRow {
    pub remote: Remote,
    /// Never too low, too high by at most `error`.
    pub count: u32,
    pub error: u32,
    /// By state, in the order of [`State::ALL`]; of the `count - error` entries that were certainly seen.
    pub states: [u32; State::ALL.len()],
    /// By direction, in the order of [`Direction::ALL`]; likewise.
    pub directions: [u32; Direction::ALL.len()],
}

impl TopTable {
    #[must_use]
    pub fn new(grouping: Grouping) -> Self {
        Self::with_capacity(grouping, CAPACITY)
    }

    fn with_capacity(grouping: Grouping, capacity: usize) -> Self {
        let (index, slots, heap) = (HashMap::new(), Vec::new(), Vec::new());
        Self { capacity, grouping, entries: 0, index, slots, heap }
    }

    /// Counts an entry.
    pub fn add(&mut self, row: &CtRow) {
        self.count(Remote::of(row, self.grouping), row.state, row.direction);
    }

    fn count(&mut self, remote: Remote, state: State, direction: Direction) {
        self.entries += 1;
        let full = self.slots.len() >= self.capacity;
        let number = match self.index.entry(remote) {
            Entry::Occupied(known) => *known.get(),
            Entry::Vacant(unknown) if !full => {
                let number = u32::try_from(self.slots.len()).unwrap_or(u32::MAX);
                unknown.insert(number);
                self.slots.push(Slot::new(remote, 0));
                number
            }
            Entry::Vacant(_) => match self.take_over(remote) {
                Some(number) => number,
                None => return,
            },
        };
        let Some(slot) = self.slots.get_mut(number as usize) else { return };
        slot.count = slot.count.saturating_add(1);
        bump(&mut slot.states, state as usize);
        bump(&mut slot.directions, direction as usize);
        let place = slot.place as usize;
        if !self.heap.is_empty() {
            self.sift_down(place);
        }
    }

    /// Gives the slot with the fewest entries to a new remote end.
    fn take_over(&mut self, remote: Remote) -> Option<u32> {
        if self.heap.is_empty() {
            self.build_heap();
        }
        let number = *self.heap.first()?;
        let slot = self.slots.get_mut(number as usize)?;
        self.index.remove(&slot.remote);
        *slot = Slot::new(remote, slot.count);
        self.index.insert(remote, number);
        Some(number)
    }

    fn build_heap(&mut self) {
        // A sorted sequence is a heap.
        self.heap = (0..).take(self.slots.len()).collect();
        self.heap.sort_unstable_by_key(|&number| self.slots.get(number as usize).map(|slot| slot.count));
        for (place, &number) in (0_u32..).zip(&self.heap) {
            if let Some(slot) = self.slots.get_mut(number as usize) {
                slot.place = place;
            }
        }
    }

    /// Restores the heap below `place` after the slot there has grown.
    fn sift_down(&mut self, mut place: usize) {
        loop {
            let left = 2 * place + 1;
            let Some(child) = (left..=left + 1)
                .filter(|&child| child < self.heap.len())
                .min_by_key(|&child| self.count_at(child))
            else {
                return;
            };
            if self.count_at(child) >= self.count_at(place) {
                return;
            }
            self.heap.swap(place, child);
            for moved in [place, child] {
                let number = self.heap.get(moved).copied().unwrap_or_default();
                if let Some(slot) = self.slots.get_mut(number as usize) {
                    slot.place = u32::try_from(moved).unwrap_or(u32::MAX);
                }
            }
            place = child;
        }
    }

    fn count_at(&self, place: usize) -> Option<u32> {
        let number = *self.heap.get(place)?;
        self.slots.get(number as usize).map(|slot| slot.count)
    }

    /// The `limit` remote ends with the most entries; those with as many are ordered by address and port.
    #[must_use]
    pub fn into_report(self, limit: usize) -> TopReport {
        let Self { capacity: _, grouping, entries, index, mut slots, heap } = self;
        drop((index, heap));
        let remotes = slots.len();
        let max_error = slots.iter().map(|slot| slot.error).max().unwrap_or(0);
        slots.sort_unstable_by(|a, b| b.count.cmp(&a.count).then(a.remote.cmp(&b.remote)));
        let rows = slots.into_iter().take(limit).map(Slot::into_row).collect();
        TopReport { grouping, rows, entries, remotes, max_error }
    }
}

impl Slot {
    const fn new(remote: Remote, inherited: u32) -> Self {
        Self {
            remote,
            count: inherited,
            error: inherited,
            states: [0; State::ALL.len()],
            directions: [0; Direction::ALL.len()],
            place: 0,
        }
    }

    fn into_row(self) -> TopRow {
        let Self { remote, count, error, states, directions, place: _ } = self;
        TopRow { remote, count, error, states, directions }
    }
}

fn bump(counts: &mut [u32], number: usize) {
    if let Some(count) = counts.get_mut(number) {
        *count = count.saturating_add(1);
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use proptest::prelude::*;

    use super::*;

    fn remote(number: u32) -> Remote {
        Remote { address: Ipv4Addr::from_bits(number).into(), port: Some(445) }
    }

    fn fill(capacity: usize, remotes: &[u32]) -> (TopTable, HashMap<Remote, u32>) {
        let mut table = TopTable::with_capacity(Grouping::Endpoint, capacity);
        let mut exact = HashMap::new();
        for &number in remotes {
            table.count(remote(number), State::Closed, Direction::Out);
            *exact.entry(remote(number)).or_default() += 1;
        }
        (table, exact)
    }

    #[test]
    fn clients_are_one_remote_end_whatever_their_ports() {
        let mut table = TopTable::new(Grouping::Endpoint);
        let end = |last: u8, port: u16| Endpoint { address: Ipv4Addr::new(192, 0, 2, last).into(), port };
        let entry =
            |initiator, responder, tuple_flags: u8| CtRow::between([initiator, responder], 6, tuple_flags, 0);
        // A client of a NodePort opens many connections; a pod opens two to one server.
        for port in 40_000..41_000 {
            table.add(&entry(end(7, port), end(1, 8_080), 1));
        }
        for port in [50_000, 50_001] {
            table.add(&entry(end(1, port), end(9, 443), 0));
        }
        let report = table.into_report(9);
        let rows: Vec<_> = report.rows.iter().map(|row| (row.remote.to_string(), row.count)).collect();
        assert_eq!(rows, [("192.0.2.7:*".to_owned(), 1_000), ("192.0.2.9:443".to_owned(), 2)]);
    }

    #[test]
    fn a_slot_taken_over_starts_its_breakdown_anew() {
        let report = fill(2, &[1, 1, 1, 2, 3]).0.into_report(9);
        let row = report.rows.iter().find(|row| row.remote == remote(3)).unwrap();
        assert_eq!((row.count, row.error, row.states[State::Closed as usize]), (2, 1, 1));
        assert_eq!((report.entries, report.remotes, report.max_error), (5, 2, 1));
    }

    #[test]
    fn the_most_come_first_and_ties_are_ordered_by_address() {
        let report = fill(9, &[3, 1, 2, 2]).0.into_report(2);
        let order: Vec<_> = report.rows.iter().map(|row| (row.remote, row.count)).collect();
        assert_eq!(order, [(remote(2), 2), (remote(1), 1)]);
        assert_eq!(report.remotes, 3);
    }

    #[test]
    fn a_full_table_is_exact_and_one_remote_more_is_not() {
        let numbers: Vec<_> = (0..u32::try_from(CAPACITY).unwrap()).chain([7, 7]).collect();
        let (table, _) = fill(CAPACITY, &numbers);
        let (mut over, _) = fill(CAPACITY, &numbers);
        let report = table.into_report(1);
        assert_eq!((report.rows[0].remote, report.rows[0].count, report.max_error), (remote(7), 3, 0));
        over.count(remote(u32::MAX), State::Opening, Direction::Out);
        let report = over.into_report(1);
        assert_eq!((report.remotes, report.max_error), (CAPACITY, 1));
    }

    proptest! {
        #[test]
        fn counts_keep_the_guarantees_of_space_saving(
            // A few heavy remotes among many light ones.
            numbers in prop::collection::vec(prop_oneof![0_u32..4, 0_u32..200], 0..600),
            capacity in 1_usize..64,
        ) {
            let (table, exact) = fill(capacity, &numbers);
            let report = table.into_report(usize::MAX);
            prop_assert_eq!(report.entries, numbers.len() as u64);
            prop_assert_eq!(report.remotes, exact.len().min(capacity));
            prop_assert_eq!(report.rows.iter().map(|row| u64::from(row.count)).sum::<u64>(), report.entries);
            for row in &report.rows {
                let truth = exact[&row.remote];
                prop_assert!(row.count >= truth && row.count - row.error <= truth, "{:?}: {}", row, truth);
                prop_assert_eq!(row.states.iter().sum::<u32>(), row.count - row.error);
                prop_assert_eq!(row.directions.iter().sum::<u32>(), row.count - row.error);
                prop_assert!(row.error as usize <= numbers.len() / capacity);
            }
            for (remote, &count) in &exact {
                if count as usize > numbers.len() / capacity {
                    prop_assert!(report.rows.iter().any(|row| row.remote == *remote));
                }
            }
            if exact.len() <= capacity {
                prop_assert_eq!(report.max_error, 0);
                prop_assert!(report.rows.iter().all(|row| row.count == exact[&row.remote]));
            }
        }
    }
}
