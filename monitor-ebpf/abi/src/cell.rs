//! One counter per combination: how an entry's classes become the index of the one counter it bumps.
//!
//! In: class numbers. Out: cell indices, and their decoding for the reader.
//! Must not: leave the array: every index is masked to its width by construction.

use crate::class::{Direction, Due, Protocol, State};

/// Counters per chunk: one element of the `CELLS` map, 8 KiB, so that user space reads it in one call.
pub const CHUNK: usize = 1024;
/// Chunks that partition a whole map by direction, state, due class and protocol.
pub const MAP_CHUNKS: usize = 4;
/// Chunks that partition the targets' entries by target x service pair, state, expiry and silence.
pub const TARGET_CHUNKS: usize = 4;
/// Target x service pairs that fit.
pub const MAX_PAIRS: usize = 128;
/// Targets that fit.
pub const MAX_TARGETS: usize = 64;

/// The cell of a map: 2 bits direction, 3 state, 4 due class, 3 protocol.
#[inline(always)]
#[must_use]
pub const fn map_cell(direction: u8, state: u8, due: u8, protocol: u8) -> u32 {
    (direction as u32 & 3) | (state as u32 & 7) << 2 | (due as u32 & 15) << 5 | (protocol as u32 & 7) << 9
}

/// The classes of a map cell; `None` for combinations no entry can have.
#[must_use]
pub const fn decode_map_cell(cell: u32) -> Option<(Direction, State, Due, Protocol)> {
    let direction = Direction::from_number((cell & 3) as u8);
    let state = State::from_number((cell >> 2 & 7) as u8);
    let due = Due::from_number((cell >> 5 & 15) as u8);
    let protocol = Protocol::from_number((cell >> 9 & 7) as u8);
    match (direction, state, due, protocol) {
        (Some(direction), Some(state), Some(due), Some(protocol)) => Some((direction, state, due, protocol)),
        _ => None,
    }
}

/// The cell of a target: 7 bits pair, 3 state, 1 silent for too long, 1 expired.
#[inline(always)]
#[must_use]
pub const fn target_cell(pair: u32, state: u8, silent: bool, expired: bool) -> u32 {
    (pair & 127) << 5 | (state as u32 & 7) << 2 | (silent as u32) << 1 | expired as u32
}

/// Where a pair's longest silence of an unanswered entry stands, in clock units: the cell of a state that is none.
#[inline(always)]
#[must_use]
pub const fn longest_unanswered(pair: u32) -> u32 {
    target_cell(pair, 7, false, false)
}

/// The pair, state, silent and expired bits of a target cell.
#[must_use]
pub const fn decode_target_cell(cell: u32) -> Option<(usize, State, bool, bool)> {
    let pair = (cell >> 5 & 127) as usize;
    match State::from_number((cell >> 2 & 7) as u8) {
        Some(state) => Some((pair, state, cell & 2 != 0, cell & 1 != 0)),
        None => None,
    }
}

const _: () = {
    assert!(map_cell(3, 7, 15, 7) as usize + 1 == CHUNK * MAP_CHUNKS);
    assert!(target_cell(127, 7, true, true) as usize + 1 == CHUNK * TARGET_CHUNKS);
};
