//! The example for a repository of one's own: base and components fetched from a tag, built outside the checkout.
//!
//! In: `deploy/` as it is, put into a repository with a tag; git; kubectl. Out: pass or fail.
//! Must not: reach the network: the URL of the example is exchanged for that of a folder.

use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use support::folder::Folder;

use crate::objects::{configuration, container, named, summary};
use crate::render::{self, IMAGE};
use crate::tools;

/// As the example spells it, before the two slashes.
const HOME: &str = "https://git.example/set-the-home/ctmon";

/// Runs a program and shows what it said if it failed.
fn run<S: AsRef<OsStr>>(program: &str, folder: &Path, arguments: &[S]) -> Result<()> {
    let output = Command::new(program)
        .args(arguments)
        .current_dir(folder)
        .output()
        .with_context(|| format!("failed to run {program}: install it"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{program} failed ({}):\n{said}", output.status);
    Ok(())
}

/// A repository that holds `deploy/` as it is in the checkout, with the tag of this version.
fn published() -> Result<Folder> {
    let repository = Folder::new("manifests")?;
    run("cp", repository.path(), &["-a".as_ref(), tools::deploy("")?.as_os_str(), "deploy".as_ref()])?;
    let git = |arguments: &[&str]| run("git", repository.path(), arguments);
    git(&["init", "--quiet"])?;
    git(&["add", "deploy"])?;
    let author = ["-c", "user.name=test", "-c", "user.email=test@example.org", "-c", "commit.gpgsign=false"];
    git(&[&author[..], &["commit", "--quiet", "--message", "all"]].concat())?;
    git(&["tag", concat!("v", env!("CARGO_PKG_VERSION"))])?;
    Ok(repository)
}

/// What a folder that holds only these files builds, with the repository in the place of [`HOME`].
fn built(repository: &Folder, files: &[(&str, &str)]) -> Result<Vec<Value>> {
    let folder = Folder::new("manifests")?;
    let url = format!("file://{}", repository.path().display());
    for (name, text) in files {
        std::fs::write(folder.join(name), text.replace(HOME, &url))?;
    }
    render::kustomize(folder.path())
}

#[test]
fn the_example_builds_where_there_is_nothing_else_of_the_repository() -> Result<()> {
    let repository = published()?;
    let text = tools::text("kustomize/examples/remote/kustomization.yaml")?;
    let config = tools::text("kustomize/examples/remote/config.yaml")?;
    let tag = concat!("?ref=v", env!("CARGO_PKG_VERSION"));
    let urls: Vec<&str> = text.lines().filter(|line| line.contains(HOME)).collect();
    assert_eq!(urls.len(), 4, "{urls:?}");
    for url in urls {
        assert!(url.ends_with(tag), "{url}: every ref is the tag of this version");
    }
    let objects = built(&repository, &[("kustomization.yaml", &text), ("config.yaml", &config)])?;
    assert_eq!(
        summary(&objects),
        "ConfigMap/ctmon, ConfigMap/ctmon-dashboard, DaemonSet/ctmon, Namespace/ctmon, PodMonitor/ctmon, \
         PrometheusRule/ctmon, Service/ctmon, ServiceAccount/ctmon"
    );
    let image = concat!(":", env!("CARGO_PKG_VERSION"));
    assert_eq!(container(&objects)?["image"], format!("{IMAGE}{image}"));
    assert_eq!(named(&objects, "DaemonSet", "ctmon")?["metadata"]["namespace"], "ctmon");
    let settings = monitor_config::parse::<monitor_check::Catalog>(configuration(&objects)?)?;
    assert_eq!(settings.targets.first().context("no target")?.name, "nas");
    Ok(())
}

#[test]
fn an_overlay_is_a_remote_base_too_and_a_copy_of_it_elsewhere_is_none() -> Result<()> {
    let repository = published()?;
    let url = format!("{HOME}//deploy/kustomize/overlays/talos?ref=v{}", env!("CARGO_PKG_VERSION"));
    let remote = built(&repository, &[("kustomization.yaml", &format!("resources: ['{url}']\n"))])?;
    let here = render::kustomize(&tools::deploy("kustomize/overlays/talos")?)?;
    assert_eq!(remote, here);

    let (text, config) = (
        tools::text("kustomize/overlays/talos/kustomization.yaml")?,
        tools::text("kustomize/overlays/talos/config.yaml")?,
    );
    let error = built(&repository, &[("kustomization.yaml", &text), ("config.yaml", &config)]);
    assert!(error.is_err(), "the comment in the overlay says that it does not: it may be dropped");
    Ok(())
}
