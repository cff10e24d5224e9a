//! Counts and describes evictions: after every return of `htab_lru_map_delete_node`.
//!
//! In: the map and the LRU node the kernel function was called with, and whether it deleted. Out: `EVICTED`, and in
//! full mode `VICTIMS`. Must not: wait or take a lock (the LRU's own is held), touch a field of the LRU node (it
//! changed in 6.18), or count deletions: those do not call that function.
//!
//! <https://github.com/torvalds/linux/blob/v6.1/kernel/bpf/hashtab.c#L776>

use aya_ebpf::helpers::{bpf_jiffies64, bpf_ktime_get_ns, bpf_probe_read_kernel};
use aya_ebpf::programs::FExitContext;
use core::ffi::c_void;
use core::hint::black_box;
use core::mem::offset_of;
use monitor_abi::cell::CHUNK;
use monitor_abi::cilium::{CtEntry, TUPLE_F_IN, TUPLE_F_SERVICE, TupleV4, TupleV6};
use monitor_abi::class::{Expiry, State, VictimState};
use monitor_abi::evict::{
    CELLS, MAP_CHUNKS, RING, Shape, ask, cell, pack_classes, shape_number, slot, state, victim,
};
use monitor_abi::scan::Clock;

use crate::atomic::{fetch_add, swap};
use crate::maps::{EVICT_ASK, EVICT_MAPS, EVICT_STATE, EVICTED, VICTIMS};
use crate::target::{KeyWords, Targets};

/// Words of a key, which the kernel pads to a multiple of eight bytes before the value.
const KEY_V4: usize = size_of::<TupleV4>().div_ceil(8);
const KEY_V6: usize = size_of::<TupleV6>().div_ceil(8);
/// The word of a conntrack value that holds lifetime and flags.
const LIFETIME: usize = offset_of!(CtEntry, lifetime) / 8;
/// The word of a key that holds ports, next header and flags.
const TAIL_V4: usize = offset_of!(TupleV4, dport) / 8;
const TAIL_V6: usize = offset_of!(TupleV6, dport) / 8;

type Ask = [u64; ask::LEN];

/// Counts victims by map, and nothing else: loads where kernel memory may not be read.
#[unsafe(link_section = "fexit/htab_lru_map_delete_node")]
#[unsafe(no_mangle)]
extern "C" fn evict_count(ctx: *mut c_void) -> i32 {
    let ctx = FExitContext::new(ctx);
    if let Some(map) = evicted_from(&ctx) {
        bump(0, slot(map), cell(VictimState::Unknown as u8, Expiry::Unknown as u8));
    }
    0
}

/// Counts victims by map, state, expiry and target, and writes them to the ring.
#[unsafe(link_section = "fexit/htab_lru_map_delete_node")]
#[unsafe(no_mangle)]
extern "C" fn evict_full(ctx: *mut c_void) -> i32 {
    let ctx = FExitContext::new(ctx);
    let (Some(map), Some(ask)) = (evicted_from(&ctx), EVICT_ASK.get(0)) else { return 0 };
    // The verifier wants bounds on what is added to a pointer.
    let offset = black_box(ask[ask::KEY]) as usize & 0xff;
    let key = ctx.arg::<*const u8>(1).wrapping_add(offset);
    let counted = match shape_number(map) {
        shape if shape == Shape::Ct4 as u8 => ct4(map, ask, key),
        shape if shape == Shape::Ct6 as u8 => ct6(map, ask, key),
        shape if shape == Shape::Nat4 as u8 => nat4(map, ask, key),
        _ => nat6(map, ask, key),
    };
    if counted.is_none() {
        // What cannot be read can still be counted.
        bump(0, slot(map), cell(VictimState::Unknown as u8, Expiry::Unknown as u8));
    }
    0
}

/// The record of the map an entry was just evicted from, if the map is watched.
#[inline(always)]
fn evicted_from(ctx: &FExitContext) -> Option<u32> {
    // What the function returned stands after its two arguments. `false`: somebody else had deleted the entry.
    if ctx.arg::<u8>(2) == 0 {
        return None;
    }
    // The function's first argument is the map: its first member is what an iterator calls the map.
    let map = ctx.arg::<*const c_void>(0) as u64;
    for [packed, address] in EVICT_MAPS.get(0)?.as_chunks().0 {
        if *address == map {
            return Some(*packed as u32);
        }
        if *address == 0 {
            break;
        }
    }
    None
}

