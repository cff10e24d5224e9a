//! Walks a conntrack map: one counter per entry for the map's partition, one more if a target owns it.
//!
//! In: an element of `cilium_ct4_*`, `cilium_ct_any4_*` or the v6 ones. Out: `CELLS`, `FOUND`.
//! Must not: look up an entry whose addresses the filters exclude; every index is masked, so an element torn
//! by concurrent reuse lands in a wrong cell at the worst, never outside.

use aya_ebpf::EbpfContext;
use aya_log_ebpf::warn;
use core::ffi::c_void;
use core::hint::black_box;
use core::mem::offset_of;
use monitor_abi::cell::{CHUNK, MAP_CHUNKS, map_cell, target_cell};
use monitor_abi::cilium::{
    CtEntry, TUPLE_F_KNOWN, TUPLE_F_RELATED, TUPLE_F_SERVICE, TupleV4, TupleV6, ct_flag,
};
use monitor_abi::class::{Direction, Due, Protocol, State};
use monitor_abi::scan::{Clock, ask, found};

use crate::iter_ctx::{Ask, Found, IterCtx, Step};
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
                own(&step, target::pair_v4::<true>(&key, daddr, saddr), &age);
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
                own(&step, target::pair_v6::<true>(&key, &daddr, &saddr), &age);
            }
            step.stride();
        }
    }
    0
}

/// What the target's counter needs of the entry's value.
struct Age {
    state: u8,
    /// Whether `left` means anything. Not an `Option`: the verifier refuses to copy the nothing inside a `None`.
    decided: bool,
    /// Clock units left.
    left: i64,
}

/// Classifies the entry and bumps its cell of the map's partition.
#[inline(always)]
fn aggregate(step: &Step, key: &KeyWords) -> Age {
    // SAFETY: a constant, aligned offset inside the 56-byte value: lifetime, flags and rev_nat in one load.
    let word = unsafe { step.value_at::<u64, { offset_of!(CtEntry, lifetime) }>() };
    let lifetime = word as u32;
    let flags = (word >> 32) as u16;
    let (nexthdr, tuple_flags) = (key.nexthdr(), key.flags());
    let state = State::number_of(nexthdr, tuple_flags, flags);
    if flags & !ct_flag::KNOWN != 0 || tuple_flags & !TUPLE_F_KNOWN != 0 || nexthdr == 0 {
        odd(step.found, step.ask, key.tail, flags);
    }

    let mut due = Due::Unknown as u8;
    let mut left = 0;
    let decided = step.ask[ask::CLOCK] != Clock::Undecided as u64;
    if decided {
        let units = i64::from(lifetime.wrapping_sub(step.word(found::NOW) as u32) as i32);
        left = units;
        due = Due::number_of(units, bounds(step));
        // Both records are rarely beaten, so these branches are predicted; the clamping has none.
        let overdue = (-units & !(-units >> 63)) as u64;
        if overdue > step.word(found::OLDEST) {
            step.set_word(found::OLDEST, overdue);
        }
        if step.ask[ask::LEARN] != 0 {
            most_left(step, tuple_flags, state, (units & !(units >> 63)) as u64);
        }
    }
    bump(0, map_cell(Direction::number_of(tuple_flags), state, due, Protocol::of(nexthdr) as u8));
    Age { state, decided, left }
}

/// Counts what Cilium does not define; logs the first of a scan if the agent asks for it.
#[inline(never)]
fn odd(found: *mut Found, ask: &Ask, tail: u16, flags: u16) {
    let nexthdr = tail as u8;
    let index = if nexthdr == 0 { found::ODD_NEXTHDR } else { found::ODD_FLAGS };
    // SAFETY: the record of this scan, which runs alone; the index is a constant below its length.
    let count = unsafe { &mut (*found)[index] };
    *count += 1;
    if *count == 1 && ask[ask::LOG] != 0 {
        warn!(
            &Context(found),
            "conntrack entry that Cilium does not define: nexthdr {}, tuple flags 0x{:x}, entry flags 0x{:x}",
            nexthdr,
            tail >> 8,
            flags
        );
    }
}

/// What the log macro asks for; records go to a ring buffer, so any pointer does.
struct Context(*mut Found);

impl EbpfContext for Context {
    fn as_ptr(&self) -> *mut c_void {
        self.0.cast()
    }
}

#[inline(always)]
fn bounds(step: &Step) -> &[i64; 11] {
    // SAFETY: eleven words of the request, one for each bound; the sign is carried in the bits.
    unsafe { &*step.ask.as_ptr().add(ask::BOUNDS).cast() }
}

#[inline(always)]
fn most_left(step: &Step, tuple_flags: u8, state: u8, left: u64) {
    // RELATED entries live by another rule than other stateless ones: they keep a slot of their own.
    let slot = if tuple_flags & TUPLE_F_RELATED != 0 { 6 } else { state };
    let base = if tuple_flags & TUPLE_F_SERVICE != 0 { found::MOST_LEFT_SERVICE } else { found::MOST_LEFT };
    // 6.1's verifier wants to see the mask; without the black box LLVM drops one it can prove.
    let index = base + (black_box(slot as usize) & 7);
    // SAFETY: base + 7 is within the record.
    let most = unsafe { &mut *step.found.cast::<u64>().add(index) };
    // A lifetime beyond any timeout is a misread clock.
    if left > *most && left < step.ask[ask::BOUNDS + 10] {
        *most = left;
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
fn own(step: &Step, pair: Option<u32>, age: &Age) {
    let Some(pair) = pair else { return };
    let expired = age.decided && age.left < 0;
    let lingering = age.decided && age.left < linger_bound(step, age.state);
    bump(MAP_CHUNKS as u32, target_cell(pair, age.state, lingering, expired));
}

/// A stale entry lingers below this many units left; others never do.
#[inline(always)]
fn linger_bound(step: &Step, state: u8) -> i64 {
    const HALF_CLOSED: [u8; 2] = [State::RxClosing as u8, State::TxClosing as u8];
    const CLOSED: u8 = State::Closed as u8;
    match state {
        CLOSED => step.ask[ask::LINGER_CLOSED] as i64,
        state if HALF_CLOSED.contains(&state) => step.ask[ask::LINGER_HALF_CLOSED] as i64,
        _ => i64::MIN,
    }
}
