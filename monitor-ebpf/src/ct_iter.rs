//! Walks a conntrack map: one counter per entry for the map's partition, one more if a target owns it.
//!
//! In: an element of `cilium_ct4_*`, `cilium_ct_any4_*` or the v6 ones. Out: `CELLS`, `FOUND`, `TIMEOUTS`.
//! Must not: look up an entry whose addresses the filters exclude; every index is masked, so an element torn
//! by concurrent reuse lands in a wrong cell at the worst, never outside.

use aya_ebpf::EbpfContext;
use aya_ebpf::helpers::generated::bpf_loop;
use aya_log_ebpf::warn;
use core::ffi::c_void;
use core::mem::offset_of;
use monitor_abi::cell::{CHUNK, MAP_CHUNKS, longest_unanswered, map_cell, target_cell};
use monitor_abi::cilium::{CtEntry, TUPLE_F_KNOWN, TupleV4, TupleV6, ct_flag};
use monitor_abi::class::{Direction, Due, Protocol, State};
use monitor_abi::scan::{Clock, ask, found, pending};
use monitor_abi::{silence, timeout};

use crate::count::{PROTOCOLS, bump, raise};
use crate::iter_ctx::{self, Ask, Found, IterCtx, Step};
use crate::maps::{ASK, FOUND, PENDING, TIMEOUTS};
use crate::opaque::opaque;
use crate::target::{KeyWords, Targets};

/// The number of the last element of a batch, and the mask that finds it.
const LAST: u64 = pending::BATCH as u64 - 1;

/// Walks a v4 conntrack map (14-byte keys).
#[unsafe(link_section = "iter/bpf_map_elem")]
#[unsafe(no_mangle)]
extern "C" fn ct4(ctx: *const IterCtx) -> i32 {
    // SAFETY: the kernel's own context.
    let Some(step) = (unsafe { Step::open(ctx) }) else {
        // SAFETY: as above.
        count_v4(unsafe { iter_ctx::end(ctx) } & LAST);
        return 0;
    };
    let slot = opaque(step.number()) & LAST;
    // SAFETY: constant offsets inside the 14-byte key and the 56-byte value; the slot is masked.
    unsafe {
        let place = step.pending().add(pending::FIRST + slot as usize * pending::WORDS_V4);
        *place = step.key_at::<u64, 0>();
        *place.add(1) = tail(
            step.key_at::<u32, { offset_of!(TupleV4, dport) }>(),
            step.key_at::<u16, { offset_of!(TupleV4, nexthdr) }>(),
        );
        *place.add(2) = step.value_at::<u64, { offset_of!(CtEntry, lifetime) }>();
        *place.add(3) = step.value_at::<u64, { offset_of!(CtEntry, last_tx_report) }>();
    }
    if slot == LAST {
        count_v4(pending::BATCH as u64);
    }
    step.stride();
    0
}

/// Walks a v6 conntrack map (38-byte keys).
#[unsafe(link_section = "iter/bpf_map_elem")]
#[unsafe(no_mangle)]
extern "C" fn ct6(ctx: *const IterCtx) -> i32 {
    // SAFETY: the kernel's own context.
    let Some(step) = (unsafe { Step::open(ctx) }) else {
        // SAFETY: as above.
        count_v6(unsafe { iter_ctx::end(ctx) } & LAST);
        return 0;
    };
    let slot = opaque(step.number()) & LAST;
    // SAFETY: constant offsets inside the 38-byte key and the 56-byte value; the slot is masked.
    unsafe {
        let place = step.pending().add(pending::FIRST + slot as usize * pending::WORDS_V6);
        *place = step.key_at::<u64, 0>();
        *place.add(1) = step.key_at::<u64, 8>();
        *place.add(2) = step.key_at::<u64, 16>();
        *place.add(3) = step.key_at::<u64, 24>();
        *place.add(4) = tail(
            step.key_at::<u32, { offset_of!(TupleV6, dport) }>(),
            step.key_at::<u16, { offset_of!(TupleV6, nexthdr) }>(),
        );
        *place.add(5) = step.value_at::<u64, { offset_of!(CtEntry, lifetime) }>();
        *place.add(6) = step.value_at::<u64, { offset_of!(CtEntry, last_tx_report) }>();
    }
    if slot == LAST {
        count_v6(pending::BATCH as u64);
    }
    step.stride();
    0
}

/// What of a key lies behind its addresses, in one word.
#[inline(always)]
fn tail(ports: u32, tail: u16) -> u64 {
    u64::from(ports) | u64::from(tail) << 32
}

#[inline(always)]
fn key_words(tail: u64) -> KeyWords {
    KeyWords { ports: tail as u32, tail: (tail >> 32) as u16 }
}

/// Counts what was copied of so many v4 elements.
#[inline(always)]
fn count_v4(elements: u64) {
    Batch::each(elements, one_v4);
}

/// Counts what was copied of so many v6 elements.
#[inline(always)]
fn count_v6(elements: u64) {
    Batch::each(elements, one_v6);
}

extern "C" fn one_v4(element: u32, batch: &Batch) -> i64 {
    let [addresses, tail, value, reports] = batch.words::<{ pending::WORDS_V4 }>(element);
    let key = key_words(tail);
    let age = aggregate(batch, &key, value, reports);
    own(batch, Targets::of(batch.ask, ask::TARGETS).pair_v4(&key, addresses), &age);
    0
}

extern "C" fn one_v6(element: u32, batch: &Batch) -> i64 {
    let [d0, d1, s0, s1, tail, value, reports] = batch.words::<{ pending::WORDS_V6 }>(element);
    let key = key_words(tail);
    let age = aggregate(batch, &key, value, reports);
    own(batch, Targets::of(batch.ask, ask::TARGETS).pair_v6(&key, [d0, d1], [s0, s1]), &age);
    0
}

