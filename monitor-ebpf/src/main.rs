//! ctmon's eBPF programs: they walk Cilium's conntrack and NAT maps inside the kernel and aggregate.
//!
//! In: one element of a Cilium map at a time. Out: counters in ctmon's own bounded maps, or, when asked, the
//! element itself to the reader.
//! Must not: write to a Cilium map, look anything up in one (that would touch the LRU order), take a lock,
//! read kernel memory in a walk (`bpf_probe_read*` is refused under `lockdown=confidentiality`; `evict_full` is a
//! program of its own for that reason), or divide per entry.
#![cfg_attr(target_arch = "bpf", feature(asm_experimental_arch))]
#![no_std]
#![no_main]
#![expect(clippy::inline_always, reason = "a call per element is what a walk cannot afford")]
#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    reason = "words are taken apart by casts: that is their meaning here"
)]
#![expect(clippy::multiple_unsafe_ops_per_block, reason = "fields of one key are read for one reason")]
#![expect(
    clippy::indexing_slicing,
    reason = "indices are constants; the verifier refuses what leaves a record"
)]
#![expect(clippy::similar_names, reason = "addresses and ports are named as the kernel and Cilium name them")]
#![expect(clippy::precedence, reason = "shifts bind before masks, as in C's idiom for fields")]

mod atomic;
mod clock_iter;
mod count;
mod ct_iter;
mod empty_iter;
mod evict;
mod evict_empty;
mod iter_ctx;
mod map_count;
mod maps;
mod nat_iter;
mod opaque;
mod show_iter;
mod target;

/// The kernel lets an iterator call its helpers only under a GPL-compatible licence.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[cfg(not(test))]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
