//! Cilium's ConfigMap and the values of its chart.
//!
//! In: keys and values. Out: findings on keys that are ignored, values that are not understood, the gc's
//! interval, and sizes and timeouts that the kernel does not show. Must not: guess what an unset key stands for.

use std::collections::BTreeMap;
use std::time::Duration;

use monitor_decode::cilium::agent_config::{KEYS, parse_data};
use monitor_model::agent_config::AgentConfig;
use monitor_model::duration;
use monitor_model::manifest::ObjectId;

use super::keys::{BPF_VALUES, VALUE_OF, instead_of_config, instead_of_value, with_value};
use super::{ManifestFinding, Reference};
use crate::Level;

/// The ConfigMap: what the agent reads.
pub(super) fn config(
    id: &ObjectId,
    data: &BTreeMap<String, String>,
    reference: &Reference<'_>,
    findings: &mut Vec<ManifestFinding>,
) {
    for key in data.keys() {
        if let Some(right) = instead_of_config(key) {
            findings.push(ignored(id, key, &data_text(data, key), right));
        } else if is_unknown_conntrack_key(key) {
            findings.push(unknown(id, key, "no version of the agent from 1.14 to 1.18 reads it"));
        }
    }
    // The chart always writes "false", which nobody chose.
    preallocation(id, data, "preallocate-bpf-maps", findings);
    agent(id, data, reference, findings);
}

/// Values of the chart: those it ignores, then what the rest will make of the ConfigMap.
pub(super) fn values(
    id: &ObjectId,
    values: &BTreeMap<String, String>,
    reference: &Reference<'_>,
    findings: &mut Vec<ManifestFinding>,
) {
    let mut data: BTreeMap<String, String> = BTreeMap::new();
    for (path, value) in values {
        if let Some(key) = path.strip_prefix("extraConfig.") {
            if let Some(right) = instead_of_config(key) {
                findings.push(ignored(id, path, value, &format!("extraConfig.{right}")));
            } else if is_unknown_conntrack_key(key) {
                findings.push(unknown(id, path, "no version of the agent from 1.14 to 1.18 reads it"));
            }
            if let Some((chart, beside)) = value_beside(values, key) {
                findings.push(twice(id, (path, value), (chart, beside)));
            }
            // The chart writes it behind its own, and of two equal keys Helm takes the later one.
            data.insert(key.to_owned(), value.clone());
        } else if let Some(right) = instead_of_value(path) {
            findings.push(ignored(id, path, value, right));
        } else if let Some((key, _)) = VALUE_OF.iter().find(|(_, value)| value == path) {
            data.entry((*key).to_owned()).or_insert_with(|| value.clone());
        } else if let Some(below) = path.strip_prefix("bpf.") {
            let first = below.split('.').next().unwrap_or(below);
            if !BPF_VALUES.contains(&first) {
                findings.push(unknown(
                    id,
                    path,
                    "charts from 1.14 to 1.18 have no such value and say nothing",
                ));
            }
        }
    }
    preallocation(id, values, "bpf.preallocateMaps", findings);
    agent(id, &data, reference, findings);
}

/// The chart's own value for a key that `extraConfig` sets too.
fn value_beside<'a>(values: &'a BTreeMap<String, String>, key: &str) -> Option<(&'static str, &'a str)> {
    let (_, chart) = VALUE_OF.iter().find(|(known, _)| *known == key)?;
    values.get(*chart).filter(|value| !value.is_empty()).map(|value| (*chart, value.as_str()))
}

fn twice(id: &ObjectId, (path, value): (&str, &str), (chart, beside): (&str, &str)) -> ManifestFinding {
    ManifestFinding {
        object: id.to_string(),
        check: "CiliumKeyTwice",
        evidence: format!(
            "{path}: {} stands beside {chart}: {}, and is what counts",
            short(value),
            short(beside)
        ),
        advice: format!(
            "keep {chart} alone: extraConfig comes last in the ConfigMap, and Helm takes the later of two equal keys"
        ),
        severity: if value == beside { Level::INFO } else { Level::WARNING },
    }
}

