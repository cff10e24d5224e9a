//! The dashboard: readable for one node and for hundreds, explained, and made of metrics that exist.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use monitor_check::ALERTS;
use monitor_output::prometheus::{Metric, metrics};
use serde_json::{Value, json};
use support::folder::Folder;
use support::objects::{at, between};

use crate::{contract, tools};

fn dashboard() -> Result<Value> {
    Ok(serde_json::from_str(&tools::text("grafana/ctmon.json")?)?)
}

/// Rows and panels, those inside of collapsed rows too.
fn panels(dashboard: &Value) -> Vec<&Value> {
    let mut all = Vec::new();
    for panel in dashboard["panels"].as_array().into_iter().flatten() {
        all.push(panel);
        all.extend(panel["panels"].as_array().into_iter().flatten());
    }
    all
}

/// Panels that show data.
fn shown(dashboard: &Value) -> Vec<&Value> {
    panels(dashboard).into_iter().filter(|panel| panel["type"] != "row").collect()
}

/// A query: the panel's title, expression, legend.
struct Query {
    title: String,
    expression: String,
    legend: String,
    panel: String,
}

fn queries(dashboard: &Value) -> Result<Vec<Query>> {
    let mut all = Vec::new();
    for panel in shown(dashboard) {
        let targets = panel["targets"].as_array().context("no targets")?;
        assert!(!targets.is_empty(), "{}", panel["title"]);
        for target in targets {
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            all.push(Query {
                title: text(&panel["title"]),
                expression: text(&target["expr"]),
                legend: text(&target["legendFormat"]),
                panel: text(&panel["type"]),
            });
        }
    }
    for annotation in at(dashboard, "/annotations/list").as_array().context("no annotations")? {
        if let Some(expression) = annotation["expr"].as_str() {
            let title = annotation["name"].as_str().context("no name")?.to_owned();
            let (expression, legend) = (expression.to_owned(), String::new());
            all.push(Query { title, expression, legend, panel: "annotation".to_owned() });
        }
    }
    Ok(all)
}

#[test]
fn every_panel_is_explained_and_has_a_unit() -> Result<()> {
    let dashboard = dashboard()?;
    let shown = shown(&dashboard);
    assert!(shown.len() > 60, "{} panels", shown.len());
    for panel in shown {
        let description = panel["description"].as_str().unwrap_or_default();
        assert!(description.len() > 20 && description.ends_with('.'), "{}: {description}", panel["title"]);
        let unit = panel["fieldConfig"]["defaults"]["unit"].as_str().unwrap_or_default();
        assert!(!unit.is_empty(), "{} has no unit", panel["title"]);
    }
    Ok(())
}

#[test]
fn it_works_with_any_data_source_and_on_any_grafana() -> Result<()> {
    let dashboard = dashboard()?;
    let text = tools::text("grafana/ctmon.json")?;
    for uid in between(&text, "\"uid\": \"", "\"") {
        assert!(["${datasource}", "-- Grafana --", "ctmon"].contains(&uid), "a hard-coded uid: {uid}");
    }
    // Its own, so that links to /d/ctmon hold wherever it is imported.
    assert_eq!(dashboard["uid"], "ctmon");
    assert_eq!(dashboard["id"], Value::Null);
    for panel in shown(&dashboard) {
        assert_eq!(panel["datasource"], json!({"type": "prometheus", "uid": "${datasource}"}));
    }
    let variables: Vec<_> =
        dashboard["templating"]["list"].as_array().context("no variables")?.iter().collect();
    let names: Vec<_> = variables.iter().filter_map(|variable| variable["name"].as_str()).collect();
    assert_eq!(names, ["datasource", "cluster", "node", "target", "map", "top"]);
    for variable in variables.iter().filter(|variable| variable["type"] == "query") {
        // Not the list of all values: a label that is absent must match too.
        assert_eq!(variable["allValue"], ".*", "{}", variable["name"]);
    }
    Ok(())
}

#[test]
fn panels_have_their_own_ids_and_places() -> Result<()> {
    let dashboard = dashboard()?;
    let ids: BTreeSet<_> = panels(&dashboard).iter().filter_map(|panel| panel["id"].as_u64()).collect();
    assert_eq!(ids.len(), panels(&dashboard).len(), "ids are unique");
    let mut taken = BTreeSet::new();
    for panel in panels(&dashboard) {
        let place = |key: &str| panel["gridPos"][key].as_u64().context("no place");
        let (x, y, w, h) = (place("x")?, place("y")?, place("w")?, place("h")?);
        assert!(x + w <= 24, "{}", panel["title"]);
        for cell in (x..x + w).flat_map(|column| (y..y + h).map(move |line| (column, line))) {
            assert!(taken.insert(cell), "{} covers another panel", panel["title"]);
        }
    }
    Ok(())
}

