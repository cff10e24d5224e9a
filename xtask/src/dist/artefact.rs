//! The chart and the manifests as registries keep them.
//!
//! In: the stamped copy of `deploy/`. Out: layouts with the media types that Helm and Flux look for.
//! Must not: need Helm or Flux.

use std::collections::HashMap;

use anyhow::{Context as _, Result};
use oci_spec::image::{ImageManifestBuilder, MediaType, SCHEMA_VERSION};
use serde_json::{Value, json};

use super::tree::Tree;
use crate::image::{Identity, VERSION};
use crate::oci::{Blob, Layout, digest, gzip, json as document};

/// <https://helm.sh/docs/topics/registries/#helm-chart-manifest>
const HELM_CONFIG: &str = "application/vnd.cncf.helm.config.v1+json";
const HELM_CONTENT: &str = "application/vnd.cncf.helm.chart.content.v1.tar+gzip";

/// <https://fluxcd.io/flux/cheatsheets/oci-artifacts/>
const FLUX_CONFIG: &str = "application/vnd.cncf.flux.config.v1+json";
const FLUX_CONTENT: &str = "application/vnd.cncf.flux.content.v1.tar+gzip";

/// What kustomizations of `deploy/kustomize` are made of: the components reach for the rules and the dashboard.
const OF_MANIFESTS: &[&str] = &["kustomize", "prometheus", "grafana"];

/// Something that is pulled by a digest.
pub(super) struct Artefact {
    pub(super) layout: Vec<u8>,
    pub(super) digest: String,
}

/// The chart as `helm package` packs it.
pub(super) fn chart_package(deploy: &Tree, time: u64) -> Result<Vec<u8>> {
    let mut chart = deploy.below("chart");
    let ignored = chart.text(".helmignore")?.to_owned();
    chart.0.retain(|path, _| !is_ignored(&ignored, path));
    chart.tar_gz("ctmon/", time)
}

/// Folders and endings of names are all that our list has.
fn is_ignored(list: &str, path: &str) -> bool {
    list.lines().any(|line| match (line.strip_suffix('/'), line.strip_prefix('*')) {
        (Some(folder), _) => path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/')),
        (None, Some(ending)) => path.ends_with(ending),
        (None, None) => path.rsplit('/').next() == Some(line),
    })
}

/// What `helm pull oci://` finds.
pub(super) fn chart(deploy: &Tree, package: &[u8], identity: &Identity) -> Result<Artefact> {
    let about: Value = yaml_serde::from_str(deploy.text("chart/Chart.yaml")?).context("bad Chart.yaml")?;
    let text = |key: &str| about.get(key).and_then(Value::as_str).unwrap_or_default();
    let config = Blob::new(MediaType::Other(HELM_CONFIG.to_owned()), document(&about)?);
    let content = Blob::new(MediaType::Other(HELM_CONTENT.to_owned()), package.to_vec());
    of_two(config, content, text("name"), text("description"), identity)
}

/// What a Flux `OCIRepository` finds: the folder as it lies in the repository, so that paths are the same in both.
pub(super) fn manifests(deploy: &Tree, identity: &Identity) -> Result<Artefact> {
    let tar = deploy.only(OF_MANIFESTS).tar("deploy/", identity.time.unwrap_or_default())?;
    let config = json!({
        "architecture": "", "os": "", "config": {},
        "rootfs": {"type": "layers", "diff_ids": [digest(&tar)]},
    });
    let config = Blob::of_document(MediaType::Other(FLUX_CONFIG.to_owned()), &config)?;
    let content = Blob::new(MediaType::Other(FLUX_CONTENT.to_owned()), gzip(&tar)?);
    of_two(config, content, "ctmon-manifests", "ctmon's kustomize base, components and overlays", identity)
}

fn of_two(
    config: Blob,
    content: Blob,
    title: &str,
    description: &str,
    identity: &Identity,
) -> Result<Artefact> {
    let mut layout = Layout::default();
    let labels: HashMap<_, _> = identity.labels_of(title, description).into_iter().collect();
    let manifest = ImageManifestBuilder::default()
        .schema_version(SCHEMA_VERSION)
        .media_type(MediaType::ImageManifest)
        .config(layout.add(config)?)
        .layers([layout.add(content)?])
        .annotations(labels)
        .build()
        .context("failed to make a manifest")?;
    let manifest = layout.add(Blob::of_document(MediaType::ImageManifest, &manifest)?)?;
    let digest = manifest.digest().to_string();
    layout.name(manifest, VERSION, None);
    Ok(Artefact { layout: layout.archive()?, digest })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_helm_leaves_out_is_left_out() {
        let list = "ci/\n*.md.gotmpl\n.DS_Store\n";
        for path in ["ci/values.yaml", "README.md.gotmpl", "templates/.DS_Store"] {
            assert!(is_ignored(list, path), "{path}");
        }
        for path in ["Chart.yaml", "README.md", "templates/cipolicy.yaml", ".helmignore"] {
            assert!(!is_ignored(list, path), "{path}");
        }
    }
}
