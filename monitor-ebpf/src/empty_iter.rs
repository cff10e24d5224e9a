//! Walks and does nothing: the floor that the benchmark compares every other walk with.
//!
//! In: any element. Out: nothing. Must not: be loaded by the agent.

use crate::iter_ctx::IterCtx;

/// The cheapest program a walk can run.
#[unsafe(link_section = "iter/bpf_map_elem")]
#[unsafe(no_mangle)]
extern "C" fn empty(_ctx: *const IterCtx) -> i32 {
    0
}
