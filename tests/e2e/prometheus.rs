//! A Prometheus of its own for each test, asked through its HTTP API.
//!
//! In: whom to scrape, a rule file. Out: alerts, rules, results of queries.
//! Must not: listen or scrape anywhere but on loopback, or leave its data behind.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use support::daemon::Daemon;
use support::folder::Folder;
use support::http;
use support::node::PATIENCE;

/// Labels that a scrape of a real cluster adds.
pub(crate) const CLUSTER: &str = "lab";
pub(crate) const NODE: &str = "node-1";

/// A running server.
pub(crate) struct Prometheus {
    process: Daemon,
    address: SocketAddr,
    _folder: Folder,
}

/// One rule as the server sees it.
#[derive(Debug)]
pub(crate) struct Rule {
    pub(crate) name: String,
    /// `ok`, or why not.
    pub(crate) health: String,
    /// When it was evaluated last; changes with each evaluation.
    pub(crate) evaluated: String,
}

impl Prometheus {
    /// Scrapes `target`, by two jobs, and evaluates `rules` once a second.
    pub(crate) fn start(target: SocketAddr, rules: &str) -> Result<Self> {
        let folder = Folder::new("prometheus")?;
        // Two jobs that find the same agent, as a PodMonitor beside the scrape annotation does: every rule must hold.
        let job = |name: &str| {
            let labels = json!({"cluster": CLUSTER, "node": NODE});
            json!({
                "job_name": name,
                "static_configs": [{"targets": [target.to_string()], "labels": labels}],
            })
        };
        let config = json!({
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
            "rule_files": ["rules.yaml"],
            "scrape_configs": [job("ctmon"), job("kubernetes-pods")],
        });
        // JSON is YAML.
        for (name, text) in [("prometheus.yaml", config.to_string().as_str()), ("rules.yaml", rules)] {
            let path = folder.join(name);
            fs::write(&path, text).with_context(|| format!("failed to write {}", path.display()))?;
        }
        // It takes no port of the system's choice, and somebody else may take one that was free a moment ago.
        let mut refused = None;
        for _ in 0..5 {
            match Self::listen(folder.path()) {
                Ok((process, address)) => return Ok(Self { process, address, _folder: folder }),
                Err(error) => refused = Some(error),
            }
        }
        Err(refused.context("it was never started")?)
    }

    fn listen(folder: &Path) -> Result<(Daemon, SocketAddr)> {
        let address = http::free_address()?;
        let mut command = Command::new("prometheus");
        command
            .arg(format!("--config.file={}", folder.join("prometheus.yaml").display()))
            .arg(format!("--storage.tsdb.path={}", folder.join("data").display()))
            .arg(format!("--web.listen-address={address}"))
            .arg("--log.level=warn");
        let mut process = Daemon::start_command(&mut command)
            .context("install Debian's package prometheus, or run `cargo xtask test`")?;
        process.wait_for_http(address, "/-/ready", PATIENCE)?;
        Ok((process, address))
    }

    /// What `query` gives now.
    pub(crate) fn query(&self, query: &str) -> Result<Vec<Value>> {
        let data = self.ask("query", &[("query", query)]).with_context(|| query.to_owned())?;
        Ok(list(&data, "result")?.clone())
    }

    /// What `query` gave at each second of the last ones.
    pub(crate) fn query_range(&self, query: &str, last: Duration) -> Result<Vec<Value>> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
        let [start, end] = [now.saturating_sub(last), now].map(|at| at.as_secs().to_string());
        let parameters = [("query", query), ("start", &start), ("end", &end), ("step", "1")];
        let data = self.ask("query_range", &parameters).with_context(|| query.to_owned())?;
        Ok(list(&data, "result")?.clone())
    }

    /// The values of a label among the series that match.
    pub(crate) fn label_values(&self, label: &str, of: &str) -> Result<Vec<String>> {
        let data = self.ask(&format!("label/{label}/values"), &[("match[]", of)])?;
        Ok(serde_json::from_value(data)?)
    }

    /// Alerts that fire now, each as its labels without those of the scrape.
    pub(crate) fn firing(&self) -> Result<BTreeSet<String>> {
        let data = self.ask("alerts", &[])?;
        let fires = |alert: &&Value| alert.get("state").is_some_and(|state| state == "firing");
        list(&data, "alerts")?.iter().filter(fires).map(|alert| name(alert.get("labels"))).collect()
    }

    /// Alerts that fired at any evaluation so far.
    pub(crate) fn fired(&self) -> Result<BTreeSet<String>> {
        let found = self.query("count_over_time(ALERTS{alertstate=\"firing\"}[1h])")?;
        found.iter().map(|series| name(series.get("metric"))).collect()
    }

    pub(crate) fn rules(&self) -> Result<Vec<Rule>> {
        let data = self.ask("rules", &[])?;
        let mut rules = Vec::new();
        for group in list(&data, "groups")? {
            for rule in list(group, "rules")? {
                let text = |field: &str| rule.get(field).and_then(Value::as_str);
                let known = |field: &str| text(field).map(str::to_owned).with_context(|| field.to_owned());
                let health = known("health")?;
                rules.push(Rule {
                    name: known("name")?,
                    health: text("lastError").map_or(health.clone(), |error| format!("{health}: {error}")),
                    evaluated: known("lastEvaluation")?,
                });
            }
        }
        Ok(rules)
    }

    fn ask(&self, what: &str, parameters: &[(&str, &str)]) -> Result<Value> {
        let mut path = format!("/api/v1/{what}");
        for (number, (name, value)) in parameters.iter().enumerate() {
            path.push(if number == 0 { '?' } else { '&' });
            write!(path, "{}={}", escaped(name), escaped(value))?;
        }
        let response = http::get(self.address, &path)?;
        let mut answer: Value = serde_json::from_slice(&response.body)
            .with_context(|| format!("{what} was answered with {}", response.status))?;
        let success = answer.get("status").is_some_and(|status| status == "success");
        ensure!(success, "{what} was answered with {answer}");
        Ok(answer.get_mut("data").context("no data")?.take())
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        // It writes to the folder until it has ended.
        if let Err(error) = self.process.stop(PATIENCE) {
            eprintln!("failed to stop Prometheus: {error:#}");
        }
    }
}

/// `CtmonTargetUnanswered critical target=qnap target_service=smb`.
fn name(labels: Option<&Value>) -> Result<String> {
    let labels = labels.context("an alert without labels")?;
    let mut labels: BTreeMap<String, String> = serde_json::from_value(labels.clone())?;
    for of_scrape in ["__name__", "alertstate", "cluster", "instance", "job", "node"] {
        labels.remove(of_scrape);
    }
    let mut name = labels.remove("alertname").context("an alert without a name")?;
    write!(name, " {}", labels.remove("severity").context("an alert without severity")?)?;
    for (label, value) in labels {
        write!(name, " {label}={value}")?;
    }
    Ok(name)
}

fn list<'a>(value: &'a Value, field: &str) -> Result<&'a Vec<Value>> {
    value.get(field).and_then(Value::as_array).with_context(|| format!("no {field} in {value}"))
}

/// A text as part of a query string.
fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() {
            escaped.push(byte.into());
        } else {
            let _ = write!(escaped, "%{byte:02X}");
        }
    }
    escaped
}
