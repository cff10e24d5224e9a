//! The committed rules, and what Prometheus's own tool says of them.

use std::path::{Path, PathBuf};
use std::process::Command;

use monitor_check::ALERTS;
use yaml_serde::Value;

use super::*;
use crate::testing::{defaults, parse};

/// The groups with their files below `deploy/prometheus`, and the folder of their cases below `tests/promtool`.
const GROUPS: [(Group, &str, &str); 3] = [
    (Group::Nodes, "ctmon", ""),
    (Group::Fleet, "fleet/ctmon-fleet", "fleet"),
    (Group::Cluster, "cluster/ctmon-cluster", "cluster"),
];

fn rules(settings: &Settings, format: Format) -> String {
    printed(settings, Group::Nodes, format)
}

fn printed(settings: &Settings, group: Group, format: Format) -> String {
    printed_for(settings, &Options::default(), group, format)
}

fn printed_for(settings: &Settings, options: &Options, group: Group, format: Format) -> String {
    let mut out = Vec::new();
    write(settings, options, group, format, &mut out).expect("writing to memory");
    String::from_utf8(out).expect("text")
}

/// Compares with the committed file; `CTMON_BLESS=1` writes it instead.
fn committed(extension: &str, format: Format) {
    for (group, name, _) in GROUPS {
        let path = tree("deploy/prometheus").join(format!("{name}.{extension}"));
        committed_group(&path, group, format);
    }
}

fn committed_group(path: &Path, group: Group, format: Format) {
    let printed = printed(&defaults(), group, format);
    if std::env::var_os("CTMON_BLESS").is_some() {
        std::fs::write(path, &printed).expect("a writable tree");
    }
    let file = std::fs::read_to_string(path).unwrap_or_default();
    assert!(file == printed, "{} is not what is printed: run this test with CTMON_BLESS=1", path.display());
}

#[test]
fn the_committed_rules_are_what_is_printed() {
    committed("rules.yaml", Format::Plain);
}

#[test]
fn the_committed_custom_resource_is_what_is_printed() {
    committed("prometheusrule.yaml", Format::Crd);
}

#[test]
fn both_formats_hold_the_same_groups() {
    for (group, ..) in GROUPS {
        let value =
            |format| -> Value { yaml_serde::from_str(&printed(&defaults(), group, format)).expect("YAML") };
        assert_eq!(value(Format::Plain), value(Format::Crd)["spec"]);
    }
}

#[test]
fn times_and_windows_come_from_the_settings() {
    let settings = parse(
        "thresholds: {LiveEvictions: {warning: {window: 7m, for: 3s, keep_firing_for: 0s}, critical: null}}",
    );
    let text = rules(&settings, Format::Plain);
    let rule = text.split("- alert: ").find(|r| r.contains("severity: warning") && r.contains("[7m]"));
    let rule = rule.expect("the rule");
    assert!(rule.contains("        for: 3s\n") && !rule.contains("keep_firing_for"), "{rule}");
    assert_eq!(text.matches("alert: CtmonLiveEvictions").count(), 2, "off is the exporter's to say");
}

#[test]
fn only_an_alert_without_threshold_leaves_the_file() {
    let settings = parse("thresholds: {Down: null, MapFull: null}");
    let text = rules(&settings, Format::Plain);
    assert!(!text.contains("CtmonDown"));
    assert!(text.contains("alert: CtmonMapFull\n"));
}

/// The label's name, and nothing else of the rule.
#[test]
fn another_label_stands_wherever_clusters_are_told_apart() {
    let settings = defaults();
    let options = Options::new("k8s_cluster", None).expect("a label");
    let options = Options { runbooks: None, ..options };
    for (group, ..) in GROUPS {
        for format in [Format::Plain, Format::Crd] {
            let (usual, other) =
                (printed(&settings, group, format), printed_for(&settings, &options, group, format));
            let without_head = |text: &str| text.split_once('\n').map(|(_, rest)| rest.to_owned());
            let expected = usual.replace("(cluster, ", "(k8s_cluster, ");
            assert_eq!(without_head(&other), without_head(&expected));
            assert!(
                other.starts_with("# Printed by `ctmon rules")
                    && other.contains(" --cluster-label k8s_cluster`")
            );
            assert!(group == Group::Fleet || other.contains("on(k8s_cluster, "), "{other}");
        }
    }
}