/// Key and value up to the lifetime lie in one piece, and stay as they were until the slot is used again, which
/// waits for the lock that is held here.
#[inline(always)]
fn ct4(map: u32, ask: &Ask, element: *const u8) -> Option<()> {
    // SAFETY: the helper checks the address and refuses what cannot be read.
    let words: [u64; KEY_V4 + LIFETIME + 1] = unsafe { bpf_probe_read_kernel(element.cast()) }.ok()?;
    let (tail, lifetime) = (key_words(words[TAIL_V4]), words[KEY_V4 + LIFETIME]);
    let state = State::of(tail.nexthdr(), tail.flags(), (lifetime >> 32) as u16) as u8;
    count(map, ask, &[words[0], words[1]], Some(lifetime), state, v4(ask, &tail, words[0]));
    Some(())
}

#[inline(always)]
fn ct6(map: u32, ask: &Ask, element: *const u8) -> Option<()> {
    // SAFETY: as above.
    let words: [u64; KEY_V6 + LIFETIME + 1] = unsafe { bpf_probe_read_kernel(element.cast()) }.ok()?;
    let (tail, lifetime) = (key_words(words[TAIL_V6]), words[KEY_V6 + LIFETIME]);
    let state = State::of(tail.nexthdr(), tail.flags(), (lifetime >> 32) as u16) as u8;
    let key = [words[0], words[1], words[2], words[3], words[4]];
    count(map, ask, &key, Some(lifetime), state, v6(ask, &tail, &key));
    Some(())
}

#[inline(always)]
fn nat4(map: u32, ask: &Ask, element: *const u8) -> Option<()> {
    // SAFETY: as above.
    let key: [u64; KEY_V4] = unsafe { bpf_probe_read_kernel(element.cast()) }.ok()?;
    let pair = v4(ask, &packet_words(key[TAIL_V4]), key[0]);
    count(map, ask, &key, None, VictimState::None as u8, pair);
    Some(())
}

#[inline(always)]
fn nat6(map: u32, ask: &Ask, element: *const u8) -> Option<()> {
    // SAFETY: as above.
    let key: [u64; KEY_V6] = unsafe { bpf_probe_read_kernel(element.cast()) }.ok()?;
    let pair = v6(ask, &packet_words(key[TAIL_V6]), &key);
    count(map, ask, &key, None, VictimState::None as u8, pair);
    Some(())
}

/// Ports, next header and flags of a conntrack key.
#[inline(always)]
fn key_words(word: u64) -> KeyWords {
    KeyWords { ports: word as u32, tail: (word >> 32) as u16 }
}

/// The same of a NAT key, brought into the form of a conntrack key: there each port belongs to the address of the
/// other name, and a key whose responder stands in `daddr` is flagged SERVICE.
#[inline(always)]
fn packet_words(word: u64) -> KeyWords {
    let KeyWords { ports, tail } = key_words(word);
    let flags = if (tail >> 8) as u8 & TUPLE_F_IN == 0 { TUPLE_F_SERVICE } else { 0 };
    KeyWords { ports: ports.rotate_left(16), tail: tail & 0xff | u16::from(flags) << 8 }
}

#[inline(always)]
fn v4(ask: &Ask, key: &KeyWords, addresses: u64) -> Option<u32> {
    Targets::of(ask, ask::TARGETS).pair_v4(key, addresses)
}

#[inline(always)]
fn v6(ask: &Ask, key: &KeyWords, words: &[u64; KEY_V6]) -> Option<u32> {
    Targets::of(ask, ask::TARGETS).pair_v6(key, [words[0], words[1]], [words[2], words[3]])
}

