//! The /metrics page: a registry of metrics, and its walk over a snapshot.
//!
//! In: a snapshot, what checks decided of it, and what a daemon knows of itself. Out: text format 0.0.4.
//! Must not: read anything, or take a label value from traffic: they come from enums and the configuration.

mod alerts;
mod appended;
mod conntrack;
mod daemon;
mod deep;
mod drops;
mod evictions;
mod gc;
mod host;
mod logs;
mod maps;
mod metric;
mod own;
mod samples;
mod targets;

use std::io;

pub use self::metric::{Daemon, Group, Input, Kind, Metric, Reload, Unit};
pub use self::samples::Samples;

/// Every metric of the page, in display order: the only names that rules and dashboards may use.
pub const REGISTRY: &[Group] = &[
    maps::GROUP,
    conntrack::GROUP,
    gc::GROUP,
    targets::GROUP,
    evictions::GROUP,
    deep::GROUP,
    drops::GROUP,
    host::GROUP,
    logs::GROUP,
    alerts::GROUP,
    own::GROUP,
    daemon::GROUP,
    appended::GROUP,
];

/// The metrics of all groups, in display order.
pub fn metrics() -> impl Iterator<Item = &'static Metric> {
    REGISTRY.iter().flat_map(|group| group.metrics)
}

/// Writes a page but for the snapshot's age, which whoever hands it out adds to each answer.
pub fn write(input: &Input<'_>, out: &mut impl io::Write) -> io::Result<()> {
    for metric in metrics() {
        let mut samples = metric.samples();
        (metric.collect)(input, &mut samples);
        samples.write(out)?;
    }
    samples::write_families(input.daemon.map_or(&[], |daemon| daemon.process), out)
}

#[cfg(test)]
mod everything;
#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "tests read what is on file, and write it when told to")]
mod reference;
#[cfg(test)]
mod tests;
