//! Whatever stands in the chart's values: objects, or one line that says what is wrong.
//!
//! In: the schema of the values, their defaults. Out: pass or fail. Must not: list a value that the schema could tell of.

use std::fmt::Write as _;

use anyhow::{Context, Result};
use serde_json::{Map, Value, json};
use support::objects::{at, documents};

use crate::{render, tools};

/// A value's path and its part of the schema.
type Place = (Vec<String>, Value);

fn schema() -> Result<Value> {
    Ok(serde_json::from_str(&tools::text("chart/values.schema.json")?)?)
}

fn defaults() -> Result<Value> {
    documents(&tools::text("chart/values.yaml")?)?.into_iter().next().context("no values")
}

/// The node with what it refers to.
fn resolved(schema: &Value, node: &Value) -> Value {
    let mut node = node.clone();
    let name = at(&node, "/$ref").as_str().and_then(|name| name.strip_prefix('#')).map(str::to_owned);
    if let (Some(target), Some(own)) =
        (name.and_then(|name| schema.pointer(&name).and_then(Value::as_object)), node.as_object_mut())
    {
        own.remove("$ref");
        own.extend(target.clone());
    }
    node
}

/// Every key that the schema names, sections before what is in them.
fn places(schema: &Value, node: &Value, path: &[String], found: &mut Vec<Place>) {
    for (key, below) in node["properties"].as_object().into_iter().flatten() {
        let path = [path, std::slice::from_ref(key)].concat();
        let below = resolved(schema, below);
        found.push((path.clone(), below.clone()));
        places(schema, &below, &path, found);
    }
}

fn all_places() -> Result<Vec<Place>> {
    let (schema, mut found) = (schema()?, Vec::new());
    places(&schema, &schema, &[], &mut found);
    Ok(found)
}

/// Everything on, so that every template is there to fail.
fn everything() -> Value {
    json!({
        "web": {"existingSecret": "ctmon-web", "tls": true},
        "podMonitor": {"enabled": true},
        "prometheusRule": {"enabled": true, "fleet": true, "cluster": true},
        "dashboard": {"configMap": {"enabled": true}, "operator": {"enabled": true}},
        "ciliumPolicy": {"enabled": true},
    })
}

fn with(mut values: Value, path: &[String], value: &Value) -> Result<Value> {
    let (last, sections) = path.split_last().context("an empty path")?;
    let mut at = &mut values;
    for key in sections {
        let section = at.as_object_mut().context("not a section")?;
        at = section.entry(key.clone()).or_insert_with(|| json!({}));
    }
    at.as_object_mut().context("not a section")?.insert(last.clone(), value.clone());
    Ok(values)
}

/// What Helm says of its own stands around our line: a head over what the schema refuses, a place before the rest. A value may
/// be wrong in two ways.
fn one_line(error: &str) -> bool {
    let lines: Vec<_> = error.lines().filter(|line| !line.is_empty()).collect();
    match lines.as_slice() {
        [head, "ctmon:", lines @ ..] => {
            head.starts_with("values don't meet")
                && lines.iter().all(|line| line.trim_start().starts_with("- at '"))
        }
        [line] => line.starts_with("execution error at (ctmon/templates/"),
        _ => false,
    }
}

fn has_null(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(list) => list.iter().any(has_null),
        Value::Object(map) => map.values().any(has_null),
        _ => false,
    }
}

/// Renders each; those that came out are handed to Kubernetes's own schemas together.
fn check(cases: &[Value]) -> Result<Vec<Result<Vec<Value>, String>>> {
    let (mut outcomes, mut rendered) = (Vec::new(), Vec::new());
    for (values, outcome) in cases.iter().zip(render::attempts(cases)?) {
        let outcome = match outcome {
            Ok(text) => Ok(documents(&text).with_context(|| format!("{values}"))?),
            Err(error) => {
                assert!(one_line(&error), "{values}: {error}");
                Err(error)
            }
        };
        for object in outcome.iter().flatten() {
            assert!(!has_null(object), "{values}: null in {object}");
            if !rendered.contains(object) {
                rendered.push(object.clone());
            }
        }
        outcomes.push(outcome);
    }
    if !rendered.is_empty() {
        crate::schema::validate(&rendered, &["1.37"])?;
    }
    Ok(outcomes)
}

#[test]
fn a_value_of_any_other_kind_gives_objects_or_one_line() -> Result<()> {
    let wrong =
        [json!("x y"), json!(""), json!([]), json!(["x"]), json!({}), json!({"x": 1}), json!(1), json!(true)];
    let mut cases = Vec::new();
    for (path, _) in all_places()? {
        for value in &wrong {
            cases.push(with(everything(), &path, value)?);
        }
    }
    let outcomes = check(&cases)?;
    let refused = outcomes.iter().filter(|outcome| outcome.is_err()).count();
    println!("{} values, {refused} refused", outcomes.len());
    assert!(outcomes.len() > 600 && refused > 400, "{} values, {refused} refused", outcomes.len());
    Ok(())
}

