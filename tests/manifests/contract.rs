//! What the registry of metrics promises, held against every expression that reads it: dashboard, alerts, recording rules.
//!
//! In: the registry, expressions. Out: pass or fail.
//! Must not: list a metric or a label itself, but those that a scrape adds.

use anyhow::{Context, Result};
use monitor_output::prometheus::metrics;
use serde_json::Value;

use crate::tools;

/// Labels that a scrape adds.
pub(crate) const SCRAPE: [&str; 4] = ["cluster", "node", "instance", "job"];
/// Labels that a `PodMonitor` adds to those.
const POD: [&str; 3] = ["pod", "container", "endpoint"];

/// Rules with expressions on series of ctmon.
const RULES: [&str; 2] = ["prometheus/ctmon.rules.yaml", "prometheus/fleet/ctmon-fleet.rules.yaml"];

/// Labels of the metric with this name.
pub(crate) fn labels_of(metric: &str) -> Option<&'static [&'static str]> {
    metrics().find(|known| known.name == metric).map(|known| known.labels)
}

/// Metrics of ours and of the process that an expression names, each with the labels that its selector matches on.
pub(crate) fn selectors(expression: &str) -> Vec<(&str, Vec<&str>)> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let mut found = Vec::new();
    let mut rest = expression;
    while let Some(start) = rest.find(is_name) {
        let (_, from) = rest.split_at(start);
        let (name, after) = from.split_at(from.find(|c| !is_name(c)).unwrap_or(from.len()));
        rest = after;
        if name.starts_with("ctmon_") || name.starts_with("process_") {
            found.push((name, matched(after)));
        }
    }
    found
}

/// Labels of the matchers in the braces that a text begins with, if it does.
fn matched(text: &str) -> Vec<&str> {
    let Some(inside) = text.strip_prefix('{') else { return Vec::new() };
    // Every second piece is a quoted value; a brace in one ends nothing.
    let mut labels = Vec::new();
    for outside in inside.split('"').step_by(2) {
        let (names, end) = outside.split_once('}').map_or((outside, false), |(names, _)| (names, true));
        labels.extend(names.split(',').map(|name| name.trim().trim_end_matches(['=', '!', '~'])));
        if end {
            break;
        }
    }
    labels.retain(|label| !label.is_empty());
    labels
}

/// Labels that the expression groups, matches or joins by.
pub(crate) fn grouped(expression: &str) -> Vec<&str> {
    let mut labels = Vec::new();
    for word in ["by", "without", "on", "ignoring", "group_left", "group_right"] {
        for (at, _) in expression.match_indices(word) {
            let before = expression.get(..at).unwrap_or_default();
            let after = expression.get(at + word.len()..).unwrap_or_default();
            let Some(list) = after.trim_start().strip_prefix('(') else { continue };
            if !before.ends_with(|c: char| c.is_ascii_alphanumeric() || c == '_') {
                labels.extend(list.split(')').next().unwrap_or_default().split(',').map(str::trim));
            }
        }
    }
    labels.retain(|label| !label.is_empty());
    labels
}

/// What an expression names that the registry does not have, in words; none if all is well.
pub(crate) fn broken(expression: &str) -> Vec<String> {
    let mut broken = Vec::new();
    let mut known: Vec<&str> = SCRAPE.into_iter().chain(POD).collect();
    for (metric, matched) in selectors(expression) {
        let Some(labels) = labels_of(metric) else {
            broken.push(format!("no metric {metric}"));
            continue;
        };
        let strange = matched.iter().filter(|label| !labels.contains(label) && !SCRAPE.contains(label));
        broken.extend(strange.map(|label| format!("{metric} has no label {label}")));
        known.extend(labels);
    }
    let strange = grouped(expression).into_iter().filter(|label| !known.contains(label));
    broken.extend(strange.map(|label| format!("no metric of the expression has a label {label}")));
    broken
}

#[test]
fn rules_read_only_metrics_and_labels_of_the_registry() -> Result<()> {
    for file in RULES {
        let documents = support::objects::documents(&tools::text(file)?)?;
        let rules = documents.iter().flat_map(|file| file["groups"].as_array().into_iter().flatten());
        let rules: Vec<&Value> =
            rules.flat_map(|group| group["rules"].as_array().into_iter().flatten()).collect();
        assert!(rules.len() > 5, "{file} has {} rules", rules.len());
        for rule in rules {
            let name = rule["alert"].as_str().or(rule["record"].as_str()).context("no name")?;
            let expression = rule["expr"].as_str().context("no expression")?;
            assert!(!selectors(expression).is_empty(), "{name}: {expression}");
            assert_eq!(broken(expression), Vec::<String>::new(), "{name}: {expression}");
        }
    }
    Ok(())
}

#[test]
fn what_is_not_in_the_registry_is_found_wherever_it_stands() {
    let check =
        |expression: &str, expected: &[&str]| assert_eq!(broken(expression), expected, "{expression}");
    check(
        "sum by (cluster, map_name) (rate(ctmon_evictions_total{node=~\"a}b\", state!=\"closed\"}[5m]))",
        &[],
    );
    check("max without(map_name)(ctmon_map_entries) / on(cluster, instance) group_left() up{job=\"x\"}", &[]);
    check("ctmon_map_entry > 1", &["no metric ctmon_map_entry"]);
    check("ctmon_map_entries{state=\"open\"}", &["ctmon_map_entries has no label state"]);
    check("sum by (target) (ctmon_map_entries)", &["no metric of the expression has a label target"]);
    check(
        "ctmon_map_info{lru=\"common\",size=~\"1\"} and on(pod, op) ctmon_map_present",
        &["ctmon_map_info has no label size", "no metric of the expression has a label op"],
    );
}
