//! Evictions by the names of maps and targets: which map counts in which slot, and the sums since the beginning.
//!
//! In: the kernel's counters and records, which speak of slots and pairs; names and the clock. Out: [`Evictions`].
//! Must not: give a slot to another map before its last count was taken, or count what was before a map was known.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, SystemTime};

use monitor_abi::class::{Expiry, State, VictimState};
use monitor_abi::evict::{CELLS, RING, SLOTS, decode_cell};
use monitor_decode::victim::{Ends, EvictedEntry, VictimRecord, parse_victim};
use monitor_model::eviction_plan::Mode;
use monitor_model::map_name::MapName;
use monitor_model::snapshot::{EvictionCell, Evictions, MapEvictions, TargetEvictions, Victim};
use monitor_model::target::{NO_TARGET, OTHER_SERVICE, TargetIndex};

use super::clock::NodeClock;
use crate::bpf::ScanError;
use crate::bpf::evict::{Counters, Tracker};

type Cells = [u64; CELLS];

/// What the numbers in counters and records stand for when they are read.
pub(super) struct Names<'a> {
    pub targets: &'a TargetIndex,
    pub clock: &'a NodeClock,
    /// One instant on both clocks.
    pub wall: SystemTime,
    pub monotonic: Duration,
}

/// Sums by name since the beginning.
#[derive(Default)]
pub(super) struct EvictionTotals {
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
struct Slots {
    all: Vec<Slot>,
}

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
            .all
            .iter()
            .position(|slot| slot.map == *map && !slot.vacant)
            .or_else(|| self.all.iter().position(usable))
            .unwrap_or(self.all.len());
        if index == self.all.len() {
            if index == SLOTS {
                return None;
            }
            self.all.push(Slot { map: map.clone(), address: None, seen: [0; CELLS], vacant: false });
        }
        let slot = self.all.get_mut(index)?;
        // `seen` stays: the kernel's counter goes on from what the former owner left.
        slot.map = map.clone();
        slot.vacant = false;
        Some(index)
    }

    fn of_map(&mut self, map: &MapName) -> Option<&mut Slot> {
        self.all.iter_mut().find(|slot| slot.map == *map && !slot.vacant)
    }
}

impl EvictionTotals {
    /// A walk met this map at this address: from now on its evictions are its own.
    pub(super) fn follow(
        &mut self,
        tracker: &mut Tracker,
        map: &MapName,
        address: u64,
    ) -> Result<(), ScanError> {
        let known = self.slots.of_map(map).and_then(|slot| slot.address);
        if tracker.plan().mode == Mode::Off || address == 0 || known == Some(address) {
            return Ok(());
        }
        if let Some(old) = known {
            tracker.unfollow(old)?;
        }
        // None left: as many maps came and went since the last count. The next walk finds room.
        let Some(index) = self.slots.take(map) else { return Ok(()) };
        tracker.follow(address, index, map.shape())?;
        if let Some(slot) = self.slots.of_map(map) {
            slot.address = Some(address);
        }
        self.maps.entry(map.clone()).or_insert([0; CELLS]);
        Ok(())
    }

    /// The map behind this name is about to be closed: its address may belong to another one soon.
    pub(super) fn unfollow(&mut self, tracker: &mut Tracker, map: &MapName) -> Result<(), ScanError> {
        let Some(slot) = self.slots.of_map(map) else { return Ok(()) };
        if let Some(address) = slot.address {
            tracker.unfollow(address)?;
            slot.address = None;
        }
        Ok(())
    }

    /// Takes over what was counted since the last time, under the names that held until now.
    pub(super) fn read(&mut self, tracker: &mut Tracker, names: &Names<'_>) -> Result<(), ScanError> {
        let counters = tracker.counters()?;
        let new = tracker.victims()?;
        self.add(&counters, names.targets);
        self.lost += new.lost;
        for record in &new.records {
            self.victims.extend(self.victim(record, names));
        }
        let superfluous = self.victims.len().saturating_sub(RING);
        self.victims.drain(..superfluous);
        for slot in self.slots.all.iter_mut().filter(|slot| slot.address.is_none()) {
            slot.vacant = true;
        }
        Ok(())
    }

    fn add(&mut self, counters: &Counters, targets: &TargetIndex) {
        for (index, slot) in self.slots.all.iter_mut().enumerate() {
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
    pub(super) fn evictions(&self, tracker: &Tracker, names: &Names<'_>) -> Evictions {
        let tracking = tracker.plan().clone();
        let mode = tracking.mode;
        let undecided = !names.clock.is_decided();
        let maps = self.maps.iter().filter(|_| mode != Mode::Off).map(|(map, total)| MapEvictions {
            map_name: map.name.clone(),
            cells: cells(total, |state, expiry| match mode {
                Mode::Full if map.is_conntrack() => of_conntrack(state, expiry, undecided),
                Mode::Full => (state, expiry) == (VictimState::None, Expiry::Unknown),
                Mode::Count | Mode::Off => (state, expiry) == (VictimState::Unknown, Expiry::Unknown),
            }),
        });
        let pairs = names.targets.pairs().filter(|_| mode == Mode::Full);
        let targets = pairs.map(|(target, service)| {
            let name = (target.to_owned(), service.to_owned());
            let total = self.targets.get(&name).map_or([0; CELLS], |sum| sum.total);
            let (target, service) = name;
            let cells = cells(&total, |state, expiry| {
                of_conntrack(state, expiry, undecided)
                    || (state, expiry) == (VictimState::None, Expiry::Unknown)
            });
            TargetEvictions { target, service, cells }
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

    fn victim(&self, record: &VictimRecord, names: &Names<'_>) -> Option<Victim> {
        let entry = parse_victim(record)?;
        let map = &self.slots.all.get(entry.slot)?.map;
        let Ends { initiator, responder, direction, protocol } = entry.ends(map.shape())?;
        let EvictedEntry { number, state, expiry, .. } = entry;
        let remaining =
            expiry.known().and_then(|_| names.clock.reading(entry.now).seconds_left(entry.lifetime));
        let pair = entry.pair.and_then(|pair| names.targets.pairs().nth(pair));
        let (target, target_service) = pair.unwrap_or((NO_TARGET, OTHER_SERVICE));
        Some(Victim {
            number,
            when: names.wall.checked_sub(names.monotonic.saturating_sub(entry.at))?,
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
        slots.all[0].seen = [7; CELLS];
        // Gone, and not counted for the last time: nobody else may have it.
        slots.of_map(&map(1)).unwrap().address = None;
        assert_eq!(slots.take(&map(3)), Some(2));
        slots.all[0].vacant = true;
        assert_eq!(slots.take(&map(4)), Some(0));
        assert_eq!(slots.all[0].seen, [7; CELLS], "the new owner does not inherit what was counted");
        assert!(slots.of_map(&map(1)).is_none());
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
