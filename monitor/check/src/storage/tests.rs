//! Storage findings on plain host states.
//!
//! In: snapshots. Out: pass or fail. Must not: read the node.

use super::*;
use crate::readings::readings;
use crate::testing::{defaults, findings, nas_tuning, node, nothing, parse};

fn of(snapshot: &Snapshot, settings: &Settings, check: &str) -> Vec<(Level, String)> {
    let found = findings(snapshot, settings);
    found
        .into_iter()
        .filter(|found| found.check == check)
        .map(|found| (found.level, found.evidence))
        .collect()
}

fn active(snapshot: &Snapshot, alert: &str) -> Vec<(String, f64)> {
    readings(snapshot, &defaults())
        .into_iter()
        .filter(|reading| reading.alert().name == alert && reading.active)
        .map(|reading| (reading.target.clone(), reading.value))
        .collect()
}

#[test]
fn a_silent_server_is_a_stalled_path_with_its_sockets_named() {
    let settings = defaults();
    let silent = node("silent", "silent", "failed", &settings);
    assert_eq!(active(&silent, "CtmonStoragePathStalled"), [("qnap".to_owned(), 2.0)]);
    let [(level, evidence)] = of(&silent, &settings, "CtmonStoragePathStalled").try_into().unwrap();
    assert_eq!(level, Level::CRITICAL);
    assert_eq!(
        evidence,
        "2 of 2 sockets repeat data and hear nothing: 192.168.100.10:50744 to 192.168.100.180:445 (smb, established), \
         silent for 1m20s, repeated 21 times, 348 bytes unacknowledged; 192.168.100.10:51846 to 192.168.100.180:3260 \
         (iscsi, syn_sent), SYN repeated 2 times"
    );
    assert_eq!(active(&node("used", "restarted", "logged-in", &settings), "CtmonStoragePathStalled"), []);
    assert_eq!(stalled(&HostState::default(), "qnap"), None);
}

#[test]
fn a_session_that_is_lost_says_how_far() {
    let settings = defaults();
    let check = |iscsi: &str, expected: Option<(&str, &str)>| {
        let snapshot = node("used", "restarted", iscsi, &settings);
        let found = findings(&snapshot, &settings);
        let found = found.iter().find(|found| found.check == "CtmonIscsiSessionDown");
        let told = found.map(|found| (found.evidence.as_str(), found.advice.contains("read-only")));
        let expected = expected.map(|(state, advice)| {
            (
                format!(
                    "1 iSCSI sessions are not logged in: session1 is {state}, \
                     iqn.2004-04.com.qnap:ts-453d:iscsi.media.0a1b2c through 192.168.100.180:3260, recovery time-out 120 s"
                ),
                advice == "read-only",
            )
        });
        assert_eq!(told.map(|(text, advice)| (text.to_owned(), advice)), expected, "{iscsi}");
    };
    check("logged-in", None);
    check("failed", Some(("failed", "")));
    check("free", Some(("free", "read-only")));
}

#[test]
fn keepalive_that_is_in_force_and_unused_is_told() {
    // The captured node has the kernel's default.
    let settings = parse("expect: {sysctls: {net.ipv4.tcp_keepalive_time: {equals: 7200}}}");
    let snapshot = node("restarted", "restarted", "logged-in", &settings);
    let text = "net.ipv4.tcp_keepalive_time is in force, but 0 of 2 sockets to qnap use keepalive";
    assert_eq!(of(&snapshot, &settings, "keepalive"), [(Level::INFO, text.to_owned())]);
    // Not in force: another finding's business.
    let settings = nas_tuning();
    let snapshot = node("restarted", "restarted", "logged-in", &settings);
    assert_eq!(of(&snapshot, &settings, "keepalive"), []);
}

#[test]
fn mounts_of_one_server_share_its_connection() {
    let settings = defaults();
    let mut snapshot = node("used", "restarted", "logged-in", &settings);
    let text = "2 mounts of 192.168.100.180 share one connection: //192.168.100.180/media, //192.168.100.180/downloads";
    assert_eq!(of(&snapshot, &settings, "shared_connection"), [(Level::INFO, text.to_owned())]);
    let mounts = &mut snapshot.host.mounts.as_mut().unwrap().mounts;
    mounts[0].value.options.push("nosharesock".to_owned());
    assert_eq!(of(&snapshot, &settings, "shared_connection"), []);
}

#[test]
fn an_smb_session_is_told_when_it_is_lost_and_when_it_was() {
    let settings = defaults();
    let check = |cifs: &str, expected: Option<(Level, &str)>| {
        let found = of(&node(cifs, "restarted", "logged-in", &settings), &settings, "cifs_session");
        let found = found.first().map(|(level, evidence)| (*level, evidence.as_str()));
        assert_eq!(found, expected, "{cifs}");
    };
    check("used", None);
    check(
        "killed",
        Some((
            Level::WARNING,
            "SMB client to 192.168.100.180: need_reconnect, 1 sessions, 4 of sessions and shares disconnected, 0 \
             reconnects since it was mounted, 0 requests unanswered",
        )),
    );
    check(
        "restarted",
        Some((
            Level::INFO,
            "SMB client to 192.168.100.180: good, 1 sessions, 0 of sessions and shares disconnected, 1 reconnects \
             since it was mounted, 0 requests unanswered",
        )),
    );
}

#[test]
fn servers_that_became_no_targets_are_told() {
    let mut snapshot = nothing(&defaults());
    assert_eq!(of(&snapshot, &defaults(), "targets_from_host"), []);
    snapshot.host.targets =
        HostTargetFacts { skipped: 3, without_address: 1, dropped: vec!["nas".to_owned(), "b".to_owned()] };
    let text = "3 servers are beyond the bound; 1 mounts or sessions have no known address; the tables have no room \
                for nas, b";
    assert_eq!(of(&snapshot, &defaults(), "targets_from_host"), [(Level::INFO, text.to_owned())]);
}

#[test]
fn file_handles_are_judged_by_their_share() {
    let settings = defaults();
    let mut snapshot = node("used", "restarted", "logged-in", &settings);
    assert_eq!(of(&snapshot, &settings, "CtmonFileHandlesHigh"), []);
    let handles = snapshot.host.file_handles.as_mut().unwrap();
    (handles.used, handles.max) = (81, 100);
    let [(level, evidence)] = of(&snapshot, &settings, "CtmonFileHandlesHigh").try_into().unwrap();
    assert!(level == Level::WARNING && evidence.starts_with("81 of 100 file handles"), "{evidence}");
}
