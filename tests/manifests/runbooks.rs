//! Every alert has a page that says what to do, and no page is without an alert.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Result};
use monitor_check::ALERTS;
use serde_json::Value;
use support::objects::{at, documents};

use crate::tools;

/// In this order, so that whoever is woken up finds them.
const SECTIONS: [&str; 4] = ["## What it means", "## How to look", "## What to do", "## When it is wrong"];

fn pages() -> Result<BTreeSet<String>> {
    let files = tools::files("runbooks", "md")?;
    let names = files.iter().filter_map(|file| file.file_stem()?.to_str().map(str::to_owned));
    Ok(names.filter(|name| name != "README").collect())
}

/// Alerts of the generated rules: those on ctmon's own series, and those on other exporters' series. What is committed links nowhere:
/// where its pages are read is known to whoever releases or installs it.
fn alerts() -> Result<BTreeSet<String>> {
    let mut names: BTreeSet<String> = ALERTS.iter().map(|alert| alert.name.to_owned()).collect();
    for file in ["ctmon.prometheusrule.yaml", "cluster/ctmon-cluster.prometheusrule.yaml"] {
        let rule = documents(&tools::text(&format!("prometheus/{file}"))?)?;
        for group in at(rule.first().context("no rules")?, "/spec/groups").as_array().context("no groups")? {
            for rule in group["rules"].as_array().context("no rules")? {
                let Some(alert) = rule["alert"].as_str() else { continue };
                names.insert(alert.to_owned());
                assert_eq!(at(rule, "/annotations/runbook_url"), &Value::Null, "{alert}");
            }
        }
    }
    Ok(names)
}

#[test]
fn every_alert_has_its_page_and_every_page_its_alert() -> Result<()> {
    assert_eq!(pages()?, alerts()?);
    Ok(())
}

#[test]
fn every_page_has_the_same_sections_and_something_to_run() -> Result<()> {
    for page in pages()? {
        let text = tools::text(&format!("runbooks/{page}.md"))?;
        assert!(text.starts_with(&format!("# {page}\n\n**")), "{page} begins with its name and severity");
        let found: Vec<_> = text.lines().filter(|line| line.starts_with("## ")).collect();
        assert_eq!(found, SECTIONS, "{page}");
        let commands: Vec<_> = text.lines().filter(|line| line.starts_with("    ")).collect();
        assert!(commands.iter().any(|line| line.contains("ctmon")), "{page} shows no command of ours");
        assert!(
            commands.iter().any(|line| line.contains("cilium-dbg") || line.contains("trident")),
            "{page} shows no way without ctmon"
        );
    }
    Ok(())
}

#[test]
fn the_index_names_every_page() -> Result<()> {
    let index = tools::text("runbooks/README.md")?;
    for page in pages()? {
        assert!(index.contains(&format!("[{page}]({page}.md)")), "{page}");
    }
    Ok(())
}

#[test]
fn links_lead_to_files_that_exist() -> Result<()> {
    let mut links = 0;
    for folder in ["runbooks", "tuning", "flux", "."] {
        for file in tools::files(folder, "md")? {
            let text = std::fs::read_to_string(&file)?;
            for link in text.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(link, _)| link)
            {
                if link.starts_with("https://") {
                    continue;
                }
                let path = link.split('#').next().unwrap_or_default();
                let target = file.parent().unwrap_or(Path::new(".")).join(path);
                assert!(target.exists(), "{}: {link}", file.display());
                links += 1;
            }
        }
    }
    assert!(links > 50, "{links} links");
    Ok(())
}
