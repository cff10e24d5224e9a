//! Every case of the rules again, with every series twice: an agent scraped by two jobs, two clusters with equal addresses,
//! a former pod beside its successor.
//!
//! In: the committed rules and their cases. Out: pass or fail.
//! Must not: list rules or cases: what is added to either is doubled, too.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use support::folder::Folder;
use yaml_serde::Value;

/// Rule files below `deploy/prometheus`, and the folder of their cases.
const GROUPS: [(&str, &str); 3] =
    [("ctmon", ""), ("fleet/ctmon-fleet", "fleet"), ("cluster/ctmon-cluster", "cluster")];

/// How series come to exist twice: by a label in which the twins differ.
struct Doubling {
    label: &'static str,
    /// Its value where a case has none.
    value: &'static str,
    /// What the twins' values end with.
    twins: [&'static str; 2],
    /// The second has no thresholds: nothing may fire there but what compares with none.
    second_is_off: bool,
}

/// A PodMonitor and the annotation for scrapes, both of which find the same agent.
const JOBS: Doubling = Doubling { label: "job", value: "pods", twins: ["", "-again"], second_is_off: false };
const CLUSTERS: Doubling =
    Doubling { label: "cluster", value: "", twins: ["east", "west"], second_is_off: false };
const ONE_CLUSTER_OFF: Doubling = Doubling { second_is_off: true, ..CLUSTERS };
/// Of a rolling restart the worst: neither goes stale.
const PODS: Doubling = Doubling { label: "pod", value: "ctmon", twins: ["", "-new"], second_is_off: false };

/// A series or a sample as Prometheus writes it.
#[derive(Clone, PartialEq)]
struct Series {
    name: String,
    labels: Vec<(String, String)>,
}

impl Series {
    fn parse(text: &str) -> Result<Self> {
        let Some((name, rest)) = text.split_once('{') else {
            return Ok(Self { name: text.to_owned(), labels: Vec::new() });
        };
        let mut rest = rest.strip_suffix('}').with_context(|| format!("no end: {text}"))?;
        let mut labels = Vec::new();
        while let Some((label, after)) = rest.split_once("=\"") {
            let (value, after) = after.split_once('"').with_context(|| format!("no value: {text}"))?;
            labels.push((label.to_owned(), value.to_owned()));
            rest = after.strip_prefix(',').unwrap_or(after);
        }
        ensure!(rest.is_empty(), "cannot read {rest} of {text}");
        Ok(Self { name: name.to_owned(), labels })
    }

    fn has(&self, label: &str) -> bool {
        self.labels.iter().any(|(known, _)| known == label)
    }

    fn is(&self, label: &str, value: &str) -> bool {
        self.labels.iter().any(|(known, is)| known == label && is == value)
    }

    /// The twin with this ending.
    fn twin(&self, Doubling { label, value, .. }: &Doubling, ending: &str) -> Self {
        let mut twin = self.clone();
        match twin.labels.iter_mut().find(|(known, _)| known == label) {
            Some((_, value)) => value.push_str(ending),
            None => twin.labels.push(((*label).to_owned(), format!("{value}{ending}"))),
        }
        twin
    }

    /// What should fire, or be recorded: once for each twin of the series it comes from. What has lost the scrape's labels
    /// (an absence, an aggregation) is there once, whatever is scraped how often.
    fn expected(&self, doubling: &Doubling) -> Vec<Self> {
        if !self.has("job") {
            return vec![self.clone()];
        }
        let [first, second] = doubling.twins.map(|ending| self.twin(doubling, ending));
        let fires = !doubling.second_is_off || self.is("alertname", "CtmonDown");
        if fires { vec![first, second] } else { vec![first] }
    }
}

impl fmt::Display for Series {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let labels: Vec<_> =
            self.labels.iter().map(|(label, value)| format!("{label}=\"{value}\"")).collect();
        write!(f, "{}{{{}}}", self.name, labels.join(","))
    }
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// The list at this key; an absent one is empty.
fn list<'a>(value: &'a mut Value, key: &str) -> Option<&'a mut Vec<Value>> {
    value.get_mut(key).and_then(Value::as_sequence_mut)
}

