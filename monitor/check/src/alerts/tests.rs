//! What every alert has to keep to.

use monitor_model::alert::{PREFIX, Severity};

use super::*;

/// Every severity of every alert, with its complete expression.
fn each(check: impl Fn(&Alert, Severity, &str)) {
    for alert in ALERTS {
        for grade in alert.severities {
            let rule = alert.default_rule(grade);
            check(alert, grade.severity, &alert.expression(grade.severity, &rule, "cluster"));
        }
    }
}

/// Name and severity of everything, in order.
fn grades() -> Vec<(&'static str, Severity, Option<f64>)> {
    let grades = |alert: &&'static Alert| {
        let name = alert.name;
        alert.severities.iter().map(move |grade| (name, grade.severity, grade.value))
    };
    ALERTS.iter().flat_map(grades).collect()
}

#[test]
fn each_alert_and_severity_exists_once_and_names_stand_together() {
    let all = grades();
    for (index, (name, severity, _)) in all.iter().enumerate() {
        let before = &all[..index];
        assert!(!before.iter().any(|b| b.0 == *name && b.1 == *severity), "{name}");
        if before.iter().any(|b| b.0 == *name) {
            assert_eq!(before[index - 1].0, *name, "severities of one name stand together");
        }
    }
    for alert in ALERTS {
        assert!(alert.name.starts_with(PREFIX) && alert.short_name().len() > 3);
        assert!(!alert.severities.is_empty(), "{}", alert.name);
    }
}

/// A name as a string is a typing error that no compiler sees; tests compare what users read.
#[test]
fn no_string_names_an_alert_outside_its_own_file() {
    fn walk(folder: &std::path::Path, sources: &mut Vec<std::path::PathBuf>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.ends_with("tests") && !path.ends_with("target") {
                walk(&path, sources);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                sources.push(path);
            }
        }
    }
    let mut sources = Vec::new();
    walk(&std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(".."), &mut sources);
    assert!(sources.len() > 150, "{}", sources.len());
    for path in sources.iter().filter(|path| !path.ends_with("tests.rs") && !path.ends_with("testing.rs")) {
        let text = std::fs::read_to_string(path).unwrap();
        let product = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
        for alert in ALERTS {
            let own = path.file_stem().unwrap().to_str().unwrap().replace('_', "");
            let named =
                [alert.name, alert.short_name()].iter().any(|name| product.contains(&format!("\"{name}\"")));
            assert!(
                !named || own == alert.short_name().to_lowercase(),
                "{} names {}",
                path.display(),
                alert.name
            );
        }
    }
}

#[test]
fn expressions_compare_with_their_own_threshold() {
    each(|alert, severity, expr| {
        let own = format!("ctmon_threshold{{alert=\"{}\",severity=\"{}\"}}", alert.name, severity.name());
        if std::ptr::eq(alert, ALERTS[ALERTS.len() - 1]) {
            assert!(!expr.contains("ctmon_threshold"), "its exporter is gone when it matters");
        } else {
            assert!(expr.contains(&own), "{expr}");
            assert_eq!(expr.matches("ctmon_threshold").count(), expr.matches(&own).count(), "{expr}");
        }
        assert!(!expr.contains('$'), "{expr}");
        assert_eq!(alert.window.is_some(), alert.expr.contains("$window"), "{}", alert.name);
    });
}

/// Two clusters may have nodes of equal addresses, and one agent may be scraped by several jobs.
#[test]
fn a_match_names_the_cluster_and_is_unique_on_its_right() {
    each(|alert, severity, expr| {
        for opening in ["on(", "by("] {
            let lists = expr.match_indices(opening).filter_map(|(at, _)| expr.get(at + opening.len()..));
            for list in lists {
                assert!(list.starts_with("cluster, "), "{}: {list}", alert.name);
            }
        }
        let unique = expr.matches("group_left() max by(cluster, instance)(").count();
        assert_eq!(expr.matches("group_left").count(), unique, "{expr}");
        let rule = alert.default_rule(&alert.severities[0]);
        let other = alert.expression(severity, &rule, "k8s_cluster");
        assert_eq!(expr.replace("(cluster, ", "(k8s_cluster, "), other);
    });
}

#[test]
fn a_metric_is_never_named_without_its_prefix() {
    each(|alert, _, expr| {
        assert!(expr.contains("ctmon_"), "{expr}");
        // What remains without strings, durations, numbers and our metrics is the language's.
        let known = "sum without by and or on group_left max increase rate predict_linear max_over_time quantile_over_time absent up unless count last_over_time";
        let labels = "alert severity job state expired kind map_name reason lru cluster instance direction target_service mode source hz";
        let text: String = expr.split('"').step_by(2).collect::<Vec<_>>().join(" ");
        for word in text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_') {
            let number = word.is_empty() || word.starts_with(|c: char| c.is_ascii_digit());
            let fine = number || word.starts_with("ctmon_");
            assert!(
                fine || known.split(' ').chain(labels.split(' ')).any(|k| k == word),
                "{word} in {}",
                alert.name
            );
        }
    });
}

#[test]
fn texts_name_the_node_and_the_number() {
    for alert in ALERTS {
        assert!(alert.summary.contains("$NODE") && alert.description.contains("$NODE"), "{}", alert.name);
        for label in alert.labels {
            assert!(alert.description.contains(&format!("$labels.{label}")), "{label} in {}", alert.name);
        }
    }
}

#[test]
fn severities_of_one_name_grow_with_their_thresholds() {
    for pair in grades().windows(2) {
        let [mild, grave] = pair else { continue };
        if mild.0 == grave.0 {
            assert!(mild.1 < grave.1, "{}", mild.0);
            assert!(mild.2 <= grave.2, "{}", mild.0);
        }
    }
}

#[test]
fn what_only_the_owner_knows_is_off_by_default() {
    let off: Vec<_> =
        grades().into_iter().filter(|(_, _, value)| value.is_none()).map(|(name, ..)| name).collect();
    assert_eq!(off, ["CtmonEntriesAboveNormal", "CtmonEntriesHigh"]);
}

#[test]
fn one_snapshot_decides_what_has_no_window() {
    for Definition { alert, condition, .. } in &DEFINITIONS {
        match condition {
            Condition::Now { .. } => {
                assert!(alert.window.is_none(), "{}", alert.name);
                let service = alert.labels.iter().any(|label| label.contains("service"));
                assert!(!service, "alert_active has no such label");
            }
            Condition::Lookback { .. } => assert!(alert.window.is_some(), "{}", alert.name),
            Condition::Prometheus => {}
        }
    }
}

#[test]
fn what_is_outdone_is_an_alert_on_the_same_series() {
    for Definition { alert, outdoes, .. } in &DEFINITIONS {
        let Some(name) = outdoes else { continue };
        let other = ALERTS.iter().find(|other| other.name == *name).unwrap();
        assert!(other.labels == alert.labels && other.severities[0].severity < alert.severities[0].severity);
    }
}

#[test]
fn the_configurations_we_ship_are_valid() {
    for file in ["kustomize/base/config.yaml", "kustomize/overlays/talos/config.yaml"] {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy").join(file);
        let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{file}: {error}"));
        let settings =
            monitor_config::parse_file::<Catalog>(&path, &text).unwrap_or_else(|error| panic!("{error}"));
        // They may also come into the place of another one.
        assert_eq!(
            monitor_config::parse_whole::<Catalog>(&path, &text).unwrap_or_else(|error| panic!("{error}")),
            settings
        );
    }
}