/// All keys of a section commented out, or one value.
#[test]
fn null_is_the_default_and_removes_what_is_the_users() -> Result<()> {
    /// Theirs: gone, as Helm means it.
    const USERS: [&str; 8] = [
        "nodeSelector",
        "tolerations",
        "priorityClassName",
        "podSecurityContext",
        "resources",
        "updateStrategy",
        "labels",
        "annotations",
    ];
    let usual = render::chart(&json!({"podMonitor": {"enabled": true}}).to_string())?;
    let image = json!({"repository": render::IMAGE});
    let defaults = defaults()?;
    let mut places = all_places()?;
    places.retain(|(path, _)| defaults.pointer(&format!("/{}", path.join("/"))).is_some());
    let mut cases = Vec::new();
    for (path, _) in &places {
        let values = with(json!({"podMonitor": {"enabled": true}, "image": image}), path, &Value::Null)?;
        cases.push(values);
        cases.push(with(everything(), path, &Value::Null)?);
    }
    let outcomes = check(&cases)?;
    for ((path, _), outcome) in places.iter().zip(outcomes.chunks(2)) {
        let [bare, full] = outcome else { anyhow::bail!("two cases each") };
        let name = path.join(".");
        match name.as_str() {
            // No image is named, TLS without a Secret: refused in their own words.
            "image" | "image.repository" => {
                assert!(bare.as_ref().is_err_and(|error| error.contains("image.repository")));
            }
            "web.existingSecret" => {
                assert!(full.as_ref().is_err_and(|e| e.contains("web.tls is true without")));
            }
            _ => {
                // A part of what Kubernetes asks for as a whole.
                if name.starts_with("podSecurityContext.") {
                    continue;
                }
                let objects = bare.as_ref().map_err(|error| anyhow::anyhow!("{name}: {error}"))?;
                full.as_ref().map_err(|error| anyhow::anyhow!("{name}: {error}"))?;
                let users = path.iter().any(|key| USERS.contains(&key.as_str()));
                let off = name.starts_with("podMonitor") && objects.len() < usual.len();
                assert!(users || off || objects == &usual, "{name}: null is not the default");
            }
        }
    }
    Ok(())
}

#[test]
fn sections_refuse_keys_they_do_not_know() -> Result<()> {
    let sections: Vec<_> =
        all_places()?.into_iter().filter(|(_, node)| node["properties"].is_object()).collect();
    for (path, node) in &sections {
        assert_eq!(node["additionalProperties"], json!(false), "{}", path.join("."));
    }
    let cases: Result<Vec<_>> = sections
        .iter()
        .map(|(path, _)| {
            with(everything(), &[path.as_slice(), &["misspelt".to_owned()]].concat(), &json!("x"))
        })
        .collect();
    for outcome in check(&cases?)? {
        let error = outcome.expect_err("a key nobody knows");
        assert!(error.contains("additional properties 'misspelt' not allowed"), "{error}");
    }
    assert!(sections.len() > 15, "{} sections", sections.len());
    Ok(())
}

#[test]
fn what_cannot_work_is_refused_by_name() -> Result<()> {
    let cases = [
        ("web: {tls: true}", "web.tls is true without web.existingSecret"),
        (
            "updateStrategy: {rollingUpdate: {maxUnavailable: 0}}",
            "updateStrategy.rollingUpdate.maxUnavailable is 0 and maxSurge has to be",
        ),
        ("updateStrategy: {rollingUpdate: {maxUnavailable: 0%}}", "maxUnavailable is 0"),
        (
            "updateStrategy: {rollingUpdate: {maxUnavailable: 110%}}",
            "at '/updateStrategy/rollingUpdate/maxUnavailable'",
        ),
        (
            "podLabels: {app.kubernetes.io/name: x}",
            "podLabels may not have app.kubernetes.io/name: the chart sets it",
        ),
        ("podLabels: {app.kubernetes.io/part-of: x}", "podLabels may not have app.kubernetes.io/part-of"),
        ("podLabels: {tier: 'a b'}", "at '/podLabels/tier'"),
        ("commonLabels: {helm.sh/chart: x}", "commonLabels may not have helm.sh/chart"),
        ("podMonitor: {basicAuth: {user: {name: a, key: b}}}", "additional properties 'user' not allowed"),
        ("podMonitor: {basicAuth: {username: {name: a}}}", "missing property 'key'"),
        ("podMonitor: {tlsConfig: {ca: {secrets: {}}}}", "additional properties 'secrets' not allowed"),
        ("podMonitor: {interval: 30s1m}", "at '/podMonitor/interval'"),
        (
            "podMonitor: {interval: 1m, scrapeTimeout: 1m500ms}",
            "podMonitor.scrapeTimeout is 1m500ms, above podMonitor.interval, 1m:",
        ),
        ("extraEnv: [{name: A, value: b}, {name: A, value: c}]", "extraEnv has A twice"),
        ("extraVolumes: [{name: web, emptyDir: {}}]", "extraVolumes: there is a volume web already"),
        ("extraVolumes: [{name: a}, {name: a}]", "extraVolumes: there is a volume a already"),
        ("extraVolumeMounts: [{name: a, mountPath: /a}]", "extraVolumeMounts: extraVolumes has no volume a"),
        (
            "{extraVolumes: [{name: a}], extraVolumeMounts: [{name: a, mountPath: /host/proc/}]}",
            "extraVolumeMounts: something is mounted at /host/proc/ already",
        ),
        (
            "{extraVolumes: [{name: a}], extraVolumeMounts: [{name: a, mountPath: /a, readOnly: false}]}",
            "readOnly",
        ),
        (
            "prometheusRule: {disabled: [CtmonFoo]}",
            "prometheusRule.disabled: there is no alert CtmonFoo; there are Blind, ",
        ),
        (
            "prometheusRule: {overrides: {Foo: {warning: {for: 1m}}}}",
            "prometheusRule.overrides: there is no alert Foo;",
        ),
        (
            "prometheusRule: {overrides: {StaleConnections: {critical: {for: 1m}}}}",
            "prometheusRule.overrides.StaleConnections: it has no severity critical, only info, warning",
        ),
        (
            "prometheusRule: {overrides: {MapFull: {critical: {severity: page}}}}",
            "'info', 'warning', 'critical'",
        ),
        ("prometheusRule: {overrides: {MapFull: {critical: {value: 0.9}}}}", "'value' not allowed"),
        (
            "prometheusRule: {overrides: {MapFull: {critical: {for: soon}}}}",
            "at '/prometheusRule/overrides/MapFull/critical/for'",
        ),
    ];
    let values: Result<Vec<_>> =
        cases.iter().map(|(values, _)| documents(values)?.into_iter().next().context("no values")).collect();
    for ((values, expected), outcome) in cases.iter().zip(check(&values?)?) {
        let error = outcome.err().with_context(|| format!("{values} is not refused"))?;
        assert!(error.contains(expected), "{values}: {error}");
    }
    Ok(())
}

