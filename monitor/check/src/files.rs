//! What is wrong with the files the running daemon was given: refused ones, and a certificate that ends.
//!
//! In: what the daemon tells of them. Out: findings.
//! Must not: repeat why a file was refused: it holds secrets, and the page is for everyone. The log says it.

use monitor_config::Settings;
use monitor_model::catalog::Severity;

use super::finding::{Finding, Level, own};

/// The name of the alert on files that were refused.
const REFUSED: &str = "CtmonConfigRefused";
/// So many seconds before its end a certificate is told of: whoever renews it by hand has a weekend, and what renews it by
/// itself is late.
const SOON: f64 = 3.0 * DAY;
const DAY: f64 = 86_400.0;

/// The files of a running daemon.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Files {
    /// The configuration as it is now is not the one in force.
    pub config_refused: bool,
    /// Likewise the web configuration; `None` without one.
    pub web_refused: Option<bool>,
    /// Seconds until the server's certificate ends, negative once it has; `None` without one.
    pub certificate_left: Option<f64>,
}

impl Files {
    /// What is wrong with them.
    #[must_use]
    pub fn findings(&self, settings: &Settings) -> Vec<Finding> {
        let on = settings.threshold(REFUSED, Severity::Warning).is_some();
        let refused = |refused: bool, what: &str, advice: &str| {
            let evidence = format!("the {what} was refused: the one read before stays in force");
            (refused && on).then(|| own(REFUSED, Level::Warning, &evidence, advice))
        };
        let config = refused(
            self.config_refused,
            "configuration file as it is now",
            "the daemon's log says why; a restart would fail, or begin with other settings",
        );
        let web = refused(
            self.web_refused == Some(true),
            "web configuration (users, TLS) as it is now",
            "the daemon's log says why; a certificate that was renewed is not shown until it is repaired",
        );
        let certificate = self.certificate_left.filter(|left| *left < SOON).map(|left| {
            let when = if left < 0.0 {
                "has ended: clients refuse it".to_owned()
            } else {
                format!("ends in {:.1} days", left / DAY)
            };
            let evidence = format!("the certificate that the daemon shows {when}");
            own("certificate", Level::Warning, &evidence, "renew it: the files are read again by themselves")
        });
        [config, web, certificate].into_iter().flatten().collect()
    }
}

#[cfg(test)]
mod tests {

    use super::*;

    #[test]
    fn refused_files_and_certificates_near_their_end_are_findings() {
        let check = |files: Files, expected: &[&str]| {
            let found = files.findings(&Settings::default());
            assert_eq!(found.len(), expected.len(), "{found:?}");
            for (finding, words) in found.iter().zip(expected) {
                assert_eq!(finding.level, Level::Warning);
                assert!(finding.evidence.contains(words), "{finding:?}");
            }
        };
        let fine =
            Files { config_refused: false, web_refused: Some(false), certificate_left: Some(90.0 * DAY) };
        check(fine, &[]);
        check(Files::default(), &[]);
        check(Files { config_refused: true, ..fine }, &["the configuration file as it is now was refused"]);
        check(Files { web_refused: Some(true), ..fine }, &["the web configuration (users, TLS)"]);
        check(Files { certificate_left: Some(SOON), ..fine }, &[]);
        check(Files { certificate_left: Some(2.5 * DAY), ..fine }, &["ends in 2.5 days"]);
        check(Files { certificate_left: Some(-1.0), ..fine }, &["has ended"]);
        let all = Files { config_refused: true, web_refused: Some(true), certificate_left: Some(0.0) };
        check(all, &["configuration file", "web configuration", "ends in 0.0 days"]);
        let off = monitor_config::parse("thresholds: {ConfigRefused: {warning: null}}").unwrap();
        assert_eq!(all.findings(&off).len(), 1, "the alert is off");
    }
}
