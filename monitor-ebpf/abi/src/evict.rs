//! Evictions: what the tracing programs are told, the counters they bump, the ring of last victims.
//!
//! In: nothing. Out: word indices into `[u64; N]` map values, and their packing.
//! Must not: grow with traffic: maps have slots, targets have pairs, and the ring forgets its oldest.

use crate::cell::{CHUNK, MAX_PAIRS};
use crate::class::{Expiry, VictimState};

/// Words of the `EVICT_ASK` record, which the agent may rewrite while the programs run.
pub mod ask {
    /// Bytes from the LRU node, which the kernel function is called with, to the key of its element.
    pub const KEY: usize = 0;
    /// [`crate::scan::Clock`] of lifetimes.
    pub const CLOCK: usize = 1;
    /// What is known of the targets without a look into their tables: [`crate::scan::targets`].
    pub const TARGETS: usize = 2;
    pub const LEN: usize = TARGETS + crate::scan::targets::LEN;
}

/// Maps that may be watched at once. More than are ever read, so that a map's slot need not be given to the next one
/// before its last count was taken.
pub const SLOTS: usize = 64;
/// Counters of a slot or a pair: state x expiry.
pub const CELLS: usize = 32;
/// Chunks of the `EVICTED` map that count by map slot.
pub const MAP_CHUNKS: usize = SLOTS * CELLS / CHUNK;
/// Chunks of the `EVICTED` map that count by target x service pair; they follow.
pub const TARGET_CHUNKS: usize = MAX_PAIRS * CELLS / CHUNK;

/// What a watched map holds: the program for its key has to read so many bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Shape {
    Ct4 = 0,
    Ct6 = 1,
    Nat4 = 2,
    Nat6 = 3,
}

/// Words of the `EVICT_MAPS` table: two a slot, first what [`pack_map`] makes, then the map's address in the kernel.
pub const TABLE: usize = 2 * SLOTS;
/// Address in a slot that is not in use, with others behind it. 0 ends the table.
pub const NOBODY: u64 = 1;

/// What the table says of a map.
#[inline(always)]
#[must_use]
pub const fn pack_map(slot: u32, shape: Shape) -> u32 {
    slot << 8 | shape as u32
}

/// The slot of a value.
#[inline(always)]
#[must_use]
pub const fn slot(packed: u32) -> u32 {
    packed >> 8
}

/// Number of the shape in a value.
#[inline(always)]
#[must_use]
pub const fn shape_number(packed: u32) -> u8 {
    (packed & 0xff) as u8
}

/// The counter of a slot or a pair.
#[inline(always)]
#[must_use]
pub const fn cell(state: u8, expiry: u8) -> u32 {
    (state as u32 & 7) << 2 | (expiry as u32 & 3)
}

/// The classes of a counter; `None` for those nothing is counted in.
#[must_use]
pub const fn decode_cell(cell: u32) -> Option<(VictimState, Expiry)> {
    match (VictimState::from_number((cell >> 2 & 7) as u8), Expiry::from_number((cell & 3) as u8)) {
        (Some(state), Some(expiry)) => Some((state, expiry)),
        _ => None,
    }
}

/// Victims the ring holds.
pub const RING: usize = 256;

/// Words of the `EVICT_STATE` record: what evictions leave for the next one, on whatever processor.
pub mod state {
    /// The tick of the last eviction, written after what was read at it.
    pub const TICK: usize = 0;
    pub const KTIME_NS: usize = 1;
    pub const SECONDS: usize = 2;
    /// Victims written to the ring so far.
    pub const VICTIMS: usize = 3;
    pub const LEN: usize = 4;
}

/// Words of a victim in the ring.
pub mod victim {
    /// The victim's number, from 1, written last. Whoever reads a victim has to see afterwards that the count has not
    /// gone round the ring: a place is claimed by counting before it is written.
    pub const MARK: usize = 0;
    /// `bpf_ktime_get_ns`, at most a tick ago.
    pub const KTIME_NS: usize = 1;
    /// See [`super::pack_classes`].
    pub const CLASSES: usize = 2;
    /// What the value holds from its lifetime on: lifetime, flags, reverse NAT index.
    pub const LIFETIME: usize = 3;
    /// Now, on the clock of lifetimes.
    pub const NOW: usize = 4;
    /// The key, padded.
    pub const KEY: usize = 5;
    /// Words of the longest key.
    pub const KEY_LEN: usize = 5;
    pub const LEN: usize = 10;
}

/// What a victim was: its map's value, its counter, the pair it belongs to.
#[inline(always)]
#[must_use]
pub const fn pack_classes(map: u32, cell: u32, pair: Option<u32>) -> u64 {
    let pair = match pair {
        Some(pair) => (pair & 0xff) + 1,
        None => 0,
    };
    (map & 0xffff) as u64 | ((cell & 0xff) as u64) << 16 | (pair as u64) << 24
}

/// The classes of a victim: its map's value, its counter, the pair it belongs to.
#[must_use]
pub const fn decode_classes(classes: u64) -> (u32, u32, Option<usize>) {
    let pair = (classes >> 24 & 0x1ff) as usize;
    ((classes & 0xffff) as u32, (classes >> 16 & 0xff) as u32, pair.checked_sub(1))
}

const _: () = {
    assert!(MAP_CHUNKS == 2 && TARGET_CHUNKS == 4);
    assert!((cell(VictimState::Unknown as u8, Expiry::Unknown as u8) as usize) < CELLS);
    assert!(RING.is_power_of_two() && victim::KEY + victim::KEY_LEN == victim::LEN);
};
