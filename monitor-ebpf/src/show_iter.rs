//! Shows every element of a map to the reader: for `list`, `nat`, `top` and the deep scan.
//!
//! In: an element of a conntrack or NAT map. Out: its key and value, as they lie in the map.
//! Must not: inspect the element: programs this short are verified at once, so that the first line comes soon.

use monitor_abi::cilium::{CtEntry, NatEntryV4, NatEntryV6, TupleV4, TupleV6};

use crate::iter_ctx::{self, IterCtx, Step};

/// Shows a v4 conntrack map.
#[unsafe(link_section = "iter/bpf_map_elem")]
#[unsafe(no_mangle)]
extern "C" fn show_ct4(ctx: *const IterCtx) -> i32 {
    // SAFETY: the kernel's own context.
    unsafe { show::<TupleV4, CtEntry>(ctx) }
}

/// Shows a v6 conntrack map.
#[unsafe(link_section = "iter/bpf_map_elem")]
#[unsafe(no_mangle)]
extern "C" fn show_ct6(ctx: *const IterCtx) -> i32 {
    // SAFETY: the kernel's own context.
    unsafe { show::<TupleV6, CtEntry>(ctx) }
}

/// Shows the v4 NAT map.
#[unsafe(link_section = "iter/bpf_map_elem")]
#[unsafe(no_mangle)]
extern "C" fn show_nat4(ctx: *const IterCtx) -> i32 {
    // SAFETY: the kernel's own context.
    unsafe { show::<TupleV4, NatEntryV4>(ctx) }
}

/// Shows the v6 NAT map.
#[unsafe(link_section = "iter/bpf_map_elem")]
#[unsafe(no_mangle)]
extern "C" fn show_nat6(ctx: *const IterCtx) -> i32 {
    // SAFETY: the kernel's own context.
    unsafe { show::<TupleV6, NatEntryV6>(ctx) }
}

/// # Safety
/// `ctx` is the context the kernel passed to the program.
#[inline(always)]
unsafe fn show<K, V>(ctx: *const IterCtx) -> i32 {
    // SAFETY: the caller's.
    match unsafe { Step::open(ctx) } {
        Some(step) => step.show::<K, V>(),
        // SAFETY: as above.
        None => _ = unsafe { iter_ctx::end(ctx) },
    }
    0
}
