//! Prometheus rules: out of the list of alerts, for fleets, and about what Kubernetes says.
//!
//! In: settings (`for`, `keep_firing_for`, windows), the label of clusters, addresses of runbooks and Grafana. Out: a rule file, or
//! the operator's `PrometheusRule`.
//! Must not: contain a threshold of such an alert: the exporter sends them, so that configuration and rules cannot drift.

pub mod cluster;
mod fleet;
mod options;

use std::fmt::Write as _;
use std::io::{self, Write};
use std::time::Duration;

use monitor_config::{Settings, Threshold};
use monitor_model::alert::Severity;
use monitor_model::duration;

use self::cluster::ClusterAlert;
pub use self::options::{CLUSTER, OptionError, Options};

/// What the file is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `rule_files` of Prometheus.
    Plain,
    /// The Prometheus operator's custom resource.
    Crd,
}

/// Which rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// Alerts on ctmon's own series.
    Nodes,
    /// One series per cluster of what matters, for those who have many.
    Fleet,
    /// Alerts on series of kube-state-metrics and cAdvisor.
    Cluster,
}

impl Group {
    /// The name of the group and of the custom resource.
    const fn name(self) -> &'static str {
        match self {
            Self::Nodes => "ctmon",
            Self::Fleet => "ctmon-fleet",
            Self::Cluster => "ctmon-cluster",
        }
    }
}

/// The node in texts: Cilium's chart relabels `node`, without it the scrape's address tells.
const NODE: &str = "{{ or $labels.node $labels.instance }}";

/// Follows Grafana's address: the dashboard's uid, for the alert's node where its series have that label.
const DASHBOARD: &str = "/d/ctmon{{ with $labels.node }}?var-node={{ . }}{{ end }}";

/// Its name follows.
const CRD_HEAD: &str = "\
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: ";

const CRD_LABELS: &str = "
  labels:
    app.kubernetes.io/name: ctmon
    app.kubernetes.io/instance: ctmon
    app.kubernetes.io/part-of: ctmon
    app.kubernetes.io/component: rules
spec:
";

/// Writes every rule of the group; the same settings and options give the same bytes.
pub fn write(
    settings: &Settings,
    options: &Options,
    group: Group,
    format: Format,
    out: &mut impl Write,
) -> io::Result<()> {
    let (rules, note): (String, _) = match group {
        Group::Nodes => (
            settings
                .thresholds
                .iter()
                .filter(|threshold| in_file(threshold))
                .map(|threshold| entry(threshold, options))
                .collect(),
            "thresholds belong into ctmon's configuration",
        ),
        Group::Fleet => {
            (fleet::RECORDS.iter().map(record).collect(), "labels of your own stay on the results")
        }
        Group::Cluster => (
            cluster::ALERTS.iter().map(|alert| cluster_entry(alert, options)).collect(),
            "series of kube-state-metrics and cAdvisor, which must be scraped",
        ),
    };
    let mut flags = match group {
        Group::Nodes => String::new(),
        Group::Fleet | Group::Cluster => format!(" --group {}", group.name().trim_start_matches("ctmon-")),
    };
    if options.cluster != CLUSTER {
        let _ = write!(flags, " --cluster-label {}", options.cluster);
    }
    if let Some(runbooks) = &options.runbooks {
        let _ = write!(flags, " --runbooks {runbooks}");
    }
    if let Some(grafana) = &options.grafana {
        let _ = write!(flags, " --grafana {grafana}");
    }
    let name = group.name();
    let text = format!("groups:\n  - name: {name}\n    rules:\n{rules}");
    writeln!(out, "# Printed by `ctmon rules{flags}`; do not edit: {note}.")?;
    match format {
        Format::Plain => out.write_all(text.as_bytes()),
        Format::Crd => {
            write!(out, "{CRD_HEAD}{name}{CRD_LABELS}")?;
            text.lines().try_for_each(|line| writeln!(out, "  {line}"))
        }
    }
}

fn record(record: &fleet::Record) -> String {
    format!("      - record: {}\n        expr: {}\n", record.name, record.expression())
}

/// An alert that is off on this node stays in the file, silent: another node's exporter may send a threshold.
/// Only an alert that compares with none can be switched off nowhere else.
fn in_file(threshold: &Threshold) -> bool {
    threshold.alert.expr.contains("$T") || threshold.rule.value.is_some()
}

fn entry(threshold: &Threshold, options: &Options) -> String {
    let Threshold { alert, severity, rule } = threshold;
    let text = Text {
        name: alert.name,
        expression: &alert.expression(*severity, rule, &options.cluster),
        hold: rule.hold,
        keep_firing_for: rule.keep_firing_for,
        severity: *severity,
        summary: alert.summary,
        description: alert.description,
    };
    rule_text(&text, options)
}

fn cluster_entry(alert: &ClusterAlert, options: &Options) -> String {
    let ClusterAlert { name, severity, hold, expr, summary, description } = *alert;
    let keep_firing_for = Duration::ZERO;
    let expression = &expr.replace("$cluster", &options.cluster);
    rule_text(&Text { name, expression, hold, keep_firing_for, severity, summary, description }, options)
}

/// What any alert has in a file.
struct Text<'a> {
    name: &'a str,
    expression: &'a str,
    hold: Duration,
    keep_firing_for: Duration,
    severity: Severity,
    summary: &'a str,
    description: &'a str,
}

fn rule_text(alert: &Text<'_>, options: &Options) -> String {
    let mut text = format!("      - alert: {}\n        expr: |-\n", alert.name);
    for line in alert.expression.lines() {
        let _ = writeln!(text, "          {line}");
    }
    for (key, time) in [("for", alert.hold), ("keep_firing_for", alert.keep_firing_for)] {
        if time > Duration::ZERO {
            let _ = writeln!(text, "        {key}: {}", duration::format(time));
        }
    }
    let _ = write!(
        text,
        "        labels:\n          severity: {}\n        annotations:\n          summary: {}\n          \
         description: {}\n",
        alert.severity.name(),
        quote(alert.summary),
        quote(alert.description),
    );
    // A dead link in an alert is worse than none.
    if let Some(runbooks) = &options.runbooks {
        let _ = writeln!(text, "          runbook_url: {runbooks}/{}.md", alert.name);
    }
    if let Some(grafana) = &options.grafana {
        let _ = writeln!(text, "          dashboard_url: '{grafana}{DASHBOARD}'");
    }
    text
}

/// Single quotes: the texts are full of braces, which YAML and Prometheus read differently.
fn quote(template: &str) -> String {
    format!("'{}'", template.replace("$NODE", NODE).replace('\'', "''"))
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "tests read what is on file")]
mod tests;
