//! Every expression of the dashboard, executed on a node that has something to show for each.
//!
//! In: `deploy/grafana/ctmon.json`, a node in the middle of the incident, with storage and Cilium's counters.
//! Out: pass or fail. Must not: accept an expression that stays empty, but those that are listed with the reason.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use monitor_output::prometheus::metrics;
use serde_json::Value;
use support::bpffs::Bpffs;
use support::cilium::{self, MapName};
use support::http;
use support::page::Page;
use support::simulate::phase::Phase;
use support::sys::{Kind, Map, NO_COMMON_LRU, Spec};

use crate::lab::Lab;
use crate::prometheus::{CLUSTER, NODE};

/// The tuning of the incident is expected, and pod logs are read.
const CONFIG: &str = "
expect: {preset: nas-tuning, gc_interval: {at_most: 5s}, map_capacity: {ct_tcp: {at_least: 524288}}}
logs: [{preset: trident-qnap}]
";

/// Without victims there are no series of them, and a kernel may refuse the programs that see victims. That a page has
/// what these expressions select is for the virtual machines: `tests/kernel/evictions/daemon.rs`.
const OF_EVICTIONS: [&str; 2] = ["ctmon_evictions_total", "ctmon_target_evictions_total"];

/// How far back ranges look: a graph of the last half minute, with a sample each second.
const RANGE: Duration = Duration::from_secs(30);
/// What Grafana would put for its own variables then: four scrapes, and the range.
const OWN_VARIABLES: [(&str, &str); 3] = [("$__rate_interval", "4s"), ("$__range", "30s"), ("$top", "10")];
/// Subqueries look every five minutes; that would take five minutes to show anything.
const STEPS: (&str, &str) = ("[12h:5m]", "[12h:1s]");

/// "All" of each of the dashboard's own, which is how it opens.
const EVERYTHING: [(&str, &str); 4] =
    [("$cluster", ".*"), ("$node", ".*"), ("$target", ".*"), ("$map", ".*")];
/// One node chosen.
const ONE_NODE: [(&str, &str); 4] =
    [("$cluster", CLUSTER), ("$node", NODE), ("$target", ".*"), ("$map", ".*")];

/// A query of a panel or an annotation.
struct Query {
    title: String,
    expression: String,
    instant: bool,
}

fn dashboard() -> Result<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/grafana/ctmon.json");
    let text = fs::read_to_string(&path).with_context(|| format!("failed to read {}", path.display()))?;
    Ok(serde_json::from_str(&text)?)
}

/// Everything below `value` that has an expression, with the title of the panel or annotation it belongs to.
fn queries(value: &Value, title: &str, found: &mut Vec<Query>) {
    match value {
        Value::Object(fields) => {
            let title =
                fields.get("title").or_else(|| fields.get("name")).and_then(Value::as_str).unwrap_or(title);
            if let Some(expression) = fields.get("expr").and_then(Value::as_str) {
                found.push(Query {
                    title: title.to_owned(),
                    expression: expression.to_owned(),
                    instant: fields.get("instant") == Some(&Value::Bool(true)),
                });
            }
            fields.values().for_each(|field| queries(field, title, found));
        }
        Value::Array(items) => items.iter().for_each(|item| queries(item, title, found)),
        _ => {}
    }
}

/// What a variable of the dashboard offers: `label_values(selector, label)`, which Grafana sends as a query of labels.
fn offered(lab: &Lab, query: &str) -> Result<Vec<String>> {
    let inside = query.strip_prefix("label_values(").and_then(|rest| rest.strip_suffix(')'));
    let (selector, label) = inside.and_then(|inside| inside.rsplit_once(", ")).context("no label_values")?;
    lab.prometheus.label_values(label, &with_values(selector, &EVERYTHING)?)
}

/// The expression as Grafana would send it, with these values for its variables.
fn with_values(expression: &str, chosen: &[(&str, &str)]) -> Result<String> {
    let mut sent = expression.replace(STEPS.0, STEPS.1);
    for (variable, value) in OWN_VARIABLES.iter().chain(chosen) {
        sent = sent.replace(variable, value);
    }
    ensure!(!sent.contains('$'), "an unknown variable is left in {sent}");
    Ok(sent)
}

/// Whether there is a number in what Prometheus answers.
fn has_data(lab: &Lab, query: &Query, sent: &str) -> Result<bool> {
    let found =
        if query.instant { lab.prometheus.query(sent)? } else { lab.prometheus.query_range(sent, RANGE)? };
    let mut numbers = found.iter().flat_map(|series| {
        let range = series.get("values").and_then(Value::as_array).into_iter().flatten();
        range.chain(series.get("value")).filter_map(|sample| sample.get(1)?.as_str())
    });
    Ok(numbers.any(|number| number != "NaN"))
}