/// What counting needs beside the elements.
struct Batch {
    ask: &'static Ask,
    found: *mut Found,
    timeouts: *mut u64,
    pending: *const u64,
}

impl Batch {
    /// Calls `one` for so many elements. By the helper, so that the verifier looks at the body once and not
    /// [`pending::BATCH`] times.
    #[inline(always)]
    fn each(elements: u64, one: extern "C" fn(u32, &Self) -> i64) {
        let (Some(ask), Some(found), Some(timeouts), Some(pending)) =
            (ASK.get(0), FOUND.get_ptr_mut(0), TIMEOUTS.get_ptr_mut(0), PENDING.get_ptr(0))
        else {
            return;
        };
        let batch = Self { ask, found, timeouts: timeouts.cast(), pending: pending.cast() };
        // SAFETY: a function of the form the helper calls, and what it is called with.
        unsafe { bpf_loop(elements as u32, one as *mut c_void, (&raw const batch).cast_mut().cast(), 0) };
    }

    /// The words of an element.
    #[inline(always)]
    fn words<const WORDS: usize>(&self, element: u32) -> [u64; WORDS] {
        let element = opaque(element.into()) & LAST;
        // SAFETY: the record has room for so many, the number is masked.
        unsafe { self.pending.add(pending::FIRST + element as usize * WORDS).cast::<[u64; WORDS]>().read() }
    }

    #[inline(always)]
    fn word(&self, index: usize) -> u64 {
        // SAFETY: a map value of this type; indices are constants below its length.
        unsafe { (*self.found)[index] }
    }

    #[inline(always)]
    fn set_word(&self, index: usize, value: u64) {
        // SAFETY: as above; one scan runs at a time.
        unsafe { (*self.found)[index] = value };
    }
}

/// What the target's counter needs of the entry.
struct Age {
    state: u8,
    direction: u8,
    /// Whether `left` means anything. Not an `Option`: the verifier refuses to copy the uninitialised bytes of a
    /// `None`.
    decided: bool,
    /// Clock units left.
    left: i64,
    /// The later report; 0 if there was none.
    report: u32,
}

/// Classifies the entry and bumps its cell of the map's partition.
#[inline(always)]
fn aggregate(batch: &Batch, key: &KeyWords, value: u64, reports: u64) -> Age {
    let lifetime = value as u32;
    let flags = (value >> 32) as u16;
    let (nexthdr, tuple_flags) = (key.nexthdr(), key.flags());
    let protocol = PROTOCOLS[nexthdr as usize];
    let state = State::number_of(protocol / Protocol::IS_TCP, tuple_flags, flags);
    let direction = Direction::number_of(tuple_flags);
    if flags & !ct_flag::KNOWN != 0 || tuple_flags & !TUPLE_F_KNOWN != 0 || nexthdr == 0 {
        odd(batch.found, batch.ask, key.tail, flags);
    }

    let report = silence::last_report(reports, opaque);
    if report == 0 {
        batch.set_word(found::NO_REPORT, batch.word(found::NO_REPORT) + 1);
    } else {
        show_timeout(batch, timeout::Class::number_of(state, direction), lifetime.wrapping_sub(report));
    }

    let mut due = Due::Unknown as u8;
    let mut left = 0;
    let decided = batch.ask[ask::CLOCK] != Clock::Undecided as u64;
    if decided {
        let units = i64::from(lifetime.wrapping_sub(batch.word(found::NOW) as u32) as i32);
        left = units;
        due = Due::number_of(units, bounds(batch));
        // The record is rarely beaten, so this branch is predicted.
        if units < batch.word(found::LEAST_LEFT) as i64 {
            batch.set_word(found::LEAST_LEFT, units as u64);
        }
    }
    bump(0, map_cell(direction, state, due, protocol));
    Age { state, direction, decided, left, report }
}

/// Counts the timeout the entry shows. Entries of a class show few values, so that the first place nearly always fits.
#[inline(always)]
fn show_timeout(batch: &Batch, class: u8, value: u32) {
    for place in timeout::places(class, value) {
        // 6.1's verifier wants to see the mask, which LLVM would drop: it can prove it.
        let index = opaque(place as u64) as usize & (CHUNK - 1);
        // SAFETY: the index is masked to the chunk's length; one scan runs at a time.
        let word = unsafe { &mut *batch.timeouts.add(index) };
        if let Some(counted) = timeout::counted(*word, value) {
            *word = counted;
            return;
        }
    }
    let index = found::LOST + (opaque(class.into()) as usize & (timeout::CLASSES - 1));
    // SAFETY: within the record, whose last words these are.
    unsafe { *batch.found.cast::<u64>().add(index) += 1 };
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
fn bounds(batch: &Batch) -> &[i64; 11] {
    // SAFETY: eleven words of the request, one for each bound; the sign is carried in the bits.
    unsafe { &*batch.ask.as_ptr().add(ask::BOUNDS).cast() }
}

/// Counts the entry for the pair that owns it.
#[inline(always)]
fn own(batch: &Batch, pair: Option<u32>, age: &Age) {
    let Some(pair) = pair else { return };
    let expired = age.decided && age.left < 0;
    let silent = silence::silent(batch.word(found::NOW) as u32, age.report);
    let after = batch.ask[ask::STALE_AFTER] as u32;
    let too_long = age.decided
        && age.report != 0
        && silence::is_too_long(age.state, age.direction, expired, silent, after);
    bump(MAP_CHUNKS as u32, target_cell(pair, age.state, too_long, expired));
    if too_long && age.state == State::Opening as u8 {
        raise(MAP_CHUNKS as u32, longest_unanswered(pair), silent.into());
    }
}
