//! Families that others put behind the page: the daemon's process, and the age that is counted anew for each answer.
//!
//! In: nothing. Out: their description. Must not: differ from what is appended: tests compare both.

use super::metric::{Group, Input, Kind, Metric, Unit};
use super::samples::Samples;

const NO_DAEMON: Option<&str> = Some("on a page of `ctmon scrape`");

pub(super) const GROUP: Group = Group {
    title: "The process, and the page's age",
    about: "The daemon's own processor time, memory and descriptors, under the names that Prometheus's client libraries \
            have for every process; last the age of everything else on the page, counted when it is asked for.",
    metrics: &[
        Metric {
            name: "process_cpu_seconds_total",
            help: "Total user and system CPU time spent in seconds.",
            kind: Kind::Counter,
            unit: Unit::Seconds,
            labels: &[],
            absent: NO_DAEMON,
            collect: appended,
        },
        Metric {
            name: "process_open_fds",
            help: "Number of open file descriptors.",
            kind: Kind::Gauge,
            unit: Unit::Of("descriptors"),
            labels: &[],
            absent: NO_DAEMON,
            collect: appended,
        },
        Metric {
            name: "process_max_fds",
            help: "Maximum number of open file descriptors.",
            kind: Kind::Gauge,
            unit: Unit::Of("descriptors"),
            labels: &[],
            absent: NO_DAEMON,
            collect: appended,
        },
        Metric {
            name: "process_virtual_memory_bytes",
            help: "Virtual memory size in bytes.",
            kind: Kind::Gauge,
            unit: Unit::Bytes,
            labels: &[],
            absent: NO_DAEMON,
            collect: appended,
        },
        Metric {
            name: "process_resident_memory_bytes",
            help: "Resident memory size in bytes.",
            kind: Kind::Gauge,
            unit: Unit::Bytes,
            labels: &[],
            absent: NO_DAEMON,
            collect: appended,
        },
        Metric {
            name: "process_start_time_seconds",
            help: "Start time of the process since unix epoch in seconds.",
            kind: Kind::Gauge,
            unit: Unit::Timestamp,
            labels: &[],
            absent: NO_DAEMON,
            collect: appended,
        },
        Metric {
            name: "process_threads",
            help: "Number of OS threads in the process.",
            kind: Kind::Gauge,
            unit: Unit::Of("threads"),
            labels: &[],
            absent: NO_DAEMON,
            collect: appended,
        },
        Metric {
            name: "ctmon_snapshot_age_seconds",
            help: "Age of the numbers on this page, on the monotonic clock.",
            kind: Kind::Gauge,
            unit: Unit::Seconds,
            labels: &[],
            absent: None,
            collect: appended,
        },
    ],
};

/// No sample: whoever has them appends them.
const fn appended(_: &Input<'_>, _: &mut Samples) {}
