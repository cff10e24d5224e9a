//! Base, components, overlays and examples build, alone and together.

use anyhow::Result;
use monitor_config::Settings;
use monitor_output::rules::{self, Format, Group, Options};
use serde_json::{Value, json};
use support::folder::Folder;
use support::objects;

use crate::objects::{configuration, named, one, summary};
use crate::{render, tools};

/// Kinds without a namespace, among those we have.
const CLUSTER_WIDE: [&str; 2] = ["Namespace", "CiliumClusterwideNetworkPolicy"];

fn overlay() -> Result<Vec<Value>> {
    render::kustomize(&tools::deploy("kustomize/overlays/talos")?)
}

#[test]
fn base_is_four_objects_in_no_namespace() -> Result<()> {
    let objects = render::kustomize(&tools::deploy("kustomize/base")?)?;
    assert_eq!(summary(&objects), "ConfigMap/ctmon, DaemonSet/ctmon, Service/ctmon, ServiceAccount/ctmon");
    for object in &objects {
        assert_eq!(object["metadata"]["namespace"], Value::Null, "{object}");
    }
    Ok(())
}

#[test]
fn every_combination_of_components_builds() -> Result<()> {
    let brings: [(&str, &[&str]); 5] = [
        ("prometheus-operator", &["PodMonitor/ctmon", "PrometheusRule/ctmon"]),
        ("grafana-configmap", &["ConfigMap/ctmon-dashboard"]),
        ("grafana-operator", &["ConfigMap/ctmon-dashboard", "GrafanaDashboard/ctmon"]),
        ("namespace", &["Namespace/ctmon"]),
        ("cilium-policy", &["CiliumClusterwideNetworkPolicy/ctmon"]),
    ];
    let mut built = 0;
    for mask in 0..32_u32 {
        let chosen: Vec<_> =
            brings.iter().enumerate().filter(|(bit, _)| mask >> bit & 1 == 1).map(|(_, c)| c).collect();
        let names: Vec<_> = chosen.iter().map(|(name, _)| *name).collect();
        // Two ways to hand over the same dashboard: one of them is to be chosen.
        if names.contains(&"grafana-configmap") && names.contains(&"grafana-operator") {
            continue;
        }
        let objects = render::components(&names)?;
        let summary = summary(&objects);
        for object in chosen.iter().flat_map(|(_, objects)| *objects) {
            assert!(summary.contains(object), "{names:?} lack {object}: {summary}");
        }
        assert_eq!(objects.len(), 4 + chosen.iter().map(|(_, objects)| objects.len()).sum::<usize>());
        for object in &objects {
            let cluster_wide = CLUSTER_WIDE.iter().any(|kind| object["kind"] == *kind);
            let expected =
                if names.contains(&"namespace") && !cluster_wide { json!("ctmon") } else { Value::Null };
            assert_eq!(object["metadata"]["namespace"], expected, "{names:?}: {}", object["kind"]);
        }
        built += 1;
    }
    assert_eq!(built, 24);
    Ok(())
}

/// Apart from the combinations above, which they would quadruple: they bring one object each and touch no other.
#[test]
fn rules_for_fleets_and_about_pods_are_components_of_their_own() -> Result<()> {
    let objects = render::components(&["prometheus-operator", "fleet-rules", "cluster-rules", "namespace"])?;
    for name in ["ctmon", "ctmon-fleet", "ctmon-cluster"] {
        let rule = named(&objects, "PrometheusRule", name)?;
        assert_eq!(rule["metadata"]["namespace"], "ctmon");
        assert!(rule["spec"]["groups"][0]["rules"].as_array().is_some_and(|rules| rules.len() > 3), "{name}");
    }
    assert_eq!(objects.len(), 4 + 1 + 3 + 1, "{}", summary(&objects));
    Ok(())
}

/// As the README tells those whose clusters carry another label.
#[test]
fn rules_printed_for_another_label_take_the_place_of_the_committed_ones() -> Result<()> {
    let options = Options::new("k8s_cluster", Some("https://wiki.example.org/ctmon"))?;
    let mut printed = Vec::new();
    rules::write(
        &Settings::defaults::<monitor_check::Catalog>(),
        &options,
        Group::Nodes,
        Format::Crd,
        &mut printed,
    )?;
    let printed = String::from_utf8(printed)?;
    let folder = Folder::new("manifests")?;
    for (file, text) in [
        ("kustomization.yaml", "resources: [committed.yaml]\npatches: [{path: ctmon.prometheusrule.yaml}]\n"),
        ("committed.yaml", &tools::text("prometheus/ctmon.prometheusrule.yaml")?),
        ("ctmon.prometheusrule.yaml", &printed),
    ] {
        std::fs::write(folder.join(file), text)?;
    }
    let objects = render::kustomize(folder.path())?;
    let rule = one(&objects, "PrometheusRule")?;
    assert_eq!(rule["spec"], objects::documents(&printed)?.remove(0)["spec"]);
    assert!(rule.to_string().contains("on(k8s_cluster, instance)"));
    Ok(())
}

