//! What belongs to the storage servers: the headline.

use super::page::{Metric, Page};
use crate::snapshot::Snapshot;

const ENTRIES: Metric = Metric::gauge(
    "ctmon_target_entries",
    "Conntrack entries of the target by service, state and whether the lifetime has passed",
);
const STALE: Metric = Metric::gauge(
    "ctmon_target_stale_entries",
    "Entries with a closing bit: what grep -E 'RxClosing|TxClosing' counts. A healthy node always has some",
);
const LINGERING: Metric = Metric::gauge(
    "ctmon_target_lingering_entries",
    "Stale entries that have been silent for stale_after or longer. The goal is 0",
);

pub(super) const METRICS: &[Metric] = &[ENTRIES, STALE, LINGERING];

pub(super) fn add(page: &mut Page, snapshot: &Snapshot) {
    for state in &snapshot.targets {
        let target = ("target", state.target.as_str());
        let service = ("target_service", state.service.as_str());
        for cell in &state.cells {
            let expired = match cell.expired {
                None => "unknown",
                Some(true) => "true",
                Some(false) => "false",
            };
            page.count(
                ENTRIES,
                &[target, service, ("state", cell.state.name()), ("expired", expired)],
                cell.entries,
            );
        }
        page.count(STALE, &[target, service], state.stale());
        for (kind, entries) in
            [("closed", state.lingering_closed), ("half_closed", state.lingering_half_closed)]
        {
            if let Some(entries) = entries {
                page.count(LINGERING, &[target, service, ("kind", kind)], entries);
            }
        }
    }
}
