//! Conntrack tables with nothing but lifetimes in them, and Cilium's gc going through them.
//!
//! In: what connections and pods do, second by second; the gc's rule. Out: what the tables hold, and the truth
//! about every pass: when it was, over which address family, what it removed. Must not: know what ctmon makes of it.
//!
//! The loop is Cilium's (`Enable` in <https://github.com/cilium/cilium/blob/v1.18.0/pkg/maps/ctmap/gc/gc.go>): a pass goes
//! through the maps of both families, one that a signal woke through one; after either the interval begins anew.

use std::collections::BTreeMap;

use super::gc_interval::GcInterval;

/// Seconds a closed connection lives on, and what is no TCP.
const CLOSED: u32 = 10;
const STATELESS: u32 = 60;
/// What stays open is refreshed by its packets all the time.
const OPEN: u32 = u32::MAX;
/// An eviction frees this many elements at once.
const EVICTED_AT_ONCE: u64 = 128;

/// The four maps of a node: TCP and the rest, of either family.
pub const TCP4: usize = 0;
pub const ANY4: usize = 1;
pub const TCP6: usize = 2;
pub const ANY6: usize = 3;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Open,
    Closed,
    Stateless,
    Related,
}

/// Entries of one kind, pod and lifetime.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cohort {
    /// The second after which they are dead.
    pub lifetime: u32,
    pub kind: Kind,
    pub pod: u8,
}

#[derive(Clone, Debug, Default)]
struct Table {
    capacity: u64,
    cohorts: BTreeMap<Cohort, u64>,
    /// All of them.
    entries: u64,
}

/// What the gc did.
#[derive(Clone, Copy, Debug)]
pub struct Pass {
    pub at: f64,
    pub removed: [u64; 4],
    /// v4, v6.
    pub families: [bool; 2],
    /// The interval that began with it.
    pub next: f64,
}

/// The node.
#[derive(Clone, Debug)]
pub struct Node {
    tables: [Table; 4],
    gc: GcInterval,
    last_pass: Option<f64>,
    next_pass: f64,
    pub passes: Vec<Pass>,
    pub evicted: u64,
}

impl Node {
    /// Empty tables of this size; the gc's first pass is at this second.
    #[must_use]
    pub fn new(tcp: u64, any: u64, gc: GcInterval, first_pass: f64) -> Self {
        let table = |capacity| Table { capacity, ..Table::default() };
        Self {
            tables: [table(tcp), table(any), table(tcp), table(any)],
            gc,
            last_pass: None,
            next_pass: first_pass,
            passes: Vec::new(),
            evicted: 0,
        }
    }

    /// New entries; a full table makes room as the kernel does.
    pub fn add(&mut self, map: usize, kind: Kind, pod: u8, count: u64, now: f64) {
        let lifetime = match kind {
            Kind::Open => OPEN,
            Kind::Closed => second(now) + CLOSED,
            Kind::Stateless | Kind::Related => second(now) + STATELESS,
        };
        let Some(table) = self.tables.get_mut(map) else { return };
        let mut left = count;
        while left > 0 {
            let room = table.capacity.saturating_sub(table.count());
            if room == 0 {
                self.evicted += table.evict(EVICTED_AT_ONCE);
                continue;
            }
            let fits = left.min(room);
            table.put(Cohort { lifetime, kind, pod }, fits);
            left -= fits;
        }
    }

    /// Closes this many of a pod's open connections, as far as there are any.
    pub fn close(&mut self, map: usize, pod: u8, count: u64, now: f64) {
        let Some(table) = self.tables.get_mut(map) else { return };
        let open = Cohort { lifetime: OPEN, kind: Kind::Open, pod };
        let closed = table.take(open, count);
        let to = Cohort { lifetime: second(now) + CLOSED, kind: Kind::Closed, pod };
        table.put(to, closed);
    }

    /// A pod is gone: the agent scrubs its entries, dead or alive.
    pub fn delete_pod(&mut self, pod: u8) {
        for table in &mut self.tables {
            table.keep(|cohort| cohort.pod != pod);
        }
    }

    /// `cilium-dbg bpf ct flush`.
    pub fn flush(&mut self) {
        for table in &mut self.tables {
            table.keep(|_| false);
        }
    }

    /// The datapath asks for a pass over one family.
    pub fn signal(&mut self, v6: bool, now: f64) {
        self.pass([!v6, v6], now);
    }

    /// A pass, when it is time for one.
    pub fn advance(&mut self, now: f64) {
        if now >= self.next_pass {
            self.pass([true, true], now);
        }
    }

    fn pass(&mut self, families: [bool; 2], now: f64) {
        let pressure =
            self.tables.iter().map(|table| ratio(table.count(), table.capacity)).fold(0.0, f64::max);
        let mut removed = [0; 4];
        let mut most = 0.0_f64;
        for (index, table) in self.tables.iter_mut().enumerate() {
            let wanted = families.get(index / 2).copied().unwrap_or_default();
            if !wanted {
                continue;
            }
            let before = table.count();
            table.keep(|cohort| cohort.lifetime >= second(now));
            let gone = before - table.count();
            most = most.max(ratio(gone, table.capacity));
            if let Some(removed) = removed.get_mut(index) {
                *removed = gone;
            }
        }
        let waited = self.last_pass.map(|last| now - last);
        let next = self.gc.finish_pass_after(most, waited, pressure).as_secs_f64();
        self.last_pass = Some(now);
        self.next_pass = now + next;
        self.passes.push(Pass { at: now, removed, families, next });
    }

    #[must_use]
    pub fn count(&self, map: usize) -> u64 {
        self.tables.get(map).map_or(0, Table::count)
    }

    /// What a walk of the map sees: entries, and seconds left of them.
    pub fn walk(&self, map: usize, now: f64) -> impl Iterator<Item = (Cohort, i64, u64)> {
        let cohorts = self.tables.get(map).into_iter().flat_map(|table| &table.cohorts);
        cohorts.map(move |(cohort, count)| {
            let lifetime = if cohort.lifetime == OPEN { second(now) + 8_000 } else { cohort.lifetime };
            (*cohort, i64::from(lifetime) - i64::from(second(now)), *count)
        })
    }
}

impl Table {
    const fn count(&self) -> u64 {
        self.entries
    }

    fn put(&mut self, cohort: Cohort, count: u64) {
        *self.cohorts.entry(cohort).or_default() += count;
        self.entries += count;
    }

    fn keep(&mut self, stays: impl Fn(&Cohort) -> bool) {
        self.cohorts.retain(|cohort, _| stays(cohort));
        self.entries = self.cohorts.values().sum();
    }

    fn take(&mut self, cohort: Cohort, count: u64) -> u64 {
        let Some(there) = self.cohorts.get_mut(&cohort) else { return 0 };
        let taken = count.min(*there);
        *there -= taken;
        self.entries -= taken;
        if *there == 0 {
            self.cohorts.remove(&cohort);
        }
        taken
    }

    /// Frees elements, the longest untouched first: the dead ones, then those that will be.
    fn evict(&mut self, count: u64) -> u64 {
        let mut left = count;
        while left > 0 {
            let Some(first) = self.cohorts.keys().next().copied() else { break };
            left -= self.take(first, left);
        }
        count - left
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "simulated seconds are small")]
const fn second(now: f64) -> u32 {
    now as u32
}

#[expect(clippy::cast_precision_loss, reason = "entries of a map are far below 2^52")]
fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}