/// The counters that Cilium's datapath keeps beside its tables.
fn counters(bpffs: &Bpffs) -> Result<()> {
    let metrics = Spec {
        name: "cilium_metrics",
        kind: Kind::PercpuHash,
        key_size: 8,
        value_size: 16,
        max_entries: 1_024,
        flags: 0,
        inner: None,
    };
    let counted = Map::create(&metrics)?;
    // Forwarded packets: a map without any counter is one that nobody counts in.
    let shares: Vec<u8> = (0..counted.value_len() / 8).flat_map(|_| 1_000_u64.to_ne_bytes()).collect();
    counted.update(&[0, 2, 1, 0, 1, 0, 0, 0], &shares)?;
    counted.pin(&bpffs.pin(metrics.name))?;
    let retries = Spec {
        name: "cilium_snat_v4_alloc_retries",
        kind: Kind::PercpuArray,
        key_size: 4,
        value_size: 4,
        max_entries: 33,
        ..metrics
    };
    Map::create(&retries)?.pin(&bpffs.pin(retries.name))
}

/// What only the running kernel can say, of the process that asks and of its processors.
fn own_files(root: &Path) -> Result<()> {
    for (from, to) in [
        ("proc/self", "/proc/self"),
        ("proc/thread-self", "/proc/thread-self"),
        ("sys/devices", "/sys/devices"),
    ] {
        symlink(to, root.join(from)).with_context(|| format!("failed to link to {to}"))?;
    }
    Ok(())
}

/// Which expressions stay empty here, and must: all that need evictions where the kernel lets nobody see them.
fn is_listed(query: &Query, evictions_are_seen: bool) -> bool {
    !evictions_are_seen && OF_EVICTIONS.iter().any(|metric| query.expression.contains(metric))
}

#[test]
fn every_expression_of_the_dashboard_returns_data() -> Result<()> {
    let dashboard = dashboard()?;
    let mut all = Vec::new();
    queries(&dashboard, "", &mut all);
    assert!(all.len() > 140, "{} queries", all.len());

    let lab = Lab::start_captured(CONFIG, Phase::Unanswered, |node, root| {
        counters(&node.bpffs)?;
        own_files(root)?;
        // A table of another layout under the name of a cluster's: it cannot be read.
        cilium::create(&node.bpffs, MapName::Snat4, &MapName::Ct4.per_cluster_pin(1), 16, 0).map(drop)
    })?;
    lab.evaluations(3)?;
    // Cilium makes a map anew, with shares of its own for each CPU.
    lab.node.bpffs.unpin(MapName::CtAny6.pin())?;
    let _map = cilium::create(&lab.node.bpffs, MapName::CtAny6, MapName::CtAny6.pin(), 4_096, NO_COMMON_LRU)?;

    let page = Page::parse(http::get(lab.address, "/metrics")?.text()?)?;
    let tracking = page.matching("ctmon_eviction_tracking", &[]).next().context("no word on evictions")?;
    let seen = tracking.labels["mode"] != "off";
    let (listed, shown): (Vec<_>, Vec<_>) = all.iter().partition(|query| is_listed(query, seen));
    assert_eq!(listed.len(), if seen { 0 } else { 4 }, "expressions that need evictions");

    let mut left = Vec::new();
    for query in &shown {
        for chosen in [EVERYTHING, ONE_NODE] {
            left.push((with_values(&query.expression, &chosen)?, *query));
        }
    }
    let found = lab.until("data for every expression", |lab| {
        let mut empty = Vec::new();
        for (sent, query) in left.drain(..) {
            if !has_data(lab, query, &sent)? {
                empty.push((sent, query));
            }
        }
        left = empty;
        Ok(left.is_empty().then_some(()))
    });
    let empty: BTreeSet<_> = left.iter().map(|(sent, query)| (&query.title, sent)).collect();
    found.with_context(|| format!("{} stayed empty: {empty:#?}", empty.len()))?;
    for query in &listed {
        let sent = with_values(&query.expression, &EVERYTHING)?;
        assert!(!has_data(&lab, query, &sent)?, "{}: no longer belongs on the list: {sent}", query.title);
        for metric in OF_EVICTIONS.iter().filter(|metric| query.expression.contains(**metric)) {
            let known = metrics().any(|known| known.name == *metric);
            assert!(known, "{}: {metric} is no metric of ours", query.title);
        }
    }
    let mut variables = 0;
    for variable in dashboard["templating"]["list"].as_array().context("no variables")? {
        let Some(query) = variable["query"]["query"].as_str() else { continue };
        let values = offered(&lab, query)?;
        let expected = match variable["name"].as_str() {
            Some("cluster") => CLUSTER,
            Some("node") => NODE,
            Some("target") => "qnap",
            Some("map") => "ct4_global",
            other => bail!("an unknown variable {other:?}: what should it offer?"),
        };
        assert!(values.iter().any(|value| value == expected), "{query} offers {values:?}");
        variables += 1;
    }
    println!(
        "{} expressions returned data, {} are listed; {variables} variables offer values",
        shown.len(),
        listed.len()
    );
    Ok(())
}
