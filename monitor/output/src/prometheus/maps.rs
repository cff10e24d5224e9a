//! The maps: presence, size, fill, problems.

use monitor_check::tuning::expected_capacity;
use monitor_model::float::float;
use monitor_model::map_name::ProblemReason;
use monitor_model::snapshot::{Content, MapState, PresentMap};

use super::metric::{Group, Input, Kind, Metric, Unit};
use super::samples::Samples;

/// What all say that only a walk tells.
const NOT_WALKED: Option<&str> = Some("while the map is not pinned or cannot be read");

pub(super) const GROUP: Group = Group {
    title: "Maps",
    about: "Cilium's pinned conntrack and NAT maps, whatever is in them.",
    metrics: &[
        Metric {
            name: "ctmon_map_present",
            help: "Whether the map is pinned (1) or not (0)",
            kind: Kind::Gauge,
            unit: Unit::YesNo,
            labels: &["map_name"],
            absent: None,
            collect: |input, samples| {
                for MapState { map, content, recreations: _ } in &input.snapshot.maps {
                    samples.yes_no(&[&map.name], !matches!(content, Content::Absent));
                }
            },
        },
        Metric {
            name: "ctmon_map_recreations_total",
            help: "Times the pin was found to hold another map than before",
            kind: Kind::Counter,
            unit: Unit::Of("maps"),
            labels: &["map_name"],
            absent: None,
            collect: |input, samples| {
                for MapState { map, content: _, recreations } in &input.snapshot.maps {
                    samples.count(&[&map.name], *recreations);
                }
            },
        },
        Metric {
            name: "ctmon_map_problem",
            help: "1 for a map that is pinned but cannot be read, by reason",
            kind: Kind::Gauge,
            unit: Unit::YesNo,
            labels: &["map_name", "reason"],
            absent: Some("while the map is not pinned"),
            collect: problems,
        },
        Metric {
            name: "ctmon_map_entries",
            help: "Entries in the map, dead ones included",
            kind: Kind::Gauge,
            unit: Unit::Of("entries"),
            labels: &["map_name"],
            absent: NOT_WALKED,
            collect: |input, samples| of_walked(input, samples, |map| Some(float(map.scan.entries))),
        },
        Metric {
            name: "ctmon_map_capacity",
            help: "Entries the map may hold (max_entries)",
            kind: Kind::Gauge,
            unit: Unit::Of("entries"),
            labels: &["map_name"],
            absent: NOT_WALKED,
            collect: |input, samples| of_walked(input, samples, |map| Some(f64::from(map.capacity))),
        },
        Metric {
            name: "ctmon_map_fill_ratio",
            help: "Entries over capacity, 0 to 1",
            kind: Kind::Gauge,
            unit: Unit::Ratio,
            labels: &["map_name"],
            absent: NOT_WALKED,
            collect: |input, samples| of_walked(input, samples, |map| Some(map.fill())),
        },
        Metric {
            name: "ctmon_map_kernel_entries",
            help: "Entries in the map as the kernel itself counts them; absent before Linux 6.6",
            kind: Kind::Gauge,
            unit: Unit::Of("entries"),
            labels: &["map_name"],
            absent: Some("before Linux 6.6, and where the kernel refuses the program that asks"),
            collect: |input, samples| of_walked(input, samples, |map| Some(float(map.kernel?.entries))),
        },
        Metric {
            name: "ctmon_map_peak_entries",
            help: "The highest of the kernel's counts, read each second, since the snapshot before; absent before Linux 6.6",
            kind: Kind::Gauge,
            unit: Unit::Of("entries"),
            labels: &["map_name"],
            absent: Some("before Linux 6.6, and where the kernel refuses the program that asks"),
            collect: |input, samples| of_walked(input, samples, |map| Some(float(map.kernel?.peak))),
        },
        Metric {
            name: "ctmon_map_expected_capacity",
            help: "Entries the map is expected to hold, as configured",
            kind: Kind::Gauge,
            unit: Unit::Of("entries"),
            labels: &["map_name"],
            absent: Some("unless `expect.map_capacity` names a least size for the map"),
            collect: |input, samples| {
                for (map, _) in input.snapshot.present() {
                    let expected = expected_capacity(&map.map, input.settings);
                    samples.known(&[&map.map.name], expected.map(float));
                }
            },
        },
        Metric {
            name: "ctmon_map_memory_bytes",
            help: "Memory the kernel accounts to the map; before Linux 6.4 of its values alone",
            kind: Kind::Gauge,
            unit: Unit::Bytes,
            labels: &["map_name"],
            absent: Some("where the kernel does not tell"),
            collect: |input, samples| of_walked(input, samples, |map| map.memory_bytes.map(float)),
        },
        Metric {
            name: "ctmon_map_percpu_share",
            help: "Entries one CPU may hold before it evicts; only for maps with a per-CPU LRU",
            kind: Kind::Gauge,
            unit: Unit::Of("entries"),
            labels: &["map_name"],
            absent: Some("for maps with a common LRU, and where the number of CPUs is unknown"),
            collect: |input, samples| of_walked(input, samples, |map| map.percpu_share.map(f64::from)),
        },
        Metric {
            name: "ctmon_map_scan_interval_seconds",
            help: "Time between two walks of the map; longer for maps whose empty buckets are many",
            kind: Kind::Gauge,
            unit: Unit::Seconds,
            labels: &["map_name"],
            absent: NOT_WALKED,
            collect: |input, samples| of_walked(input, samples, |map| Some(map.scan.interval.as_secs_f64())),
        },
        Metric {
            name: "ctmon_map_scan_age_seconds",
            help: "Age of the map's last walk when the snapshot was taken; above 0 for maps that are walked less often",
            kind: Kind::Gauge,
            unit: Unit::Seconds,
            labels: &["map_name"],
            absent: NOT_WALKED,
            collect: |input, samples| {
                let now = input.snapshot.monotonic;
                of_walked(input, samples, |map| Some(now.saturating_sub(map.scan.monotonic).as_secs_f64()));
            },
        },
        Metric {
            name: "ctmon_map_odd_entries",
            help: "Entries with bits Cilium does not define, by what is odd: flags, or a next header of 0",
            kind: Kind::Gauge,
            unit: Unit::Of("entries"),
            labels: &["map_name", "what"],
            absent: NOT_WALKED,
            collect: odd_entries,
        },
        Metric {
            name: "ctmon_map_info",
            help: "What the kernel says of the map; always 1",
            kind: Kind::Gauge,
            unit: Unit::Info,
            labels: &["map_name", "id", "key_size", "value_size", "flags", "lru"],
            absent: NOT_WALKED,
            collect: info,
        },
        Metric {
            name: "ctmon_maps_skipped",
            help: "Per-cluster maps beyond the 32 that are read",
            kind: Kind::Gauge,
            unit: Unit::Of("maps"),
            labels: &[],
            absent: None,
            collect: |input, samples| samples.count(&[], input.snapshot.maps_skipped as u64),
        },
    ],
};

