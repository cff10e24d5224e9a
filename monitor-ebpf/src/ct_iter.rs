//! Walks a conntrack map: one counter per entry for the map's partition, one more if a target owns it.
//!
//! In: an element of `cilium_ct4_*`, `cilium_ct_any4_*` or the v6 ones. Out: `CELLS`, `FOUND`.
//! Must not: look up an entry whose addresses the filters exclude; every index is masked, so an element torn
//! by concurrent reuse lands in a wrong cell at the worst, never outside.

use aya_log_ebpf::warn;
use core::hint::black_box;
use core::mem::offset_of;
use monitor_abi::cell::{CHUNK, MAP_CHUNKS, map_cell, target_cell};
use monitor_abi::cilium::{
    CtEntry, TUPLE_F_KNOWN, TUPLE_F_RELATED, TUPLE_F_SERVICE, TupleV4, TupleV6, ct_flag,
};
use monitor_abi::class::{Direction, Due, Protocol, State};
use monitor_abi::scan::{Clock, ask, found};

use crate::iter_ctx::{IterCtx, Step};
use crate::maps::CELLS;
use crate::target::{self, KeyWords};

/// Where the second address of a v6 key begins.
const SADDR: usize = offset_of!(TupleV6, saddr);

/// Walks a v4 conntrack map (14-byte keys).
#[unsafe(link_section = "iter/bpf_map_elem")]
#[unsafe(no_mangle)]
extern "C" fn ct4(ctx: *const IterCtx) -> i32 {
    // SAFETY: the kernel's own context.
    if let Some(step) = unsafe { Step::open(ctx) } {
        if step.streams() {
            step.stream(size_of::<TupleV4>() as u32, size_of::<CtEntry>() as u32);
        } else {
            // SAFETY: constant, aligned offsets inside the 14-byte key.
            let key = unsafe {
                KeyWords {
                    ports: step.key_at::<u32, { offset_of!(TupleV4, dport) }>(),
                    tail: step.key_at::<u16, { offset_of!(TupleV4, nexthdr) }>(),
                }
            };
            let age = aggregate(&step, &key);
            if step.ask[ask::TARGETS] & 1 != 0 {
                // SAFETY: constant, aligned offsets inside the 14-byte key.
                let (daddr, saddr) = unsafe {
                    (step.key_at::<u32, 0>(), step.key_at::<u32, { offset_of!(TupleV4, saddr) }>())
                };
                own(target::pair_v4::<true>(&key, daddr, saddr), &age);
            }
            step.stride();
        }
    }
    0
}

/// Walks a v6 conntrack map (38-byte keys).
#[unsafe(link_section = "iter/bpf_map_elem")]
#[unsafe(no_mangle)]
extern "C" fn ct6(ctx: *const IterCtx) -> i32 {
    // SAFETY: the kernel's own context.
    if let Some(step) = unsafe { Step::open(ctx) } {
        if step.streams() {
            step.stream(size_of::<TupleV6>() as u32, size_of::<CtEntry>() as u32);
        } else {
            // SAFETY: constant, aligned offsets inside the 38-byte key.
            let key = unsafe {
                KeyWords {
                    ports: step.key_at::<u32, { offset_of!(TupleV6, dport) }>(),
                    tail: step.key_at::<u16, { offset_of!(TupleV6, nexthdr) }>(),
                }
            };
            let age = aggregate(&step, &key);
            if step.ask[ask::TARGETS] & 2 != 0 {
                // SAFETY: constant, aligned offsets inside the 38-byte key.
                let (daddr, saddr) = unsafe {
                    (
                        [
                            step.key_at::<u32, 0>(),
                            step.key_at::<u32, 4>(),
                            step.key_at::<u32, 8>(),
                            step.key_at::<u32, 12>(),
                        ],
                        [
                            step.key_at::<u32, SADDR>(),
                            step.key_at::<u32, { SADDR + 4 }>(),
                            step.key_at::<u32, { SADDR + 8 }>(),
                            step.key_at::<u32, { SADDR + 12 }>(),
                        ],
                    )
                };
                own(target::pair_v6::<true>(&key, &daddr, &saddr), &age);
            }
            step.stride();
        }
    }
    0
}

/// What the target's counter needs of the entry's value.
struct Age {
    state: u8,
    expired: bool,
    lingering: bool,
}