#[test]
fn each_alert_links_to_its_page_where_the_runbooks_are_known() {
    let options = Options::new(CLUSTER, Some("https://wiki.example/ctmon/")).expect("an address");
    let mut linked = 0;
    for (group, ..) in GROUPS {
        let text = printed_for(&defaults(), &options, group, Format::Plain);
        assert!(text.contains(" --runbooks https://wiki.example/ctmon`"), "{text}");
        for rule in text.split("      - alert: ").skip(1) {
            let name = rule.lines().next().unwrap_or_default();
            assert!(
                rule.ends_with(&format!("\n          runbook_url: https://wiki.example/ctmon/{name}.md\n")),
                "{rule}"
            );
            linked += 1;
        }
        assert!(!printed(&defaults(), group, Format::Plain).contains("runbook_url"));
    }
    assert_eq!(linked, defaults().thresholds.iter().count() + cluster::ALERTS.len());
}

#[test]
fn each_alert_links_to_its_node_in_grafana_where_that_is_known() {
    let options = Options::default().with_grafana("https://grafana.example/").expect("an address");
    for (group, ..) in GROUPS {
        let text = printed_for(&defaults(), &options, group, Format::Plain);
        assert!(text.contains(" --grafana https://grafana.example`"), "{text}");
        let link = "\n          dashboard_url: 'https://grafana.example/d/ctmon{{ with $labels.node }}?var-node={{ . }}{{ end }}'\n";
        assert!(text.split("      - alert: ").skip(1).all(|rule| rule.ends_with(link)), "{text}");
        assert!(!printed(&defaults(), group, Format::Plain).contains("dashboard_url"));
    }
}

fn promtool(arguments: &[&str], files: &[PathBuf]) {
    let output = Command::new("promtool").args(arguments).args(files).output().unwrap_or_else(|error| {
        panic!(
            "failed to run promtool: {error}: install Debian's package prometheus, or run `cargo xtask test`"
        )
    });
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "promtool {arguments:?} {files:?}:\n{text}");
}

fn tree(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
}

/// The test files of the alerts on ctmon's own series, their texts read as YAML.
fn cases() -> Vec<(PathBuf, Value)> {
    let cases = cases_of("");
    assert!(cases.len() >= 4, "{cases:?}");
    cases
}