/// A sample for each map that was walked, where there is a value.
fn of_walked(input: &Input<'_>, samples: &mut Samples, value: impl Fn(&PresentMap) -> Option<f64>) {
    for (map, present) in input.snapshot.present() {
        samples.known(&[&map.map.name], value(present));
    }
}

/// Maps with a problem come first: those are read.
fn problems(input: &Input<'_>, samples: &mut Samples) {
    let mut add = |map: &MapState, found: Option<ProblemReason>| {
        for reason in ProblemReason::ALL {
            samples.yes_no(&[&map.map.name, reason.name()], Some(*reason) == found);
        }
    };
    for map in &input.snapshot.maps {
        if let Content::Problem(problem) = &map.content {
            add(map, Some(problem.reason));
        }
    }
    for (map, _) in input.snapshot.present() {
        add(map, None);
    }
}

fn odd_entries(input: &Input<'_>, samples: &mut Samples) {
    for (map, PresentMap { scan, .. }) in input.snapshot.present() {
        let mut add = |what, entries| samples.count(&[&map.map.name, what], entries);
        add("flags", scan.odd_flags);
        add("nexthdr", scan.odd_nexthdr);
        if map.map.is_conntrack() {
            add("reports", scan.no_report);
        }
    }
}

fn info(input: &Input<'_>, samples: &mut Samples) {
    for (map, present) in input.snapshot.present() {
        let [id, key_size, value_size] =
            [present.id, present.key_size, present.value_size].map(|number| number.to_string());
        let flags = format!("0x{:x}", present.flags);
        let lru = if present.is_per_cpu() { "percpu" } else { "common" };
        samples.count(&[&map.map.name, &id, &key_size, &value_size, &flags, lru], 1);
    }
}
