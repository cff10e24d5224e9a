//! Evictions by the names of maps and targets: which map counts in which slot, and the sums since the beginning.
//!
//! In: the kernel's counters and records, which speak of slots and pairs; names and the clock. Out: [`Evictions`].
//! Must not: give a slot to another map before its last count was taken, or count what was before a map was known.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, SystemTime};

use monitor_abi::class::{Expiry, State, VictimState};
use monitor_abi::evict::{CELLS, RING, SLOTS, decode_cell, decode_classes, slot, victim};
use monitor_decode::cilium::ct::decode_ct;
use monitor_decode::cilium::nat::decode_nat;
use monitor_model::clock::{Clock, Reading};
use monitor_model::ct::CtRow;
use monitor_model::eviction_plan::Mode;
use monitor_model::map_name::{MapName, Shape};
use monitor_model::nat::NatRow;
use monitor_model::snapshot::{EvictionCell, Evictions, MapEvictions, TargetEvictions, Victim};
use monitor_model::target::{NO_TARGET, OTHER_SERVICE, TargetIndex};

use crate::bpf::ScanError;
use crate::bpf::evict::{Counters, Tracker, VictimRecord};

type Cells = [u64; CELLS];

/// What happened when, and what it is judged by.
pub(super) struct Moment<'a> {
    pub targets: &'a TargetIndex,
    pub clock: Clock,
    pub hz: u32,
    /// One instant on both clocks.
    pub wall: SystemTime,
    pub monotonic: Duration,
}

/// Sums by name.
#[derive(Default)]
pub(super) struct Ledger {
    slots: Slots,
    maps: BTreeMap<MapName, Cells>,
    targets: BTreeMap<(String, String), Sum>,
    victims: VecDeque<Victim>,
    lost: u64,
}

/// A sum, and the kernel's counter when it was last looked at.
#[derive(Clone, Copy)]
struct Sum {
    total: Cells,
    seen: Cells,
}

/// Which map counts where.
#[derive(Default)]
struct Slots(Vec<Slot>);

#[derive(Clone)]
struct Slot {
    map: MapName,
    /// `None` once the map is gone: the slot is free after the next count.
    address: Option<u64>,
    seen: Cells,
    vacant: bool,
}

impl Slots {
    /// The map's slot: its old one, a vacant one, or a new one while there are any.
    fn take(&mut self, map: &MapName) -> Option<usize> {
        let usable = |slot: &Slot| slot.map == *map || slot.vacant;
        let index = self
            .0
            .iter()
            .position(|slot| slot.map == *map && !slot.vacant)
            .or_else(|| self.0.iter().position(usable))
            .unwrap_or(self.0.len());
        if index == self.0.len() {
            if index == SLOTS {
                return None;
            }
            self.0.push(Slot { map: map.clone(), address: None, seen: [0; CELLS], vacant: false });
        }
        let slot = self.0.get_mut(index)?;
        // `seen` stays: the kernel's counter goes on from what the former owner left.
        slot.map = map.clone();
        slot.vacant = false;
        Some(index)
    }

    fn of(&mut self, map: &MapName) -> Option<&mut Slot> {
        self.0.iter_mut().find(|slot| slot.map == *map && !slot.vacant)
    }
}

impl Ledger {
    /// A walk met this map at this address: from now on its evictions are its own.
    pub(super) fn saw(
        &mut self,
        tracker: &mut Tracker,
        map: &MapName,
        address: u64,
    ) -> Result<(), ScanError> {
        let known = self.slots.of(map).and_then(|slot| slot.address);
        if tracker.plan().mode == Mode::Off || address == 0 || known == Some(address) {
            return Ok(());
        }
        if let Some(old) = known {
            tracker.forget(old)?;
        }
        // None left: as many maps came and went since the last count. The next walk finds room.
        let Some(index) = self.slots.take(map) else { return Ok(()) };
        tracker.watch(address, index, map.shape())?;
        if let Some(slot) = self.slots.of(map) {
            slot.address = Some(address);
        }
        self.maps.entry(map.clone()).or_insert([0; CELLS]);
        Ok(())
    }

    /// The map behind this name is about to be closed: its address may belong to another one soon.
    pub(super) fn forget(&mut self, tracker: &mut Tracker, map: &MapName) -> Result<(), ScanError> {
        let Some(slot) = self.slots.of(map) else { return Ok(()) };
        if let Some(address) = slot.address {
            tracker.forget(address)?;
            slot.address = None;
        }
        Ok(())
    }