#[test]
fn the_examples_build() -> Result<()> {
    const POLICY: &str =
        "MutatingAdmissionPolicy/trident-sidecars, MutatingAdmissionPolicyBinding/trident-sidecars";
    let kinds = [
        ("flux/chart", "HelmRelease/ctmon, Namespace/ctmon, OCIRepository/ctmon"),
        ("flux/kustomization", "GitRepository/ctmon, Kustomization/ctmon"),
        ("tuning/trident", POLICY),
        ("tuning/trident-v1beta1", POLICY),
    ];
    for (folder, expected) in kinds {
        assert_eq!(summary(&render::kustomize(&tools::deploy(folder)?)?), expected, "{folder}");
    }
    Ok(())
}

#[test]
fn the_namespace_admits_host_paths() -> Result<()> {
    let flux = render::kustomize(&tools::deploy("flux/chart")?)?;
    for objects in [overlay()?, render::components(&["namespace"])?, flux] {
        let labels = &one(&objects, "Namespace")?["metadata"]["labels"];
        for mode in ["enforce", "audit", "warn"] {
            assert_eq!(labels[format!("pod-security.kubernetes.io/{mode}")], "privileged");
        }
    }
    Ok(())
}

#[test]
fn the_agent_accepts_every_configuration_we_ship() -> Result<()> {
    let base = render::kustomize(&tools::deploy("kustomize/base")?)?;
    let settings = monitor_config::parse::<monitor_check::Catalog>(configuration(&base)?)?;
    assert_eq!(
        settings,
        Settings::defaults::<monitor_check::Catalog>(),
        "the base configures nothing but defaults"
    );

    let settings = monitor_config::parse::<monitor_check::Catalog>(configuration(&overlay()?)?)?;
    let qnap = settings.targets.first().expect("a target");
    assert_eq!(qnap.name, "qnap");
    let services: Vec<_> = qnap.services.iter().map(|service| service.name.as_str()).collect();
    assert_eq!(services, ["smb", "iscsi", "api"]);
    let flux = render::kustomize(&tools::deploy("flux/kustomization")?)?;
    let patch = &named(&flux, "Kustomization", "ctmon")?["spec"]["patches"][0]["patch"];
    let patched = objects::documents(patch.as_str().expect("a patch"))?;
    monitor_config::parse::<monitor_check::Catalog>(configuration(&patched)?)?;
    Ok(())
}

#[test]
fn a_changed_configuration_restarts_nothing() -> Result<()> {
    // A hash in the ConfigMap's name would change the pod template and restart the agent on every node.
    for objects in [render::kustomize(&tools::deploy("kustomize/base")?)?, overlay()?] {
        let volume = &crate::objects::by_name(&crate::objects::pod(&objects)?["volumes"], "config")?;
        assert_eq!(volume["configMap"]["name"], "ctmon");
        named(&objects, "ConfigMap", "ctmon")?;
    }
    Ok(())
}

#[test]
fn the_host_firewall_policy_only_adds_a_permission() -> Result<()> {
    let objects = render::components(&["namespace", "cilium-policy"])?;
    let spec = &one(&objects, "CiliumClusterwideNetworkPolicy")?["spec"];
    assert_eq!(spec["enableDefaultDeny"], json!({"ingress": false, "egress": false}));
    assert_eq!(spec["ingress"][0]["toPorts"][0]["ports"], json!([{"port": "10469", "protocol": "TCP"}]));
    for forbidden in ["egress", "ingressDeny", "egressDeny", "endpointSelector"] {
        assert_eq!(spec[forbidden], Value::Null, "{forbidden}");
    }
    Ok(())
}

#[test]
fn prometheus_gets_the_node_as_a_label() -> Result<()> {
    let objects = overlay()?;
    let endpoint = &one(&objects, "PodMonitor")?["spec"]["podMetricsEndpoints"][0];
    assert_eq!(endpoint["port"], "metrics");
    assert_eq!(
        endpoint["relabelings"],
        json!([{"sourceLabels": ["__meta_kubernetes_pod_node_name"], "targetLabel": "node", "action": "replace"}])
    );
    let selected = &one(&objects, "PodMonitor")?["spec"]["selector"]["matchLabels"];
    let labels = &one(&objects, "DaemonSet")?["spec"]["template"]["metadata"]["labels"];
    for (label, value) in selected.as_object().expect("labels") {
        assert_eq!(&labels[label], value, "the PodMonitor selects the pods");
    }
    Ok(())
}

#[test]
fn the_dashboard_fits_the_annotation_of_a_client_side_apply() -> Result<()> {
    let objects = overlay()?;
    let size = serde_json::to_string(named(&objects, "ConfigMap", "ctmon-dashboard")?)?.len();
    assert!(size < 250_000, "{size} bytes, an object's annotations may hold 262,144");
    Ok(())
}
