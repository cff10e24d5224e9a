//! Tuning findings on plain host states.
//!
//! In: snapshots and expectations. Out: pass or fail. Must not: read the node.

use monitor_model::float::float;

use super::*;
use crate::readings::readings;
use crate::testing::{defaults, findings, nas_tuning, node, nothing, parse};

const ALERT: &str = "CtmonTuningNotInForce";

fn evidence(findings: &[Finding], check: &str) -> Vec<(Level, String, String)> {
    let of = findings.iter().filter(|finding| finding.check == check);
    of.map(|finding| (finding.level, finding.target.clone(), finding.evidence.clone())).collect()
}

#[test]
fn each_sysctl_and_each_mount_that_differs_is_a_finding_with_the_difference() {
    let settings = nas_tuning();
    let snapshot = node("used", "restarted", "logged-in", &settings);
    let found = evidence(&findings(&snapshot, &settings), ALERT);
    let told: Vec<&str> = found.iter().map(|(_, _, evidence)| evidence.as_str()).collect();
    assert_eq!(
        told,
        [
            "net.core.netdev_max_backlog does not exist in this kernel, expected at least 5000",
            "net.ipv4.tcp_fin_timeout does not exist in this kernel, expected 30",
            "net.ipv4.tcp_keepalive_intvl does not exist in this kernel, expected 60",
            "net.ipv4.tcp_keepalive_probes does not exist in this kernel, expected 3",
            "net.ipv4.tcp_keepalive_time is 7200, expected 600; 0 keepalive probes were sent since boot",
            "net.ipv4.tcp_max_syn_backlog does not exist in this kernel, expected at least 8192",
            "//192.168.100.180/media on /mnt/media lacks noatime (in force: relatime)",
            "//192.168.100.180/downloads on /mnt/downloads lacks cache=loose (in force: cache=strict), actimeo=60 \
             (in force: actimeo=1), noatime (in force: relatime)",
        ]
    );
    assert!(found.iter().all(|(level, ..)| *level == Level::WARNING));
    for (_, target, evidence) in &found {
        assert_eq!(target, if evidence.starts_with("//") { "qnap" } else { "" }, "{evidence}");
    }
}

#[test]
fn the_alert_counts_what_the_findings_name() {
    let settings = nas_tuning();
    let snapshot = node("used", "restarted", "logged-in", &settings);
    let found: Vec<_> = readings(&snapshot, &settings)
        .into_iter()
        .filter(|reading| reading.alert().name == ALERT)
        .map(|reading| (reading.target.clone(), reading.value, reading.active))
        .collect();
    let of = |of: &str| {
        let found = evidence(&findings(&snapshot, &settings), ALERT);
        float(found.iter().filter(|(_, target, _)| target == of).count() as u64)
    };
    assert_eq!(found, [(String::new(), of(""), true), ("qnap".to_owned(), 2.0, true)]);
}

#[test]
fn what_is_off_has_no_verdict_and_what_is_not_expected_no_reading() {
    let check = |snapshot: &Snapshot, settings: &Settings| {
        let read = readings(snapshot, settings);
        assert!(!read.iter().any(|reading| reading.alert().name == ALERT), "{read:?}");
        assert_eq!(evidence(&findings(snapshot, settings), ALERT), []);
    };
    check(&node("used", "restarted", "logged-in", &defaults()), &defaults());
    let off = parse("{expect: {preset: nas-tuning}, thresholds: {TuningNotInForce: null}}");
    check(&node("used", "restarted", "logged-in", &off), &off);
    // No procfs at all.
    check(&nothing(&nas_tuning()), &nas_tuning());
}

#[test]
fn another_network_namespace_is_not_the_nodes() {
    let settings = nas_tuning();
    let mut snapshot = node("used", "restarted", "logged-in", &settings);
    for value in &mut snapshot.host.sysctls.as_mut().unwrap().values {
        value.scope = value.scope.map(|_| NetScope::Own);
    }
    let found = findings(&snapshot, &settings);
    let told = evidence(&found, "sysctl");
    let text = "net.ipv4.tcp_keepalive_time answered for ctmon's own network namespace, not the node's";
    assert_eq!(told, [(Level::Unknown, String::new(), text.to_owned())]);
    assert!(!evidence(&found, ALERT).iter().any(|(_, _, evidence)| evidence.contains("keepalive_time")));
}

#[test]
fn memory_is_shown_in_mebibytes() {
    assert_eq!(mebibytes(0), "0.0 MiB");
    assert_eq!(mebibytes(52_428_800), "50.0 MiB");
    assert_eq!(mebibytes(1_572_864), "1.5 MiB");
}
