//! Asks the kernel how many entries a map holds: its own counter, which no walk is needed for.
//!
//! In: each map of the machine in turn, as `iter/bpf_map` shows them. Out: the count and the instant, beside the ids the
//! agent follows. Must not: look into a map, or be loaded before its three placeholders are replaced.
//!
//! The compiler for this side knows neither calls of kernel functions nor relocations by the kernel's types, so both
//! stand here as instructions with a number that means nothing; the agent replaces it by what the running kernel's types
//! say (`monitor/source/src/bpf/map_count`).

use core::ffi::c_void;

use aya_ebpf::helpers::bpf_ktime_get_ns;

use crate::iter_ctx::Meta;
use crate::maps::FOLLOWED;

/// `struct bpf_iter__bpf_map`,
/// <https://github.com/torvalds/linux/blob/v6.6/kernel/bpf/map_iter.c#L11>.
#[repr(C)]
struct MapCtx {
    meta: *const Meta,
    map: *const c_void,
}

/// Counts a map, if it is one that is followed.
#[unsafe(link_section = "iter/bpf_map")]
#[unsafe(no_mangle)]
extern "C" fn map_count(ctx: *const MapCtx) -> i32 {
    // SAFETY: the kernel's own context. Read once, so that what is tested is what is used.
    let map = unsafe { (&raw const (*ctx).map).read_volatile() };
    if map.is_null() {
        return 0;
    }
    let id = id_of(map);
    let Some(counted) = FOLLOWED.get_ptr_mut(id) else { return 0 };
    let entries = elements_of(map);
    // SAFETY: a map value of this type; the helper takes nothing.
    unsafe { *counted = [entries, bpf_ktime_get_ns()] };
    0
}

/// `map->id`: a typed pointer, whose members the verifier lets be read at their places.
#[cfg(target_arch = "bpf")]
#[inline(always)]
fn id_of(map: *const c_void) -> u32 {
    let id: u64;
    // SAFETY: one load, `r0 = *(u32 *)(r1 + PLACE)`; the agent writes the place of `id` in `struct bpf_map` where the
    // placeholder stands, and the verifier refuses what is no member.
    unsafe {
        core::arch::asm!(".byte 0x61, 0x10, 0, 0", ".long 0x7c7c7c73", in("r1") map, lateout("r0") id, options(nostack));
    }
    id as u32
}

/// `bpf_map_sum_elem_count(map)`,
/// <https://github.com/torvalds/linux/blob/v6.6/kernel/bpf/map_iter.c#L203>; Linux 6.6 and later.
#[cfg(target_arch = "bpf")]
#[inline(always)]
fn elements_of(map: *const c_void) -> u64 {
    let entries: u64;
    // SAFETY: one call of a kernel function, by the number of its type, which the agent writes where the placeholder
    // stands. It takes a map the verifier trusts, and returns a number.
    unsafe {
        core::arch::asm!(".byte 0x85, 0x20, 0, 0", ".long 0x7c7c7c74", inlateout("r1") map => _,
             lateout("r0") entries, lateout("r2") _, lateout("r3") _, lateout("r4") _, lateout("r5") _, options(nostack));
    }
    entries
}

/// For the host, where lints read this crate and nothing runs.
#[cfg(not(target_arch = "bpf"))]
fn id_of(map: *const c_void) -> u32 {
    map.addr() as u32
}

/// Likewise.
#[cfg(not(target_arch = "bpf"))]
fn elements_of(map: *const c_void) -> u64 {
    map.addr() as u64
}