/// One row per value that has a description: its key, its kind, its default, what it is.
fn table() -> Result<String> {
    let defaults = defaults()?;
    let mut table = "| value | kind | default | |\n|---|---|---|---|\n".to_owned();
    for (path, node) in all_places()? {
        let default = defaults.pointer(&format!("/{}", path.join("/")));
        if let (Some(said), Some(default)) = (at(&node, "/description").as_str(), default) {
            writeln!(table, "| `{}` | {} | `{default}` | {said} |", path.join("."), kind(&node))?;
        }
    }
    Ok(table)
}

fn kind(node: &Value) -> String {
    let kinds =
        at(node, "/enum").as_array().map(|values| values.iter().map(|value| format!("`{value}`")).collect());
    let kinds: Vec<_> = kinds.unwrap_or_else(|| match at(node, "/type") {
        Value::String(kind) => vec![kind.clone()],
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        _ => vec!["always".to_owned()],
    });
    kinds.join(" or ")
}

/// `CTMON_BLESS=1` writes it instead.
#[test]
fn the_readme_lists_every_value() -> Result<()> {
    const MARKS: [&str; 2] =
        ["<!-- values: made of values.schema.json and values.yaml -->\n", "<!-- end of values -->"];
    let text = tools::text("chart/README.md")?;
    let [open, close] = MARKS;
    let (before, rest) = text.split_once(open).context("no table of values")?;
    let (_, after) = rest.split_once(close).context("the table of values does not end")?;
    tools::committed("chart/README.md", &format!("{before}{open}\n{}\n{close}{after}", table()?))
}

/// So that the table lacks none, and a default is no surprise.
#[test]
fn every_default_is_described_and_of_the_schema() -> Result<()> {
    let defaults = defaults()?;
    let (places, mut described) = (all_places()?, Vec::new());
    for (path, node) in &places {
        let default = defaults.pointer(&format!("/{}", path.join("/")));
        let section = node["properties"].is_object() && default.is_some_and(Value::is_object);
        if node["description"].is_string() {
            described.push(path.as_slice());
        }
        // By its own words or those of what it is in.
        let said = described.iter().any(|above| path.starts_with(above));
        assert!(default.is_none() || said || section, "{} is not described", path.join("."));
        assert!(
            default.is_some() || path.len() > 1 || path == &["global"],
            "{} has no default",
            path.join(".")
        );
    }
    for key in defaults.as_object().map(Map::keys).context("no values")? {
        assert!(places.iter().any(|(path, _)| path == std::slice::from_ref(key)), "the schema lacks {key}");
    }
    Ok(())
}

#[test]
fn its_icon_asks_no_host() -> Result<()> {
    let chart = documents(&tools::text("chart/Chart.yaml")?)?.remove(0);
    let icon = chart["icon"].as_str().context("no icon")?;
    assert!(icon.starts_with("data:image/svg+xml,%3Csvg%20xmlns"), "{icon}");
    assert!(
        !icon.contains("href") && icon.matches("://").count() == 1,
        "only the name of SVG itself: {icon}"
    );
    Ok(())
}
