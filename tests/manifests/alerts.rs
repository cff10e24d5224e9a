//! How long an alert waits and how bad it is can be changed, in the chart and with kustomize.
//!
//! In: the chart, the component's rules, the pages that say how. Out: pass or fail. Must not: know an alert's own times.

use std::fmt::Write as _;

use anyhow::{Context, Result};
use monitor_config::Settings;
use monitor_output::rules::{self, Format, Group, Options};
use serde_json::{Value, json};
use support::folder::Folder;
use support::objects::{at, between, documents};

use crate::objects::{named, one};
use crate::{render, tools};

/// What `ctmon rules -o crd` prints for these settings.
fn printed(settings: &Settings, group: Group) -> Result<String> {
    let mut printed = Vec::new();
    rules::write(settings, &Options::default(), group, Format::Crd, &mut printed)?;
    Ok(String::from_utf8(printed)?)
}

fn rules_of(object: &Value) -> Result<&Vec<Value>> {
    at(object, "/spec/groups/0/rules").as_array().context("no rules")
}

/// The rules that differ, as they were and as they are.
fn changed(before: &[Value], after: &[Value]) -> Vec<(Value, Value)> {
    assert_eq!(before.len(), after.len());
    let pairs = before.iter().zip(after).filter(|(before, after)| before != after);
    pairs.map(|(before, after)| (before.clone(), after.clone())).collect()
}

#[test]
fn the_chart_has_the_rules_the_dashboard_and_the_values_as_files() -> Result<()> {
    for file in [
        "prometheus/ctmon.prometheusrule.yaml",
        "prometheus/fleet/ctmon-fleet.prometheusrule.yaml",
        "prometheus/cluster/ctmon-cluster.prometheusrule.yaml",
        "grafana/ctmon.json",
        "chart/values.yaml",
    ] {
        let name = file.rsplit('/').next().context("no name")?;
        let copy = format!("chart/files/{name}");
        tools::committed(&copy, &tools::text(file)?)?;
        // What fetches a chart out of a repository may leave links out.
        assert!(tools::deploy(&copy)?.symlink_metadata()?.is_file(), "{copy} is a link");
    }
    Ok(())
}

/// One configuration for both: what the agent waits in `ctmon check`, and what Prometheus waits.
#[test]
fn the_charts_rules_follow_its_configuration_as_the_command_does() -> Result<()> {
    let thresholds = json!({
        "StaleConnections": {"warning": {"for": "30m"}, "info": {"keep_firing_for": "0s"}},
        "MapFull": {"critical": {"for": "1m30s", "keep_firing_for": "10m", "value": 0.8}},
        "EntriesAboveNormal": null,
    });
    let config = json!({"thresholds": thresholds});
    let values = json!({"config": config, "prometheusRule": {"enabled": true}});
    let settings = monitor_config::parse::<monitor_check::Catalog>(&config.to_string())?;
    let expected = documents(&printed(&settings, Group::Nodes)?)?.remove(0);
    let objects = render::chart(&values.to_string())?;
    assert_eq!(named(&objects, "PrometheusRule", "ctmon")?["spec"], expected["spec"]);
    let usual = documents(&tools::text("prometheus/ctmon.prometheusrule.yaml")?)?.remove(0);
    assert_eq!(changed(rules_of(&usual)?, rules_of(&expected)?).len(), 3);
    Ok(())
}

#[test]
fn an_override_changes_its_rule_and_no_other() -> Result<()> {
    let on = json!({"enabled": true, "cluster": true});
    let usual = render::chart(&json!({"prometheusRule": on}).to_string())?;
    let mut with = on;
    with["overrides"] = json!({
        // With and without Ctmon, as `disabled` and the configuration write it; above what the configuration says.
        "StaleConnections": {"warning": {"for": "45m", "severity": "critical"}},
        "CtmonLiveEvictions": {"critical": {"for": "2m", "keep_firing_for": "5m"}},
        "TridentReplicaSets": {"warning": {"severity": "info"}},
    });
    let config = json!({"thresholds": {"StaleConnections": {"warning": {"for": "30m"}}}});
    let objects = render::chart(&json!({"prometheusRule": with, "config": config}).to_string())?;
    let mut all = Vec::new();
    for name in ["ctmon", "ctmon-cluster"] {
        let (before, after) =
            (named(&usual, "PrometheusRule", name)?, named(&objects, "PrometheusRule", name)?);
        all.extend(changed(rules_of(before)?, rules_of(after)?));
    }
    let expected = [
        ("CtmonStaleConnections", json!({"for": "45m", "labels": {"severity": "critical"}})),
        ("CtmonLiveEvictions", json!({"for": "2m", "keep_firing_for": "5m"})),
        ("CtmonTridentReplicaSets", json!({"labels": {"severity": "info"}})),
    ];
    assert_eq!(all.len(), expected.len(), "{all:?}");
    for ((before, after), (alert, change)) in all.iter().zip(expected) {
        let mut wanted = before.clone();
        for (key, value) in change.as_object().context("a change")? {
            wanted[key] = value.clone();
        }
        assert_eq!((&after["alert"], after), (&json!(alert), &wanted));
        assert_eq!(before["expr"], after["expr"], "the threshold stays the one of the severity it has");
    }
    Ok(())
}