/// `lifetime` is the word with lifetime and flags; NAT entries have neither.
#[inline(always)]
fn count<const KEY: usize>(
    map: u32,
    ask: &Ask,
    key: &[u64; KEY],
    lifetime: Option<u64>,
    state: u8,
    pair: Option<u32>,
) {
    let Some(shared) = EVICT_STATE.get_ptr_mut(0) else { return };
    let shared = shared.cast::<u64>();
    // SAFETY: a helper without arguments.
    let jiffies = unsafe { bpf_jiffies64() };
    let (ktime, seconds) = ktime_of(shared, jiffies);
    let now = match ask[ask::CLOCK] {
        clock if clock == Clock::Ktime as u64 => Some(seconds as u32),
        clock if clock == Clock::Jiffies as u64 => Some((jiffies >> 8) as u32),
        _ => None,
    };
    let expiry = match (now, lifetime) {
        (Some(now), Some(lifetime)) => ((lifetime as u32).wrapping_sub(now) as i32 as u32 >> 31) as u8,
        _ => Expiry::Unknown as u8,
    };
    let cell = cell(state, expiry);
    bump(0, slot(map), cell);
    if let Some(pair) = pair {
        bump(MAP_CHUNKS as u32, pair, cell);
    }
    let classes = pack_classes(map, cell, pair);
    write(shared, ktime, classes, lifetime.unwrap_or(0), u64::from(now.unwrap_or(0)), key);
}

/// The monotonic clock in nanoseconds and in seconds, read once a tick: where evictions come by the thousand, reading it
/// would cost more than all the rest. (The kernel's own clock of that kind is closed to tracing programs.) Another
/// processor may see the new tick with the old time: by a tick, which is what the time is behind anyway.
#[inline(always)]
fn ktime_of(shared: *mut u64, jiffies: u64) -> (u64, u64) {
    // SAFETY: words of a map value; the indices are constants below its length.
    let word = |index: usize| unsafe { shared.add(index) };
    // SAFETY: aligned words, each written at once.
    unsafe {
        if word(state::TICK).read_volatile() != jiffies {
            let ktime = bpf_ktime_get_ns();
            word(state::KTIME_NS).write_volatile(ktime);
            word(state::SECONDS).write_volatile(ktime / 1_000_000_000);
            word(state::TICK).write_volatile(jiffies);
        }
        (word(state::KTIME_NS).read_volatile(), word(state::SECONDS).read_volatile())
    }
}

/// Adds one to a counter of a slot or a pair, in the chunks from `first` on.
#[inline(always)]
fn bump(first: u32, index: u32, cell: u32) {
    let counter = black_box(index * CELLS as u32 + cell);
    if let Some(counters) = EVICTED.get_ptr_mut(first + (counter / CHUNK as u32 & 3)) {
        let place = counter as usize & (CHUNK - 1);
        // SAFETY: the index is masked to the chunk's length.
        let counter = unsafe { counters.cast::<u64>().add(place) };
        // Evictions from other maps run on other processors at the same time.
        // SAFETY: an aligned word of a map value.
        unsafe { fetch_add(counter, 1) };
    }
}

/// Writes a victim over the oldest one, see `victim::MARK`.
#[inline(always)]
fn write<const KEY: usize>(
    shared: *mut u64,
    ktime: u64,
    classes: u64,
    lifetime: u64,
    now: u64,
    key: &[u64; KEY],
) {
    // SAFETY: an aligned word of a map value.
    let number = unsafe { fetch_add(shared.add(state::VICTIMS), 1) };
    let Some(place) = VICTIMS.get_ptr_mut(number as u32 & (RING as u32 - 1)) else { return };
    let place = place.cast::<u64>();
    let set = |index: usize, word: u64| {
        // SAFETY: the index is a constant below the record's length.
        unsafe { place.add(index).write_volatile(word) };
    };
    set(victim::KTIME_NS, ktime);
    set(victim::CLASSES, classes);
    set(victim::LIFETIME, lifetime);
    set(victim::NOW, now);
    // A short key leaves the rest as it was: the map tells how long it is.
    set(victim::KEY, key[0]);
    set(victim::KEY + 1, key[1]);
    if KEY == KEY_V6 {
        set(victim::KEY + 2, key[2]);
        set(victim::KEY + 3, key[3]);
        set(victim::KEY + 4, key[4]);
    }
    // SAFETY: the index is a constant below the record's length.
    let mark = unsafe { place.add(victim::MARK) };
    // Ordered: nobody sees the mark before what it stands for.
    // SAFETY: an aligned word of a map value.
    unsafe { swap(mark, number + 1) };
}
