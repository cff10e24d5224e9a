//! The targets as the kernel side looks them up.
//!
//! In: a [`TargetIndex`]. Out: contents of the longest-prefix-match tries, the port table and the address filters.
//! Must not: write maps; the loader does.
//!
//! A longest-prefix match finds the narrowest prefix, the rule wants the first target. Both agree because every
//! prefix is entered with the lowest target of all prefixes that cover it.

use std::collections::HashSet;
use std::net::IpAddr;

use monitor_abi::scan::{FILTER_WORDS, pack_target};

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
        KernelTables { v4, v6, ports, filters }
    }

    /// The lowest target of all prefixes that cover this one, with its `other` pair.
    fn value_of(&self, prefix: &Prefix) -> Option<u32> {
        let &(_, target) = self.prefixes.iter().find(|(wider, _)| wider.covers(prefix))?;
        Some(pack_target(as_u32(target), as_u32(self.other_pair(target)?)))
    }
}