/// What is left out is left out under either name.
#[test]
fn alerts_are_left_out_under_either_name() -> Result<()> {
    let rules = |disabled: &str| {
        render::chart(&json!({"prometheusRule": {"enabled": true, "disabled": [disabled]}}).to_string())
    };
    let (short, long) = (rules("MapFull")?, rules("CtmonMapFull")?);
    assert_eq!(short, long);
    let text = serde_json::to_string(named(&short, "PrometheusRule", "ctmon")?)?;
    assert!(!text.contains("\"CtmonMapFull\"") && text.contains("\"CtmonMapFullSoon\""));
    Ok(())
}

/// The component's rules with these lines of a kustomization, and files beside it.
fn patched(lines: &str, files: &[(&str, &str)]) -> Result<Vec<Value>> {
    let folder = Folder::new("manifests")?;
    let rules = tools::text("prometheus/ctmon.prometheusrule.yaml")?;
    let kustomization = format!("resources: [committed.yaml]\n{lines}");
    let always = [("committed.yaml", rules.as_str()), ("kustomization.yaml", &kustomization)];
    for (file, text) in always.iter().chain(files) {
        std::fs::write(folder.join(file), text)?;
    }
    render::kustomize(folder.path())
}

#[test]
fn rules_printed_for_a_configuration_take_the_place_of_the_components() -> Result<()> {
    let config = "thresholds: {StaleConnections: {warning: {for: 30m}}}";
    let printed = printed(&monitor_config::parse::<monitor_check::Catalog>(config)?, Group::Nodes)?;
    let line = "patches: [{path: ctmon.prometheusrule.yaml}]\n";
    assert!(tools::text("README.md")?.contains(line.trim_end()), "deploy/README.md tells another way");
    let objects = patched(line, &[("ctmon.prometheusrule.yaml", &printed)])?;
    let usual = documents(&tools::text("prometheus/ctmon.prometheusrule.yaml")?)?.remove(0);
    let changed = changed(rules_of(&usual)?, rules_of(one(&objects, "PrometheusRule")?)?);
    let [(_, after)] = changed.as_slice() else { anyhow::bail!("{changed:?}") };
    assert_eq!((&after["alert"], &after["for"]), (&json!("CtmonStaleConnections"), &json!("30m")));
    Ok(())
}

/// The patch of deploy/README.md. Its place in the list follows the rules with `CTMON_BLESS=1`.
#[test]
fn the_documented_patch_changes_a_severity_and_fails_where_the_list_moved() -> Result<()> {
    const SEVERITY: (&str, &str) = ("CtmonStaleConnections", "warning");
    let usual = documents(&tools::text("prometheus/ctmon.prometheusrule.yaml")?)?.remove(0);
    let place = rules_of(&usual)?
        .iter()
        .position(|rule| {
            (&rule["alert"], &rule["labels"]["severity"]) == (&json!(SEVERITY.0), &json!(SEVERITY.1))
        })
        .context("no such rule")?;
    let readme = tools::text("README.md")?;
    let rule = "path: /spec/groups/0/rules/";
    let moved = between(&readme, rule, "/").next().context("no patch in deploy/README.md")?.to_owned();
    tools::committed("README.md", &readme.replace(&format!("{rule}{moved}/"), &format!("{rule}{place}/")))?;

    let readme = tools::text("README.md")?;
    let patch =
        between(&readme, "```yaml\n", "```").find(|block| block.contains(rule)).context("no patch")?;
    let objects = patched(patch, &[])?;
    let changed = changed(rules_of(&usual)?, rules_of(one(&objects, "PrometheusRule")?)?);
    let [(before, after)] = changed.as_slice() else { anyhow::bail!("{changed:?}") };
    assert_eq!((&before["alert"], &before["labels"]["severity"]), (&json!(SEVERITY.0), &json!(SEVERITY.1)));
    let mut wanted = before.clone();
    wanted["labels"]["severity"] = json!("critical");
    assert_eq!(after, &wanted);

    let elsewhere = patch.replace(&format!("{rule}{place}/"), &format!("{rule}{}/", place + 2));
    let error = patched(&elsewhere, &[]).expect_err("another rule").to_string();
    assert!(error.contains("test") && error.contains("alert"), "{error}");
    Ok(())
}