#[test]
fn it_uses_only_metrics_and_labels_of_the_registry() -> Result<()> {
    let mut used = BTreeSet::new();
    for Query { title, expression, legend, .. } in queries(&dashboard()?)? {
        // Prometheus's own series, whose labels are those of every alert.
        if expression.contains("ALERTS{") {
            assert!(expression.contains("alertname=~\"Ctmon.*\""), "{title}: others' alerts");
            continue;
        }
        let mut labels: BTreeSet<&str> = contract::SCRAPE.into();
        assert_eq!(contract::broken(&expression), Vec::<String>::new(), "{title}: {expression}");
        let selectors = contract::selectors(&expression);
        for (metric, _) in &selectors {
            labels.extend(contract::labels_of(metric).into_iter().flatten());
            used.insert((*metric).to_owned());
        }
        assert!(!selectors.is_empty(), "{title}: {expression}");
        for label in between(&legend, "{{", "}}") {
            assert!(labels.contains(label), "{title}: the legend's label {label} does not exist");
        }
    }
    // What the dashboard has no use for is named here, so that a new metric is not forgotten.
    let ours = metrics().map(|metric| metric.name).filter(|name| name.starts_with("ctmon_"));
    let unused: Vec<_> = ours.filter(|name| !used.contains(*name)).collect();
    assert_eq!(
        unused,
        [
            "ctmon_map_present",
            "ctmon_map_kernel_entries",
            "ctmon_map_peak_entries",
            "ctmon_map_scan_age_seconds",
            "ctmon_ct_odd_lifetime_entries",
            "ctmon_target_keepalive_sockets",
            "ctmon_eviction_recursion_misses_total",
            "ctmon_eviction_victims_lost_total",
            "ctmon_deep_scan_age_seconds",
            "ctmon_listen_drops_total",
            "ctmon_log_skipped_bytes_total",
            "ctmon_log_skipped_files",
            "ctmon_log_failures_total",
            "ctmon_snapshot_timestamp_seconds",
            "ctmon_web_config_last_reload_success_timestamp_seconds",
            "ctmon_web_certificate_not_after_timestamp_seconds",
        ],
        "a metric that is new, or shown by now: change the dashboard or this list"
    );
    Ok(())
}

#[test]
fn variables_offer_values_of_labels_that_exist() -> Result<()> {
    let dashboard = dashboard()?;
    let variables = dashboard["templating"]["list"].as_array().context("no variables")?;
    let offers: Vec<&str> =
        variables.iter().filter_map(|variable| variable["query"]["query"].as_str()).collect();
    assert!(!offers.is_empty());
    for offer in offers {
        assert_eq!(contract::broken(offer), Vec::<String>::new(), "{offer}");
        let label = offer.trim_end_matches(')').rsplit(", ").next().context("no label")?;
        for (metric, _) in contract::selectors(offer) {
            let labels = contract::labels_of(metric).context("no such metric")?;
            assert!(labels.contains(&label) || contract::SCRAPE.contains(&label), "{offer}");
        }
    }
    Ok(())
}

/// The expressions, their variables filled in, as recording rules.
fn as_rules(queries: &[Query], cluster: &str) -> Vec<Value> {
    queries
        .iter()
        .enumerate()
        .map(|(number, query)| {
            let mut expression = query.expression.clone();
            for (variable, value) in [("$__rate_interval", "4m"), ("$__range", "6h"), ("$top", "10")] {
                expression = expression.replace(variable, value);
            }
            expression = expression.replace("$cluster", cluster);
            for variable in ["$node", "$target", "$map"] {
                expression = expression.replace(variable, ".*");
            }
            assert!(!expression.contains('$'), "{}: an unknown variable: {expression}", query.title);
            json!({"record": format!("dashboard:query:{number}"), "expr": expression})
        })
        .collect()
}

#[test]
fn promtool_parses_every_expression() -> Result<()> {
    let queries = queries(&dashboard()?)?;
    assert!(queries.len() > 100);
    let rules = as_rules(&queries, ".*");
    // JSON is YAML.
    let file = std::path::Path::new(env!("CARGO_TARGET_TMPDIR"))
        .join(format!("dashboard-{}.yaml", std::process::id()));
    std::fs::write(&file, json!({"groups": [{"name": "dashboard", "rules": rules}]}).to_string())?;
    let printed = tools::promtool_check_rules(&file);
    std::fs::remove_file(&file)?;
    assert!(printed?.contains(&format!("{} rules found", queries.len())));
    Ok(())
}

/// Two jobs that scrape the same agent, two clusters with equal addresses, a former pod: nothing matches many to many.
#[test]
fn every_expression_holds_however_often_an_agent_is_scraped() -> Result<()> {
    let queries = queries(&dashboard()?)?;
    for Query { title, expression, .. } in &queries {
        // Set operators do not fail where the cluster is missing: they mix.
        for list in between(expression, " on (", ")") {
            assert!(list.starts_with("cluster, instance"), "{title}: on ({list})");
        }
    }
    let mut scrapes = Vec::new();
    for twin in 0..8 {
        scrapes.push([1, 2, 4].map(|bit| if twin & bit == 0 { "a" } else { "b" }));
    }
    let inputs = scraped(&scrapes);
    // A query of no data is checked by its own evaluation: what counts is that no rule ends in an error.
    let recorded = "count({__name__=~\"dashboard:query:.+\"}) > bool 100";
    let check = json!({"expr": recorded, "eval_time": "10m", "exp_samples": [{"labels": "{}", "value": 1}]});
    judged(&as_rules(&queries, ".*"), &inputs, &[check])
}