/// LRU maps have all their entries from the start, whatever this says; other maps of Cilium do follow it.
fn preallocation(
    id: &ObjectId,
    data: &BTreeMap<String, String>,
    key: &str,
    findings: &mut Vec<ManifestFinding>,
) {
    if data.get(key).is_some_and(|value| value == "true") {
        findings.push(ManifestFinding {
            object: id.to_string(),
            check: "CiliumKeyWithoutEffect",
            evidence: format!(
                "{key}: true changes nothing for conntrack and NAT: LRU maps are always preallocated"
            ),
            advice: "leave it out, unless it is meant for Cilium's other maps".to_owned(),
            severity: Level::INFO,
        });
    }
}

fn data_text(data: &BTreeMap<String, String>, key: &str) -> String {
    data.get(key).cloned().unwrap_or_default()
}

fn short(value: &str) -> String {
    value.chars().take(80).collect()
}

fn ignored(id: &ObjectId, key: &str, value: &str, right: &str) -> ManifestFinding {
    ManifestFinding {
        object: id.to_string(),
        check: "CiliumKeyIgnored",
        evidence: format!("{key}: {} is accepted and does nothing", short(value)),
        advice: format!("write {right} instead"),
        severity: Level::WARNING,
    }
}

fn unknown(id: &ObjectId, key: &str, why: &str) -> ManifestFinding {
    ManifestFinding {
        object: id.to_string(),
        check: "CiliumKeyUnknown",
        evidence: format!("{key}: {why}"),
        advice: "look it up in the reference of your version, or remove it".to_owned(),
        severity: Level::INFO,
    }
}

/// Only the corner of the agent's options that this program knows completely.
fn is_unknown_conntrack_key(key: &str) -> bool {
    const OTHERS: &[&str] = &["bpf-ct-accounting", "conntrack-accounting"];
    let ours = ["bpf-ct-", "bpf-nat-", "conntrack-"].iter().any(|prefix| key.starts_with(prefix));
    ours && !KEYS.contains(&key) && !OTHERS.contains(&key)
}

fn agent(
    id: &ObjectId,
    data: &BTreeMap<String, String>,
    reference: &Reference<'_>,
    findings: &mut Vec<ManifestFinding>,
) {
    let config = &parse_data(data);
    for invalid in &config.invalid {
        findings.push(ManifestFinding {
            object: id.to_string(),
            check: "CiliumValueInvalid",
            evidence: format!("{}: {:?} is not {}", invalid.key, invalid.value, invalid.expected),
            advice: "correct the value: the agent refuses to start with it or falls back to its default"
                .to_owned(),
            severity: Level::WARNING,
        });
    }
    intervals(id, data, config, findings);
    collector(id, config, findings);
    sizes(id, config, reference, findings);
    timeouts(id, config, reference, findings);
}

/// Intervals without a unit, and a cap that has nothing to cap.
fn intervals(
    id: &ObjectId,
    data: &BTreeMap<String, String>,
    config: &AgentConfig,
    findings: &mut Vec<ManifestFinding>,
) {
    let all = [
        (GC_INTERVAL, config.gc_interval),
        (GC_MAX_INTERVAL, config.gc_max_interval),
        ("monitor-aggregation-interval", config.monitor_aggregation_interval),
    ];
    let set = |interval: &Duration| !interval.is_zero();
    for (key, interval) in all {
        if let Some(interval) = interval.filter(set).filter(|interval| *interval < Duration::from_secs(1)) {
            findings.push(below_a_second(id, key, &data_text(data, key), interval));
        }
    }
    if let (Some(fixed), Some(cap)) = (config.gc_interval.filter(set), config.gc_max_interval.filter(set)) {
        findings.push(ManifestFinding {
            object: id.to_string(),
            check: "CiliumKeyIgnored",
            evidence: format!(
                "{}: {} does nothing beside {}: {}",
                with_value(GC_MAX_INTERVAL),
                duration::format(cap),
                with_value(GC_INTERVAL),
                duration::format(fixed)
            ),
            advice:
                "keep one of them: the cap is for the adaptive interval, and a fixed one is taken as it is"
                    .to_owned(),
            // A cap that would not have bitten is missed by nobody.
            severity: if fixed > cap { Level::WARNING } else { Level::INFO },
        });
    }
}

