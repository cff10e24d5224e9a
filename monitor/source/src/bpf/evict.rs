//! The eviction programs and their maps: attach, name the maps to watch, read what was counted.
//!
//! In: the loaded object, a choice, addresses of maps. Out: the mode in force, counters, the last victims' records.
//! Must not: know what a map or a target is called; a slot and a pair are numbers here.

use std::os::fd::{AsFd, OwnedFd};

use aya::Ebpf;
use aya::maps::{Array, MapData};
use aya::programs::ProgramError;
use aya::programs::fexit::FExitLinkId;
use monitor_abi::cell::CHUNK;
use monitor_abi::evict::{
    CELLS, MAP_CHUNKS, NOBODY, RING, TABLE, TARGET_CHUNKS, ask, pack_map, state, victim,
};
use monitor_abi::scan::Clock;
use monitor_decode::victim::VictimRecord;
use monitor_model::eviction_plan::{self, Choice, Mode, Plan, Trial};
use monitor_model::map_name::Shape;
use monitor_model::target::tables::TargetWords;

use super::btf::KernelTypes;
use super::{LoadError, ScanError, in_map, probe, sys, take};

/// Counters since the programs were loaded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    maps: Vec<u64>,
    targets: Vec<u64>,
}

/// What the ring gave since it was read last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewVictims {
    /// Oldest first.
    pub records: Vec<VictimRecord>,
    /// Overwritten before they were read.
    pub lost: u64,
}

/// The kernel side of eviction tracking.
pub struct Tracker {
    plan: Plan,
    /// The program in force; dropping its link ends it.
    attached: Option<(&'static str, FExitLinkId, OwnedFd)>,
    asked: [u64; ask::LEN],
    ask: Array<MapData, [u64; ask::LEN]>,
    /// The table as the kernel has it.
    watched: [u64; TABLE],
    table: Array<MapData, [u64; TABLE]>,
    evicted: Array<MapData, [u64; CHUNK]>,
    state: Array<MapData, [u64; state::LEN]>,
    ring: Array<MapData, VictimRecord>,
    /// Victims read or lost so far.
    read: u64,
}

impl Counters {
    /// The counters of a map slot.
    #[must_use]
    pub fn of_slot(&self, slot: usize) -> [u64; CELLS] {
        part(&self.maps, slot)
    }

    /// The counters of a target x service pair.
    #[must_use]
    pub fn of_pair(&self, pair: usize) -> [u64; CELLS] {
        part(&self.targets, pair)
    }
}

fn part(counters: &[u64], index: usize) -> [u64; CELLS] {
    let found = counters.chunks_exact(CELLS).nth(index);
    found.and_then(|found| found.try_into().ok()).unwrap_or([0; CELLS])
}

impl Tracker {
    /// Takes the maps; nothing is watched yet.
    pub(super) fn new(bpf: &mut Ebpf) -> Result<Self, LoadError> {
        Ok(Self {
            plan: Plan::default(),
            attached: None,
            asked: [0; ask::LEN],
            ask: take(bpf, "EVICT_ASK")?,
            watched: [0; TABLE],
            table: take(bpf, "EVICT_MAPS")?,
            evicted: take(bpf, "EVICTED")?,
            state: take(bpf, "EVICT_STATE")?,
            ring: take(bpf, "VICTIMS")?,
            read: 0,
        })
    }

    /// Finds out what works and attaches it. Nothing else ctmon does depends on how this ends.
    pub(super) fn start(&mut self, bpf: &mut Ebpf, types: &KernelTypes, choice: Choice) {
        self.stop(bpf);
        let mut facts = probe::facts(bpf, types, choice);
        loop {
            self.plan = eviction_plan::decide(&facts, choice);
            let name = match self.plan.mode {
                Mode::Full => probe::FULL,
                Mode::Count => probe::COUNT,
                Mode::Off => break,
            };
            match self.attach(bpf, name, facts.key_offset.unwrap_or(0)) {
                Ok(()) => break,
                // One program less to choose from: this ends after two turns.
                Err(words) if name == probe::FULL => facts.full = Trial::Refused(words),
                Err(words) => facts.count = Trial::Refused(words),
            }
        }
        let kept = self.attached.as_ref().map(|(name, ..)| *name);
        for name in [probe::FULL, probe::COUNT] {
            if kept != Some(name) {
                // Not loaded, or not in use: either way it is gone.
                let _ = probe::program(bpf, name).and_then(aya::programs::FExit::unload);
            }
        }
        let Plan { mode, reason, detail } = &self.plan;
        tracing::info!(mode = mode.name(), reason = reason.name(), detail, "evictions: {}", reason.text());
    }

