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

use super::keys::{BPF_VALUES, VALUE_OF, instead_of_config, instead_of_value};
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
    agent(id, &parse_data(data), reference, findings);
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
            // The chart writes it over its own.
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
    agent(id, &parse_data(&data), reference, findings);
}

fn data_text(data: &BTreeMap<String, String>, key: &str) -> String {
    data.get(key).cloned().unwrap_or_default()
}

fn ignored(id: &ObjectId, key: &str, value: &str, right: &str) -> ManifestFinding {
    let value: String = value.chars().take(80).collect();
    ManifestFinding {
        object: id.to_string(),
        check: "CiliumKeyIgnored",
        evidence: format!("{key}: {value} is accepted and does nothing"),
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
    config: &AgentConfig,
    reference: &Reference<'_>,
    findings: &mut Vec<ManifestFinding>,
) {
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
    collector(id, config, findings);
    sizes(id, config, reference, findings);
    timeouts(id, config, reference, findings);
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
