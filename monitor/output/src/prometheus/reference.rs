//! `deploy/docs/metrics.md`, made of the registry: what operators read.
//!
//! In: the registry, the alerts. Out: the committed page, or a failing test that says how to make it anew.
//! Must not: know a metric by its name, but the one that all alerts compare with.

use std::collections::BTreeSet;
use std::path::Path;

use monitor_abi::class::{DUE_SHOWN, Direction, Expiry, Protocol, State, VictimState};
use monitor_check::ALERTS;
use monitor_model::drops::RETRIES;
use monitor_model::host::cifs::Op;
use monitor_model::host::iscsi::SessionState;
use monitor_model::host::sockets::TcpState;
use monitor_model::map_name::ProblemReason;
use monitor_model::served::Route;
use monitor_model::snapshot::TimeoutSource;
use monitor_model::timeouts::TimeoutClass;

use super::{Group, Metric, REGISTRY, Unit, metrics};

const HEAD: &str = "\
# Metrics

<!-- Made of the registry below monitor/output/src/prometheus: CTMON_BLESS=1 cargo test -p monitor-output reference -->

Everything on `/metrics`, in the order of the page: what it counts, when it is absent, which [alerts](../runbooks/README.md) read it. `ctmon scrape`
prints the page once, beside a running daemon or without one.

What is unknown is absent, not 0: a metric that may be absent says when. `ctmon_source_up` tells which source is down, `ctmon check` and the log why.
Counters begin at 0 with the process unless their text says otherwise. No label value comes from traffic: names are those of maps, of the
configuration, and of the servers that the node's mounts and sessions lead to.

## What stays

[Versions](../../CHANGELOG.md) are semantic, and these are what they are about:

* **metrics**: names, types, units, label names, and the label values below. A label is not added to a metric either: sums and matches would change;
* **alerts**: names, severities and their labels;
* **configuration and flags**: keys, their meaning, and that a file which was valid stays valid;
* **JSON** (`-o json`) and exit codes: keys, their types and meaning.

None of these is renamed, removed or changed in meaning without a new major version. Before 1.0 the second number takes that part: 0.2 may
rename what 0.1 had, 0.1.2 may not, and the changelog names the old and the new. At any time there may be new metrics, new values of a label whose
list below does not say \"only\", new alerts, new keys with a default that changes nothing, new keys in JSON.

Not promised: texts (`# HELP`, findings, log lines, the page at `/`, tables for people), the order of lines, default thresholds and times of alerts
(a change stands in the changelog), and `process_*`, which are what Prometheus's client library makes of them.
";

/// The alerts whose expressions read a metric, each name once. Nothing else here knows where alerts are listed.
fn alerts_that_read(metric: &Metric) -> Vec<&'static str> {
    let reads = |expression: &str| {
        let mut words = expression.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        // `$T` stands for the threshold that the same node exports.
        words.any(|word| word == metric.name) || metric.name == "ctmon_threshold" && expression.contains("$T")
    };
    let mut names: Vec<_> = ALERTS.iter().filter(|alert| reads(alert.expr)).map(|alert| alert.name).collect();
    names.dedup();
    names
}

/// Every label with what it tells.
fn labels() -> Vec<(&'static str, String)> {
    let state = format!(
        "of entries {}; of victims also {}; of iSCSI sessions {}",
        list(State::ALL.iter().map(|state| state.name())),
        list(VictimState::ALL.iter().skip(State::ALL.len()).map(|state| state.name())),
        list(SessionState::ALL.iter().map(|state| state.name())),
    );
    let reason = format!(
        "of `ctmon_map_problem` {}; of `ctmon_datapath_drops_total` Cilium's words; of `ctmon_eviction_tracking` why \
         no more is seen",
        list(ProblemReason::ALL.iter().map(|reason| reason.name())),
    );
    let source = format!(
        "of `ctmon_source_*` what is read; of `ctmon_ct_timeout_seconds` how it is known: {}; of `ctmon_clock_info` \
         `entries`, `config`",
        list(TimeoutSource::ALL.iter().map(|source| source.name())),
    );
    let direction = format!(
        "which way the entry faces: {}; of NAT entries `out`, `in`; of drops Cilium's words",
        list(Direction::ALL.iter().map(|direction| direction.name())),
    );
    let tcp_states = TcpState::ALL.iter().filter(|state| **state != TcpState::Listen);
    let words = |text: &str| text.to_owned();
    let only = |text: &str, values: String| format!("{text}, only {values}");
    vec![
        (
            "map_name",
            words(
                "the map's pin without `cilium_`, such as `ct4_global`, whose size is `ct_tcp` in `expect.map_capacity` and \
                 `bpf.ctTcpMax` in Cilium's Helm values",
            ),
        ),
        (
            "target",
            words("a name from `targets`, or that of a server the node's mounts and sessions lead to"),
        ),
        ("target_service", words("a name from the target's `services`; `other` for what none of them takes")),
        ("state", state),
        (
            "expired",
            only("whether the lifetime has passed", list(Expiry::ALL.iter().map(|expiry| expiry.name()))),
        ),
        ("direction", direction),
        ("protocol", list(Protocol::ALL.iter().map(|protocol| protocol.name()))),
        ("due", only("time left or overdue", list(DUE_SHOWN.iter().map(|due| due.name())))),
        ("kind", only("how many closing bits: both, or one", list(["closed", "half_closed"].into_iter()))),
        ("tcp_state", list(tcp_states.map(|state| state.name()))),
        ("what", list(["flags", "nexthdr", "reports"].into_iter())),
        ("reason", reason),
        ("class", list(TimeoutClass::ALL.iter().map(|class| class.name()))),
        ("source", source),
        (
            "mode",
            words(
                "of `ctmon_clock_info` `ktime`, `jiffies`, `unknown`; of `ctmon_eviction_tracking` `full`, `count`, `off`",
            ),
        ),
        ("hz", words("jiffies per second as measured, or `unknown`")),
        ("id", words("the map's id in the kernel: it changes when Cilium makes the map anew")),
        ("key_size", words("bytes")),
        ("value_size", words("bytes")),
        ("flags", words("the map's flags in the kernel, in hexadecimal digits")),
        ("lru", only("one LRU for all CPUs, or one for each", list(["common", "percpu"].into_iter()))),
        ("family", only("of the addresses", list(["ipv4", "ipv6"].into_iter()))),
        ("retries", only("further tries it took", list(RETRIES.into_iter()))),
        ("sysctl", words("a name from `expect.sysctls`")),
        ("op", list(Op::ALL.iter().map(|op| op.name()))),
        ("pattern", words("a name from `logs`")),
        ("alert", words("the alert's name")),
        ("severity", only("of the alert", list(["info", "warning", "critical"].into_iter()))),
        ("version", words("of ctmon")),
        ("revision", words("the commit it was built from")),
        ("route", list(Route::ALL.into_iter().map(Route::name))),
        ("code", words("the HTTP status")),
        ("outcome", words("how the connection fared; `accepted` counts all of them")),
    ]
}

