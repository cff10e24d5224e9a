//! Objects as a cluster would get them.
//!
//! In: kustomizations, the chart and values. Out: parsed objects.
//! Must not: judge them.

use std::fmt::Write;
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::Value;

use crate::tools;

/// Release and namespace that the chart is rendered with.
pub(crate) const RELEASE: &str = "ctmon";

/// What `kubectl kustomize` makes of a folder.
pub(crate) fn kustomize(folder: &Path) -> Result<Vec<Value>> {
    let text = tools::kubectl(&["kustomize".as_ref(), folder.as_os_str()])?;
    documents(&text).with_context(|| format!("failed to read what {} builds", folder.display()))
}

/// What the base and these components build together, in this order.
pub(crate) fn components(names: &[&str]) -> Result<Vec<Value>> {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let folder =
        Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("kustomize-{}-{number}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let base = relative(&folder, &tools::deploy("kustomize/base")?);
    let mut text = format!("resources: [{}]\n", base.display());
    if !names.is_empty() {
        text += "components:\n";
    }
    for name in names {
        let component = tools::deploy("kustomize/components")?.join(name);
        writeln!(text, "  - {}", relative(&folder, &component).display())?;
    }
    std::fs::write(folder.join("kustomization.yaml"), text)?;
    let objects = kustomize(&folder);
    std::fs::remove_dir_all(&folder)?;
    objects
}

/// What Helm makes of the chart and a values file; an error is Helm's.
pub(crate) fn chart(values: &str) -> Result<Vec<Value>> {
    const PROGRAM: &str = "
import json, sys
from helm_python import chart
values = chart.values_from_yaml(sys.stdin.read())
lint = chart.lint(sys.argv[1], values, strict=True)
if lint['errors']:
    sys.exit('\\n'.join(str(error) for error in lint['errors']))
rendered = chart.Chart.load(sys.argv[1]).render(values, name=sys.argv[2], namespace=sys.argv[2])
print('\\n---\\n'.join(text for file, text in sorted(rendered.items()) if not file.endswith('.txt')))
";
    let folder = tools::deploy("chart")?;
    let text = tools::python(PROGRAM, &[folder.as_os_str(), RELEASE.as_ref()], values)?;
    documents(&text)
}

/// The documents of a YAML stream, without the empty ones.
pub(crate) fn documents(text: &str) -> Result<Vec<Value>> {
    let mut objects = Vec::new();
    for document in yaml_serde::Deserializer::from_str(text) {
        let value = Value::deserialize(document)?;
        if !value.is_null() {
            objects.push(value);
        }
    }
    Ok(objects)
}

/// kustomize takes relative paths only: up to the root and down again is always right.
fn relative(from: &Path, to: &Path) -> PathBuf {
    let up = from.components().filter(|part| matches!(part, Component::Normal(_))).map(|_| "..");
    let down = to.components().filter(|part| matches!(part, Component::Normal(_)));
    up.collect::<PathBuf>().join(down.collect::<PathBuf>())
}
