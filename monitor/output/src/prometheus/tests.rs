//! The registry keeps its own rules, and a page has what the registry says.
//!
//! In: the registry, a node of which everything is known, one of which nothing is. Out: pass or fail.
//! Must not: read the node.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use monitor_config::Settings;
use monitor_model::map_name::global_maps;
use monitor_model::served::{Stats, WebStatus};
use monitor_model::snapshot::{Content, MapState, Snapshot};
use monitor_source::process::process_metrics;
use prometheus::proto::{Metric as Sample, MetricType};

use super::*;

const RELOAD: Reload = Reload { successful: true, loaded: SystemTime::UNIX_EPOCH };

/// How many samples each metric has on a daemon's page of this snapshot, no series twice.
fn samples(
    snapshot: &Snapshot,
    settings: &Settings,
    web: Option<&WebStatus>,
) -> Vec<(&'static Metric, usize)> {
    let readings = crate::readings(snapshot, settings);
    let stats = Stats::default();
    let daemon = Some(Daemon { reload: RELOAD, web, stats: &stats, process: &[] });
    let input = Input { snapshot, settings, readings: &readings, daemon };
    let of = |metric: &'static Metric| {
        let mut samples = metric.samples();
        // Which fails where a sample has not as many values as the metric has labels.
        (metric.collect)(&input, &mut samples);
        let values = |sample: &Sample| -> Vec<String> {
            sample.get_label().iter().map(|label| label.value().to_owned()).collect()
        };
        let series: BTreeSet<_> = samples.all().iter().map(values).collect();
        assert_eq!(series.len(), samples.all().len(), "{} has a series twice", metric.name);
        (metric, series.len())
    };
    metrics().filter(|metric| !is_appended(metric)).map(of).collect()
}

fn is_appended(metric: &Metric) -> bool {
    appended::GROUP.metrics.iter().any(|appended| appended.name == metric.name)
}

#[test]
fn names_are_unique_and_tell_kind_and_unit() {
    let mut seen = BTreeSet::new();
    for Metric { name, help, kind, unit, .. } in metrics() {
        assert!(seen.insert(name), "{name} twice");
        assert_eq!(*kind == Kind::Counter, name.ends_with("_total"), "{name}");
        assert!(!help.is_empty(), "{name}");
        if name.starts_with("process_") {
            continue;
        }
        assert!(name.starts_with("ctmon_"), "{name}");
        let unit_by_name = match name.trim_end_matches("_total").rsplit_once('_') {
            Some((rest, "seconds")) if rest.ends_with("_timestamp") => Some(Unit::Timestamp),
            Some((_, "seconds")) => Some(Unit::Seconds),
            Some((_, "bytes")) => Some(Unit::Bytes),
            Some((_, "ratio")) => Some(Unit::Ratio),
            Some((_, "info")) => Some(Unit::Info),
            _ => None,
        };
        let must_show = matches!(unit, Unit::Seconds | Unit::Timestamp | Unit::Bytes | Unit::Ratio);
        assert!(unit_by_name == Some(*unit) || unit_by_name.is_none() && !must_show, "{name}: {unit:?}");
    }
}

#[test]
fn texts_are_without_a_final_dot() {
    for metric in metrics().filter(|metric| !is_appended(metric)) {
        assert!(!metric.help.ends_with('.'), "{}", metric.name);
        assert!(metric.absent.is_none_or(|absent| !absent.ends_with('.')), "{}", metric.name);
    }
}

#[test]
fn every_metric_has_samples_with_as_many_values_as_labels_once_all_is_known() {
    let settings = everything::settings();
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1);
    let web = WebStatus { refused: None, loaded: now, not_after: Some(now) };
    for (metric, samples) in samples(&everything::snapshot(&settings), &settings, Some(&web)) {
        assert!(samples > 0, "{} has no sample: does everything.rs lack what it reads?", metric.name);
    }
}

#[test]
fn what_is_never_absent_is_there_where_nothing_is_known() {
    let settings = crate::testing::defaults();
    let absent = |map| MapState { map, content: Content::Absent, recreations: 0 };
    let maps = global_maps().into_iter().map(absent).collect();
    let nothing = Snapshot { maps, ..crate::testing::nothing(&settings) };
    for (metric, samples) in samples(&nothing, &settings, None) {
        assert!(metric.absent.is_some() || samples > 0, "{}", metric.name);
    }
}

#[test]
fn the_process_is_described_as_it_is_appended() {
    let found = process_metrics();
    let described: Vec<_> =
        appended::GROUP.metrics.iter().filter(|m| m.name.starts_with("process_")).collect();
    assert_eq!(found.len(), described.len());
    for (family, metric) in found.iter().zip(described) {
        let kind = if family.get_field_type() == MetricType::COUNTER { Kind::Counter } else { Kind::Gauge };
        assert_eq!((family.name(), family.help(), kind), (metric.name, metric.help, metric.kind));
        assert!(
            metric.labels.is_empty()
                && family.get_metric().iter().all(|sample| sample.get_label().is_empty())
        );
    }
}
