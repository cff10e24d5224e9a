//! Objects as a cluster would get them.
//!
//! In: kustomizations, the chart and values. Out: parsed objects.
//! Must not: judge them.

use std::fmt::Write;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::Value;
use support::folder::Folder;
use support::objects::documents;

use crate::tools;

/// Release and namespace that the chart is rendered with.
pub(crate) const RELEASE: &str = "ctmon";
/// The placeholder wherever an image has to be named.
pub(crate) const PLACEHOLDER: &str = "registry.example/set-the-image/ctmon";
/// What a user names instead.
pub(crate) const IMAGE: &str = "registry.example.org/you/ctmon";

/// What `kubectl kustomize` makes of a folder.
pub(crate) fn kustomize(folder: &Path) -> Result<Vec<Value>> {
    let text = tools::kubectl(&["kustomize".as_ref(), folder.as_os_str()])?;
    documents(&text).with_context(|| format!("failed to read what {} builds", folder.display()))
}

/// What the base and these components build together, in this order.
pub(crate) fn components(names: &[&str]) -> Result<Vec<Value>> {
    overlay("base", names, "")
}

/// What an overlay over `deploy/kustomize/PARENT` builds: these components in this order, and more lines of YAML.
pub(crate) fn overlay(parent: &str, components: &[&str], more: &str) -> Result<Vec<Value>> {
    let folder = Folder::new("manifests")?;
    let parent = relative(folder.path(), &tools::deploy("kustomize")?.join(parent));
    let mut text = format!("resources: [{}]\n", parent.display());
    if !components.is_empty() {
        text += "components:\n";
    }
    for name in components {
        let component = tools::deploy("kustomize/components")?.join(name);
        writeln!(text, "  - {}", relative(folder.path(), &component).display())?;
    }
    std::fs::write(folder.join("kustomization.yaml"), text + more)?;
    kustomize(folder.path())
}

/// What Helm makes of the chart and a values file, with [`IMAGE`] where the file names none; an error is Helm's.
pub(crate) fn chart(values: &str) -> Result<Vec<Value>> {
    helm(&tools::deploy("chart")?, values, IMAGE)
}

/// The same of a copy of the chart that lacks one of its `files/`.
pub(crate) fn chart_without(file: &str, values: &str) -> Result<Vec<Value>> {
    let folder = Folder::new("manifests")?;
    let chart = tools::deploy("chart")?;
    let below = |name: &str| chart.join(name).read_dir();
    for entry in chart.read_dir()?.chain(below("templates")?).chain(below("files")?) {
        let path = entry?.path();
        let to = path.strip_prefix(&chart)?;
        if path.is_file() && to != Path::new("files").join(file) {
            let to = folder.join(to);
            std::fs::create_dir_all(to.parent().context("no folder")?)?;
            std::fs::copy(&path, to)?;
        }
    }
    helm(folder.path(), values, IMAGE)
}

/// The same with the placeholder: no image was named.
pub(crate) fn chart_without_image(values: &str) -> Result<Vec<Value>> {
    helm(&tools::deploy("chart")?, values, PLACEHOLDER)
}

/// Lints the chart with these values alone, warnings counting as errors.
pub(crate) fn lint(values: &str) -> Result<()> {
    const PROGRAM: &str = "
import sys
from helm_python import chart
report = chart.lint(sys.argv[1], chart.values_from_yaml(sys.stdin.read()), strict=True)
if report['errors'] or report['total_charts_linted'] != 1:
    sys.exit('\\n'.join(str(error) for error in report['errors']) or 'nothing was linted')
";
    tools::python(PROGRAM, &[tools::deploy("chart")?.as_os_str()], values).map(drop)
}

fn helm(folder: &Path, values: &str, image: &str) -> Result<Vec<Value>> {
    const PROGRAM: &str = "
import sys
from helm_python import chart, errors
values = chart.values_from_yaml(sys.stdin.read())
lint = chart.lint(sys.argv[1], values, strict=True)
if lint['errors']:
    sys.exit('\\n'.join(str(error) for error in lint['errors']))
values.setdefault('image', {}).setdefault('repository', sys.argv[3])
try:
    rendered = chart.Chart.load(sys.argv[1]).render(values, name=sys.argv[2], namespace=sys.argv[2])
except errors.HelmError as error:
    sys.exit(str(error))
print('\\n---\\n'.join(text for file, text in sorted(rendered.items()) if not file.endswith('.txt')))
";
    let text = tools::python(PROGRAM, &[folder.as_os_str(), RELEASE.as_ref(), image.as_ref()], values)?;
    documents(&text)
}

/// What Helm prints of each of these values, or its error, with [`IMAGE`] where a value names none: one process for all.
pub(crate) fn attempts(values: &[Value]) -> Result<Vec<Result<String, String>>> {
    const PROGRAM: &str = "
import json, sys
from helm_python import chart, errors
loaded = chart.Chart.load(sys.argv[1])
said = []
for values in json.load(sys.stdin):
    if 'image' not in values:
        values['image'] = {'repository': sys.argv[3]}
    elif isinstance(values['image'], dict):
        values['image'].setdefault('repository', sys.argv[3])
    try:
        rendered = loaded.render(values, name=sys.argv[2], namespace=sys.argv[2])
        said.append({'Ok': '\\n---\\n'.join(text for file, text in sorted(rendered.items()) if not file.endswith('.txt'))})
    except errors.HelmError as error:
        said.append({'Err': str(error)})
print(json.dumps(said))
";
    let chart = tools::deploy("chart")?;
    let arguments = [chart.as_os_str(), RELEASE.as_ref(), IMAGE.as_ref()];
    Ok(serde_json::from_str(&tools::python(PROGRAM, &arguments, &serde_json::to_string(values)?)?)?)
}

/// kustomize takes relative paths only: up to the root and down again is always right.
fn relative(from: &Path, to: &Path) -> PathBuf {
    let up = from.components().filter(|part| matches!(part, Component::Normal(_))).map(|_| "..");
    let down = to.components().filter(|part| matches!(part, Component::Normal(_)));
    up.collect::<PathBuf>().join(down.collect::<PathBuf>())
}
