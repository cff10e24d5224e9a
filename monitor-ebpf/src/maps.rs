//! The bounded maps between the programs and the agent.
//!
//! In: what to ask (`ASK`, the target tables), written by the agent before a scan, which also clears `FOUND`, `CELLS`,
//! `TIMEOUTS` and `PENDING`. Out: `FOUND`, `CELLS` and `TIMEOUTS`, read after it. Must not: grow: every size is fixed here, and none depends on
//! traffic.

use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, HashMap, LpmTrie};
use monitor_abi::cell::{CHUNK, MAP_CHUNKS, TARGET_CHUNKS};
use monitor_abi::evict;
use monitor_abi::scan::{FILTER_WORDS, FILTERS, FOLLOWED_MAPS, MAX_PORTS, MAX_PREFIXES, ask, found, pending};

/// What this scan is asked for. An array of one: its lookup is inlined into a few instructions.
#[map]
pub(crate) static ASK: Array<[u64; ask::LEN]> = Array::with_max_entries(1, 0);

/// What the walk found beside counters. Not per CPU: one scan runs at a time, on one thread.
#[map]
pub(crate) static FOUND: Array<[u64; found::LEN]> = Array::with_max_entries(1, 0);

/// Elements copied and not yet counted. Not per CPU, likewise.
#[map]
pub(crate) static PENDING: Array<[u64; pending::LEN]> = Array::with_max_entries(1, 0);

/// One counter per combination of classes, in chunks of 8 KiB: an array, so that a bump is an addition.
#[map]
pub(crate) static CELLS: Array<[u64; CHUNK]> =
    Array::with_max_entries((MAP_CHUNKS + TARGET_CHUNKS) as u32, 0);

/// How many entries show which timeout, see `timeout`: one chunk, most of which nobody touches.
#[map]
pub(crate) static TIMEOUTS: Array<[u64; CHUNK]> = Array::with_max_entries(1, 0);

/// Two bitmaps an address family over the top and the low 16 bits of an address: an entry whose addresses
/// pass neither pays no lookup. 8 KiB each, so that the hot lines stay in the first-level cache.
#[map]
pub(crate) static FILTER: Array<[u64; FILTER_WORDS]> = Array::with_max_entries(FILTERS, 0);

/// Target prefixes, v4. A trie, since targets may be CIDRs; the agent stores the first-match target with
/// every prefix, so that the longest match answers in first-match order.
#[map]
pub(crate) static TARGETS_V4: LpmTrie<[u8; 4], u32> = LpmTrie::with_max_entries(MAX_PREFIXES, 0);

/// Target prefixes, v6.
#[map]
pub(crate) static TARGETS_V6: LpmTrie<[u8; 16], u32> = LpmTrie::with_max_entries(MAX_PREFIXES, 0);

/// Service ports: (target, protocol, port) to pair. A hash of ctmon's own, never one of Cilium's.
#[map]
pub(crate) static PORTS: HashMap<u32, u32> = HashMap::with_max_entries(MAX_PORTS, 0);

/// An always empty map of ctmon's own: walking it runs a program once, with no element.
#[map]
pub(crate) static NOTHING: HashMap<u32, u32> = HashMap::with_max_entries(1, 0);

/// Maps whose entries the kernel counts, by id: how many there are, and when that was. A hash of ctmon's own: the
/// iterator comes by every map of the machine, and asks for each whether it is one of a few dozen.
#[map]
pub(crate) static FOLLOWED: HashMap<u32, [u64; 2]> = HashMap::with_max_entries(FOLLOWED_MAPS, 0);

/// What the eviction programs are told.
#[map]
pub(crate) static EVICT_ASK: Array<[u64; evict::ask::LEN]> = Array::with_max_entries(1, 0);

/// Which maps are watched, see `evict::TABLE`. One element, read from its start: a few comparisons cost less than a
/// hash, also for all those evictions from maps that nobody asked for.
#[map]
pub(crate) static EVICT_MAPS: Array<[u64; evict::TABLE]> = Array::with_max_entries(1, 0);

/// Victims by map, then by target, see `evict::cell`. Not per CPU: evictions from one map take turns anyway, and
/// six reads tell it all.
#[map]
pub(crate) static EVICTED: Array<[u64; CHUNK]> =
    Array::with_max_entries((evict::MAP_CHUNKS + evict::TARGET_CHUNKS) as u32, 0);

/// What evictions leave for the next one. One for all processors: looking up a map with one for each is a call.
#[map]
pub(crate) static EVICT_STATE: Array<[u64; evict::state::LEN]> = Array::with_max_entries(1, 0);

/// The last victims. An array and no ring buffer: those wake their reader, which may not be done under the LRU lock.
#[map]
pub(crate) static VICTIMS: Array<[u64; evict::victim::LEN]> = Array::with_max_entries(evict::RING as u32, 0);
