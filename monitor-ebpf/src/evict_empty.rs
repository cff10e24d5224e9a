//! Sees evictions and does nothing: the floor that the cost of the real programs is measured against.
//!
//! In: any eviction. Out: nothing. Must not: be loaded by the agent.

use core::ffi::c_void;

/// The cheapest program that can follow an eviction.
#[unsafe(link_section = "fexit/htab_lru_map_delete_node")]
#[unsafe(no_mangle)]
extern "C" fn evict_empty(_ctx: *mut c_void) -> i32 {
    0
}
