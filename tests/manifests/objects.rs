//! Looking things up in parsed objects.
//!
//! In: objects. Out: parts of them, or an error that names what is missing.
//! Must not: know what is right.

use anyhow::{Context, Result};
use serde_json::Value;
use support::objects::at;

/// The name of an object.
pub(crate) fn name(object: &Value) -> &Value {
    at(object, "/metadata/name")
}

/// The one object of this kind.
pub(crate) fn one<'a>(objects: &'a [Value], kind: &str) -> Result<&'a Value> {
    let mut found = objects.iter().filter(|object| object["kind"] == kind);
    let first = found.next().with_context(|| format!("no {kind} among {}", summary(objects)))?;
    anyhow::ensure!(found.next().is_none(), "more than one {kind} among {}", summary(objects));
    Ok(first)
}

/// The object of this kind and name.
pub(crate) fn named<'a>(objects: &'a [Value], kind: &str, name: &str) -> Result<&'a Value> {
    objects
        .iter()
        .find(|object| object["kind"] == kind && self::name(object) == name)
        .with_context(|| format!("no {kind} {name} among {}", summary(objects)))
}

/// Kinds and names, sorted: versions of kustomize differ in their order.
pub(crate) fn summary(objects: &[Value]) -> String {
    let text = |value: &Value| value.as_str().unwrap_or("?").to_owned();
    let mut names: Vec<_> =
        objects.iter().map(|object| format!("{}/{}", text(&object["kind"]), text(name(object)))).collect();
    names.sort();
    names.join(", ")
}

/// The pod of the DaemonSet.
pub(crate) fn pod(objects: &[Value]) -> Result<&Value> {
    Ok(at(one(objects, "DaemonSet")?, "/spec/template/spec"))
}

/// Its only container.
pub(crate) fn container(objects: &[Value]) -> Result<&Value> {
    let containers = pod(objects)?["containers"].as_array().context("no containers")?;
    anyhow::ensure!(containers.len() == 1, "{} containers, one is expected", containers.len());
    containers.first().context("no container")
}

/// The element of a list with this name.
pub(crate) fn by_name<'a>(list: &'a Value, name: &str) -> Result<&'a Value> {
    let elements = list.as_array().with_context(|| format!("not a list: {list}"))?;
    elements.iter().find(|element| element["name"] == name).with_context(|| format!("no {name} in {list}"))
}

/// The agent's configuration as it is mounted.
pub(crate) fn configuration(objects: &[Value]) -> Result<&str> {
    at(named(objects, "ConfigMap", "ctmon")?, "/data/config.yaml").as_str().context("no config.yaml")
}
