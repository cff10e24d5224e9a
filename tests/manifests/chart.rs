//! The chart renders what kustomize builds, and refuses what it does not know.

use anyhow::{Context, Result};
use monitor_config::Settings;
use monitor_output::rules::{self, Format, Group, Options};
use serde_json::{Value, json};
use support::objects::{at, documents};

use crate::objects::{configuration, container, name, named, one, summary};
use crate::{render, tools};

/// Labels that only a chart sets.
const OF_HELM: [&str; 3] = ["helm.sh/chart", "app.kubernetes.io/managed-by", "app.kubernetes.io/version"];

/// What two ways to install must have in common: all but Helm's labels, the namespace, and the spelling of a file.
fn comparable(object: &Value, namespace: bool) -> Result<Value> {
    let mut object = object.clone();
    let metadata = object.pointer_mut("/metadata").and_then(Value::as_object_mut).context("no metadata")?;
    if let Some(labels) = metadata.get_mut("labels").and_then(Value::as_object_mut) {
        for label in OF_HELM {
            labels.remove(label);
        }
    }
    if !namespace {
        metadata.remove("namespace");
    }
    if let Some(data) = object.get_mut("data").and_then(Value::as_object_mut) {
        for text in data.values_mut() {
            let spelled = text.as_str().context("data is text")?;
            *text = documents(spelled)?.into_iter().next().unwrap_or(Value::Null);
        }
    }
    Ok(object)
}

/// Object by object: the same kinds and names, each the same.
fn assert_same(kustomize: &[Value], chart: &[Value], namespace: bool) -> Result<()> {
    for object in kustomize {
        let (kind, name) = (&object["kind"], name(object));
        // A chart cannot label the namespace it is installed into.
        if kind == "Namespace" {
            continue;
        }
        let kind = kind.as_str().context("no kind")?;
        let other = named(chart, kind, name.as_str().context("no name")?)?;
        assert_eq!(comparable(object, namespace)?, comparable(other, namespace)?, "{kind}");
    }
    let expected = kustomize.iter().filter(|object| object["kind"] != "Namespace").count();
    assert_eq!(chart.len(), expected, "{}", summary(chart));
    Ok(())
}

/// The same image that the chart is rendered with.
fn images() -> String {
    format!("images: [{{name: {}, newName: {}}}]\n", render::PLACEHOLDER, render::IMAGE)
}

#[test]
fn its_defaults_are_the_base() -> Result<()> {
    let base = render::overlay("base", &[], &images())?;
    assert_same(&base, &render::chart(&tools::text("chart/ci/default-values.yaml")?)?, false)
}

#[test]
fn the_talos_values_are_the_talos_overlay() -> Result<()> {
    let overlay = render::overlay("overlays/talos", &[], &images())?;
    assert_same(&overlay, &render::chart(&tools::text("chart/ci/talos-values.yaml")?)?, true)
}

#[test]
fn its_rules_are_those_of_the_components() -> Result<()> {
    let all = |objects: Vec<Value>| {
        objects.into_iter().filter(|object| object["kind"] == "PrometheusRule").collect::<Vec<_>>()
    };
    let components = render::components(&["prometheus-operator", "fleet-rules", "cluster-rules"])?;
    let (components, mut values) = (all(components), json!({"prometheusRule": {}}));
    assert_eq!(components.len(), 3);
    for (switch, name) in [("enabled", "ctmon"), ("fleet", "ctmon-fleet"), ("cluster", "ctmon-cluster")] {
        // Each switch alone brings its own rules and no others.
        let only = all(render::chart(&json!({"prometheusRule": {switch: true}}).to_string())?);
        assert_same(std::slice::from_ref(named(&components, "PrometheusRule", name)?), &only, false)?;
        values["prometheusRule"][switch] = json!(true);
    }
    assert_same(&components, &all(render::chart(&values.to_string())?), false)
}

/// What the chart changes in the committed rules is what `ctmon rules` prints with the same three flags.
#[test]
fn its_label_and_runbooks_are_those_of_the_command() -> Result<()> {
    let values = json!({"prometheusRule": {
        "enabled": true, "fleet": true, "cluster": true,
        "clusterLabel": "k8s_cluster", "runbookUrl": "https://wiki.example.org/ctmon/",
        "grafanaUrl": "https://grafana.example.org/",
    }});
    let objects = render::chart(&values.to_string())?;
    let options = Options::new("k8s_cluster", Some("https://wiki.example.org/ctmon"))?;
    let options = options.with_grafana("https://grafana.example.org")?;
    for (group, name) in
        [(Group::Nodes, "ctmon"), (Group::Fleet, "ctmon-fleet"), (Group::Cluster, "ctmon-cluster")]
    {
        let mut printed = Vec::new();
        rules::write(
            &Settings::defaults::<monitor_check::Catalog>(),
            &options,
            group,
            Format::Crd,
            &mut printed,
        )?;
        let printed = documents(std::str::from_utf8(&printed)?)?;
        let expected = &printed.first().context("nothing printed")?["spec"];
        assert_eq!(&named(&objects, "PrometheusRule", name)?["spec"], expected, "{name}");
    }
    Ok(())
}