    /// Takes over what was counted since the last time, under the names that held until now.
    pub(super) fn settle(&mut self, tracker: &mut Tracker, moment: &Moment<'_>) -> Result<(), ScanError> {
        let counters = tracker.counters()?;
        let new = tracker.victims()?;
        self.add(&counters, moment.targets);
        self.lost += new.lost;
        for record in &new.records {
            self.victims.extend(self.victim(record, moment));
        }
        let superfluous = self.victims.len().saturating_sub(RING);
        self.victims.drain(..superfluous);
        for slot in self.slots.0.iter_mut().filter(|slot| slot.address.is_none()) {
            slot.vacant = true;
        }
        Ok(())
    }

    fn add(&mut self, counters: &Counters, targets: &TargetIndex) {
        for (index, slot) in self.slots.0.iter_mut().enumerate() {
            let now = counters.of_slot(index);
            if let Some(total) = self.maps.get_mut(&slot.map) {
                advance(total, &slot.seen, &now);
            }
            slot.seen = now;
        }
        for (pair, (target, service)) in targets.pairs().enumerate() {
            let now = counters.of_pair(pair);
            // The first look only tells where counting begins.
            let sum = self
                .targets
                .entry((target.to_owned(), service.to_owned()))
                .or_insert(Sum { total: [0; CELLS], seen: now });
            advance(&mut sum.total, &sum.seen, &now);
            sum.seen = now;
        }
    }

    /// Other targets from now on: their pairs' counters go on from what the former ones left.
    pub(super) fn retarget(&mut self, tracker: &Tracker, targets: &TargetIndex) -> Result<(), ScanError> {
        let counters = tracker.counters()?;
        let mut old = std::mem::take(&mut self.targets);
        for (pair, (target, service)) in targets.pairs().enumerate() {
            let name = (target.to_owned(), service.to_owned());
            let total = old.remove(&name).map_or([0; CELLS], |sum| sum.total);
            self.targets.insert(name, Sum { total, seen: counters.of_pair(pair) });
        }
        Ok(())
    }

    /// Drops the sums of maps whose name is gone.
    pub(super) fn keep_only(&mut self, names: &[MapName]) {
        self.maps.retain(|map, _| names.contains(map));
    }

    /// What is known, as plain data.
    pub(super) fn evictions(&self, tracker: &Tracker, moment: &Moment<'_>) -> Evictions {
        let tracking = tracker.plan().clone();
        let mode = tracking.mode;
        let undecided = moment.clock == Clock::Undecided;
        let maps = self.maps.iter().filter(|_| mode != Mode::Off).map(|(map, total)| MapEvictions {
            map_name: map.name.clone(),
            cells: cells(total, |state, expiry| match mode {
                Mode::Full if map.is_conntrack() => of_conntrack(state, expiry, undecided),
                Mode::Full => (state, expiry) == (VictimState::None, Expiry::Unknown),
                Mode::Count | Mode::Off => (state, expiry) == (VictimState::Unknown, Expiry::Unknown),
            }),
        });
        let pairs = moment.targets.pairs().filter(|_| mode == Mode::Full);
        let targets = pairs.map(|(target, service)| {
            let name = (target.to_owned(), service.to_owned());
            let total = self.targets.get(&name).map_or([0; CELLS], |sum| sum.total);
            let cells = cells(&total, |state, expiry| {
                of_conntrack(state, expiry, undecided)
                    || (state, expiry) == (VictimState::None, Expiry::Unknown)
            });
            TargetEvictions { target: name.0, service: name.1, cells }
        });
        Evictions {
            recursion_misses: tracker.recursion_misses(),
            maps: maps.collect(),
            targets: targets.collect(),
            victims: self.victims.iter().cloned().collect(),
            victims_lost: self.lost,
            tracking,
        }
    }

