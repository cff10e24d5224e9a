//! The /metrics page: a snapshot as Prometheus families.
//!
//! In: a [`Snapshot`] and what checks decided of it. Out: text format 0.0.4.
//! Must not: read anything, or take a label value from traffic: they come from enums and the configuration.

mod alerts;
mod collector;
mod conntrack;
mod deep;
mod drops;
mod evictions;
mod host;
mod maps;
mod own;
mod page;
mod targets;

use std::io;

use monitor_check::Reading;
use monitor_config::Settings;
use monitor_model::served::{Stats, WebStatus};
use monitor_model::snapshot::Snapshot;
use prometheus::proto::MetricFamily;

pub use crate::prometheus::own::Reload;
pub use crate::prometheus::page::{Kind, Metric, Page};

/// Every family of the page, in display order: the only names rules and dashboards may use.
pub const REGISTRY: &[&[Metric]] = &[
    maps::METRICS,
    conntrack::METRICS,
    collector::METRICS,
    targets::METRICS,
    evictions::METRICS,
    deep::METRICS,
    drops::METRICS,
    host::METRICS,
    alerts::METRICS,
    own::METRICS,
    own::DAEMON_METRICS,
];

/// Writes what any collection can tell; the snapshot's age is added per answer, by the server.
pub fn write(
    snapshot: &Snapshot,
    settings: &Settings,
    readings: &[Reading],
    out: &mut impl io::Write,
) -> io::Result<()> {
    let mut page = Page::default();
    maps::add(&mut page, snapshot, settings);
    conntrack::add(&mut page, snapshot);
    collector::add(&mut page, snapshot);
    targets::add(&mut page, snapshot);
    evictions::add(&mut page, snapshot);
    deep::add(&mut page, snapshot);
    drops::add(&mut page, snapshot);
    host::add(&mut page, snapshot, settings);
    alerts::add(&mut page, settings, readings);
    own::add(&mut page, snapshot, settings);
    page.write(out)
}

/// Writes what only the daemon knows: reloads, its server, its process.
pub fn write_daemon(
    reload: &Reload,
    web: Option<&WebStatus>,
    stats: &Stats,
    process: Vec<MetricFamily>,
    out: &mut impl io::Write,
) -> io::Result<()> {
    let mut page = Page::default();
    own::add_daemon(&mut page, reload, web, stats, process);
    page.write(out)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_unique_prefixed_and_counters_end_in_total() {
        let mut seen = BTreeSet::new();
        for metric in REGISTRY.iter().copied().flatten() {
            assert!(seen.insert(metric.name), "{} twice", metric.name);
            assert!(metric.name.starts_with("ctmon_"), "{}", metric.name);
            assert_eq!(metric.kind == Kind::Counter, metric.name.ends_with("_total"), "{}", metric.name);
            assert!(!metric.help.is_empty() && !metric.help.ends_with('.'), "{}", metric.name);
        }
    }
}
