//! The maps behind the pins, from one collection to the next.
//!
//! In: names, the bpffs root. Out: open maps with their links and their last walks, and how often each was re-created.
//! Must not: keep a map alive that is not behind its pin any more, except where the kernel still counts by its address.

use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::path::Path;

use monitor_model::map_name::{self, MapName, MapProblem};
use monitor_model::one_line::one_line;

use super::evictions::EvictionTotals;
use super::walk::{Followed, Walk, scan_problem};
use crate::bpf::Kernel;
use crate::cilium::pins;

/// All of them.
#[derive(Default)]
pub(super) struct Maps {
    open: BTreeMap<MapName, Followed>,
    /// Outlives a pin that is gone: a counter must not begin anew when it comes back.
    generations: BTreeMap<MapName, Generation>,
    /// Maps whose address could not be taken off the list of watched ones: closing them would free it for others.
    not_closed: Vec<Followed>,
}

/// Which map was last behind a pin, and how many were before it.
#[derive(Clone, Copy)]
struct Generation {
    id: u32,
    recreations: u64,
}

/// The maps there may be.
pub(super) struct Listing {
    pub(super) names: Vec<MapName>,
    /// Per-cluster maps beyond the bound.
    pub(super) skipped: usize,
    /// Why per-cluster maps could not be listed.
    pub(super) error: Option<String>,
}

impl Listing {
    pub(super) fn read(bpffs: &Path) -> Self {
        let mut names = map_name::global_maps();
        match pins::per_cluster_maps(bpffs) {
            Ok((more, skipped)) => {
                names.extend(more);
                Self { names, skipped, error: None }
            }
            Err(error) => {
                let directory = bpffs.join(map_name::GLOBALS);
                let error = format!("failed to list {}: {error}", directory.display());
                Self { names, skipped: 0, error: Some(error) }
            }
        }
    }
}

impl Maps {
    pub(super) fn iter(&self) -> impl Iterator<Item = (&MapName, &Followed)> {
        self.open.iter()
    }

    pub(super) fn get(&self, name: &MapName) -> Option<&Followed> {
        self.open.get(name)
    }

    pub(super) fn get_mut(&mut self, name: &MapName) -> Option<&mut Followed> {
        self.open.get_mut(name)
    }

    /// The last walks there were.
    pub(super) fn walks(&self) -> impl Iterator<Item = &Walk> + Clone {
        self.open.values().filter_map(|map| map.last.as_ref())
    }

    /// Walks are made anew.
    pub(super) fn drop_walks(&mut self) {
        self.open.values_mut().for_each(|map| map.last = None);
    }

    pub(super) fn recreations(&self, name: &MapName) -> u64 {
        self.generations.get(name).map_or(0, |generation| generation.recreations)
    }

    /// Opens the pin anew, so that a map Cilium re-created is noticed; keeps the old link while the id stays, and
    /// nothing of a map that is not behind the pin any more.
    pub(super) fn open(
        &mut self,
        name: &MapName,
        bpffs: &Path,
        kernel: &mut Kernel,
        evictions: &mut EvictionTotals,
    ) -> Result<bool, MapProblem> {
        let open = match pins::open(name, bpffs) {
            Ok(Some(open)) => open,
            Ok(None) => {
                self.close(name, kernel, evictions);
                return Ok(false);
            }
            Err(problem) => {
                self.close(name, kernel, evictions);
                return Err(problem);
            }
        };
        if self.open.get(name).is_some_and(|map| map.open.info.id == open.info.id) {
            return Ok(true);
        }
        self.close(name, kernel, evictions);
        self.note_generation(name, open.info.id);
        let link = kernel.link(name.shape(), open.fd.as_fd()).map_err(|error| scan_problem(name, &error))?;
        self.open.insert(name.clone(), Followed { open, link, last: None });
        Ok(true)
    }

    fn note_generation(&mut self, name: &MapName, id: u32) {
        let last = self.generations.entry(name.clone()).or_insert(Generation { id, recreations: 0 });
        if last.id != id {
            *last = Generation { id, recreations: last.recreations + 1 };
            tracing::info!(map_name = %name, id, "map was re-created");
        }
    }

    /// Closes a map, after its address has left the list of those whose evictions are counted.
    fn close(&mut self, name: &MapName, kernel: &mut Kernel, evictions: &mut EvictionTotals) {
        let Some(map) = self.open.remove(name) else { return };
        if let Err(error) = evictions.unfollow(kernel.tracker(), name) {
            tracing::warn!(map_name = %name, error = one_line(&error), "failed to stop counting evictions: the old map is kept open");
            self.not_closed.push(map);
        }
    }

    /// Closes maps whose pins are gone from the list, per-cluster ones mostly: no descriptor of ours keeps them alive.
    pub(super) fn close_unlisted(
        &mut self,
        names: &[MapName],
        kernel: &mut Kernel,
        evictions: &mut EvictionTotals,
    ) {
        let gone: Vec<_> = self.open.keys().filter(|name| !names.contains(name)).cloned().collect();
        for name in &gone {
            self.close(name, kernel, evictions);
        }
        evictions.keep_only(names);
    }
}
