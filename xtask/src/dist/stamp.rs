//! Writes the project's home into a copy of `deploy/`.
//!
//! In: the copy, with placeholders for owner and registry; the real names, as far as they are known. Out: the copy
//! with these.
//! Must not: leave a placeholder where the real name is known, or invent a name where it is not.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use super::tree::Tree;
use crate::home::{Home, NO_HOME, NO_REGISTRY};

/// The rules in `deploy/`: their files, and the flags of `ctmon rules` that print them.
pub(super) const RULES: &[(&str, &[&str])] = &[
    ("prometheus/ctmon.rules.yaml", &[]),
    ("prometheus/ctmon.prometheusrule.yaml", &["-o", "crd"]),
    ("prometheus/fleet/ctmon-fleet.rules.yaml", &["--group", "fleet"]),
    ("prometheus/fleet/ctmon-fleet.prometheusrule.yaml", &["--group", "fleet", "-o", "crd"]),
    ("prometheus/cluster/ctmon-cluster.rules.yaml", &["--group", "cluster"]),
    ("prometheus/cluster/ctmon-cluster.prometheusrule.yaml", &["--group", "cluster", "-o", "crd"]),
];

const DASHBOARD: &str = "grafana/ctmon.json";

/// Examples that take the base from a tag of the repository, where the image still has the placeholder's name.
const FROM_GIT: &[&str] = &["flux/kustomization/", "kustomize/examples/"];

/// Where the pages about alerts of this version are read.
pub(super) fn runbooks(page: &str, version: &str) -> String {
    format!("{page}/blob/v{version}/deploy/runbooks")
}

/// `rules` prints rules with these flags.
pub(super) fn stamp(
    mut deploy: Tree,
    home: &Home,
    version: &str,
    mut rules: impl FnMut(&[&str]) -> Result<String>,
) -> Result<Tree> {
    if let Some(page) = home.page() {
        let runbooks = runbooks(page, version);
        for (file, flags) in RULES {
            let printed = rules(&[flags, &["--runbooks", runbooks.as_str()][..]].concat())?;
            put(&mut deploy, file, printed)?;
        }
        let dashboard = with_runbooks(deploy.text(DASHBOARD)?, &runbooks)?;
        put(&mut deploy, DASHBOARD, dashboard)?;
        let chart = format!("{}home: {page}\nsources:\n  - {page}\n", deploy.text("chart/Chart.yaml")?);
        put(&mut deploy, "chart/Chart.yaml", chart)?;
        replace(&mut deploy, NO_HOME, page);
    }
    if let Some(registry) = home.registry() {
        let image = home.image();
        replace(&mut deploy, NO_REGISTRY, registry);
        rename(&mut deploy, &image);
        for (file, line) in [
            ("kustomize/base/kustomization.yaml", format!("newName: {image}\n")),
            ("chart/values.yaml", format!("repository: {image}\n")),
            ("chart/files/values.yaml", format!("repository: {image}\n")),
            ("flux/chart/ocirepository.yaml", format!("url: oci://{registry}/charts/ctmon\n")),
        ] {
            ensure!(deploy.text(file)?.contains(&line), "{file} does not say {line:?}: nothing to replace?");
        }
    }
    Ok(deploy)
}

/// Also the chart's copy of the file.
fn put(deploy: &mut Tree, file: &str, text: String) -> Result<()> {
    let name = file.rsplit('/').next().unwrap_or(file);
    let of_chart = format!("chart/files/{name}");
    let known = deploy.0.get_mut(file).with_context(|| format!("there is no deploy/{file}"))?;
    *known = text.clone().into_bytes();
    if let Some(copy) = deploy.0.get_mut(&of_chart) {
        *copy = text.into_bytes();
    }
    Ok(())
}

