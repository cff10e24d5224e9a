//! What a metric is, and what a page is made of.
//!
//! In: nothing. Out: the types that the groups beside this file are written in.
//! Must not: know the text format, or a single metric.

use std::time::SystemTime;

use monitor_check::Reading;
use monitor_config::Settings;
use monitor_model::served::{Stats, WebStatus};
use monitor_model::snapshot::Snapshot;
use prometheus::proto::MetricFamily;

use super::samples::Samples;

pub use super::samples::Kind;

/// Metrics on one topic, in the order they have on the page.
#[derive(Debug)]
pub struct Group {
    pub title: &'static str,
    /// A sentence or two for whoever reads of them first.
    pub about: &'static str,
    pub metrics: &'static [Metric],
}

/// A metric: all there is to say of it, and where its samples come from.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    pub name: &'static str,
    pub help: &'static str,
    pub kind: Kind,
    pub unit: Unit,
    /// Names of its labels, in the order every sample gives their values in.
    pub labels: &'static [&'static str],
    /// When it has no sample, as it follows "absent"; `None`: it has one on every page that its group is on.
    pub absent: Option<&'static str>,
    /// Adds its samples.
    pub collect: fn(&Input<'_>, &mut Samples),
}

/// What a value counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Things one can count, or a unit of the thing's own.
    Of(&'static str),
    Seconds,
    /// Seconds since the epoch.
    Timestamp,
    Bytes,
    /// 0 to 1.
    Ratio,
    /// 1 for yes, 0 for no.
    YesNo,
    /// Always 1: the labels tell.
    Info,
}

/// What a page is made of.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    pub snapshot: &'a Snapshot,
    pub settings: &'a Settings,
    /// What the checks decided of the snapshot.
    pub readings: &'a [Reading],
    /// `None` for a page that no daemon serves.
    pub daemon: Option<Daemon<'a>>,
}

/// What only a daemon knows.
#[derive(Clone, Copy, Debug)]
pub struct Daemon<'a> {
    pub reload: Reload,
    /// `None` without a web configuration.
    pub web: Option<&'a WebStatus>,
    pub stats: &'a Stats,
    /// The families of its process, as the kernel tells them.
    pub process: &'a [MetricFamily],
}

/// How the last reload of the configuration went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reload {
    pub successful: bool,
    /// When settings were last taken over.
    pub loaded: SystemTime,
}

impl Metric {
    /// None yet, for [`Metric::collect`] to add to.
    pub(super) const fn samples(&self) -> Samples {
        Samples::new(self.name, self.help, self.kind, self.labels)
    }
}
