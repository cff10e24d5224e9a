//! The runbooks, for nodes without a browser.
//!
//! In: the pages of deploy/runbooks, embedded by the build script; the list of checks. Out: a page, or the list.
//! Must not: know a name that the pages or the checks do not have.

use std::io::{self, Write};

use monitor_check::checks::{self, Check};
use serde::Serialize;

/// Name and text of every page.
const PAGES: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/runbooks.rs"));

/// Writes every name with its levels and what it is.
pub fn list(out: &mut impl Write) -> io::Result<()> {
    let all = checks::all();
    let width = |text: fn(&Check) -> usize| all.iter().map(text).max().unwrap_or_default();
    let (name, level) = (width(|check| check.name.len()), width(|check| levels(check).len()));
    for check in &all {
        writeln!(out, "{:<name$}  {:<level$}  {}", check.name, levels(check), check.about)?;
    }
    Ok(())
}

/// The same as JSON, one object per line.
pub fn list_json(out: &mut impl Write) -> io::Result<()> {
    for Check { name, levels, about } in &checks::all() {
        let levels = levels.iter().map(|level| level.name()).collect();
        serde_json::to_writer(&mut *out, &CheckObject { check: name, levels, about })?;
        writeln!(out)?;
    }
    Ok(())
}

#[derive(Serialize)]
struct CheckObject<'a> {
    check: &'a str,
    levels: Vec<&'static str>,
    about: &'a str,
}

/// The page of a name, or what is known of a check that has none. An error lists the names.
pub fn explain(asked: &str) -> Result<String, String> {
    let pages = || PAGES.iter().map(|(name, _)| *name);
    // Alerts on other exporters' series have pages too, and are never found here.
    if let Some(name) = checks::called(asked, pages())
        && let Some((_, page)) = PAGES.iter().find(|(known, _)| *known == name)
    {
        return Ok((*page).to_owned());
    }
    let check = checks::find(asked)?;
    Ok(format!("{} ({}): {}\n", check.name, levels(&check), check.about))
}

fn levels(check: &Check) -> String {
    check.levels.iter().map(|level| level.name()).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use monitor_check::ALERTS;

    use super::*;

    #[test]
    fn every_alert_has_its_page_and_every_other_check_its_line() {
        for alert in ALERTS {
            let page = explain(alert.short_name()).unwrap();
            assert!(page.starts_with(&format!("# {}\n\n**", alert.name)), "{page}");
            assert!(page.contains("## What to do"), "{page}");
        }
        for check in checks::all() {
            assert!(explain(&check.name.to_uppercase()).unwrap().contains(check.name));
        }
        assert_eq!(explain("clock").unwrap().lines().count(), 1);
        assert!(explain("ctmonpodnotready").unwrap().starts_with("# CtmonPodNotReady"));
        assert!(explain("README").unwrap_err().contains("use one of CtmonMapFilling, "));
    }

    #[test]
    fn the_list_has_a_line_for_each() {
        let mut out = Vec::new();
        list(&mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert_eq!(text.lines().count(), checks::all().len());
        assert!(text.contains("CtmonStaleConnections"), "{text}");
        let mut out = Vec::new();
        list_json(&mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert_eq!(text.lines().count(), checks::all().len());
        let full = r#"{"check":"CtmonMapFull","levels":["critical"],"about":"<map_name> on the node is nearly full"}"#;
        assert!(text.lines().any(|line| line == full), "{text}");
    }
}
