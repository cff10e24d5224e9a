//! How many entries maps hold, from the kernel's own counter: cheap enough for each second.
//!
//! In: the object, the kernel's types, ids of maps. Out: a count and its instant for each, or why there are none.
//! Must not: read a map, or take a number for a count that this turn did not write.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::os::fd::AsFd as _;
use std::os::fd::OwnedFd;
use std::time::Duration;

use aya::maps::{HashMap, MapData};
use aya::programs::{Iter, ProgramError};
use aya::{Btf, Ebpf};
use monitor_decode::btf::Places;
use monitor_model::count_plan::{self, CountFacts, Plan};
use monitor_model::eviction_plan::Trial;

use super::{LoadError, ScanError, drain, in_map, missing, probe, sys, take};

/// The program, see `monitor-ebpf/src/map_count.rs`.
const PROGRAM: &str = "map_count";
/// Its two instructions with a number that means nothing: the load of a map's id, the call of the function that counts.
const LOAD_ID: [u8; 8] = [0x61, 0x10, 0, 0, 0x73, 0x7c, 0x7c, 0x7c];
const CALL: [u8; 8] = [0x85, 0x20, 0, 0, 0x74, 0x7c, 0x7c, 0x7c];

/// What the kernel said of one map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counted {
    pub id: u32,
    pub entries: u64,
    /// When, on `CLOCK_MONOTONIC`.
    pub at: Duration,
}

/// The kernel side of counting.
pub struct MapCounter {
    plan: Plan,
    link: Option<OwnedFd>,
    followed: HashMap<MapData, u32, [u64; 2]>,
    ids: BTreeSet<u32>,
}

/// The object with what this kernel's types say in place of the placeholders, and what is known before the program is
/// tried. Unchanged where they say nothing: then the program is never loaded.
pub(super) fn prepare<'o>(object: &'o [u8], places: &Places) -> (Cow<'o, [u8]>, CountFacts) {
    let Places { function: _, key_offset: _, count_function, map_id } = *places;
    let offset = map_id.and_then(|offset| u16::try_from(offset).ok());
    let facts =
        CountFacts { function: count_function.is_some(), map_id: offset.is_some(), program: Trial::Untried };
    let Some((function, offset)) = count_function.zip(offset) else { return (Cow::Borrowed(object), facts) };
    let [low, high] = offset.to_le_bytes();
    let [f0, f1, f2, f3] = function.to_le_bytes();
    let mut object = object.to_vec();
    replace(&mut object, LOAD_ID, [0x61, 0x10, low, high, 0, 0, 0, 0]);
    replace(&mut object, CALL, [0x85, 0x20, 0, 0, f0, f1, f2, f3]);
    (Cow::Owned(object), facts)
}

fn replace(object: &mut [u8], placeholder: [u8; 8], instruction: [u8; 8]) {
    // Instructions lie on their size, in a section that does.
    for found in object.chunks_exact_mut(8).filter(|found| **found == placeholder) {
        found.copy_from_slice(&instruction);
    }
}

impl MapCounter {
    /// Takes the map; nothing is counted yet.
    pub(super) fn new(bpf: &mut Ebpf) -> Result<Self, LoadError> {
        Ok(Self { plan: Plan::default(), link: None, followed: take(bpf, "FOLLOWED")?, ids: BTreeSet::new() })
    }

    /// Finds out whether the program works. Nothing else ctmon does depends on how this ends.
    pub(super) fn start(&mut self, bpf: &mut Ebpf, btf: &Btf, mut facts: CountFacts) {
        if facts.function && facts.map_id {
            facts.program = match load(bpf, btf) {
                Ok(link) => {
                    self.link = Some(link);
                    Trial::Works
                }
                Err(error) => Trial::Refused(probe::words(&error)),
            };
        }
        self.plan = count_plan::decide(&facts);
        let Plan { reason, detail } = &self.plan;
        tracing::info!(
            reason = reason.name(),
            detail,
            "the kernel's own count of entries: {}",
            reason.text()
        );
    }

    /// Whether there are counts, and why not.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Counts these maps; none where the kernel does not say. Maps that are not among them are followed no longer.
    pub fn count(&mut self, ids: &BTreeSet<u32>) -> Result<Vec<Counted>, ScanError> {
        let Some(link) = &self.link else { return Ok(Vec::new()) };
        for id in self.ids.difference(ids) {
            self.followed.remove(id).or_else(missing).map_err(in_map("FOLLOWED"))?;
        }
        for id in ids.difference(&self.ids) {
            self.followed.insert(id, [0; 2], 0).map_err(in_map("FOLLOWED"))?;
        }
        self.ids.clone_from(ids);
        let began = sys::monotonic();
        drain::count_reads(sys::start_iterator(link.as_fd()).map_err(ScanError::Start)?)
            .map_err(ScanError::Read)?;
        let mut all = Vec::with_capacity(ids.len());
        for &id in ids {
            let [entries, nanoseconds] = self.followed.get(&id, 0).map_err(in_map("FOLLOWED"))?;
            let at = Duration::from_nanos(nanoseconds);
            // A map that went meanwhile was not come by.
            if at >= began {
                all.push(Counted { id, entries, at });
            }
        }
        Ok(all)
    }
}

fn load(bpf: &mut Ebpf, btf: &Btf) -> Result<OwnedFd, ProgramError> {
    let program: &mut Iter = bpf.program_mut(PROGRAM).ok_or(ProgramError::NotLoaded)?.try_into()?;
    program.load("bpf_map", btf)?;
    sys::link_iterator(program.fd()?.as_fd(), None).map_err(ProgramError::IOError)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bpf::OBJECT;

    fn places(count_function: Option<u32>, map_id: Option<u32>) -> Places {
        Places { count_function, map_id, ..Places::default() }
    }

    fn count_of(object: &[u8], instruction: [u8; 8]) -> usize {
        object.chunks_exact(8).filter(|found| **found == instruction).count()
    }

    #[test]
    fn the_object_has_one_placeholder_of_each_kind_and_none_once_prepared() {
        assert_eq!([LOAD_ID, CALL].map(|placeholder| count_of(OBJECT, placeholder)), [1, 1]);
        let (object, facts) = prepare(OBJECT, &places(Some(0x0001_2345), Some(0x58)));
        assert_eq!((facts.function, facts.map_id), (true, true));
        assert_eq!([LOAD_ID, CALL].map(|placeholder| count_of(&object, placeholder)), [0, 0]);
        assert_eq!(count_of(&object, [0x85, 0x20, 0, 0, 0x45, 0x23, 1, 0]), 1);
        assert_eq!(object.len(), OBJECT.len());
    }

    #[test]
    fn without_types_the_object_stays_as_it_is() {
        for (function, offset) in [(None, Some(88)), (Some(7), None), (Some(7), Some(70_000))] {
            let (object, facts) = prepare(OBJECT, &places(function, offset));
            assert!(matches!(object, Cow::Borrowed(_)), "{function:?} {offset:?}");
            assert!(!(facts.function && facts.map_id), "{facts:?}");
        }
    }
}
