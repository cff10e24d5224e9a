//! What only a daemon knows: reloads of its files, its server.

use monitor_model::served::WebStatus;

use super::metric::{Daemon, Group, Input, Kind, Metric, Unit};
use super::own::since_epoch;
use super::samples::Samples;

const NO_WEB_FILE: Option<&str> = Some("without a web configuration");

pub(super) const GROUP: Group = Group {
    title: "The daemon",
    about: "Whether the files it was given are in force, and what its server did. On the page of `ctmon run`, not on \
            that of `ctmon scrape`.",
    metrics: &[
        Metric {
            name: "ctmon_config_last_reload_successful",
            help: "Whether the last reload of the configuration succeeded",
            kind: Kind::Gauge,
            unit: Unit::YesNo,
            labels: &[],
            absent: None,
            collect: |input, samples| {
                if let Some(daemon) = input.daemon {
                    samples.yes_no(&[], daemon.reload.successful);
                }
            },
        },
        Metric {
            name: "ctmon_config_last_reload_success_timestamp_seconds",
            help: "When the configuration was last loaded, in seconds since the epoch",
            kind: Kind::Gauge,
            unit: Unit::Timestamp,
            labels: &[],
            absent: None,
            collect: |input, samples| {
                samples.known(&[], input.daemon.and_then(|daemon| since_epoch(daemon.reload.loaded)));
            },
        },
        Metric {
            name: "ctmon_web_config_last_reload_successful",
            help: "Whether the web configuration as it is now is in force; absent without one",
            kind: Kind::Gauge,
            unit: Unit::YesNo,
            labels: &[],
            absent: NO_WEB_FILE,
            collect: |input, samples| {
                of_web(input, samples, |web| Some(f64::from(u8::from(web.refused.is_none()))));
            },
        },
        Metric {
            name: "ctmon_web_config_last_reload_success_timestamp_seconds",
            help: "When the web configuration was last taken over, in seconds since the epoch",
            kind: Kind::Gauge,
            unit: Unit::Timestamp,
            labels: &[],
            absent: NO_WEB_FILE,
            collect: |input, samples| of_web(input, samples, |web| since_epoch(web.loaded)),
        },
        Metric {
            name: "ctmon_web_certificate_not_after_timestamp_seconds",
            help: "When the first certificate of the chain that the server shows ends, in seconds since the epoch",
            kind: Kind::Gauge,
            unit: Unit::Timestamp,
            labels: &[],
            absent: Some("without TLS"),
            collect: |input, samples| of_web(input, samples, |web| web.not_after.and_then(since_epoch)),
        },
        Metric {
            name: "ctmon_http_requests_total",
            help: "Requests answered, by route and status code",
            kind: Kind::Counter,
            unit: Unit::Of("requests"),
            labels: &["route", "code"],
            absent: None,
            collect: |input, samples| {
                for (route, status, requests) in
                    input.daemon.iter().flat_map(|daemon| daemon.stats.requests())
                {
                    samples.count(&[route.name(), &status.to_string()], requests);
                }
            },
        },
        Metric {
            name: "ctmon_http_connections_total",
            help: "Connections to the server, by how they fared",
            kind: Kind::Counter,
            unit: Unit::Of("connections"),
            labels: &["outcome"],
            absent: None,
            collect: connections,
        },
    ],
};

fn of_web(input: &Input<'_>, samples: &mut Samples, value: fn(&WebStatus) -> Option<f64>) {
    samples.known(&[], input.daemon.and_then(|daemon| daemon.web).and_then(value));
}

fn connections(input: &Input<'_>, samples: &mut Samples) {
    let Some(Daemon { stats, .. }) = input.daemon else { return };
    for (outcome, connections) in [
        ("accepted", stats.connections_accepted()),
        ("displaced", stats.connections_displaced()),
        ("timed_out", stats.connections_timed_out()),
        ("broken", stats.connections_broken()),
        ("handshake_failed", stats.handshakes_failed()),
        ("accept_error", stats.accept_errors()),
    ] {
        samples.count(&[outcome], connections);
    }
}