/// Every metric of one agent as it is scraped for these clusters, by these jobs, from these pods.
fn scraped(scrapes: &[[&str; 3]]) -> Vec<Value> {
    let mut inputs = Vec::new();
    for Metric { name: metric, labels, .. } in metrics() {
        let labels: Vec<_> = labels.iter().map(|label| format!("{label}=\"x\",")).collect();
        let labels = labels.concat();
        for [cluster, job, pod] in scrapes {
            let scrape =
                format!("instance=\"n1\",node=\"n1\",job=\"{job}\",cluster=\"{cluster}\",pod=\"{pod}\"");
            inputs.push(json!({"series": format!("{metric}{{{labels}{scrape}}}"), "values": "1+1x20"}));
        }
    }
    inputs
}

/// Evaluates the rules over these series, and holds the results against the checks.
fn judged(rules: &[Value], inputs: &[Value], checks: &[Value]) -> Result<()> {
    let folder = Folder::new("dashboard")?;
    let [rule_file, cases] = ["rules.yaml", "cases.yaml"].map(|file| folder.join(file));
    std::fs::write(&rule_file, json!({"groups": [{"name": "dashboard", "rules": rules}]}).to_string())?;
    let case = json!({"interval": "1m", "input_series": inputs, "promql_expr_test": checks});
    std::fs::write(&cases, json!({"rule_files": [&rule_file], "tests": [case]}).to_string())?;
    tools::promtool_test_rules(&cases).map(drop)
}

/// What one job sees of a cluster is what two jobs see that scrape the same agents, before and after a new pod: no sum counts twice.
#[test]
fn no_number_depends_on_how_many_jobs_scrape_an_agent() -> Result<()> {
    let queries = queries(&dashboard()?)?;
    let mut rules = Vec::new();
    for cluster in ["once", "twice"] {
        for (number, mut rule) in as_rules(&queries, cluster).into_iter().enumerate() {
            rule["record"] = "dashboard:query".into();
            rule["labels"] = json!({"number": number.to_string(), "scraped": cluster});
            rules.push(rule);
        }
    }
    let inputs =
        scraped(&[["once", "a", "a"], ["twice", "a", "a"], ["twice", "b", "a"], ["twice", "a", "b"]]);
    let sum =
        |what: &str, scraped: &str| format!("{what} by (number) (dashboard:query{{scraped=\"{scraped}\"}})");
    let nothing = |what: &str| {
        let differ = format!("{} != {}", sum(what, "once"), sum(what, "twice"));
        json!({"expr": differ, "eval_time": "10m", "exp_samples": []})
    };
    let some = format!("count({}) > bool 100", sum("count", "once"));
    let some = json!({"expr": some, "eval_time": "10m", "exp_samples": [{"labels": "{}", "value": 1}]});
    judged(&rules, &inputs, &[nothing("sum"), nothing("count"), some])
}

/// A home that nobody set would be a dead link; a release stamps its own into a copy.
#[test]
fn it_links_to_nothing_outside_of_grafana() -> Result<()> {
    assert_eq!(dashboard()?["links"], json!([]));
    for url in between(&tools::text("grafana/ctmon.json")?, "\"url\": \"", "\"") {
        assert!(url.starts_with("/d/${__dashboard.uid}"), "{url}");
    }
    Ok(())
}

#[test]
fn hundreds_of_nodes_do_not_make_hundreds_of_lines() -> Result<()> {
    for Query { title, expression, legend, panel } in queries(&dashboard()?)? {
        if panel == "timeseries" && legend.contains("{{node}}") {
            assert!(expression.contains("topk($top, "), "{title}: {expression}");
        }
    }
    Ok(())
}

#[test]
fn limits_are_drawn_from_thresholds_that_exist() -> Result<()> {
    let mut drawn = BTreeSet::new();
    for Query { title, expression, .. } in queries(&dashboard()?)? {
        if expression.contains("ctmon_threshold") {
            for alert in between(&expression, "alert=\"", "\"") {
                assert!(ALERTS.iter().any(|known| known.name == alert), "{title}: no alert {alert}");
                drawn.insert(alert.to_owned());
            }
        }
    }
    for alert in
        ["CtmonMapFilling", "CtmonStaleConnections", "CtmonTargetUnanswered", "CtmonCollectionLagging"]
    {
        assert!(drawn.contains(alert), "{alert} is not drawn");
    }
    Ok(())
}
