//! The registry of alerts: each is one value in a file of its own.
//!
//! In: nothing. Out: [`DEFINITIONS`], from which thresholds, rules, `ctmon_alert_active`, findings, page and documentation
//! are made. Must not: find an alert by its name: whoever needs one names its value.

mod blind;
pub(crate) mod cifs_reconnecting;
mod collection_lagging;
mod collection_slow;
mod config_refused;
mod dead_entries_high;
pub(crate) mod definition;
mod down;
mod entries_above_normal;
mod entries_high;
mod file_handles_high;
mod half_closed_pile_up;
pub(crate) mod insert_failures;
mod iscsi_session_down;
mod live_evictions;
mod log_pattern;
mod map_filling;
mod map_full;
mod map_full_soon;
mod map_smaller_than_expected;
mod map_unreadable;
pub(crate) mod nat_mapping_failures;
mod nat_ports_running_out;
mod reverse_tuple_collision;
mod series;
mod snapshot_old;
mod source_down;
mod stale_connections;
mod storage_path_stalled;
mod target_unanswered;
mod target_untracked;
#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "tests read what is on file")]
mod tests;
mod tuning_not_in_force;
pub(crate) mod unwatched;

use monitor_config::AlertList;
use monitor_model::alert::Alert;

pub use self::definition::{Condition, Definition, Evidence, Reading, Series, Words};

/// Every alert, in display order.
pub static DEFINITIONS: [Definition; 32] = [
    map_filling::MAP_FILLING,
    map_full::MAP_FULL,
    map_full_soon::MAP_FULL_SOON,
    entries_above_normal::ENTRIES_ABOVE_NORMAL,
    entries_high::ENTRIES_HIGH,
    stale_connections::STALE_CONNECTIONS,
    half_closed_pile_up::HALF_CLOSED_PILE_UP,
    collection_lagging::COLLECTION_LAGGING,
    dead_entries_high::DEAD_ENTRIES_HIGH,
    collection_slow::COLLECTION_SLOW,
    live_evictions::OF_MAPS,
    live_evictions::OF_TARGETS,
    nat_ports_running_out::NAT_PORTS_RUNNING_OUT,
    insert_failures::INSERT_FAILURES,
    nat_mapping_failures::NAT_MAPPING_FAILURES,
    reverse_tuple_collision::REVERSE_TUPLE_COLLISION,
    target_unanswered::TARGET_UNANSWERED,
    target_untracked::TARGET_UNTRACKED,
    storage_path_stalled::STORAGE_PATH_STALLED,
    cifs_reconnecting::CIFS_RECONNECTING,
    iscsi_session_down::ISCSI_SESSION_DOWN,
    map_smaller_than_expected::MAP_SMALLER_THAN_EXPECTED,
    tuning_not_in_force::TUNING_NOT_IN_FORCE,
    file_handles_high::FILE_HANDLES_HIGH,
    log_pattern::LOG_PATTERN,
    map_unreadable::MAP_UNREADABLE,
    unwatched::UNWATCHED,
    blind::BLIND,
    source_down::SOURCE_DOWN,
    config_refused::CONFIG_REFUSED,
    snapshot_old::SNAPSHOT_OLD,
    down::DOWN,
];

/// The same without what this crate reads of a snapshot: what rules and configuration need.
pub static ALERTS: [&Alert; DEFINITIONS.len()] = {
    let mut alerts = [&Alert::BASE; DEFINITIONS.len()];
    let mut index = 0;
    while index < DEFINITIONS.len() {
        #[expect(clippy::indexing_slicing, reason = "both are as long as the condition says")]
        {
            alerts[index] = &DEFINITIONS[index].alert;
        }
        index += 1;
    }
    alerts
};

/// The list as the configuration takes it.
#[derive(Debug)]
pub enum Catalog {}

impl AlertList for Catalog {
    fn alerts() -> &'static [&'static Alert] {
        &ALERTS
    }
}

/// The definition an alert is of.
pub(crate) fn definition_of(alert: &Alert) -> Option<&'static Definition> {
    DEFINITIONS.iter().find(|definition| std::ptr::eq(&raw const definition.alert, alert))
}
