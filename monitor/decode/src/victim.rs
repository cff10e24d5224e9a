//! A victim of an eviction, as the kernel side records it.
//!
//! In: the words of a record, see `monitor_abi::evict::victim`; the shape of the map it was in. Out: [`EvictedEntry`] and its
//! ends. Must not: say what map or target the numbers in it stand for.

use std::time::Duration;

use monitor_abi::class::{Direction, Expiry, Protocol, VictimState};
use monitor_abi::evict::{decode_cell, decode_classes, slot, victim};
use monitor_model::ct::CtRow;
use monitor_model::map_name::Shape;
use monitor_model::nat::NatRow;
use monitor_model::tuple::Endpoint;

use crate::cilium::ct::decode_ct;
use crate::cilium::nat::decode_nat;

/// One record of the ring.
pub type VictimRecord = [u64; victim::LEN];

/// What a record says by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EvictedEntry {
    /// Which one since the programs were loaded.
    pub number: u64,
    /// Where its map counts.
    pub slot: usize,
    /// Its target and service.
    pub pair: Option<usize>,
    pub state: VictimState,
    pub expiry: Expiry,
    /// When, on the clock of the lifetimes.
    pub now: u32,
    pub lifetime: u32,
    /// When, on `CLOCK_MONOTONIC`.
    pub at: Duration,
    /// As long as the longest key there is.
    key: Vec<u8>,
}

/// Who talked to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends {
    pub initiator: Endpoint,
    pub responder: Endpoint,
    pub direction: Direction,
    pub protocol: Protocol,
}

/// Takes a record apart; `None` for classes that no entry has.
#[must_use]
pub fn parse_victim(record: &VictimRecord) -> Option<EvictedEntry> {
    let word = |index: usize| record.get(index).copied().unwrap_or(0);
    let half = |word: u64| u32::try_from(word & u64::from(u32::MAX)).unwrap_or(u32::MAX);
    let (map, cell, pair) = decode_classes(word(victim::CLASSES));
    let (state, expiry) = decode_cell(cell)?;
    Some(EvictedEntry {
        number: word(victim::MARK),
        slot: usize::try_from(slot(map)).ok()?,
        pair,
        state,
        expiry,
        now: half(word(victim::NOW)),
        lifetime: half(word(victim::LIFETIME)),
        at: Duration::from_nanos(word(victim::KTIME_NS)),
        key: record.get(victim::KEY..)?.iter().flat_map(|word| word.to_ne_bytes()).collect(),
    })
}

impl EvictedEntry {
    /// Its ends, by the shape of its map.
    #[must_use]
    pub fn ends(&self, shape: Shape) -> Option<Ends> {
        let (key_size, value_size) = shape.sizes();
        let (key, value) = (self.key.get(..key_size)?, vec![0; value_size]);
        Some(match shape {
            Shape::Ct4 | Shape::Ct6 => {
                let CtRow { initiator, responder, direction, protocol, .. } = decode_ct(key, &value).ok()?;
                Ends { initiator, responder, direction, protocol }
            }
            Shape::Nat4 | Shape::Nat6 => {
                let NatRow { source, destination, direction, protocol, .. } = decode_nat(key, &value).ok()?;
                Ends { initiator: source, responder: destination, direction, protocol }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_record_has_ends_or_no_classes(words: [u64; victim::LEN]) {
            if let Some(entry) = parse_victim(&words) {
                for shape in [Shape::Ct4, Shape::Ct6, Shape::Nat4, Shape::Nat6] {
                    prop_assert!(entry.ends(shape).is_some(), "{shape:?}");
                }
            }
        }
    }
}