/// Classifies the entry and bumps its cell of the map's partition.
#[inline(always)]
fn aggregate(step: &Step, key: &KeyWords) -> Age {
    // SAFETY: a constant, aligned offset inside the 56-byte value: lifetime, flags and rev_nat in one load.
    let word = unsafe { step.value_at::<u64, { offset_of!(CtEntry, lifetime) }>() };
    let lifetime = word as u32;
    let flags = (word >> 32) as u16;
    let state = State::of(key.nexthdr(), key.flags(), flags);
    if flags & !ct_flag::KNOWN != 0 || key.flags() & !TUPLE_F_KNOWN != 0 || key.nexthdr() == 0 {
        odd(step, key, flags);
    }

    let mut due = Due::Unknown as u8;
    let mut left = 0;
    let decided = step.ask[ask::CLOCK] != Clock::Undecided as u64;
    if decided {
        left = lifetime.wrapping_sub(step.word(found::NOW) as u32) as i32;
        due = Due::number_of(left, &bounds(step));
        if left < 0 {
            let overdue = u64::from(left.unsigned_abs());
            if overdue > step.word(found::OLDEST) {
                step.set_word(found::OLDEST, overdue);
            }
        } else if due < Due::Far as u8 {
            let base =
                if key.flags() & TUPLE_F_SERVICE != 0 { found::MOST_LEFT_SERVICE } else { found::MOST_LEFT };
            // RELATED entries live by another rule than other stateless ones: they keep a slot of their own.
            let slot = if key.flags() & TUPLE_F_RELATED != 0 { 6 } else { state as u8 };
            most_left(step, base, slot, left as u64);
        }
    }
    bump(0, map_cell(Direction::of(key.flags()) as u8, state as u8, due, Protocol::of(key.nexthdr()) as u8));

    let threshold = match state {
        State::Closed => step.ask[ask::LINGER_CLOSED] as i32,
        State::RxClosing | State::TxClosing => step.ask[ask::LINGER_HALF_CLOSED] as i32,
        _ => i32::MIN,
    };
    Age { state: state as u8, expired: decided && left < 0, lingering: decided && left < threshold }
}

/// Counts what Cilium does not define; logs the first of a scan if the agent asks for it.
#[inline(never)]
fn odd(step: &Step, key: &KeyWords, flags: u16) {
    let first = if key.nexthdr() == 0 { step.bump(found::ODD_NEXTHDR) } else { step.bump(found::ODD_FLAGS) };
    if first && step.ask[ask::LOG] != 0 {
        warn!(
            step,
            "conntrack entry that Cilium does not define: nexthdr {}, tuple flags 0x{:x}, entry flags 0x{:x}",
            key.nexthdr(),
            key.flags(),
            flags
        );
    }
}

#[inline(always)]
fn bounds(step: &Step) -> [i32; 11] {
    let low = |word: usize| step.ask[ask::BOUNDS + word] as i32;
    let high = |word: usize| (step.ask[ask::BOUNDS + word] >> 32) as i32;
    [low(0), high(0), low(1), high(1), low(2), high(2), low(3), high(3), low(4), high(4), low(5)]
}

#[inline(always)]
fn most_left(step: &Step, base: usize, state: u8, left: u64) {
    // 6.1's verifier wants to see the mask; without the black box LLVM drops one it can prove.
    let index = base + (black_box(state as usize) & 7);
    // SAFETY: base + 7 is within the record.
    let slot = unsafe { &mut *step.found.cast::<u64>().add(index) };
    if left > *slot {
        *slot = left;
    }
}

#[inline(always)]
fn bump(chunk: u32, cell: u32) {
    let cell = black_box(cell);
    if let Some(cells) = CELLS.get_ptr_mut(chunk + (cell / CHUNK as u32 & 3)) {
        // SAFETY: the index is masked to the chunk's length; one scan runs at a time.
        unsafe { *cells.cast::<u64>().add(cell as usize & (CHUNK - 1)) += 1 };
    }
}

/// Counts the entry for the pair that owns it.
#[inline(always)]
fn own(pair: Option<u32>, age: &Age) {
    if let Some(pair) = pair {
        bump(MAP_CHUNKS as u32, target_cell(pair, age.state, age.lingering, age.expired));
    }
}
