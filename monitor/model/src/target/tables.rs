//! The targets as the kernel side looks them up.
//!
//! In: a [`TargetIndex`]. Out: contents of the longest-prefix-match tries, the port table and the address filters.
//! Must not: write maps; the loader does.
//!
//! A longest-prefix match finds the narrowest prefix, the rule wants the first target. Both agree because every
//! prefix is entered with the lowest target of all prefixes that cover it.

use std::collections::HashSet;
use std::net::IpAddr;

use monitor_abi::scan::{FILTER_WORDS, pack_target, targets};

use super::super::prefix::Prefix;
use super::{TargetIndex, as_u32};

/// What the kernel's target maps hold.
#[derive(Clone, Debug)]
pub struct KernelTables {
    /// Prefixes with [`pack_target`] values.
    pub v4: Vec<LpmEntry<[u8; 4]>>,
    pub v6: Vec<LpmEntry<[u8; 16]>>,
    /// `port_key` to pair number, sorted by key.
    pub ports: Vec<(u32, u32)>,
    /// IPv4 high, IPv4 low, IPv6 high, IPv6 low.
    pub filters: [Box<[u64; FILTER_WORDS]>; 4],
    /// What all v4 prefixes have in common, and all v6 prefixes.
    pub common_v4: Common<4>,
    pub common_v6: Common<16>,
}

/// The bits that every prefix of a family fixes to the same value, and that value, as an address has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Common<const N: usize> {
    pub care: [u8; N],
    pub value: [u8; N],
}

impl<const N: usize> Common<N> {
    /// No prefix: every bit is fixed, and to nothing in particular.
    fn of(entries: &[LpmEntry<[u8; N]>]) -> Self {
        let value = entries.first().map_or([0; N], |entry| entry.address);
        let mut care = [0xff; N];
        for entry in entries {
            let fixed = u32::from(entry.length);
            for (index, octet) in (0_u32..).zip(&mut care) {
                let shift = (8 * (index + 1)).saturating_sub(fixed).min(8);
                *octet &= u8::try_from(0xff_u32 << shift & 0xff).unwrap_or(0);
            }
            for (octet, (a, b)) in care.iter_mut().zip(entry.address.iter().zip(&value)) {
                *octet &= !(a ^ b);
            }
        }
        Self { care, value }
    }
}

/// What the programs know of the targets without a look into their tables: `scan::targets`.
pub type TargetWords = [u64; targets::LEN];

impl KernelTables {
    /// The families with targets, and what the targets of each have in common.
    #[must_use]
    pub fn words(&self) -> TargetWords {
        let families = u64::from(!self.v4.is_empty()) | u64::from(!self.v6.is_empty()) << 1;
        let [care_v4, value_v4] =
            [self.common_v4.care, self.common_v4.value].map(|octets| u32::from_ne_bytes(octets).into());
        let [[care_0, care_1], [value_0, value_1]] = [self.common_v6.care, self.common_v6.value].map(halves);
        [families, care_v4, value_v4, care_0, care_1, value_0, value_1]
    }
}

/// The halves of a v6 address as they lie in a key.
fn halves(octets: [u8; 16]) -> [u64; 2] {
    match *octets.as_chunks::<8>().0 {
        [first, second] => [first, second].map(u64::from_ne_bytes),
        _ => [0; 2],
    }
}

/// One element of a longest-prefix-match trie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LpmEntry<A> {
    pub address: A,
    pub length: u8,
    pub value: u32,
}

impl TargetIndex {
    /// The tables with which the kernel side gives the same answer as [`TargetIndex::classify`].
    #[must_use]
    pub fn tables(&self) -> KernelTables {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        let mut entered = HashSet::new();
        for (prefix, _) in &self.prefixes {
            if !entered.insert(*prefix) {
                continue;
            }
            let Some(value) = self.value_of(prefix) else { continue };
            let length = prefix.length();
            match prefix.address() {
                IpAddr::V4(address) => v4.push(LpmEntry { address: address.octets(), length, value }),
                IpAddr::V6(address) => v6.push(LpmEntry { address: address.octets(), length, value }),
            }
        }
        let mut ports: Vec<_> = self.ports.iter().map(|(&key, &pair)| (key, as_u32(pair))).collect();
        ports.sort_unstable();
        let filters = &self.filters;
        let filters =
            [&filters.v4_high, &filters.v4_low, &filters.v6_high, &filters.v6_low].map(Clone::clone);
        KernelTables { common_v4: Common::of(&v4), common_v6: Common::of(&v6), v4, v6, ports, filters }
    }

    /// The lowest target of all prefixes that cover this one, with its `other` pair.
    fn value_of(&self, prefix: &Prefix) -> Option<u32> {
        let &(_, target) = self.prefixes.iter().find(|(wider, _)| wider.covers(prefix))?;
        Some(pack_target(as_u32(target), as_u32(self.other_pair(target)?)))
    }
}
