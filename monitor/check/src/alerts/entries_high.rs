//! More conntrack entries than the number configured as high.

use monitor_model::alert::{Alert, Grade, SAW_TOOTH, Severity, minutes};

use super::definition::{Condition, Definition};
use super::{entries_above_normal, series};

/// Off by default, as [`ENTRIES_ABOVE_NORMAL`](entries_above_normal::ENTRIES_ABOVE_NORMAL) is.
pub(super) const ENTRIES_HIGH: Definition = Definition {
    alert: Alert {
        name: "CtmonEntriesHigh",
        severities: &[Grade::off(Severity::Warning, minutes(30))],
        keep_firing_for: SAW_TOOTH,
        expr: entries_above_normal::EXPR,
        summary: "many conntrack entries on $NODE",
        description: "$NODE tracks {{ $value | humanize }} connections, more than the number configured as high. \
                      `ctmon top` tells who fills the table, `ctmon check` whether they are alive.",
        ..Alert::BASE
    },
    condition: Condition::Now {
        series: |snapshot, _| series::conntrack_entries(snapshot),
        words: Some(entries_above_normal::words),
    },
    ..Definition::BASE
};
