//! Nothing in `deploy/` points at a name that others could register, and a name that a user sets is used everywhere.
//!
//! In: the files of `deploy/`, rendered. Out: pass or fail. Must not: know a registry or a forge.

use anyhow::{Context, Result};
use serde_json::Value;
use support::objects::documents;

use crate::objects::{container, one};
use crate::render::{IMAGE, PLACEHOLDER};
use crate::{render, tools};

/// What a cluster would pull.
fn pulled(objects: &[Value]) -> Result<&str> {
    container(objects)?["image"].as_str().context("no image")
}

#[test]
fn the_chart_refuses_to_render_without_an_image_of_the_users() {
    let said = "image.repository is not set: no image of ctmon is published; push the one that `cargo xtask image` \
                makes and name it, like --set image.repository=registry.example.org/you/ctmon";
    for values in ["{}", "image: {tag: 1.2.3}", "image: {repository: registry.example/set-the-image/ctmon}"] {
        let error = render::chart_without_image(values).expect_err(values).to_string();
        let line = error.lines().find(|line| line.starts_with("execution error at (ctmon/templates/"));
        let line = line.unwrap_or_else(|| panic!("{values}: {error}"));
        assert!(line.ends_with(said), "{values}: {line}");
    }
}

#[test]
fn the_chart_lints_without_an_image() -> Result<()> {
    for values in ["{}".to_owned(), tools::text("chart/ci/talos-values.yaml")?] {
        render::lint(&values)?;
    }
    // And the linter does look.
    let error = render::lint("image: {repository: ''}").expect_err("an empty name").to_string();
    assert!(error.contains("repository"), "{error}");
    Ok(())
}

#[test]
fn an_overlays_entry_changes_the_image_by_the_name_it_has_in_the_base() -> Result<()> {
    let version = env!("CARGO_PKG_VERSION");
    for parent in ["base", "overlays/talos"] {
        let images = |name: &str| format!("images: [{{name: {name}, newName: {IMAGE}, newTag: 9.9.9}}]\n");
        let objects = render::overlay(parent, &[], &images(PLACEHOLDER))?;
        assert_eq!(pulled(&objects)?, format!("{IMAGE}:9.9.9"), "{parent}");
        // The name in the base's own manifest is gone by then: this is why the comments say which one it takes.
        let objects = render::overlay(parent, &[], &images("ctmon"))?;
        assert_eq!(pulled(&objects)?, format!("{PLACEHOLDER}:{version}"), "{parent}");
    }
    Ok(())
}

#[test]
fn the_entries_that_comments_and_examples_tell_of_name_what_the_base_does() -> Result<()> {
    // Commented entries, without their marks.
    for (file, parent) in [
        ("kustomize/base/kustomization.yaml", "base"),
        ("kustomize/overlays/talos/kustomization.yaml", "overlays/talos"),
    ] {
        let text = tools::text(file)?;
        let (before, block) = text.split_once("images:\n").context("no comment on images")?;
        let mark = before.lines().last().context("no comment mark")?;
        let block: Vec<_> = block.lines().map_while(|line| line.strip_prefix(mark)).collect();
        assert!(mark.starts_with('#') && block.len() >= 2, "{file}: {block:?}");
        let objects = render::overlay(parent, &[], &format!("images:\n{}\n", block.join("\n")))?;
        assert!(pulled(&objects)?.starts_with(IMAGE), "{file}: {}", pulled(&objects)?);
    }
    let flux = render::kustomize(&tools::deploy("flux/kustomization")?)?;
    assert_eq!(one(&flux, "Kustomization")?["spec"]["images"][0]["name"], PLACEHOLDER);
    let flux = render::kustomize(&tools::deploy("flux/chart")?)?;
    assert_eq!(one(&flux, "HelmRelease")?["spec"]["values"]["image"]["repository"], PLACEHOLDER);
    Ok(())
}

#[test]
fn every_default_is_a_name_that_nobody_can_own() -> Result<()> {
    let flux = |folder: &str, kind: &str, field: &str| -> Result<String> {
        let objects = render::kustomize(&tools::deploy(folder)?)?;
        Ok(one(&objects, kind)?["spec"][field].as_str().context("no text")?.to_owned())
    };
    let base = render::kustomize(&tools::deploy("kustomize/base")?)?;
    let values = documents(&tools::text("chart/values.yaml")?)?;
    let values = values.first().context("no values")?["image"]["repository"].as_str().context("no name")?;
    for name in [
        pulled(&base)?.to_owned(),
        values.to_owned(),
        flux("flux/chart", "OCIRepository", "url")?,
        flux("flux/kustomization", "GitRepository", "url")?,
    ] {
        // RFC 2606 reserves `.example`: it is never delegated.
        let host = name.rsplit_once("//").map_or(name.as_str(), |(_, rest)| rest).split('/').next();
        assert!(host.is_some_and(|host| host.ends_with(".example")), "{name}");
    }
    Ok(())
}
