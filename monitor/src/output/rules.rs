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
mod tests {
    use std::path::Path;

    use super::*;

    fn rules(settings: &Settings, format: Format) -> String {
        let mut out = Vec::new();
        write(settings, format, &mut out).expect("writing to memory");
        String::from_utf8(out).expect("text")
    }

    /// Compares with the committed file; `CTMON_BLESS=1` writes it instead.
    fn committed(name: &str, format: Format) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/prometheus").join(name);
        let printed = rules(&Settings::default(), format);
        if std::env::var_os("CTMON_BLESS").is_some() {
            std::fs::write(&path, &printed).expect("a writable tree");
        }
        let file = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            file == printed,
            "{} is not what is printed: run this test with CTMON_BLESS=1",
            path.display()
        );
    }

    #[test]
    fn the_committed_rules_are_what_is_printed() {
        committed("ctmon.rules.yaml", Format::Plain);
    }

    #[test]
    fn the_committed_custom_resource_is_what_is_printed() {
        committed("ctmon.prometheusrule.yaml", Format::Crd);
    }

    #[test]
    fn both_formats_hold_the_same_groups() {
        let plain: yaml_serde::Value =
            yaml_serde::from_str(&rules(&Settings::default(), Format::Plain)).expect("YAML");
        let crd: yaml_serde::Value =
            yaml_serde::from_str(&rules(&Settings::default(), Format::Crd)).expect("YAML");
        assert_eq!(plain, crd["spec"]);
    }

    #[test]
    fn times_and_windows_come_from_the_settings() {
        let settings = crate::config::parse(
            "thresholds: {LiveEvictions: {warning: {window: 7m, for: 3s, keep_firing_for: 0s}, critical: null}}",
        )
        .expect("valid");
        let text = rules(&settings, Format::Plain);
        let rule = text.split("- alert: ").find(|r| r.contains("severity: warning") && r.contains("[7m]"));
        let rule = rule.expect("the rule");
        assert!(rule.contains("        for: 3s\n") && !rule.contains("keep_firing_for"), "{rule}");
        assert_eq!(text.matches("alert: CtmonLiveEvictions").count(), 2, "off is the exporter's to say");
    }

    #[test]
    fn only_an_alert_without_threshold_leaves_the_file() {
        let settings = crate::config::parse("thresholds: {Down: null, MapFull: null}").expect("valid");
        let text = rules(&settings, Format::Plain);
        assert!(!text.contains("CtmonDown"));
        assert!(text.contains("alert: CtmonMapFull\n"));
    }
}