#[test]
fn the_agent_accepts_the_configuration_of_every_values_file() -> Result<()> {
    for file in tools::files("chart/ci", "yaml")? {
        let objects = render::chart(&std::fs::read_to_string(&file)?)?;
        // By its content: the name follows fullnameOverride.
        let mut texts = objects.iter().filter_map(|object| at(object, "/data/config.yaml").as_str());
        let text = texts.next().context("no config.yaml")?;
        monitor_config::parse::<monitor_check::Catalog>(text)
            .with_context(|| format!("{}:\n{text}", file.display()))?;
    }
    // As it is once its reader has named an image.
    let release = tools::text("flux/chart/helmrelease.yaml")?.replace(render::PLACEHOLDER, render::IMAGE);
    let release = documents(&release)?;
    let values = serde_json::to_string(&one(&release, "HelmRelease")?["spec"]["values"])?;
    monitor_config::parse::<monitor_check::Catalog>(configuration(&render::chart(&values)?)?)?;
    Ok(())
}

#[test]
fn every_switch_reaches_its_object() -> Result<()> {
    let objects = render::chart(&tools::text("chart/ci/everything-values.yaml")?)?;
    let kinds = "CiliumClusterwideNetworkPolicy ConfigMap DaemonSet GrafanaDashboard PodMonitor PrometheusRule Service";
    for kind in kinds.split(' ') {
        assert!(objects.iter().any(|object| object["kind"] == kind), "no {kind}: {}", summary(&objects));
    }
    let digest = "a digest wins over a tag";
    let image = container(&objects)?["image"].as_str().context("no image")?;
    assert!(image.starts_with("registry.example.org/mirror/ctmon@sha256:"), "{digest}: {image}");
    assert_eq!(one(&objects, "DaemonSet")?["spec"]["template"]["spec"]["priorityClassName"], Value::Null);

    let rules = serde_json::to_string(named(&objects, "PrometheusRule", "conntrack")?)?;
    assert!(!rules.contains("\"CtmonTargetUntracked\""), "disabled alerts are left out");
    assert!(
        rules.contains("\"CtmonTargetUnanswered\"") && rules.contains("{{ $value"),
        "others stay as they are"
    );

    let tls = render::chart(&tools::text("chart/ci/tls-values.yaml")?)?;
    let endpoint = &one(&tls, "PodMonitor")?["spec"]["podMetricsEndpoints"][0];
    assert_eq!(endpoint["scheme"], "https");
    assert_eq!(endpoint["basicAuth"]["username"]["name"], "ctmon-scrape");
    let daemon = crate::objects::by_name(&container(&tls)?["env"], "CTMON_DAEMON")?;
    assert_eq!(daemon["value"], "http://127.0.0.1:19469", "commands in the pod find the daemon");
    assert_eq!(container(&tls)?["args"], json!(["run", "--web.config.file=/etc/ctmon-web/web.yaml"]));
    Ok(())
}

/// Each name once: a server-side apply refuses a list that has one twice.
#[test]
fn more_environment_takes_the_place_of_the_charts_own() -> Result<()> {
    let values =
        json!({"extraEnv": [{"name": "TZ", "value": "UTC"}, {"name": "CTMON_PROCFS", "value": "/proc"}]});
    let usual = render::chart("{}")?;
    let objects = render::chart(&values.to_string())?;
    let mut expected = container(&usual)?["env"].as_array().context("no environment")?.clone();
    for variable in &mut expected {
        if variable["name"] == "CTMON_PROCFS" {
            variable["value"] = json!("/proc");
        }
    }
    expected.push(json!({"name": "TZ", "value": "UTC"}));
    assert_eq!(container(&objects)?["env"], Value::Array(expected));
    Ok(())
}

#[test]
fn a_chart_that_lacks_a_file_renders_nothing_that_lacks_it() -> Result<()> {
    for (switch, file) in [
        ("{}", "values.yaml"),
        ("prometheusRule: {fleet: true}", "ctmon-fleet.prometheusrule.yaml"),
        ("dashboard: {configMap: {enabled: true}}", "ctmon.json"),
    ] {
        assert!(!render::chart(switch)?.is_empty());
        let error = render::chart_without(file, switch).expect_err(switch).to_string();
        assert!(error.contains(&format!("files/{file} is missing from this chart")), "{switch}: {error}");
    }
    assert_eq!(render::chart_without("ctmon.json", "{}")?, render::chart("{}")?);
    Ok(())
}

#[test]
fn a_value_it_does_not_know_is_an_error() {
    // Each would otherwise be ignored in silence, as Cilium's chart ignores values that it does not know.
    for (values, named) in [
        ("podmonitor: {enabled: true}", "podmonitor"),
        ("image: {tagg: 1.0.0}", "tagg"),
        ("podMonitor: {interval: 30}", "interval"),
        ("config: {listen: ':10469'}", "config"),
        ("updateStrategy: {type: RollingUpdate, rollingUpdate: {maxSurge: 1}}", "maxSurge"),
        ("port: 0", "port"),
        ("prometheusRule: {clusterLabel: k8s-cluster}", "clusterLabel"),
        ("prometheusRule: {clusterLabel: __name__}", "clusterLabel"),
        ("prometheusRule: {clusterLabel: pod}", "clusterLabel"),
        ("prometheusRule: {runbookUrl: wiki.example.org}", "runbookUrl"),
        ("prometheusRule: {runbookUrl: 'https://a b'}", "runbookUrl"),
        ("prometheusRule: {grafanaUrl: 'https://a/?b'}", "grafanaUrl"),
    ] {
        let error = render::chart(values).expect_err(values).to_string();
        assert!(error.contains(named), "{values}: {error}");
    }
}