    fn victim(&self, record: &VictimRecord, moment: &Moment<'_>) -> Option<Victim> {
        let word = |index: usize| record.get(index).copied().unwrap_or(0);
        let (map, cell, pair) = decode_classes(word(victim::CLASSES));
        let (state, expiry) = decode_cell(cell)?;
        let map = &self.slots.0.get(usize::try_from(slot(map)).ok()?)?.map;
        let key: Vec<u8> = record.get(victim::KEY..)?.iter().flat_map(|word| word.to_ne_bytes()).collect();
        let (key_size, value_size) = map.shape().sizes();
        let (key, value) = (key.get(..key_size)?, vec![0; value_size]);
        let (initiator, responder, direction, protocol) = match map.shape() {
            Shape::Ct4 | Shape::Ct6 => {
                let CtRow { initiator, responder, direction, protocol, .. } = decode_ct(key, &value).ok()?;
                (initiator, responder, direction, protocol)
            }
            Shape::Nat4 | Shape::Nat6 => {
                let NatRow { source, destination, direction, protocol, .. } = decode_nat(key, &value).ok()?;
                (source, destination, direction, protocol)
            }
        };
        let half = |word: u64| u32::try_from(word & u64::from(u32::MAX)).unwrap_or(u32::MAX);
        let reading = Reading { mode: moment.clock, now: half(word(victim::NOW)), hz: moment.hz };
        let remaining = expiry.known().and_then(|_| reading.seconds_left(half(word(victim::LIFETIME))));
        let age = moment.monotonic.saturating_sub(Duration::from_nanos(word(victim::KTIME_NS)));
        let (target, target_service) =
            pair.and_then(|pair| moment.targets.pairs().nth(pair)).unwrap_or((NO_TARGET, OTHER_SERVICE));
        Some(Victim {
            number: word(victim::MARK),
            when: moment.wall.checked_sub(age)?,
            map_name: map.name.clone(),
            protocol,
            direction,
            initiator,
            responder,
            state,
            expiry,
            remaining,
            target: target.to_owned(),
            target_service: target_service.to_owned(),
        })
    }
}

/// Classes that victims of a conntrack map can have. `unknown` expiry only while the clock is.
fn of_conntrack(state: VictimState, expiry: Expiry, undecided: bool) -> bool {
    State::from_number(state as u8).is_some() && (expiry != Expiry::Unknown || undecided)
}

/// The counters of the classes that can be, and of those that were.
fn cells(total: &Cells, can_be: impl Fn(VictimState, Expiry) -> bool) -> Vec<EvictionCell> {
    (0_u32..)
        .zip(total)
        .filter_map(|(cell, &evicted)| {
            let (state, expiry) = decode_cell(cell)?;
            (evicted > 0 || can_be(state, expiry)).then_some(EvictionCell { state, expiry, evicted })
        })
        .collect()
}

fn advance(total: &mut Cells, seen: &Cells, now: &Cells) {
    for ((total, seen), now) in total.iter_mut().zip(seen).zip(now) {
        *total += now.saturating_sub(*seen);
    }
}

#[cfg(test)]
mod tests {
    use monitor_model::map_name::global_maps;

    use super::*;

    fn map(index: u32) -> MapName {
        let mut map = global_maps().remove(0);
        map.name = format!("per_cluster_ct_tcp4_{index}");
        map
    }

    #[test]
    fn a_slot_stays_with_its_map_and_is_reused_only_when_vacant() {
        let mut slots = Slots::default();
        assert_eq!(
            (slots.take(&map(1)), slots.take(&map(2)), slots.take(&map(1))),
            (Some(0), Some(1), Some(0))
        );
        slots.0[0].seen = [7; CELLS];
        // Gone, and not counted for the last time: nobody else may have it.
        slots.of(&map(1)).unwrap().address = None;
        assert_eq!(slots.take(&map(3)), Some(2));
        slots.0[0].vacant = true;
        assert_eq!(slots.take(&map(4)), Some(0));
        assert_eq!(slots.0[0].seen, [7; CELLS], "the new owner does not inherit what was counted");
        assert!(slots.of(&map(1)).is_none());
    }

    #[test]
    fn slots_run_out_without_harm() {
        let mut slots = Slots::default();
        for index in 0..SLOTS {
            assert_eq!(slots.take(&map(u32::try_from(index).unwrap())), Some(index));
        }
        assert_eq!(slots.take(&map(1000)), None);
        assert_eq!(slots.take(&map(5)), Some(5));
    }

    #[test]
    fn every_class_that_can_be_is_shown_and_others_only_when_they_were() {
        let decided = cells(&[0; CELLS], |state, expiry| of_conntrack(state, expiry, false));
        assert_eq!(decided.len(), 12);
        assert!(decided.iter().all(|cell| cell.expiry != Expiry::Unknown));
        assert_eq!(cells(&[0; CELLS], |state, expiry| of_conntrack(state, expiry, true)).len(), 18);
        let mut total = [0; CELLS];
        total[monitor_abi::evict::cell(VictimState::Unknown as u8, Expiry::Unknown as u8) as usize] = 3;
        let counted = cells(&total, |state, expiry| of_conntrack(state, expiry, false));
        let expected = EvictionCell { state: VictimState::Unknown, expiry: Expiry::Unknown, evicted: 3 };
        assert_eq!(counted.last(), Some(&expected));
    }
}