/// Pages are left alone: they describe a checkout.
fn replace(deploy: &mut Tree, nobodys: &str, real: &str) {
    for (path, bytes) in deploy.0.iter_mut().filter(|(path, _)| !is_page(path)) {
        let from_git = FROM_GIT.iter().any(|folder| path.starts_with(folder));
        if let Ok(text) = std::str::from_utf8(bytes)
            && text.contains(nobodys)
        {
            let is_base = |line: &str| from_git && line.trim_start().starts_with("- name:");
            let lines = text
                .split_inclusive('\n')
                .map(|line| if is_base(line) { line.to_owned() } else { line.replace(nobodys, real) });
            *bytes = lines.collect::<String>().into_bytes();
        }
    }
}

fn is_page(path: &str) -> bool {
    Path::new(path).extension().is_some_and(|ending| ending == "md")
}

/// What the entries of those examples change the image into.
fn rename(deploy: &mut Tree, image: &str) {
    let from_git = |path: &str| FROM_GIT.iter().any(|folder| path.starts_with(folder));
    for (_, bytes) in deploy.0.iter_mut().filter(|(path, _)| from_git(path)) {
        if let Ok(text) = std::str::from_utf8(bytes) {
            let lines = text.split_inclusive('\n').map(|line| match line.split_once("newName: ") {
                Some((before, _)) if before.trim().is_empty() => format!("{before}newName: {image}\n"),
                _ => line.to_owned(),
            });
            *bytes = lines.collect::<String>().into_bytes();
        }
    }
}

