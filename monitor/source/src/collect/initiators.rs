//! Who waits for the first answer of a target: the addresses behind the unanswered entries.
//!
//! In: the open conntrack maps. Out: for each service of a target where they come from. Must not: run beside a scrape, or
//! keep more addresses than a person reads: whoever runs a command asks for them, no page shows them.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::ControlFlow;

use monitor_decode::cilium::ct::decode_ct;
use monitor_model::classifier::{Classifier, MapClassifier};
use monitor_model::map_name::MapName;
use monitor_model::snapshot::Initiators;
use monitor_model::target::NO_TARGET;
use monitor_model::walk::WalkEvent;

use super::Collector;
use crate::bpf::ScanError;

/// Addresses kept for each service of a target: all pods of a node, about.
const MOST: usize = 128;

impl Collector {
    /// Walks the conntrack maps once more, for the addresses.
    pub fn unanswered_initiators(&mut self) -> Result<Vec<Initiators>, ScanError> {
        let classifier =
            Classifier { targets: self.targets.index.clone(), stale_after: self.settings.stale_after };
        let mut found: BTreeMap<(String, String), BTreeMap<IpAddr, u64>> = BTreeMap::new();
        let mut map: Option<MapClassifier<'_>> = None;
        self.stream(MapName::is_conntrack, &mut |step| {
            match step {
                WalkEvent::Map { name, clock } => map = Some(classifier.of_map(name, clock)),
                WalkEvent::Entry { key, value } => {
                    let Some((map, row)) = map.as_ref().zip(decode_ct(key, value).ok()) else {
                        return ControlFlow::Continue(());
                    };
                    let facts = map.ct(row);
                    if facts.unanswered == Some(true) && facts.target != NO_TARGET {
                        let pair = (facts.target.to_owned(), facts.target_service.to_owned());
                        let from = found.entry(pair).or_default();
                        if from.len() < MOST || from.contains_key(&row.initiator.address) {
                            *from.entry(row.initiator.address).or_default() += 1;
                        }
                    }
                }
            }
            ControlFlow::Continue(())
        })?;
        let initiators = found.into_iter().map(|((target, service), from)| {
            let mut from: Vec<_> = from.into_iter().collect();
            from.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
            Initiators { target, service, from: from.into_iter().map(|(address, _)| address).collect() }
        });
        Ok(initiators.collect())
    }
}