fn put(item: &mut Value, key: &str, value: Value) {
    if let Some(mapping) = item.as_mapping_mut() {
        mapping.insert(key.into(), value);
    }
}

/// Each element once or twice, as this says.
fn each(items: Option<&mut Vec<Value>>, twins: impl Fn(&Value) -> Result<Vec<Value>>) -> Result<()> {
    let Some(items) = items else { return Ok(()) };
    let doubled: Result<Vec<_>> = items.iter().map(twins).collect();
    *items = doubled?.concat();
    Ok(())
}

/// The same element under each of these names.
fn renamed(item: &Value, key: &str, names: &[Series]) -> Vec<Value> {
    let with = |name: &Series| {
        let mut item = item.clone();
        put(&mut item, key, name.to_string().into());
        item
    };
    names.iter().map(with).collect()
}

/// Doubles one case: its series, and what it expects.
fn double(case: &mut Value, doubling: &Doubling) -> Result<()> {
    each(list(case, "input_series"), |input| {
        let series = Series::parse(text(input, "series"))?;
        let mut twins = doubling.twins.map(|ending| series.twin(doubling, ending)).to_vec();
        if doubling.second_is_off && series.name == "ctmon_threshold" {
            twins.truncate(1);
        }
        Ok(renamed(input, "series", &twins))
    })?;
    for check in list(case, "promql_expr_test").into_iter().flatten() {
        each(list(check, "exp_samples"), |sample| {
            let expected = Series::parse(text(sample, "labels"))?.expected(doubling);
            Ok(renamed(sample, "labels", &expected))
        })?;
    }
    for check in list(case, "alert_rule_test").into_iter().flatten() {
        let name = text(check, "alertname").to_owned();
        each(list(check, "exp_alerts"), |alert| {
            let mut labels = vec![("alertname".to_owned(), name.clone())];
            for (label, value) in alert.get("exp_labels").and_then(Value::as_mapping).context("no labels")? {
                let text = |value: &Value| value.as_str().map(str::to_owned);
                labels.push((text(label).context("no label")?, text(value).context("no value")?));
            }
            let expected = Series { name: String::new(), labels }.expected(doubling);
            let with = |series: &Series| {
                let mut alert = alert.clone();
                let labels = series.labels.iter().filter(|(label, _)| label != "alertname");
                let labels = labels.map(|(label, value)| (label.as_str().into(), value.as_str().into()));
                put(&mut alert, "exp_labels", Value::Mapping(labels.collect()));
                alert
            };
            Ok(expected.iter().map(with).collect())
        })?;
    }
    Ok(())
}

fn tree(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

fn read(path: &Path) -> Result<Value> {
    let text = std::fs::read_to_string(path).with_context(|| format!("failed to read {}", path.display()))?;
    yaml_serde::from_str(&text).with_context(|| path.display().to_string())
}

/// The case files of a group, for its rules wherever they are copied to.
fn cases((rules, folder): (&str, &str)) -> Result<Vec<(String, Value)>> {
    let rules = tree("deploy/prometheus").join(format!("{rules}.rules.yaml")).canonicalize()?;
    let mut files = Vec::new();
    for entry in std::fs::read_dir(tree("tests/promtool").join(folder))? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "yaml") {
            let mut file = read(&path)?;
            put(&mut file, "rule_files", Value::Sequence(vec![rules.display().to_string().into()]));
            let name = path.file_name().and_then(|name| name.to_str()).context("no name")?;
            files.push((name.to_owned(), file));
        }
    }
    ensure!(!files.is_empty(), "no cases in {folder}");
    Ok(files)
}

/// What is expected to fire or to be recorded, with its name and severity.
fn told(case: &mut Value, into: &mut BTreeSet<(String, String)>) -> Result<()> {
    for check in list(case, "promql_expr_test").into_iter().flatten() {
        for sample in list(check, "exp_samples").into_iter().flatten() {
            let series = Series::parse(text(sample, "labels"))?;
            let value = |label: &str| series.labels.iter().find(|(l, _)| l == label).map(|(_, v)| v.clone());
            into.insert((
                value("alertname").unwrap_or(series.name.clone()),
                value("severity").unwrap_or_default(),
            ));
        }
    }
    Ok(())
}

