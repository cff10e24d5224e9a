//! Kubernetes accepts the objects: strict schemas of its oldest and newest version we are installed on.

use anyhow::{Result, ensure};
use serde_json::Value;
use support::objects::documents;

use crate::{render, tools};

/// Defined by others: their schemas are not Kubernetes's.
const CUSTOM: [&str; 7] = [
    "PodMonitor",
    "PrometheusRule",
    "GrafanaDashboard",
    "CiliumClusterwideNetworkPolicy",
    "OCIRepository",
    "GitRepository",
    "HelmRelease",
];

/// Validates all of them in one go; an error names kind, path and version.
pub(crate) fn validate(objects: &[Value], versions: &[&str]) -> Result<()> {
    const PROGRAM: &str = "
import json, sys
import kubernetes_validate
errors = []
for item in json.load(sys.stdin):
    for version in sys.argv[1:]:
        try:
            kubernetes_validate.validate(item, version, strict=True)
        except kubernetes_validate.ValidationError as error:
            path = '.'.join(str(part) for part in error.path)
            errors.append(f\"{item['kind']} {path} ({version}): {error.message}\")
sys.exit('\\n'.join(errors) or 0)
";
    let kubernetes: Vec<_> =
        objects.iter().filter(|object| !CUSTOM.iter().any(|kind| object["kind"] == *kind)).collect();
    ensure!(!kubernetes.is_empty(), "nothing to validate");
    let versions: Vec<_> = versions.iter().map(AsRef::as_ref).collect();
    tools::python(PROGRAM, &versions, &serde_json::to_string(&kubernetes)?)?;
    Ok(())
}

#[test]
fn kubernetes_accepts_every_object() -> Result<()> {
    let mut objects = render::kustomize(&tools::deploy("kustomize/overlays/talos")?)?;
    objects.extend(render::components(&["grafana-operator", "cilium-policy"])?);
    for file in tools::files("chart/ci", "yaml")? {
        objects.extend(render::chart(&std::fs::read_to_string(&file)?)?);
    }
    objects.extend(documents(&tools::text("flux/chart/namespace.yaml")?)?);
    objects.extend(documents(&tools::text("tuning/smb.yaml")?)?);
    validate(&objects, &["1.29", "1.37"])?;
    Ok(())
}

/// Talos 1.11, 1.12 and 1.13 run Kubernetes 1.34, 1.35 and 1.36.
#[test]
fn each_version_of_kubernetes_accepts_its_policy_for_trident() -> Result<()> {
    let policy = |folder: &str| render::kustomize(&tools::deploy(folder)?);
    validate(&policy("tuning/trident-v1beta1")?, &["1.34", "1.35"])?;
    validate(&policy("tuning/trident")?, &["1.36", "1.37"])?;
    // Before 1.36 there is no v1: who takes the wrong folder is refused.
    assert!(validate(&policy("tuning/trident")?, &["1.35"]).is_err());
    Ok(())
}

#[test]
fn a_misspelt_field_is_seen() -> Result<()> {
    let mut objects = render::kustomize(&tools::deploy("kustomize/base")?)?;
    for object in &mut objects {
        if object["kind"] == "DaemonSet" {
            object["spec"]["template"]["spec"]["hostNetworks"] = Value::Bool(true);
        }
    }
    let error = validate(&objects, &["1.37"]).expect_err("strict").to_string();
    assert!(error.contains("hostNetworks"), "{error}");
    Ok(())
}
