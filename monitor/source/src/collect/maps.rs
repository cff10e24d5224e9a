//! The maps behind the pins, from one collection to the next.
//!
//! In: names, the bpffs root. Out: open maps with their links, and what is remembered of those that went.
//! Must not: keep a map alive that is not behind its pin any more, except where the kernel still counts by its address.

use std::os::fd::AsFd;

use monitor_model::map_name::{self, MapName, MapProblem};

use super::{Collector, Walked, scan_problem};
use crate::bpf::Link;
use crate::cilium::pins::{self, OpenMap};

/// A map between two collections.
pub(super) struct Known {
    pub(super) open: OpenMap,
    pub(super) link: Link,
    pub(super) last: Option<Walked>,
}

/// What is remembered of a pin even while it is gone: a counter must not begin anew when it comes back.
#[derive(Clone, Copy)]
pub(super) struct Seen {
    /// Id of the map last found behind it.
    pub(super) id: u32,
    pub(super) recreations: u64,
}

impl Collector {
    /// The maps there may be, how many per-cluster ones beyond the bound, and why those could not be listed.
    pub(super) fn names(&self) -> (Vec<MapName>, usize, Option<String>) {
        let mut names = map_name::global_maps();
        match pins::per_cluster_maps(&self.settings.bpffs) {
            Ok((more, skipped)) => {
                names.extend(more);
                (names, skipped, None)
            }
            Err(error) => {
                let directory = self.settings.bpffs.join(map_name::GLOBALS);
                (names, 0, Some(format!("failed to list {}: {error}", directory.display())))
            }
        }
    }

    /// Opens the pin anew, so that a map Cilium re-created is noticed; keeps the old link while the id stays, and
    /// nothing of a map that is not behind the pin any more.
    pub(super) fn open(&mut self, name: &MapName) -> Result<bool, MapProblem> {
        let open = match pins::open(name, &self.settings.bpffs) {
            Ok(Some(open)) => open,
            Ok(None) => {
                self.retire(name);
                return Ok(false);
            }
            Err(problem) => {
                self.retire(name);
                return Err(problem);
            }
        };
        if self.known.get(name).is_some_and(|known| known.open.info.id == open.info.id) {
            return Ok(true);
        }
        self.retire(name);
        let id = open.info.id;
        let seen = self.seen.entry(name.clone()).or_insert(Seen { id, recreations: 0 });
        if seen.id != id {
            *seen = Seen { id, recreations: seen.recreations + 1 };
            tracing::info!(map_name = %name, id, "map was re-created");
        }
        let link =
            self.kernel.link(name.shape(), open.fd.as_fd()).map_err(|error| scan_problem(name, &error))?;
        self.known.insert(name.clone(), Known { open, link, last: None });
        Ok(true)
    }

    /// Closes a map, after its address has left the list of those whose evictions are counted.
    fn retire(&mut self, name: &MapName) {
        let Some(known) = self.known.remove(name) else { return };
        if let Err(error) = self.ledger.forget(self.kernel.tracker(), name) {
            tracing::warn!(map_name = %name, %error, "failed to stop counting evictions: the old map is kept open");
            self.held.push(known);
        }
    }

    /// Closes maps whose pins are gone from the list, per-cluster ones mostly: no descriptor of ours keeps them alive.
    pub(super) fn drop_unlisted(&mut self, names: &[MapName]) {
        let gone: Vec<_> = self.known.keys().filter(|name| !names.contains(name)).cloned().collect();
        for name in &gone {
            self.retire(name);
        }
        self.ledger.keep_only(names);
    }
}
