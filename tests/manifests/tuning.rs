//! The tuning fragments say what the preset `nas-tuning` expects, with keys that exist.

use anyhow::{Context, Result};
use monitor_config::Bound;
use monitor_model::host::mounts::Family;
use serde_json::Value;
use support::objects::documents;

use crate::{render, tools};

fn preset() -> Result<monitor_config::Expect> {
    Ok(monitor_config::parse::<monitor_check::Catalog>(
        "expect: {preset: nas-tuning, gc_interval: {at_most: 5m}}",
    )?
    .expect)
}

fn only(file: &str) -> Result<Value> {
    documents(&tools::text(file)?)?.into_iter().next().context("an empty file")
}

#[test]
fn the_machine_patch_puts_the_expected_sysctls_in_force() -> Result<()> {
    let patch = only("tuning/talos-sysctls.yaml")?;
    let sysctls = patch["machine"]["sysctls"].as_object().context("no sysctls")?;
    let expected = preset()?.sysctls;
    // Those in comments are for nodes that need them.
    let text = tools::text("tuning/talos-sysctls.yaml")?;
    let optional: Vec<_> =
        text.lines().filter_map(|line| line.strip_prefix("    # ")?.split_once(": \"")).collect();
    assert_eq!(optional, [("fs.file-max", "2097152\"")], "it lowers the limit of a big node");
    assert_eq!(sysctls.len() + optional.len(), expected.len());
    for (name, bound) in expected.iter().filter(|(name, _)| sysctls.contains_key(*name)) {
        // Text: Talos refuses numbers.
        let value = sysctls.get(name).and_then(Value::as_str).with_context(|| name.clone())?;
        assert!(bound.holds_text(value), "{name}: {value}, expected {}", bound.describe(ToString::to_string));
    }
    Ok(())
}

/// The lines below `bpf:`, which is a comment: sizes are for those who know that living entries need them.
fn sizes() -> Result<Value> {
    let text = tools::text("tuning/cilium-values.yaml")?;
    let block = text.lines().skip_while(|line| *line != "# bpf:").map_while(|line| line.strip_prefix("# "));
    documents(&block.collect::<Vec<_>>().join("\n"))?.into_iter().next().context("no sizes")
}

#[test]
fn the_values_make_the_expected_interval_and_no_map_bigger() -> Result<()> {
    let values = only("tuning/cilium-values.yaml")?;
    let expect = preset()?;
    assert!(expect.map_capacity.is_empty() && values["bpf"].is_null(), "a bigger map makes it worse");
    let sizes = sizes()?;
    let size = |key: &str| sizes["bpf"][key].as_u64().with_context(|| key.to_owned());
    assert!(
        size("natMax")? <= size("ctTcpMax")? + size("ctAnyMax")?,
        "Cilium refuses a larger NAT map at start"
    );
    let interval = values["conntrackGCInterval"].as_str().context("no interval")?;
    let written = monitor_config::parse::<monitor_check::Catalog>(&format!(
        "expect: {{gc_interval: {{equals: {interval}}}}}"
    ))?;
    let (Some(Bound::Equals(interval)), Some(bound)) = (written.expect.gc_interval, expect.gc_interval)
    else {
        anyhow::bail!("no interval to compare");
    };
    assert!(bound.holds(&interval));
    Ok(())
}

#[test]
fn no_fragment_uses_a_key_that_is_ignored() -> Result<()> {
    let values = only("tuning/cilium-values.yaml")?;
    let keys = |value: &Value| value.as_object().map(|map| map.keys().cloned().collect::<Vec<_>>());
    assert_eq!(keys(&values).context("values")?, ["conntrackGCInterval", "prometheus"]);
    assert_eq!(keys(&sizes()?["bpf"]).context("bpf")?, ["ctAnyMax", "ctTcpMax", "natMax"]);
    let readme = tools::text("tuning/README.md")?;
    for ignored in ["bpf.mapMax.ct.tcp", "bpf.ctTcpTimeout", "bpf.ctTcpTimeoutFin", "bpf.ctTcpTimeoutClose"] {
        assert!(readme.contains(ignored), "{ignored} is not named");
    }
    Ok(())
}

#[test]
fn the_mounts_have_the_expected_options() -> Result<()> {
    let expected = preset()?.mount_options;
    let expected = expected.get(&Family::CIFS).context("no options")?;
    let objects = documents(&tools::text("tuning/smb.yaml")?)?;
    let class = &crate::objects::one(&objects, "StorageClass")?["mountOptions"];
    let volume = &crate::objects::one(&objects, "PersistentVolume")?["spec"]["mountOptions"];
    for options in [class, volume] {
        let options = options.as_array().context("no options")?;
        for option in expected {
            assert!(options.iter().any(|known| known == option), "{option}");
        }
    }
    Ok(())
}

#[test]
fn the_firewall_examples_open_the_port_the_agent_listens_on() -> Result<()> {
    let rule = only("kustomize/overlays/talos/talos/ingress-firewall.yaml")?;
    assert_eq!(rule["portSelector"]["ports"], serde_json::json!([monitor_config::DEFAULT_PORT]));
    Ok(())
}

/// What the policy asks of the API server, and nothing else that could differ from it.
#[test]
fn the_older_policy_is_the_newer_one_with_what_switches_it_on() -> Result<()> {
    let policy = |folder: &str| render::kustomize(&tools::deploy(folder)?);
    let mut older = policy("tuning/trident-v1beta1")?;
    for object in &mut older {
        assert_eq!(object["apiVersion"], "admissionregistration.k8s.io/v1beta1");
        object["apiVersion"] = "admissionregistration.k8s.io/v1".into();
    }
    assert_eq!(older, policy("tuning/trident")?);
    let patch = only("tuning/trident-v1beta1/talos-apiserver.yaml")?;
    let arguments = serde_json::json!({
        "feature-gates": "MutatingAdmissionPolicy=true",
        "runtime-config": "admissionregistration.k8s.io/v1beta1=true",
    });
    assert_eq!(patch, serde_json::json!({"cluster": {"apiServer": {"extraArgs": arguments}}}));
    Ok(())
}