fn cases_of(folder: &str) -> Vec<(PathBuf, Value)> {
    let mut paths: Vec<_> = std::fs::read_dir(tree("tests/promtool").join(folder))
        .expect("the folder of promtool's tests")
        .map(|entry| entry.expect("readable").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .collect();
    paths.sort();
    paths
        .into_iter()
        .map(|path| {
            let text = std::fs::read_to_string(&path).expect("readable");
            let value = yaml_serde::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
            (path, value)
        })
        .collect()
}

fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value.get(key).and_then(Value::as_sequence).map_or(&[], Vec::as_slice)
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// Files of nodes on which nothing is wrong.
fn is_healthy(path: &Path) -> bool {
    path.ends_with("healthy.yaml") || path.ends_with("drifted.yaml")
}

#[test]
fn promtool_finds_nothing_wrong_with_the_rules() {
    let files = GROUPS.map(|(_, name, _)| tree("deploy/prometheus").join(format!("{name}.rules.yaml")));
    promtool(&["check", "rules", "--lint=all", "--lint-fatal"], &files);
}

#[test]
fn every_case_fires_what_it_should_and_nothing_else() {
    for (_, _, folder) in GROUPS {
        promtool(&["test", "rules"], &cases_of(folder).into_iter().map(|(path, _)| path).collect::<Vec<_>>());
    }
}

/// Recording rules have a case with a result, alerts one that fires and one that must not.
#[test]
fn each_rule_of_the_other_groups_has_its_case() {
    let checks = |folder: &str| -> Vec<Value> {
        let files = cases_of(folder);
        let cases = files.iter().flat_map(|(_, file)| list(file, "tests"));
        cases.flat_map(|case| list(case, "promql_expr_test").iter().cloned()).collect()
    };
    let fleet = checks("fleet");
    for record in fleet::RECORDS {
        let of_record = |check: &&Value| text(check, "expr").starts_with(record.name);
        assert!(
            fleet.iter().filter(of_record).any(|c| !list(c, "exp_samples").is_empty()),
            "{}",
            record.name
        );
    }
    let cluster = checks("cluster");
    for alert in cluster::ALERTS {
        let of_alert = |check: &&Value| text(check, "expr").contains(&format!("\"{}\"", alert.name));
        let (firing, silent): (Vec<&Value>, Vec<&Value>) =
            cluster.iter().filter(of_alert).partition(|check| !list(check, "exp_samples").is_empty());
        assert!(!firing.is_empty() && !silent.is_empty(), "{}", alert.name);
    }
}

#[test]
fn recording_rules_read_metrics_that_are_exported() {
    let exported: Vec<&str> = crate::prometheus::metrics().map(|metric| metric.name).collect();
    for record in fleet::RECORDS {
        let words = record.expr.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let metrics: Vec<&str> = words.filter(|word| word.starts_with("ctmon_")).collect();
        assert!(!metrics.is_empty(), "{}", record.name);
        assert!(metrics.iter().all(|metric| exported.contains(metric)), "{}: {metrics:?}", record.name);
    }
}

#[test]
fn each_alert_has_a_case_that_fires_and_one_that_must_not() {
    for Threshold { alert, severity, .. } in defaults().thresholds.iter() {
        let name = format!("alertname=\"{}\"", alert.name);
        let severity = format!("severity=\"{}\"", severity.name());
        let threshold = format!("alert=\"{}\",{severity}", alert.name);
        let fires = |check: &Value| {
            list(check, "exp_samples").iter().any(|sample| {
                let labels = text(sample, "labels");
                labels.contains(&name) && labels.contains(&severity)
            })
        };
        let (mut firing, mut silent) = (0, 0);
        for (_, file) in cases() {
            for case in list(&file, "tests") {
                let checks = list(case, "promql_expr_test");
                let known = list(case, "input_series").iter().any(|s| text(s, "series").contains(&threshold));
                firing += usize::from(checks.iter().any(fires));
                silent += usize::from(known && !checks.is_empty() && !checks.iter().any(fires));
            }
        }
        assert!(firing > 0 && silent > 0, "{name} {severity}: {firing} cases fire, {silent} must not");
    }
}

#[test]
fn a_healthy_node_has_every_default_threshold() {
    let (_, healthy) =
        cases().into_iter().find(|(path, _)| path.ends_with("healthy.yaml")).expect("the file");
    for case in list(&healthy, "tests") {
        for Threshold { alert, severity, rule } in defaults().thresholds.iter() {
            let Some(value) = rule.value else { continue };
            let start =
                format!("ctmon_threshold{{alert=\"{}\",severity=\"{}\",", alert.name, severity.name());
            let series = list(case, "input_series").iter().find(|s| text(s, "series").starts_with(&start));
            let values = series.map(|series| text(series, "values")).unwrap_or_default();
            assert!(
                values.starts_with(&format!("{value}+0x")),
                "{start} {value} in {:?}: {values}",
                case.get("name")
            );
        }
    }
}

/// Every case again without thresholds: whatever happens on the node, only the absence of the exporter itself fires.
#[test]
fn a_missing_threshold_switches_each_alert_off() {
    let folder = std::env::temp_dir().join(format!("ctmon-promtool-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a temporary folder");
    let rules = tree("deploy/prometheus/ctmon.rules.yaml").canonicalize().expect("committed");
    let mut written = Vec::new();
    let mut silenced = 0;
    // Where nothing fires there is nothing to silence.
    for (path, mut file) in cases().into_iter().filter(|(path, _)| !is_healthy(path)) {
        file["rule_files"] = Value::Sequence(vec![rules.display().to_string().into()]);
        for case in file["tests"].as_sequence_mut().expect("tests") {
            let series = case["input_series"].as_sequence_mut().expect("series");
            series.retain(|series| !text(series, "series").starts_with("ctmon_threshold{"));
            case.as_mapping_mut().expect("a case").remove("alert_rule_test");
            let checks = case.get_mut("promql_expr_test").and_then(Value::as_sequence_mut);
            for check in checks.into_iter().flatten() {
                let expected = check["exp_samples"].as_sequence_mut().expect("samples");
                let before = expected.len();
                expected.retain(|sample| text(sample, "labels").contains("alertname=\"CtmonDown\""));
                silenced += before - expected.len();
            }
        }
        let copy = folder.join(path.file_name().expect("a name"));
        std::fs::write(&copy, yaml_serde::to_string(&file).expect("YAML")).expect("a writable folder");
        written.push(copy);
    }
    assert!(silenced > ALERTS.len(), "{silenced}");
    let result = std::panic::catch_unwind(|| promtool(&["test", "rules"], &written));
    std::fs::remove_dir_all(&folder).expect("removable");
    assert!(result.is_ok());
}
