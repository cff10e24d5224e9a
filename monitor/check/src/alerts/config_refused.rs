//! A changed file is not in force.

use monitor_model::alert::{Alert, Grade, Severity, minutes};

use super::definition::{Definition, Evidence};
use crate::finding::{Finding, Level, own};

/// What somebody wanted is not in force, and a restart may fail. Well before a renewed certificate that was not taken ends.
pub(super) const CONFIG_REFUSED: Definition = Definition {
    alert: Alert {
        name: "CtmonConfigRefused",
        severities: &[Grade::new(Severity::Warning, 0.0, minutes(10))],
        expr: "1 - ctmon_config_last_reload_successful > $T\n\
               or 1 - ctmon_web_config_last_reload_successful > $T",
        summary: "ctmon on $NODE refused a changed configuration",
        description: "The configuration of ctmon on $NODE, or its web configuration with users and certificates, was \
                      changed to something that cannot be used: what was read before stays in force.",
        ..Alert::BASE
    },
    findings: Some(findings),
    ..Definition::BASE
};

/// Why the web configuration was refused is in the log alone: it holds secrets.
fn findings(evidence: &Evidence<'_>) -> Vec<Finding> {
    let Some(files) = evidence.history.map(|history| &history.files) else { return Vec::new() };
    if !evidence.settings.thresholds.is_on(&CONFIG_REFUSED.alert) {
        return Vec::new();
    }
    let refused = |refused: bool, what: &str, why: Option<&str>, advice: &str| {
        let why = why.map(|why| format!(" ({why})")).unwrap_or_default();
        let evidence = format!("the {what} was refused{why}: the one read before stays in force");
        refused.then(|| own(CONFIG_REFUSED.alert.name, Level::WARNING, &evidence, advice))
    };
    let config = refused(
        files.config_refused,
        "configuration file as it is now",
        files.config_problem.as_deref(),
        "correct it, it is read again by itself: a restart would fail, or begin with other settings; why it was refused is in \
         the daemon's log, and in `ctmon check` on the node",
    );
    let web = refused(
        files.web_refused == Some(true),
        "web configuration (users, TLS) as it is now",
        None,
        "the daemon's log says why; a certificate that was renewed is not shown until it is repaired",
    );
    config.into_iter().chain(web).collect()
}
