//! The chart, as Helm pulls it.

use std::fs;

use anyhow::{Context, Result};
use serde_json::Value;
use support::{objects, released};

use crate::server::Registry;
use crate::tools;

/// Resolves, pulls and unpacks by Helm's client; renders with everything on and no image named.
const PULL_AND_RENDER: &str = "
import json, sys
from helm_python import chart
from helm_python.registry import RegistryClient, pull
name, version, folder = sys.argv[1:]
with RegistryClient(plain_http=True) as client:
    resolved = client.resolve(f'{name}:{version}')
    tags = client.tags(name.removeprefix('oci://'))
    pull(name, client=client, version=version, destination=folder, plain_http=True)
pulled = chart.Chart.load(f'{folder}/ctmon-{version}.tgz')
values = {'prometheusRule': {'enabled': True, 'fleet': True, 'cluster': True}, 'dashboard': {'configMap': {'enabled': True}}}
rendered = pulled.render(values, name='ctmon', namespace='ctmon')
files = [name for name in rendered if not name.endswith('.txt')]
print(json.dumps({
    'resolved': resolved, 'tags': tags, 'metadata': pulled.metadata,
    'files': [file['name'] for file in pulled.files],
    'objects': '\\n---\\n'.join(rendered[name] for name in files),
}))
";

#[test]
fn helm_pulls_it_and_renders_this_releases_image_without_a_value() -> Result<()> {
    let registry = Registry::with_everything()?;
    let folder = registry.folder.path().to_str().context("a path that is not UTF-8")?;
    let name = format!("oci://{}/charts/ctmon", registry.name);
    let said = tools::json(&tools::python(PULL_AND_RENDER, &[&name, tools::VERSION, folder])?)?;
    assert_eq!(said["resolved"]["digest"], Value::from(released::at("charts/ctmon")?.digest));
    assert_eq!(said["tags"], serde_json::json!([tools::VERSION]));
    let metadata = &said["metadata"];
    assert_eq!(
        (&metadata["version"], &metadata["appVersion"]),
        (&tools::VERSION.into(), &tools::VERSION.into())
    );
    assert_eq!(
        (&metadata["home"], &metadata["sources"][0]),
        (&released::HOME.into(), &released::HOME.into())
    );
    let files = said["files"].as_array().context("no files")?;
    assert!(!files.iter().any(|file| file.as_str().is_some_and(|name| name.starts_with("ci/"))), "{files:?}");

    // The page of the release has the same package.
    let package = format!("ctmon-{}.tgz", tools::VERSION);
    let pulled = fs::read(registry.folder.join(&package))?;
    assert!(pulled == fs::read(released::artefacts()?.join(&package))?, "Helm pulled another package");

    let text = said["objects"].as_str().context("no objects")?;
    let objects = objects::documents(text)?;
    let image = format!("{}/ctmon:{}", released::REGISTRY, tools::VERSION);
    assert_eq!(tools::image_of(&objects)?, image);
    let runbooks = format!("{}/blob/v{}/deploy/runbooks", released::HOME, tools::VERSION);
    let (mut alerts, mut links) = (0, 0);
    for object in objects.iter().filter(|object| object["kind"] == "PrometheusRule") {
        for rule in object["spec"]["groups"][0]["rules"].as_array().into_iter().flatten() {
            if let Some(alert) = rule["alert"].as_str() {
                let link = format!("{runbooks}/{alert}.md");
                assert_eq!(rule["annotations"]["runbook_url"], Value::from(link));
                alerts += 1;
            }
        }
    }
    for object in objects.iter().filter(|object| object["kind"] == "ConfigMap") {
        links += object["data"]["ctmon.json"].as_str().unwrap_or_default().matches(&runbooks).count();
    }
    assert!(alerts > 20, "{alerts} alerts");
    assert!(links >= 2, "{links} links in the dashboard");
    Ok(())
}

#[test]
fn its_media_types_are_those_that_helm_and_flux_look_for() -> Result<()> {
    let registry = Registry::with_everything()?;
    let manifest = tools::json(&registry.inspect("charts/ctmon", &["--raw"])?)?;
    assert_eq!(manifest["config"]["mediaType"], "application/vnd.cncf.helm.config.v1+json");
    let layer = "application/vnd.cncf.helm.chart.content.v1.tar+gzip";
    assert_eq!(manifest["layers"][0]["mediaType"], layer);
    // The example takes the layer by this name.
    let example = fs::read_to_string(
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/flux/chart/ocirepository.yaml"),
    )?;
    assert!(example.contains(&format!("mediaType: {layer}\n")), "{example}");
    Ok(())
}