const GC_INTERVAL: &str = "conntrack-gc-interval";
const GC_MAX_INTERVAL: &str = "conntrack-gc-max-interval";

fn below_a_second(id: &ObjectId, key: &str, written: &str, read: Duration) -> ManifestFinding {
    ManifestFinding {
        object: id.to_string(),
        check: "CiliumValueInvalid",
        evidence: format!("{}: {} is {read:?} to the agent", with_value(key), short(written)),
        advice: "give a unit, such as 5m: a number without one is nanoseconds in the ConfigMap, and newer charts refuse to \
                 render it"
            .to_owned(),
        severity: Level::WARNING,
    }
}

/// The interval is left to the agent: on a quiet node it drifts to twelve hours.
fn collector(id: &ObjectId, config: &AgentConfig, findings: &mut Vec<ManifestFinding>) {
    let fixed = config.gc_interval.is_some_and(|interval| !interval.is_zero());
    let capped = config.gc_max_interval.is_some_and(|interval| !interval.is_zero());
    if fixed || capped {
        return;
    }
    findings.push(ManifestFinding {
        object: id.to_string(),
        check: "CiliumCollectorAdaptive",
        evidence: match config.ct_tcp_max {
            Some(size) => {
                format!("no collection interval is set, and {size} entries make a pass seem in vain sooner")
            }
            None => "no collection interval is set".to_owned(),
        },
        advice:
            "set conntrackGCInterval: 5m (conntrack-gc-interval), or cap it with conntrackGCMaxInterval: the \
                 interval grows by half whenever a pass removes less than 5 % of the map's size, up to 12 h"
                .to_owned(),
        severity: Level::INFO,
    });
}

fn sizes(
    id: &ObjectId,
    config: &AgentConfig,
    reference: &Reference<'_>,
    findings: &mut Vec<ManifestFinding>,
) {
    let pairs = [
        ("bpf-ct-global-tcp-max", config.ct_tcp_max, reference.ct_tcp_capacity),
        ("bpf-ct-global-any-max", config.ct_any_max, reference.ct_any_capacity),
        ("bpf-nat-global-max", config.nat_max, reference.nat_capacity),
    ];
    for (key, configured, shown) in pairs {
        let (Some(configured), Some(shown)) = (configured, shown) else { continue };
        // Per-CPU LRU maps are rounded up to a multiple of the CPUs.
        let rounded =
            config.distributed_lru == Some(true) && shown >= configured && shown - configured < 4096;
        if configured != shown && !rounded {
            findings.push(differs(
                id,
                key,
                &configured.to_string(),
                &shown.to_string(),
                "the map is re-created empty",
            ));
        }
    }
}

fn timeouts(
    id: &ObjectId,
    config: &AgentConfig,
    reference: &Reference<'_>,
    findings: &mut Vec<ManifestFinding>,
) {
    for (class, &configured) in config.ct_timeouts.iter().filter(|(class, _)| class.is_lifetime()) {
        let key = class.cilium_key();
        let shown = reference.timeouts.get(key).copied();
        // The agent reads a bare number as nanoseconds.
        if configured < Duration::from_secs(1) {
            findings.push(ManifestFinding {
                object: id.to_string(),
                check: "CiliumValueInvalid",
                evidence: format!("{key} is {configured:?}, less than a second"),
                advice: "give a unit, such as 6h: a number without one is nanoseconds".to_owned(),
                severity: Level::WARNING,
            });
        } else if let Some(shown) = shown
            && configured.abs_diff(shown) > reference.timeout_tolerance
        {
            let after = "entries take it with their next packet";
            let shown = duration::format(Duration::from_secs(shown.as_secs()));
            findings.push(differs(id, key, &duration::format(configured), &shown, after));
        }
    }
}

fn differs(id: &ObjectId, key: &str, configured: &str, shown: &str, after: &str) -> ManifestFinding {
    ManifestFinding {
        object: id.to_string(),
        check: "CiliumNotInForce",
        evidence: format!("{key} is {configured} here, the kernel shows {shown}"),
        advice: format!("restart the agent of this node: it reads its configuration at its start; {after}"),
        severity: Level::WARNING,
    }
}
