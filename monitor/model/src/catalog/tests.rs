//! The catalogue's own rules.

use super::*;

fn each(check: impl Fn(&Alert, &str)) {
    for alert in ALERTS {
        check(alert, &alert.expression(&Rule::default_of(alert), "cluster"));
    }
}

#[test]
fn each_alert_and_severity_exists_once_and_names_stand_together() {
    for (index, alert) in ALERTS.iter().enumerate() {
        let before = &ALERTS[..index];
        assert!(
            !before.iter().any(|b| b.name == alert.name && b.severity == alert.severity),
            "{}",
            alert.name
        );
        if before.iter().any(|b| b.name == alert.name) {
            assert_eq!(before[index - 1].name, alert.name, "severities of one name stand together");
        }
        assert!(alert.name.starts_with(PREFIX) && alert.short_name().len() > 3);
    }
}

#[test]
fn expressions_compare_with_their_own_threshold() {
    each(|alert, expr| {
        let own =
            format!("ctmon_threshold{{alert=\"{}\",severity=\"{}\"}}", alert.name, alert.severity.name());
        if alert.short_name() == "Down" {
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
    each(|alert, expr| {
        for opening in ["on(", "by("] {
            let lists = expr.match_indices(opening).filter_map(|(at, _)| expr.get(at + opening.len()..));
            for list in lists {
                assert!(list.starts_with("cluster, instance"), "{}: {list}", alert.name);
            }
        }
        let unique = expr.matches("group_left() max by(cluster, instance)(").count();
        assert_eq!(expr.matches("group_left").count(), unique, "{expr}");
        let other = alert.expression(&Rule::default_of(alert), "k8s_cluster");
        assert_eq!(expr.replace("(cluster, ", "(k8s_cluster, "), other);
    });
}

#[test]
fn a_metric_is_never_named_without_its_prefix() {
    each(|alert, expr| {
        assert!(expr.contains("ctmon_"), "{expr}");
        // What remains without strings, durations, numbers and our metrics is the language's.
        let known = "sum without by and or on group_left max increase rate predict_linear max_over_time quantile_over_time absent up";
        let labels = "alert severity job state expired kind map_name reason lru cluster instance direction target_service";
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
    for pair in ALERTS.windows(2) {
        let [mild, grave] = pair else { continue };
        if mild.name == grave.name {
            assert!(mild.severity < grave.severity, "{}", mild.name);
            assert!(mild.value <= grave.value, "{}", mild.name);
        }
    }
}

#[test]
fn what_only_the_owner_knows_is_off_by_default() {
    let off: Vec<_> = ALERTS.iter().filter(|alert| alert.value.is_none()).map(Alert::short_name).collect();
    assert_eq!(off, ["EntriesAboveNormal", "EntriesHigh"]);
}

#[test]
fn one_snapshot_decides_what_has_no_window() {
    for alert in ALERTS {
        if alert.window.is_some() {
            assert_eq!(alert.decided_by, DecidedBy::Prometheus, "{}", alert.name);
        }
        if alert.decided_by == DecidedBy::Snapshot {
            assert!(alert.labels.iter().all(|l| !l.contains("service")), "alert_active has no such label");
        }
    }
}