/// Runs every case of these groups doubled in all of these ways; says which rules were expected to give something.
fn run(name: &str, groups: &[(&str, &str)], doublings: &[&Doubling]) -> Result<BTreeSet<(String, String)>> {
    let folder = Folder::new("promtool")?;
    let mut promtool = Command::new("promtool");
    promtool.args(["test", "rules"]);
    let (mut seen, mut cases_run) = (BTreeSet::new(), 0);
    for group in groups {
        for (file_name, mut file) in cases(*group)? {
            let tests = list(&mut file, "tests").context("no tests")?;
            // Cases that have several clusters, or pods, say themselves what is expected of them.
            tests.retain(|case| {
                let inputs = case.get("input_series").and_then(Value::as_sequence);
                let series = inputs.into_iter().flatten().map(|input| text(input, "series"));
                let label = |d: &&&Doubling| format!("{}=\"", d.label);
                let labels: Vec<_> =
                    doublings.iter().filter(|d| d.label != "job").map(|d| label(&d)).collect();
                !series.into_iter().any(|series| labels.iter().any(|label| series.contains(label)))
            });
            for case in tests.iter_mut() {
                doublings.iter().try_for_each(|doubling| double(case, doubling))?;
                told(case, &mut seen)?;
                cases_run += 1;
            }
            if !tests.is_empty() {
                let copy = folder.join(format!("{}-{file_name}", group.0.replace('/', "-")));
                std::fs::write(&copy, yaml_serde::to_string(&file)?)?;
                promtool.arg(copy);
            }
        }
    }
    let output = promtool.output().context("failed to run promtool: install Debian's package prometheus")?;
    let said = [output.stdout, output.stderr].concat();
    ensure!(output.status.success(), "{name}:\n{}", String::from_utf8_lossy(&said));
    println!("{name}: {cases_run} cases");
    Ok(seen)
}

/// The rules of these files.
fn rules(groups: &[(&str, &str)]) -> Result<BTreeSet<(String, String)>> {
    let mut all = BTreeSet::new();
    for (name, _) in groups {
        let file = read(&tree("deploy/prometheus").join(format!("{name}.rules.yaml")))?;
        let group = file.get("groups").and_then(|groups| groups.get(0)).context("no group")?;
        for rule in group.get("rules").and_then(Value::as_sequence).context("no rules")? {
            let name = format!("{}{}", text(rule, "alert"), text(rule, "record"));
            let severity = rule.get("labels").map(|labels| text(labels, "severity")).unwrap_or_default();
            all.insert((name, severity.to_owned()));
        }
    }
    Ok(all)
}

#[test]
fn every_rule_holds_when_two_jobs_scrape_the_same_agent() -> Result<()> {
    assert_eq!(run("jobs", &GROUPS, &[&JOBS])?, rules(&GROUPS)?);
    Ok(())
}

#[test]
fn a_cluster_without_thresholds_is_not_judged_by_those_of_another() -> Result<()> {
    assert_eq!(run("off", &GROUPS[..1], &[&ONE_CLUSTER_OFF])?, rules(&GROUPS[..1])?);
    Ok(())
}

#[test]
fn every_alert_on_nodes_holds_in_two_clusters_with_two_jobs_while_former_pods_are_not_yet_stale() -> Result<()>
{
    assert_eq!(run("all", &GROUPS[..1], &[&JOBS, &CLUSTERS, &PODS])?, rules(&GROUPS[..1])?);
    Ok(())
}

#[test]
fn series_are_read_as_they_are_written() -> Result<()> {
    for written in ["up{}", "a_total{reason=\"CT: Map insertion failed\",job=\"b\"}"] {
        assert_eq!(Series::parse(written)?.to_string(), written);
    }
    assert!(Series::parse("up{job=\"a\"").is_err());
    Ok(())
}
