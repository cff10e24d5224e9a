//! The kustomize tree, as Flux pulls it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::Value;
use support::{objects, released};

use crate::server::Registry;
use crate::tools;

fn build(folder: &Path) -> Result<Vec<Value>> {
    let folder = folder.to_str().context("a path that is not UTF-8")?;
    objects::documents(&tools::run("kubectl", &["kustomize", folder])?)
}

/// Pulled by skopeo and unpacked by tar, as Flux's source controller unpacks it.
fn pulled(registry: &Registry) -> Result<PathBuf> {
    let layout = registry.pull("manifests/ctmon", &[])?;
    let (layer, manifest) = tools::layer(&layout)?;
    assert_eq!(*objects::at(&manifest, "/config/mediaType"), "application/vnd.cncf.flux.config.v1+json");
    assert_eq!(
        *objects::at(&manifest, "/layers/0/mediaType"),
        "application/vnd.cncf.flux.content.v1.tar+gzip"
    );
    let to = registry.folder.join("manifests");
    fs::create_dir_all(&to)?;
    let path = |path: &Path| path.to_str().map(str::to_owned).context("a path that is not UTF-8");
    tools::run("tar", &["-xzf".to_owned(), path(&layer)?, "-C".to_owned(), path(&to)?])?;
    Ok(to)
}

#[test]
fn it_builds_where_it_was_unpacked_and_names_this_releases_image() -> Result<()> {
    let registry = Registry::with_everything()?;
    let tree = pulled(&registry)?;
    let raw = registry.folder.join("manifest");
    fs::write(&raw, registry.inspect("manifests/ctmon", &["--raw"])?)?;
    assert_eq!(tools::digest(&raw)?, released::at("manifests/ctmon")?.digest);

    let image = format!("{}/ctmon:{}", released::REGISTRY, tools::VERSION);
    let checkout = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for folder in ["deploy/kustomize/base", "deploy/kustomize/overlays/talos"] {
        let (released, ours) = (build(&tree.join(folder))?, build(&checkout.join(folder))?);
        assert_eq!(tools::image_of(&released)?, image, "{folder}");
        // What differs is what a release knows and a checkout does not.
        let kinds = |objects: &[Value]| -> Vec<String> {
            objects
                .iter()
                .map(|object| format!("{} {}", object["kind"], object["metadata"]["name"]))
                .collect()
        };
        assert_eq!(kinds(&released), kinds(&ours), "{folder}");
        for (one, other) in released.iter().zip(&ours) {
            let known = ["DaemonSet", "PrometheusRule"].iter().any(|kind| one["kind"] == *kind);
            if !known && one["metadata"]["name"] != "ctmon-dashboard" {
                assert_eq!(one, other, "{folder}");
            }
        }
    }
    Ok(())
}
