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

/// Why is in the log alone: a file may hold secrets, and the page is for everyone.
fn findings(evidence: &Evidence<'_>) -> Vec<Finding> {
    let Some(files) = evidence.history.map(|history| history.files) else { return Vec::new() };
    if !evidence.settings.thresholds.is_on(&CONFIG_REFUSED.alert) {
        return Vec::new();
    }
    let refused = |refused: bool, what: &str, advice: &str| {
        let evidence = format!("the {what} was refused: the one read before stays in force");
        refused.then(|| own(CONFIG_REFUSED.alert.name, Level::WARNING, &evidence, advice))
    };
    let config = refused(
        files.config_refused,
        "configuration file as it is now",
        "the daemon's log says why; a restart would fail, or begin with other settings",
    );
    let web = refused(
        files.web_refused == Some(true),
        "web configuration (users, TLS) as it is now",
        "the daemon's log says why; a certificate that was renewed is not shown until it is repaired",
    );
    config.into_iter().chain(web).collect()
}