/// A link above the panels, and one at every alert named in a table.
fn with_runbooks(dashboard: &str, runbooks: &str) -> Result<String> {
    let mut dashboard: Value = serde_json::from_str(dashboard).context("failed to read the dashboard")?;
    let links = dashboard.pointer_mut("/links").and_then(Value::as_array_mut);
    links.context("the dashboard has no list of links")?.push(json!({
        "title": "Runbooks", "type": "link", "icon": "doc", "url": runbooks, "tooltip": "One page per alert",
        "targetBlank": true, "asDropdown": false, "includeVars": false, "keepTime": false, "tags": [],
    }));
    let link = json!({"matcher": {"id": "byName", "options": "alert"}, "properties": [{"id": "links", "value": [{
        "title": "Runbook", "url": format!("{runbooks}/${{__value.raw}}.md"), "targetBlank": true,
    }]}]});
    let panels = dashboard.pointer_mut("/panels").and_then(Value::as_array_mut);
    let mut linked = 0;
    for panel in panels.context("the dashboard has no panels")? {
        let steps = panel.pointer("/transformations").and_then(Value::as_array);
        // The agents call it `alert`; Prometheus's own `alertname` is shown under the same name.
        let names_alerts = |step: &Value| {
            let columns = step.pointer("/options/indexByName");
            columns.is_some_and(|columns| columns.get("alert").or(columns.get("alertname")).is_some())
        };
        if steps.is_some_and(|steps| steps.iter().any(names_alerts)) {
            let overrides = panel.pointer_mut("/fieldConfig/overrides").and_then(Value::as_array_mut);
            overrides.context("a table of alerts has no overrides")?.push(link.clone());
            linked += 1;
        }
    }
    ensure!(linked > 0, "the dashboard has no table of alerts");
    let text = serde_json::to_string_pretty(&dashboard).context("failed to write the dashboard")?;
    Ok(format!("{text}\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: &str = "resources:\n  - https://git.example/set-the-home/ctmon//deploy/kustomize/base?ref=v1\n\
        images:\n  - name: registry.example/set-the-image/ctmon\n    newName: registry.example.org/you/ctmon\n";

    fn deploy() -> Tree {
        let file = |path: &str, text: &str| (path.to_owned(), text.as_bytes().to_vec());
        let mut files: std::collections::BTreeMap<_, _> =
            RULES.iter().map(|(path, _)| file(path, "groups: []\n")).collect();
        files.extend([
            file("chart/files/ctmon.prometheusrule.yaml", "groups: []\n"),
            file("chart/Chart.yaml", "name: ctmon\n"),
            file("chart/values.yaml", "image:\n  repository: registry.example/set-the-image/ctmon\n"),
            file("chart/files/values.yaml", "image:\n  repository: registry.example/set-the-image/ctmon\n"),
            file("kustomize/base/kustomization.yaml", "    newName: registry.example/set-the-image/ctmon\n"),
            file("flux/chart/ocirepository.yaml", "  url: oci://registry.example/set-the-image/charts/ctmon\n"),
            file("flux/kustomization/gitrepository.yaml", "  url: https://git.example/set-the-home/ctmon\n"),
            file("kustomize/examples/remote/kustomization.yaml", EXAMPLE),
            file("docs/install.md", "In a checkout it is registry.example/set-the-image/ctmon.\n"),
            file(DASHBOARD, r#"{"links":[],"panels":[
                {"fieldConfig":{"overrides":[]},"transformations":[{"options":{"indexByName":{"alert":0}}}]},{}]}"#),
        ]);
        Tree(files)
    }

    fn stamped(page: Option<&str>, registry: Option<&str>) -> Result<Tree> {
        let home = Home::new(page.map(str::to_owned), registry.map(str::to_owned))?;
        stamp(deploy(), &home, "1.2.3", |flags| Ok(flags.join(" ")))
    }

    #[test]
    fn without_a_home_nothing_is_changed() {
        assert_eq!(stamped(None, None).unwrap(), deploy());
    }

    #[test]
    fn a_home_reaches_every_file_that_names_one() {
        let page = "https://forge.example/owner/ctmon";
        let tree = stamped(Some(page), Some("registry.example.org/owner")).unwrap();
        for (path, bytes) in &tree.0 {
            let text = std::str::from_utf8(bytes).unwrap();
            let kept = is_page(path) || path.starts_with("kustomize/examples/");
            assert_eq!(text.contains("set-the-"), kept, "{path}: {text}");
        }
        // The base that comes from a tag of the repository has the placeholder.
        let example = EXAMPLE
            .replace("https://git.example/set-the-home/ctmon", page)
            .replace("registry.example.org/you/ctmon", "registry.example.org/owner/ctmon");
        assert_eq!(tree.text("kustomize/examples/remote/kustomization.yaml").unwrap(), example);
        let runbooks = "https://forge.example/owner/ctmon/blob/v1.2.3/deploy/runbooks";
        for (path, expected) in [
            ("prometheus/fleet/ctmon-fleet.rules.yaml", format!("--group fleet --runbooks {runbooks}")),
            ("chart/files/ctmon.prometheusrule.yaml", format!("-o crd --runbooks {runbooks}")),
            ("chart/Chart.yaml", format!("name: ctmon\nhome: {page}\nsources:\n  - {page}\n")),
            ("flux/kustomization/gitrepository.yaml", format!("  url: {page}\n")),
            ("chart/values.yaml", "image:\n  repository: registry.example.org/owner/ctmon\n".to_owned()),
        ] {
            assert_eq!(tree.text(path).unwrap(), expected, "{path}");
        }
        let dashboard = tree.text(DASHBOARD).unwrap();
        assert!(dashboard.contains(&format!("\"url\": \"{runbooks}\"")), "{dashboard}");
        assert!(dashboard.contains(&format!("\"{runbooks}/${{__value.raw}}.md\"")), "{dashboard}");
    }

    #[test]
    fn a_registry_alone_is_enough_for_images() {
        let tree = stamped(None, Some("registry.example.org/owner")).unwrap();
        assert!(tree.text("kustomize/base/kustomization.yaml").unwrap().contains("example.org/owner/ctmon"));
        assert!(tree.text("flux/kustomization/gitrepository.yaml").unwrap().contains("set-the-home"));
        assert_eq!(tree.text("chart/Chart.yaml").unwrap(), "name: ctmon\n");
    }

    #[test]
    fn a_copy_that_names_nobody_is_refused() {
        let mut tree = deploy();
        tree.0.insert("chart/values.yaml".to_owned(), b"image: {repository: other}\n".to_vec());
        let home = Home::new(None, Some("registry.example.org/owner".to_owned())).unwrap();
        let error = stamp(tree, &home, "1.2.3", |_| Ok(String::new())).unwrap_err().to_string();
        assert!(error.contains("chart/values.yaml"), "{error}");
    }
}
