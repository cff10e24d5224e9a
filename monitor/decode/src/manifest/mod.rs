//! Kubernetes objects and Talos machine configurations, as far as they say something about storage or conntrack.
//!
//! In: what `kubectl get ... -o json` prints, or YAML with any number of documents; lists are opened, and so are what
//! `talosctl get machineconfig -o yaml` prints and the manifests inside. Out: plain
//! [`Object`]s; kinds that say nothing here are counted. Must not: judge, or keep values that may be secret: of a
//! Secret nothing is read.

use std::collections::BTreeMap;

use monitor_model::host::mounts::{Family, VolumeSigns};
use monitor_model::manifest::{Container, Manifest, Object, ObjectId, PersistentVolume};
use serde::Deserialize as _;
use yaml_serde::Value;

use crate::yaml::scalar;

mod talos;

/// Lists in lists, and values in values, deeper than any object of Kubernetes.
const DEPTH: usize = 32;

/// Every document; an error names the number of the one that is none.
pub fn parse_manifest(bytes: &[u8]) -> Result<Manifest, (usize, String)> {
    let mut manifest = Manifest::default();
    add_documents(&mut manifest, bytes, DEPTH)?;
    Ok(manifest)
}

fn add_documents(manifest: &mut Manifest, bytes: &[u8], depth: usize) -> Result<(), (usize, String)> {
    for (index, document) in yaml_serde::Deserializer::from_slice(bytes).enumerate() {
        let value = Value::deserialize(document).map_err(|error| (index + 1, error.to_string()))?;
        add(manifest, &value, depth);
    }
    Ok(())
}

fn add(manifest: &mut Manifest, value: &Value, depth: usize) {
    // An empty document between two separators.
    if value.is_null() || depth == 0 {
        return;
    }
    if let Some(items) = value.get("items").and_then(Value::as_sequence) {
        for item in items {
            add(manifest, item, depth - 1);
        }
        return;
    }
    if let Some(nested) = talos::resource(value) {
        // Text that is none is no object of ours either.
        if add_documents(manifest, nested.as_bytes(), depth - 1).is_err() {
            manifest.other += 1;
        }
        return;
    }
    // Not those of manifests inside manifests, which Talos does not open either.
    let inlines = (depth + 1 >= DEPTH).then(|| talos::inline_manifests(value));
    for inline in inlines.into_iter().flatten() {
        // What cannot be read there is Talos's to refuse.
        if add_documents(manifest, inline.as_bytes(), depth - 1).is_err() {
            manifest.other += 1;
        }
    }
    match object(value) {
        Some(object) => manifest.objects.push(object),
        None => manifest.other += 1,
    }
}

fn object(value: &Value) -> Option<Object> {
    let Some(kind) = text(value, &["kind"]) else {
        return talos::machine(value).or_else(|| values_file(value));
    };
    let id = ObjectId {
        name: text(value, &["metadata", "name"]).unwrap_or_default(),
        namespace: text(value, &["metadata", "namespace"]).unwrap_or_default(),
        kind,
    };
    match id.kind.as_str() {
        "Pod" => workload(id, at(value, &["spec"])?),
        "Deployment" | "DaemonSet" | "StatefulSet" | "ReplicaSet" | "Job" => {
            workload(id, at(value, &["spec", "template", "spec"])?)
        }
        "CronJob" => workload(id, at(value, &["spec", "jobTemplate", "spec", "template", "spec"])?),
        "TridentBackendConfig" => Some(Object::TridentBackendConfig {
            driver: text(value, &["spec", "storageDriverName"]),
            limit_volume_size: text(value, &["spec", "limitVolumeSize"]).filter(|size| !size.is_empty()),
            id,
        }),
        "TridentOrchestrator" => Some(Object::TridentOrchestrator {
            api_version: text(value, &["apiVersion"]).unwrap_or_default(),
            keys: keys(at(value, &["spec"])),
            id,
        }),
        "PersistentVolume" => Some(Object::PersistentVolume(persistent_volume(id, value))),
        "ConfigMap" if id.name.starts_with("cilium") => {
            let data = at(value, &["data"]).map(flatten).unwrap_or_default();
            Some(Object::CiliumConfig { id, data })
        }
        "HelmRelease" | "Application" | "HelmChart" | "HelmChartConfig" => chart_values(id, value),
        _ => talos::document(id, value),
    }
}

fn workload(id: ObjectId, spec: &Value) -> Option<Object> {
    let containers = at(spec, &["containers"])?.as_sequence()?;
    let read = |container: &Value| {
        let list = |key: &str| {
            let items = at(container, &[key]).and_then(Value::as_sequence);
            items.into_iter().flatten().filter_map(scalar).collect::<Vec<String>>()
        };
        let filled = |key: &str| {
            let part = at(container, &["resources", key]).and_then(Value::as_mapping);
            part.is_some_and(|part| !part.is_empty())
        };
        Container {
            name: text(container, &["name"]).unwrap_or_default(),
            image: text(container, &["image"]).unwrap_or_default(),
            arguments: [list("command"), list("args")].concat(),
            has_requests: filled("requests"),
            has_limits: filled("limits"),
        }
    };
    Some(Object::Workload { id, containers: containers.iter().map(read).collect() })
}

