//! The maps: presence, size, fill, problems.

use monitor_check::alerts::expected_capacity;
use monitor_config::Settings;
use monitor_model::map_name::ProblemReason;
use monitor_model::snapshot::{Content, Snapshot};

use super::page::{Metric, Page};

const PRESENT: Metric = Metric::gauge("ctmon_map_present", "Whether the map is pinned (1) or not (0)");
const ENTRIES: Metric = Metric::gauge("ctmon_map_entries", "Entries in the map, dead ones included");
const CAPACITY: Metric = Metric::gauge("ctmon_map_capacity", "Entries the map may hold (max_entries)");
const FILL: Metric = Metric::gauge("ctmon_map_fill_ratio", "Entries over capacity, 0 to 1");
const KERNEL: Metric = Metric::gauge(
    "ctmon_map_kernel_entries",
    "Entries in the map as the kernel itself counts them; absent before Linux 6.6",
);
const PEAK: Metric = Metric::gauge(
    "ctmon_map_peak_entries",
    "The highest of the kernel's counts, read each second, since the snapshot before; absent before Linux 6.6",
);
const EXPECTED: Metric =
    Metric::gauge("ctmon_map_expected_capacity", "Entries the map is expected to hold, as configured");
const MEMORY: Metric = Metric::gauge(
    "ctmon_map_memory_bytes",
    "Memory the kernel accounts to the map; before Linux 6.4 of its values alone",
);
const SHARE: Metric = Metric::gauge(
    "ctmon_map_percpu_share",
    "Entries one CPU may hold before it evicts; only for maps with a per-CPU LRU",
);
const PROBLEM: Metric =
    Metric::gauge("ctmon_map_problem", "1 for a map that is pinned but cannot be read, by reason");
const INFO: Metric = Metric::gauge("ctmon_map_info", "What the kernel says of the map; always 1");
const RECREATIONS: Metric =
    Metric::counter("ctmon_map_recreations_total", "Times the pin was found to hold another map than before");
const SCAN_INTERVAL: Metric = Metric::gauge(
    "ctmon_map_scan_interval_seconds",
    "Time between two walks of the map; longer for maps whose empty buckets are many",
);
const SCAN_AGE: Metric = Metric::gauge(
    "ctmon_map_scan_age_seconds",
    "Age of the map's last walk when the snapshot was taken; above 0 for maps that are walked less often",
);
const SKIPPED: Metric = Metric::gauge("ctmon_maps_skipped", "Per-cluster maps beyond the 32 that are read");
const ODD: Metric = Metric::gauge(
    "ctmon_map_odd_entries",
    "Entries with bits Cilium does not define, by what is odd: flags, or a next header of 0",
);

pub(super) const METRICS: &[Metric] = &[
    PRESENT,
    ENTRIES,
    CAPACITY,
    FILL,
    KERNEL,
    PEAK,
    EXPECTED,
    MEMORY,
    SHARE,
    PROBLEM,
    INFO,
    RECREATIONS,
    SCAN_INTERVAL,
    SCAN_AGE,
    SKIPPED,
    ODD,
];

#[expect(clippy::cast_precision_loss, reason = "memory sizes stay far below 2^52")]
pub(super) fn add(page: &mut Page, snapshot: &Snapshot, settings: &Settings) {
    for map in &snapshot.maps {
        let name = ("map_name", map.map.name.as_str());
        page.count(PRESENT, &[name], u64::from(!matches!(map.content, Content::Absent)));
        page.count(RECREATIONS, &[name], map.recreations);
        if let Content::Problem(problem) = &map.content {
            for reason in ProblemReason::ALL {
                page.count(PROBLEM, &[name, ("reason", reason.name())], u64::from(*reason == problem.reason));
            }
        }
    }
    for (map, present) in snapshot.present() {
        let name = ("map_name", map.map.name.as_str());
        for reason in ProblemReason::ALL {
            page.count(PROBLEM, &[name, ("reason", reason.name())], 0);
        }
        page.count(ENTRIES, &[name], present.scan.entries);
        page.count(CAPACITY, &[name], u64::from(present.capacity));
        page.sample(FILL, &[name], present.fill());
        page.maybe(KERNEL, &[name], present.kernel.map(|count| count.entries as f64));
        page.maybe(PEAK, &[name], present.kernel.map(|count| count.peak as f64));
        let expected = expected_capacity(&map.map, settings);
        page.maybe(EXPECTED, &[name], expected.map(|expected| expected as f64));
        page.maybe(MEMORY, &[name], present.memory_bytes.map(|bytes| bytes as f64));
        page.maybe(SHARE, &[name], present.percpu_share.map(f64::from));
        page.sample(SCAN_INTERVAL, &[name], present.scan.interval.as_secs_f64());
        let age = snapshot.monotonic.saturating_sub(present.scan.monotonic);
        page.sample(SCAN_AGE, &[name], age.as_secs_f64());
        page.count(ODD, &[name, ("what", "flags")], present.scan.odd_flags);
        page.count(ODD, &[name, ("what", "nexthdr")], present.scan.odd_nexthdr);
        if map.map.is_conntrack() {
            page.count(ODD, &[name, ("what", "reports")], present.scan.no_report);
        }
        let lru = if present.is_per_cpu() { "percpu" } else { "common" };
        let number = |value: u32| value.to_string();
        page.count(
            INFO,
            &[
                name,
                ("id", &number(present.id)),
                ("key_size", &number(present.key_size)),
                ("value_size", &number(present.value_size)),
                ("flags", &format!("0x{:x}", present.flags)),
                ("lru", lru),
            ],
            1,
        );
    }
    page.count(SKIPPED, &[], snapshot.maps_skipped as u64);
}