fn list<'a>(values: impl Iterator<Item = &'a str>) -> String {
    values.map(|value| format!("`{value}`")).collect::<Vec<_>>().join(", ")
}

const fn unit(unit: Unit) -> &'static str {
    match unit {
        Unit::Of(what) => what,
        Unit::Seconds => "seconds",
        Unit::Timestamp => "seconds since 1970",
        Unit::Bytes => "bytes",
        Unit::Ratio => "0 to 1",
        Unit::YesNo => "1 yes, 0 no",
        Unit::Info => "always 1",
    }
}

/// More alerts than this are not worth a list.
const MANY: usize = 8;

fn alerts(metric: &Metric) -> String {
    let names = alerts_that_read(metric);
    if names.len() > MANY {
        return "nearly all".to_owned();
    }
    names.iter().map(|name| format!("[{name}](../runbooks/{name}.md)")).collect::<Vec<_>>().join(", ")
}

fn row(metric: &Metric) -> String {
    let Metric { name, help, kind, unit: counted, labels, absent, collect: _ } = metric;
    let (kind, counted, labels) = (kind.name(), unit(*counted), list(labels.iter().copied()));
    let (help, absent, alerts) = (help.trim_end_matches('.'), absent.unwrap_or("never"), alerts(metric));
    // In a table a bar ends the cell.
    let cells = [&format!("`{name}`"), kind, counted, &labels, help, absent, &alerts]
        .map(|cell| cell.replace('|', "\\|"));
    format!("| {} |\n", cells.join(" | "))
}

fn section(Group { title, about, metrics }: &Group) -> String {
    let head =
        "| metric | type | unit | labels | what it is | absent | alerts |\n|---|---|---|---|---|---|---|\n";
    let rows: String = metrics.iter().map(row).collect();
    format!("\n## {title}\n\n{about}\n\n{head}{rows}")
}

fn reference() -> String {
    let sections: String = REGISTRY.iter().map(section).collect();
    let rows: Vec<String> = labels().iter().map(|(name, tells)| format!("| `{name}` | {tells} |")).collect();
    format!("{HEAD}{sections}\n## Labels\n\n| label | what it tells |\n|---|---|\n{}\n", rows.join("\n"))
}

#[test]
fn the_committed_page_is_what_the_registry_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/docs/metrics.md");
    let made = reference();
    if std::env::var_os("CTMON_BLESS").is_some() {
        std::fs::write(&path, &made).expect("a writable tree");
    }
    let file = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        file == made,
        "{} is not what the registry says: run this test with CTMON_BLESS=1",
        path.display()
    );
}

#[test]
fn every_label_is_explained_and_no_other() {
    let used: BTreeSet<&str> = metrics().flat_map(|metric| metric.labels).copied().collect();
    let explained = labels();
    assert_eq!(explained.iter().map(|(name, _)| *name).collect::<BTreeSet<_>>(), used);
    assert_eq!(explained.len(), used.len(), "a label is explained twice");
}

#[test]
fn every_alert_reads_a_metric_of_the_page() {
    let read: BTreeSet<&str> =
        metrics().filter(|metric| metric.name != "ctmon_threshold").flat_map(alerts_that_read).collect();
    assert_eq!(read, ALERTS.iter().map(|alert| alert.name).collect());
}
