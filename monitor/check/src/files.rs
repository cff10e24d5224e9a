//! The files the running daemon was given, and a certificate among them that ends.
//!
//! In: what the daemon knows of them. Out: plain data, a finding.
//! Must not: repeat why the web configuration was refused: it holds secrets. The log says it.

use crate::finding::{Finding, Level, own};

/// So many seconds before its end a certificate is reported: whoever renews it by hand has a weekend, and what renews it by
/// itself is late.
const SOON: f64 = 3.0 * DAY;
const DAY: f64 = 86_400.0;

/// The files of a running daemon.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Files {
    /// The configuration as it is now is not the one in force.
    pub config_refused: bool,
    /// Why, in one line: for commands on the same host, not for the page, which is for everyone.
    pub config_problem: Option<String>,
    /// Likewise the web configuration; `None` without one.
    pub web_refused: Option<bool>,
    /// Seconds until the server's certificate ends, negative once it has; `None` without one.
    pub certificate_left: Option<f64>,
}

impl Files {
    /// The certificate, where it ends soon or has.
    #[must_use]
    pub(crate) fn certificate(&self) -> Option<Finding> {
        let left = self.certificate_left.filter(|left| *left < SOON)?;
        let when = if left < 0.0 {
            "has ended: clients refuse it".to_owned()
        } else {
            format!("ends in {:.1} days", left / DAY)
        };
        let evidence = format!("the certificate that the daemon shows {when}");
        let advice = "renew it: the files are read again by themselves";
        Some(own("certificate", Level::WARNING, &evidence, advice))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::History;
    use crate::testing::{defaults, findings_with, nothing, parse};

    #[test]
    fn refused_files_and_certificates_near_their_end_are_findings() {
        let settings = defaults();
        let found = |files: Files, settings| {
            let history = History { files, ..History::default() };
            let mut found = findings_with(&nothing(settings), Some(&history), settings);
            found.retain(|finding| finding.level == Level::WARNING);
            found
        };
        let check = |files: Files, expected: &[&str]| {
            let found = found(files, &settings);
            assert_eq!(found.len(), expected.len(), "{found:?}");
            for (finding, words) in found.iter().zip(expected) {
                assert!(finding.evidence.contains(words), "{finding:?}");
            }
        };
        let fine =
            || Files { web_refused: Some(false), certificate_left: Some(90.0 * DAY), ..Files::default() };
        check(fine(), &[]);
        check(Files::default(), &[]);
        check(
            Files { config_refused: true, ..fine() },
            &["the configuration file as it is now was refused: the one"],
        );
        let why = Some("interval: `x` is not a duration".to_owned());
        let told = "was refused (interval: `x` is not a duration): the one read before stays in force";
        check(Files { config_refused: true, config_problem: why, ..fine() }, &[told]);
        check(Files { web_refused: Some(true), ..fine() }, &["the web configuration (users, TLS)"]);
        check(Files { certificate_left: Some(SOON), ..fine() }, &[]);
        check(Files { certificate_left: Some(2.5 * DAY), ..fine() }, &["ends in 2.5 days"]);
        check(Files { certificate_left: Some(-1.0), ..fine() }, &["has ended"]);
        let all = Files {
            config_refused: true,
            config_problem: None,
            web_refused: Some(true),
            certificate_left: Some(0.0),
        };
        check(all.clone(), &["configuration file", "web configuration", "ends in 0.0 days"]);
        let off = parse("thresholds: {ConfigRefused: {warning: null}}");
        assert_eq!(found(all, &off).len(), 1, "the alert is off");
    }
}
