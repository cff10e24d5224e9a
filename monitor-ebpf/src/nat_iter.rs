//! Walks a NAT map: counts entries by direction and protocol.
//!
//! In: an element of `cilium_snat_v4_*` or `cilium_snat_v6_*`. Out: `CELLS`, `FOUND`.
//! Must not: as the conntrack walk. NAT entries have no lifetime and no state.

use core::mem::offset_of;
use monitor_abi::cell::map_cell;
use monitor_abi::cilium::{TUPLE_F_IN, TupleV4, TupleV6};
use monitor_abi::class::{Direction, Due, State};
use monitor_abi::scan::found;

use crate::count::{PROTOCOLS, bump};
use crate::iter_ctx::{self, IterCtx, Step};
use crate::maps::FOUND;

/// Walks the v4 NAT map (14-byte keys, 40-byte values).
#[unsafe(link_section = "iter/bpf_map_elem")]
#[unsafe(no_mangle)]
extern "C" fn nat4(ctx: *const IterCtx) -> i32 {
    // SAFETY: the kernel's own context.
    let Some(step) = (unsafe { Step::open(ctx) }) else {
        // SAFETY: as above.
        unsafe { iter_ctx::end(ctx) };
        return 0;
    };
    // SAFETY: a constant, aligned offset inside the 14-byte key.
    count(&step, unsafe { step.key_at::<u16, { offset_of!(TupleV4, nexthdr) }>() });
    0
}

/// Walks the v6 NAT map (38-byte keys, 56-byte values).
#[unsafe(link_section = "iter/bpf_map_elem")]
#[unsafe(no_mangle)]
extern "C" fn nat6(ctx: *const IterCtx) -> i32 {
    // SAFETY: the kernel's own context.
    let Some(step) = (unsafe { Step::open(ctx) }) else {
        // SAFETY: as above.
        unsafe { iter_ctx::end(ctx) };
        return 0;
    };
    // SAFETY: a constant, aligned offset inside the 38-byte key.
    count(&step, unsafe { step.key_at::<u16, { offset_of!(TupleV6, nexthdr) }>() });
    0
}

#[inline(always)]
fn count(step: &Step, tail: u16) {
    let (nexthdr, flags) = (tail as u8, (tail >> 8) as u8);
    if nexthdr == 0 {
        bump_found(found::ODD_NEXTHDR);
    }
    if flags & !TUPLE_F_IN != 0 {
        bump_found(found::ODD_FLAGS);
    }
    let direction = if flags & TUPLE_F_IN == 0 { Direction::Out } else { Direction::In };
    let protocol = PROTOCOLS[nexthdr as usize];
    bump(0, map_cell(direction as u8, State::Stateless as u8, Due::Unknown as u8, protocol));
    step.stride();
}

#[inline(always)]
fn bump_found(index: usize) {
    if let Some(found) = FOUND.get_ptr_mut(0) {
        // SAFETY: a map value of this type; the index is a constant below its length.
        unsafe { (*found)[index] += 1 };
    }
}
