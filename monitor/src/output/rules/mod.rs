//! Prometheus rules out of the catalogue of alerts.
//!
//! In: settings (`for`, `keep_firing_for`, windows). Out: a rule file, or the operator's `PrometheusRule`.
//! Must not: contain a threshold: the exporter sends them, so that configuration and rules cannot drift.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::time::Duration;

use crate::check::catalog::Alert;
use crate::config::{Rule, Settings, duration};

/// What the file is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `rule_files` of Prometheus.
    Plain,
    /// The Prometheus operator's custom resource.
    Crd,
}

/// Where the pages of `deploy/runbooks` are read.
const RUNBOOKS: &str = concat!(env!("CARGO_PKG_REPOSITORY"), "/blob/main/deploy/runbooks");

/// The node in texts: Cilium's chart relabels `node`, without it the scrape's address tells.
const NODE: &str = "{{ or $labels.node $labels.instance }}";

const CRD_HEAD: &str = "\
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: ctmon
  labels:
    app.kubernetes.io/name: ctmon
    app.kubernetes.io/instance: ctmon
    app.kubernetes.io/part-of: ctmon
    app.kubernetes.io/component: rules
spec:
";

/// Writes every rule; the same settings give the same bytes.
pub fn write(settings: &Settings, format: Format, out: &mut impl Write) -> io::Result<()> {
    let rules: String = settings
        .thresholds
        .iter()
        .filter(|(alert, rule)| in_file(alert, rule))
        .map(|(a, r)| entry(a, r))
        .collect();
    let group = format!("groups:\n  - name: ctmon\n    rules:\n{rules}");
    writeln!(out, "# Printed by `ctmon rules`; do not edit: thresholds belong into ctmon's configuration.")?;
    match format {
        Format::Plain => out.write_all(group.as_bytes()),
        Format::Crd => {
            out.write_all(CRD_HEAD.as_bytes())?;
            group.lines().try_for_each(|line| writeln!(out, "  {line}"))
        }
    }
}

/// An alert that is off on this node stays in the file, silent: another node's exporter may send a threshold.
/// Only an alert that compares with none can be switched off nowhere else.
fn in_file(alert: &Alert, rule: &Rule) -> bool {
    alert.expr.contains("$T") || rule.value.is_some()
}

fn entry(alert: &Alert, rule: &Rule) -> String {
    let mut text = format!("      - alert: {}\n        expr: |-\n", alert.name);
    for line in alert.expression(rule).lines() {
        let _ = writeln!(text, "          {line}");
    }
    for (key, time) in [("for", rule.hold), ("keep_firing_for", rule.keep_firing_for)] {
        if time > Duration::ZERO {
            let _ = writeln!(text, "        {key}: {}", duration::format(time));
        }
    }
    let _ = write!(
        text,
        "        labels:\n          severity: {}\n        annotations:\n          summary: {}\n          \
         description: {}\n          runbook_url: {RUNBOOKS}/{}.md\n",
        alert.severity.name(),
        quote(alert.summary),
        quote(alert.description),
        alert.name,
    );
    text
}

/// Single quotes: the texts are full of braces, which YAML and Prometheus read differently.
fn quote(template: &str) -> String {
    format!("'{}'", template.replace("$NODE", NODE).replace('\'', "''"))
}

#[cfg(test)]
mod tests;