    fn attach(&mut self, bpf: &mut Ebpf, name: &'static str, key_offset: u32) -> Result<(), String> {
        let attach = |bpf: &mut Ebpf| {
            let program = probe::program(bpf, name)?;
            let fd = program.fd()?.as_fd().try_clone_to_owned().map_err(ProgramError::IOError)?;
            Ok((name, program.attach()?, fd))
        };
        let [key, ..] = &mut self.asked;
        *key = key_offset.into();
        self.ask.set(0, self.asked, 0).map_err(|error| error.to_string())?;
        self.attached =
            Some(attach(bpf).map_err(|error: ProgramError| probe::refused("BPF_LINK_CREATE", name, &error))?);
        Ok(())
    }

    fn stop(&mut self, bpf: &mut Ebpf) {
        if let Some((name, link, _)) = self.attached.take() {
            // A link that is gone already is as good as detached.
            let _ = probe::program(bpf, name).and_then(|program| program.detach(link));
        }
    }

    /// The mode in force, and why.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// What the programs judge by. Without targets no victim is given to one.
    pub fn judge_by(&mut self, clock: Clock, targets: TargetWords) -> Result<(), ScanError> {
        let [key, ..] = self.asked;
        let mut asked = [0; ask::LEN];
        let words = [key, clock as u64].into_iter().chain(targets);
        asked.iter_mut().zip(words).for_each(|(asked, word)| *asked = word);
        if asked != self.asked {
            self.ask.set(0, asked, 0).map_err(in_map("EVICT_ASK"))?;
            self.asked = asked;
        }
        Ok(())
    }

    /// Counts the evictions of the map at this address in this slot from now on.
    pub fn follow(&mut self, address: u64, slot: usize, shape: Shape) -> Result<(), ScanError> {
        use monitor_abi::evict::Shape as Number;
        let shape = match shape {
            Shape::Ct4 => Number::Ct4,
            Shape::Ct6 => Number::Ct6,
            Shape::Nat4 => Number::Nat4,
            Shape::Nat6 => Number::Nat6,
        };
        let number = u32::try_from(slot).unwrap_or(u32::MAX);
        // The address last: until then nobody looks at what stands beside it.
        self.set_word(2 * slot, pack_map(number, shape).into())?;
        self.set_word(2 * slot + 1, address)
    }

    /// Stops counting those of the map at this address. Only then may the last descriptor of the map be closed: the kernel gives its
    /// address to another one.
    pub fn unfollow(&mut self, address: u64) -> Result<(), ScanError> {
        match self.watched.iter().skip(1).step_by(2).position(|watched| *watched == address) {
            Some(slot) => self.set_word(2 * slot + 1, NOBODY),
            None => Ok(()),
        }
    }

    fn set_word(&mut self, index: usize, word: u64) -> Result<(), ScanError> {
        let mut table = self.watched;
        if let Some(place) = table.get_mut(index) {
            *place = word;
        }
        self.table.set(0, table, 0).map_err(in_map("EVICT_MAPS"))?;
        self.watched = table;
        Ok(())
    }

    /// Everything counted.
    pub fn counters(&self) -> Result<Counters, ScanError> {
        let mut maps = Vec::with_capacity((MAP_CHUNKS + TARGET_CHUNKS) * CHUNK);
        for index in (0..).take(MAP_CHUNKS + TARGET_CHUNKS) {
            maps.extend_from_slice(&self.evicted.get(&index, 0).map_err(in_map("EVICTED"))?);
        }
        let targets = maps.split_off(MAP_CHUNKS * CHUNK);
        Ok(Counters { maps, targets })
    }

    /// The victims since the last call, at most as many as the ring holds.
    pub fn victims(&mut self) -> Result<NewVictims, ScanError> {
        let total = self.victim_count()?;
        let first = self.read.max(total.saturating_sub(RING as u64));
        let mut records = Vec::new();
        for number in first..total {
            let place = u32::try_from(number % RING as u64).unwrap_or(0);
            let record = self.ring.get(&place, 0).map_err(in_map("VICTIMS"))?;
            records.push((number, record));
        }
        // What was counted meanwhile may have been written over what was read before.
        let overwritten = self.victim_count()?.saturating_sub(RING as u64);
        records.retain(|(number, record)| {
            *number >= overwritten && record.get(victim::MARK) == Some(&(number + 1))
        });
        let records: Vec<_> = records.into_iter().map(|(_, record)| record).collect();
        let lost = total - self.read - records.len() as u64;
        self.read = total;
        Ok(NewVictims { records, lost })
    }

    fn victim_count(&self) -> Result<u64, ScanError> {
        let words = self.state.get(&0, 0).map_err(in_map("EVICT_STATE"))?;
        Ok(words.get(state::VICTIMS).copied().unwrap_or_default())
    }

    /// How often the kernel skipped the program; `None` while none is attached.
    #[must_use]
    pub fn recursion_misses(&self) -> Option<u64> {
        let (_, _, program) = self.attached.as_ref()?;
        sys::recursion_misses(program.as_fd()).ok()
    }
}
