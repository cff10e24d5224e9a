//! The tuning fragments say what the preset `nas-tuning` expects, with keys that exist.

use anyhow::{Context, Result};
use monitor_config::Bound;
use monitor_model::host::mounts::Family;
use monitor_model::map_name::Table;
use serde_json::Value;
use support::objects::documents;

use crate::tools;

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
    assert_eq!(sysctls.len(), expected.len());
    for (name, bound) in &expected {
        // Text: Talos refuses numbers.
        let value = sysctls.get(name).and_then(Value::as_str).with_context(|| name.clone())?;
        assert!(bound.holds_text(value), "{name}: {value}, expected {}", bound.describe(ToString::to_string));
    }
    Ok(())
}

#[test]
fn the_values_make_the_expected_maps_and_interval() -> Result<()> {
    let values = only("tuning/cilium-values.yaml")?;
    let expect = preset()?;
    let sizes = [("ctTcpMax", Table::CtTcp), ("ctAnyMax", Table::CtAny), ("natMax", Table::Nat)];
    for (key, kind) in sizes {
        let size = values["bpf"][key].as_u64().context(key)?;
        assert!(expect.map_capacity.get(&kind).context("expected")?.holds(&size), "{key}: {size}");
    }
    let entries: u64 = sizes[..2].iter().filter_map(|(key, _)| values["bpf"][*key].as_u64()).sum();
    assert!(values["bpf"]["natMax"].as_u64() <= Some(entries), "Cilium refuses a larger NAT map at start");
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
    assert_eq!(keys(&values).context("values")?, ["bpf", "conntrackGCInterval", "prometheus"]);
    assert_eq!(keys(&values["bpf"]).context("bpf")?, ["ctAnyMax", "ctTcpMax", "natMax"]);
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
