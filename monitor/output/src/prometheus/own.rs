//! ctmon itself: sources, scans, age, build, process.

use std::time::{SystemTime, UNIX_EPOCH};

use monitor_config::Settings;
use monitor_model::served::{Stats, WebStatus};
use monitor_model::snapshot::Snapshot;
use prometheus::proto::MetricFamily;

use super::page::{Metric, Page};

const SOURCE_UP: Metric = Metric::gauge("ctmon_source_up", "Whether the source could be read (1) or not (0)");
const SOURCE_DURATION: Metric =
    Metric::gauge("ctmon_source_duration_seconds", "How long reading the source took");
const TIMESTAMP: Metric = Metric::gauge(
    "ctmon_snapshot_timestamp_seconds",
    "When the snapshot was taken, in seconds since the epoch",
);
const DURATION: Metric =
    Metric::gauge("ctmon_snapshot_duration_seconds", "How long taking the snapshot took");
const INTERVAL: Metric = Metric::gauge(
    "ctmon_scan_interval_seconds",
    "Time between two collections, stretched so that walking takes at most 0.5 % of one core",
);
const SCANS: Metric = Metric::counter("ctmon_scans_total", "Collections since the process began");
const ERRORS: Metric = Metric::counter("ctmon_scan_errors_total", "Walks of one map that failed");
const BUILD: Metric = Metric::gauge("ctmon_build_info", "Version and revision of ctmon; always 1");

const EXPECTED_GC: Metric = Metric::gauge(
    "ctmon_expected_gc_interval_seconds",
    "Time between two passes of Cilium's collector that is expected, as configured",
);
const RELOADED: Metric = Metric::gauge(
    "ctmon_config_last_reload_successful",
    "Whether the last reload of the configuration succeeded",
);
const RELOADED_AT: Metric = Metric::gauge(
    "ctmon_config_last_reload_success_timestamp_seconds",
    "When the configuration was last loaded, in seconds since the epoch",
);
const WEB_RELOADED: Metric = Metric::gauge(
    "ctmon_web_config_last_reload_successful",
    "Whether the web configuration as it is now is in force; absent without one",
);
const WEB_RELOADED_AT: Metric = Metric::gauge(
    "ctmon_web_config_last_reload_success_timestamp_seconds",
    "When the web configuration was last taken over, in seconds since the epoch",
);
const CERTIFICATE_END: Metric = Metric::gauge(
    "ctmon_web_certificate_not_after_timestamp_seconds",
    "When the first certificate of the chain that the server shows ends, in seconds since the epoch",
);
const REQUESTS: Metric =
    Metric::counter("ctmon_http_requests_total", "Requests answered, by route and status code");
const CONNECTIONS: Metric =
    Metric::counter("ctmon_http_connections_total", "Connections to the server, by how they fared");

pub(super) const METRICS: &[Metric] =
    &[SOURCE_UP, SOURCE_DURATION, TIMESTAMP, DURATION, INTERVAL, SCANS, ERRORS, EXPECTED_GC, BUILD];
pub(super) const DAEMON_METRICS: &[Metric] =
    &[RELOADED, RELOADED_AT, WEB_RELOADED, WEB_RELOADED_AT, CERTIFICATE_END, REQUESTS, CONNECTIONS];

/// How the last reload of the configuration went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reload {
    pub successful: bool,
    /// When settings were last taken over.
    pub loaded: SystemTime,
}

pub(super) fn add(page: &mut Page, snapshot: &Snapshot, settings: &Settings) {
    for source in &snapshot.sources {
        page.count(SOURCE_UP, &[("source", source.name)], u64::from(source.error.is_none()));
        page.sample(SOURCE_DURATION, &[("source", source.name)], source.duration.as_secs_f64());
    }
    page.maybe(TIMESTAMP, &[], since_epoch(snapshot.wall));
    page.sample(DURATION, &[], snapshot.duration.as_secs_f64());
    page.sample(INTERVAL, &[], snapshot.interval.as_secs_f64());
    page.count(SCANS, &[], snapshot.totals.scans);
    page.count(ERRORS, &[], snapshot.totals.scan_errors);
    let expected = settings.expect.gc_interval.as_ref().map(|bound| bound.value().as_secs_f64());
    page.maybe(EXPECTED_GC, &[], expected);
    let version = [("version", env!("CARGO_PKG_VERSION")), ("revision", env!("CTMON_REVISION"))];
    page.count(BUILD, &version, 1);
}

pub(super) fn add_daemon(
    page: &mut Page,
    reload: &Reload,
    web: Option<&WebStatus>,
    stats: &Stats,
    process: Vec<MetricFamily>,
) {
    page.count(RELOADED, &[], u64::from(reload.successful));
    page.maybe(RELOADED_AT, &[], since_epoch(reload.loaded));
    if let Some(WebStatus { refused, loaded, not_after }) = web {
        page.count(WEB_RELOADED, &[], u64::from(refused.is_none()));
        page.maybe(WEB_RELOADED_AT, &[], since_epoch(*loaded));
        page.maybe(CERTIFICATE_END, &[], not_after.and_then(since_epoch));
    }
    for (route, status, requests) in stats.requests() {
        page.count(REQUESTS, &[("route", route.name()), ("code", &status.to_string())], requests);
    }
    for (outcome, connections) in [
        ("accepted", stats.connections_accepted()),
        ("displaced", stats.connections_displaced()),
        ("timed_out", stats.connections_timed_out()),
        ("broken", stats.connections_broken()),
        ("handshake_failed", stats.handshakes_failed()),
        ("accept_error", stats.accept_errors()),
    ] {
        page.count(CONNECTIONS, &[("outcome", outcome)], connections);
    }
    page.extend(process);
}

fn since_epoch(time: SystemTime) -> Option<f64> {
    time.duration_since(UNIX_EPOCH).ok().map(|duration| duration.as_secs_f64())
}