fn persistent_volume(id: ObjectId, value: &Value) -> PersistentVolume {
    let options = at(value, &["spec", "mountOptions"]).and_then(Value::as_sequence);
    let mount_options: Vec<String> = options
        .into_iter()
        .flatten()
        .filter_map(scalar)
        // `a,b` in one item is as good to mount as two items.
        .flat_map(|option| option.split(',').map(|option| option.trim().to_owned()).collect::<Vec<_>>())
        .filter(|option| !option.is_empty())
        .collect();
    PersistentVolume { family: volume_family(value, &mount_options), id, mount_options }
}

fn volume_family(value: &Value, options: &[String]) -> Option<Family> {
    let by = |is_its: &dyn Fn(&VolumeSigns) -> bool| {
        Family::ALL.iter().copied().find(|family| is_its(&family.volume))
    };
    let in_tree = by(&|signs| signs.spec.is_some_and(|key| at(value, &["spec", key]).is_some()));
    if in_tree.is_some() {
        return in_tree;
    }
    let csi = at(value, &["spec", "csi"])?;
    let attributes: Vec<String> =
        at(csi, &["volumeAttributes"]).map(flatten).unwrap_or_default().into_values().collect();
    let words = [text(csi, &["driver"]), text(csi, &["fsType"])].into_iter().flatten().chain(attributes);
    let mut words = words.map(|word| word.to_ascii_lowercase());
    // A driver that serves several protocols says nothing; options that only one file system has do.
    words
        .find_map(|word| by(&|signs| signs.has_word(&word)))
        .or_else(|| by(&|signs| options.iter().any(|option| signs.has_option(option))))
}

/// Values of a release of Cilium's chart: Flux, Argo CD, or k3s.
fn chart_values(id: ObjectId, value: &Value) -> Option<Object> {
    let places = [
        &["spec", "chart", "spec", "chart"][..],
        &["spec", "chartRef", "name"],
        &["spec", "releaseName"],
        &["spec", "source", "chart"],
        &["spec", "chart"],
    ];
    let named = places.iter().filter_map(|path| text(value, path)).chain([id.name.clone()]);
    if !named.into_iter().any(|name| is_cilium(&name)) {
        return None;
    }
    let inline = [&["spec", "values"][..], &["spec", "source", "helm", "valuesObject"]];
    if let Some(values) = inline.iter().find_map(|path| at(value, path)) {
        return Some(Object::CiliumValues { values: flatten(values), id });
    }
    let quoted = [&["spec", "source", "helm", "values"][..], &["spec", "valuesContent"]];
    let content = quoted.iter().find_map(|path| text(value, path))?;
    let values: Value = yaml_serde::from_str(&content).ok()?;
    Some(Object::CiliumValues { values: flatten(&values), id })
}

fn is_cilium(chart: &str) -> bool {
    chart == "cilium" || chart.ends_with("/cilium")
}

/// A values file as `helm -f` takes it: no kind, and a key only Cilium's chart has.
fn values_file(value: &Value) -> Option<Object> {
    const OWN: &[&str] = &[
        "bpf",
        "bpfClockProbe",
        "conntrackGCInterval",
        "conntrackGCMaxInterval",
        "kubeProxyReplacement",
        "hubble",
    ];
    let values = if let Some(nested) = value.get("cilium").filter(|nested| nested.is_mapping()) {
        nested
    } else {
        value
    };
    let known = OWN.iter().any(|key| values.get(key).is_some());
    let id = ObjectId { kind: "values".to_owned(), namespace: String::new(), name: "cilium".to_owned() };
    known.then(|| Object::CiliumValues { id, values: flatten(values) })
}

fn at<'a>(value: &'a Value, path: &[&str]) -> Option<&'a Value> {
    path.iter().try_fold(value, |value, key| value.get(key)).filter(|value| !value.is_null())
}

fn text(value: &Value, path: &[&str]) -> Option<String> {
    at(value, path).and_then(scalar)
}

fn sequence<'a>(value: &'a Value, path: &[&str]) -> impl Iterator<Item = &'a Value> {
    at(value, path).and_then(Value::as_sequence).into_iter().flatten()
}

/// The names of what a mapping holds.
fn keys(value: Option<&Value>) -> Vec<String> {
    let mapping = value.and_then(Value::as_mapping);
    mapping.into_iter().flat_map(|mapping| mapping.keys()).filter_map(scalar).collect()
}

/// Every plain value under its dotted path. Of a list the path says which element.
fn flatten(value: &Value) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    flatten_into(value, String::new(), DEPTH, &mut all);
    all
}

fn flatten_into(value: &Value, path: String, depth: usize, all: &mut BTreeMap<String, String>) {
    let below = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
    match value {
        _ if depth == 0 => {}
        Value::Mapping(mapping) => {
            for (key, value) in mapping {
                if let Some(key) = scalar(key) {
                    flatten_into(value, below(&key), depth - 1, all);
                }
            }
        }
        Value::Sequence(items) => {
            for (index, value) in items.iter().enumerate() {
                flatten_into(value, below(&index.to_string()), depth - 1, all);
            }
        }
        Value::Tagged(tagged) => flatten_into(&tagged.value, path, depth - 1, all),
        _ => {
            if let Some(text) = scalar(value) {
                all.insert(path, text);
            }
        }
    }
}

#[cfg(test)]
mod tests;
