//! Reads the kernel's clocks by walking nothing.
//!
//! In: the closing call of a walk over an empty map. Out: both clocks in `FOUND`.
//! Must not: be attached to anything but ctmon's own `NOTHING`.

use crate::iter_ctx::{self, IterCtx, Step};
use crate::maps::NOTHING;

/// Takes both clocks at one instant.
#[unsafe(link_section = "iter/bpf_map_elem")]
#[unsafe(no_mangle)]
extern "C" fn clock(ctx: *const IterCtx) -> i32 {
    // Naming the map keeps it in the object although no program reads it.
    let _ = core::hint::black_box(&raw const NOTHING);
    // SAFETY: the kernel's own context.
    if unsafe { Step::open(ctx) }.is_none() {
        // SAFETY: as above.
        unsafe { iter_ctx::end(ctx) };
    }
    0
}