/// As values.yaml has it behind comment marks: the ConfigMap is mounted, and the agent is told where.
#[test]
fn the_example_that_mounts_ciliums_configuration_is_one() -> Result<()> {
    use clap::Parser as _;
    let text = tools::text("chart/values.yaml")?;
    let mut example = String::new();
    for key in ["extraArgs", "extraVolumes", "extraVolumeMounts"] {
        let (_, block) = text.split_once(&format!("\n{key}: []\n")).with_context(|| format!("no {key}"))?;
        let lines: Vec<_> = block.lines().map_while(|line| line.strip_prefix('#')).collect();
        assert!(!lines.is_empty(), "no example of {key}");
        writeln!(example, "{key}:\n{}", lines.join("\n"))?;
    }
    let objects = render::chart(&example)?;
    crate::schema::validate(&objects, &["1.29", "1.37"])?;
    let container = crate::objects::container(&objects)?;
    let mount = crate::objects::by_name(&container["volumeMounts"], "cilium-config")?;
    assert_eq!(mount["readOnly"], true);
    let volume = crate::objects::by_name(&crate::objects::pod(&objects)?["volumes"], "cilium-config")?;
    assert_eq!(volume["configMap"]["name"], "cilium-config");
    let arguments = container["args"].as_array().context("no arguments")?.iter().filter_map(Value::as_str);
    let line = std::iter::once("ctmon").chain(arguments);
    let cli = monitor::command::cli::Cli::try_parse_from(line).context("the agent does not take it")?;
    let told = format!("{cli:?}");
    assert!(told.contains(mount["mountPath"].as_str().context("no path")?), "{told}");
    Ok(())
}

/// The README's command, over what kubectl makes of two keys: what it prints is applied as it is, and ctmon reads it.
#[test]
fn the_command_that_copies_ciliums_configuration_makes_a_config_map() -> Result<()> {
    let readme = tools::text("chart/README.md")?;
    let format = between(&readme, "jsonpath='", "'").next().context("no command")?;
    let output = format!("jsonpath={format}");
    let create = "create configmap cilium-config --dry-run=client --from-literal=conntrack-gc-interval=5m -o";
    let arguments: Vec<&std::ffi::OsStr> =
        create.split(' ').map(AsRef::as_ref).chain([output.as_ref()]).collect();
    let text = tools::kubectl(&arguments)?;
    let expected = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "cilium-config"},
        "data": {"conntrack-gc-interval": "5m"},
    });
    assert_eq!(documents(&text)?, [expected]);
    let read = monitor_decode::cilium::agent_config::parse_config_map(text.as_bytes())?;
    assert_eq!(read.gc_interval, Some(std::time::Duration::from_mins(5)));
    Ok(())
}

#[test]
fn labels_of_the_users_reach_every_object_and_no_selector() -> Result<()> {
    let values = json!({
        "commonLabels": {"example.org/team": "storage", "tier": "all"},
        "podLabels": {"tier": "pods"},
        "podMonitor": {"enabled": true, "jobLabel": "app.kubernetes.io/name", "labels": {"tier": "monitor"}},
        "prometheusRule": {"enabled": true, "labels": {"app.kubernetes.io/part-of": "rules"}},
        "dashboard": {"configMap": {"enabled": true}, "operator": {"enabled": true}},
        "ciliumPolicy": {"enabled": true},
    });
    let objects = render::chart(&values.to_string())?;
    for object in &objects {
        assert_eq!(object["metadata"]["labels"]["example.org/team"], "storage", "{object}");
        let selectors = [&object["spec"]["selector"], &object["spec"]["instanceSelector"]];
        assert!(!selectors.iter().any(|selector| selector.to_string().contains("storage")), "{object}");
    }
    let pods = &one(&objects, "DaemonSet")?["spec"]["template"]["metadata"]["labels"];
    assert_eq!((&pods["tier"], &pods["example.org/team"]), (&json!("pods"), &json!("storage")));
    let monitor = one(&objects, "PodMonitor")?;
    assert_eq!(monitor["metadata"]["labels"]["tier"], "monitor");
    let label = monitor["spec"]["jobLabel"].as_str().context("no jobLabel")?;
    assert_eq!(pods[label], "ctmon", "the job CtmonDown looks for");
    assert_eq!(one(&objects, "PrometheusRule")?["metadata"]["labels"]["app.kubernetes.io/part-of"], "rules");
    Ok(())
}
