//! To which target and service an entry belongs: the kernel side of the agent's `TargetIndex`.
//!
//! In: the words of a key. Out: the number of the pair. Must not: look anything up for an entry whose addresses the
//! filters exclude, or in a map that is not ctmon's own.

use aya_ebpf::maps::lpm_trie::{Key, LpmTrie};
use monitor_abi::cilium::{TUPLE_F_SERVICE, proto};
use monitor_abi::scan::{port_key, targets};

use crate::maps::{FILTER, PORTS, TARGETS_V4, TARGETS_V6};
use crate::opaque::opaque;

/// The part of a key both families share: both ports in one word, next header and flags in another.
pub(crate) struct KeyWords {
    pub ports: u32,
    pub tail: u16,
}

impl KeyWords {
    #[inline(always)]
    pub(crate) fn nexthdr(&self) -> u8 {
        self.tail as u8
    }

    #[inline(always)]
    pub(crate) fn flags(&self) -> u8 {
        (self.tail >> 8) as u8
    }

    /// The port that belongs to the address named `daddr`: the words are swapped, see `TupleV4`.
    #[inline(always)]
    fn port_of_daddr(&self) -> u16 {
        u16::from_be((self.ports >> 16) as u16)
    }

    #[inline(always)]
    fn port_of_saddr(&self) -> u16 {
        u16::from_be(self.ports as u16)
    }
}

/// What is known of all targets at once, see `scan::targets`.
#[derive(Clone, Copy)]
pub(crate) struct Targets<'a>(&'a [u64; targets::LEN]);

impl<'a> Targets<'a> {
    /// The words of a request that begin at `at`.
    #[inline(always)]
    pub(crate) fn of<const LEN: usize>(ask: &'a [u64; LEN], at: usize) -> Self {
        // SAFETY: a request ends with these words: `at` is as many before its end.
        Self(unsafe { &*ask.as_ptr().add(at).cast() })
    }

    /// The pair of a v4 entry; both addresses as they lie in the key, `daddr` in the low half.
    #[inline(always)]
    pub(crate) fn pair_v4(self, key: &KeyWords, addresses: u64) -> Option<u32> {
        let (daddr, saddr) = (addresses as u32, (addresses >> 32) as u32);
        let (care, value) = (self.0[targets::COMMON_V4] as u32, self.0[targets::COMMON_V4 + 1] as u32);
        let near = |address: u32| (address ^ value) & care == 0;
        if self.0[targets::FAMILIES] & 1 == 0 || !near(daddr) && !near(saddr) {
            return None;
        }
        let (Some(high), Some(low)) = (FILTER.get_ptr(0), FILTER.get_ptr(1)) else { return None };
        let pass = |address: u32| {
            let address = u32::from_be(address);
            // SAFETY: map values of 1,024 words.
            unsafe { both((high.cast(), address >> 16), (low.cast(), address & 0xffff)) }
        };
        let by_daddr = if pass(daddr) { look_up(&TARGETS_V4, 32, daddr.to_ne_bytes()) } else { None };
        let by_saddr = if pass(saddr) { look_up(&TARGETS_V4, 32, saddr.to_ne_bytes()) } else { None };
        pair(key, by_daddr, by_saddr)
    }

    /// The pair of a v6 entry; the halves of the addresses as they lie in the key.
    #[inline(always)]
    pub(crate) fn pair_v6(self, key: &KeyWords, daddr: [u64; 2], saddr: [u64; 2]) -> Option<u32> {
        let words = &self.0;
        let care = [words[targets::COMMON_V6], words[targets::COMMON_V6 + 1]];
        let value = [words[targets::COMMON_V6 + 2], words[targets::COMMON_V6 + 3]];
        let near =
            |address: [u64; 2]| (address[0] ^ value[0]) & care[0] | (address[1] ^ value[1]) & care[1] == 0;
        if words[targets::FAMILIES] & 2 == 0 || !near(daddr) && !near(saddr) {
            return None;
        }
        let (Some(high), Some(low)) = (FILTER.get_ptr(2), FILTER.get_ptr(3)) else { return None };
        let pass = |address: [u64; 2]| {
            let (first, last) = (u32::from_be(address[0] as u32), u32::from_be((address[1] >> 32) as u32));
            // SAFETY: map values of 1,024 words.
            unsafe { both((high.cast(), first >> 16 ^ first & 0xffff), (low.cast(), last & 0xffff)) }
        };
        let by_daddr = if pass(daddr) { look_up(&TARGETS_V6, 128, octets(daddr)) } else { None };
        let by_saddr = if pass(saddr) { look_up(&TARGETS_V6, 128, octets(saddr)) } else { None };
        pair(key, by_daddr, by_saddr)
    }
}

/// # Safety
/// Both filters point to 1,024 words.
#[inline(always)]
unsafe fn both(high: (*const u64, u32), low: (*const u64, u32)) -> bool {
    // SAFETY: passed on to the caller.
    unsafe { bit(high.0, high.1) && bit(low.0, low.1) }
}

#[inline(always)]
fn octets(words: [u64; 2]) -> [u8; 16] {
    // SAFETY: both are 16 plain bytes.
    unsafe { core::mem::transmute(words) }
}

/// # Safety
/// `filter` points to 1,024 words.
#[inline(always)]
unsafe fn bit(filter: *const u64, index: u32) -> bool {
    let index = opaque(index.into()) as u32;
    // SAFETY: the word index is masked to 1,023.
    let word = unsafe { *filter.add((index >> 6) as usize & 1023) };
    word >> (index & 63) & 1 != 0
}

/// The packed target that owns the address, see `scan::pack_target`.
#[inline(always)]
fn look_up<A>(targets: &LpmTrie<A, u32>, bits: u32, address: A) -> Option<u32> {
    targets.get(Key::new(bits, address)).copied()
}

/// Gives the entry to the first target that matches either address, under the service its port names.
#[inline(always)]
fn pair(key: &KeyWords, by_daddr: Option<u32>, by_saddr: Option<u32>) -> Option<u32> {
    // SERVICE keys are mirrored: their responder, the frontend, stands in `daddr`.
    let mirrored = key.flags() & TUPLE_F_SERVICE != 0;
    let (packed, named) = match (by_daddr, by_saddr) {
        (None, None) => return None,
        (Some(target), None) => (target, service(target, key.nexthdr(), key.port_of_daddr())),
        (None, Some(target)) => (target, service(target, key.nexthdr(), key.port_of_saddr())),
        (Some(d), Some(s)) if d >> 8 < s >> 8 => (d, service(d, key.nexthdr(), key.port_of_daddr())),
        (Some(d), Some(s)) if s >> 8 < d >> 8 => (s, service(s, key.nexthdr(), key.port_of_saddr())),
        (Some(target), Some(_)) => {
            let (responder, initiator) = if mirrored {
                (key.port_of_daddr(), key.port_of_saddr())
            } else {
                (key.port_of_saddr(), key.port_of_daddr())
            };
            let named = service(target, key.nexthdr(), responder)
                .or_else(|| service(target, key.nexthdr(), initiator));
            (target, named)
        }
    };
    Some(named.unwrap_or(packed & 0xff))
}

/// The pair that a port names at a target; only protocols with ports can name one.
#[inline(always)]
fn service(packed: u32, nexthdr: u8, port: u16) -> Option<u32> {
    if nexthdr != proto::TCP && nexthdr != proto::UDP && nexthdr != proto::SCTP {
        return None;
    }
    // SAFETY: a plain hash of ctmon's own; the agent writes it between scans only.
    unsafe { PORTS.get(port_key(packed >> 8, nexthdr, port)) }.copied()
}
