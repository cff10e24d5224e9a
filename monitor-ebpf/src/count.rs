//! The counters of a walk.
//!
//! In: the index of a cell. Out: `CELLS`. Must not: leave the array, whatever the index.

use monitor_abi::cell::CHUNK;
use monitor_abi::class::Protocol;

use crate::maps::CELLS;
use crate::opaque::opaque;

/// By next header: a look into memory, where a comparison would be a branch that nothing predicts.
pub(crate) static PROTOCOLS: [u8; 256] = Protocol::by_nexthdr();

/// Keeps the most in a cell, in the chunks from `first` on.
#[inline(always)]
pub(crate) fn raise(first: u32, cell: u32, to: u64) {
    let cell = opaque(cell.into()) as u32;
    if let Some(cells) = CELLS.get_ptr_mut(first + (cell / CHUNK as u32 & 3)) {
        // SAFETY: the index is masked to the chunk's length; one scan runs at a time.
        let most = unsafe { &mut *cells.cast::<u64>().add(cell as usize & (CHUNK - 1)) };
        if to > *most {
            *most = to;
        }
    }
}

/// Adds one to a cell, in the chunks from `first` on.
#[inline(always)]
pub(crate) fn bump(first: u32, cell: u32) {
    let cell = opaque(cell.into()) as u32;
    if let Some(cells) = CELLS.get_ptr_mut(first + (cell / CHUNK as u32 & 3)) {
        // SAFETY: the index is masked to the chunk's length; one scan runs at a time.
        unsafe { *cells.cast::<u64>().add(cell as usize & (CHUNK - 1)) += 1 };
    }
}
