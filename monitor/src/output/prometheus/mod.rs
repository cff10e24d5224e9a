//! The /metrics page: a snapshot as Prometheus families.
//!
//! In: a [`Snapshot`] and what checks decided of it. Out: text format 0.0.4.
//! Must not: read anything, or take a label value from traffic: they come from enums and the configuration.

mod conntrack;
mod maps;
mod own;
mod page;
mod targets;

use std::io;

use crate::snapshot::Snapshot;
pub use page::{Kind, Metric, Page};

/// What of the page is not in the snapshot.
pub struct Extra<'a> {
    /// Seconds since the snapshot was taken, on the monotonic clock.
    pub age_seconds: f64,
    pub version: &'a str,
    pub revision: &'a str,
}

/// Every family of the page, in display order: the only names rules and dashboards may use.
pub const REGISTRY: &[&[Metric]] = &[maps::METRICS, conntrack::METRICS, targets::METRICS, own::METRICS];

/// Writes the page.
pub fn write(snapshot: &Snapshot, extra: &Extra<'_>, out: &mut impl io::Write) -> io::Result<()> {
    let mut page = Page::default();
    maps::add(&mut page, snapshot);
    conntrack::add(&mut page, snapshot);
    targets::add(&mut page, snapshot);
    own::add(&mut page, snapshot, extra);
    page.write(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

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
