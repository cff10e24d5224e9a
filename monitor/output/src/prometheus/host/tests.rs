//! The host's families from plain host states.
//!
//! In: snapshots. Out: pass or fail. Must not: read the node.

use monitor_config::Settings;
use monitor_model::snapshot::Snapshot;
use monitor_source::host::testing::TempDir;

use crate::prometheus::{Input, write};
use crate::testing::{defaults, nas_tuning, node, nothing, parse};

fn page(snapshot: &Snapshot, settings: &Settings) -> String {
    let mut out = Vec::new();
    write(&Input { snapshot, settings, readings: &[], daemon: None }, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

fn lines<'a>(page: &'a str, name: &str) -> Vec<&'a str> {
    page.lines().filter(|line| line.split(['{', ' ']).next() == Some(name)).collect()
}

#[test]
fn every_host_metric_of_a_captured_node_is_what_its_files_say() {
    let settings = nas_tuning();
    let page = page(&node("restarted", "silent", "failed", &settings), &settings);
    let check = |name: &str, expected: &[&str]| assert_eq!(lines(&page, name), expected);
    check(
        "ctmon_sysctl_value",
        &[
            "ctmon_sysctl_value{sysctl=\"fs.file-max\"} 2466183",
            "ctmon_sysctl_value{sysctl=\"net.ipv4.tcp_keepalive_time\"} 7200",
        ],
    );
    let expected = settings.expect.sysctls.len();
    assert_eq!(lines(&page, "ctmon_sysctl_expected").len(), expected);
    let in_force = lines(&page, "ctmon_sysctl_in_force");
    assert_eq!(in_force.len(), expected);
    let holding: Vec<_> = in_force.iter().filter(|line| line.ends_with(" 1")).collect();
    assert_eq!(holding, [&"ctmon_sysctl_in_force{sysctl=\"fs.file-max\"} 1"]);
    check("ctmon_target_mounts", &["ctmon_target_mounts{target=\"qnap\"} 2"]);
    check(
        "ctmon_target_mount_option_mismatches",
        &["ctmon_target_mount_option_mismatches{target=\"qnap\"} 2"],
    );
    check("ctmon_file_handles_used", &["ctmon_file_handles_used 893"]);
    check("ctmon_file_handles_max", &["ctmon_file_handles_max 2466183"]);
    check("ctmon_cifs_sessions", &["ctmon_cifs_sessions{target=\"qnap\"} 1"]);
    check("ctmon_cifs_reconnects_total", &["ctmon_cifs_reconnects_total{target=\"qnap\"} 0"]);
    assert_eq!(lines(&page, "ctmon_cifs_operations_total").len(), 14);
    assert!(lines(&page, "ctmon_cifs_operations_total").iter().all(|line| line.ends_with(" 0")));
    check(
        "ctmon_iscsi_sessions",
        &[
            "ctmon_iscsi_sessions{target=\"qnap\",state=\"logged_in\"} 0",
            "ctmon_iscsi_sessions{target=\"qnap\",state=\"failed\"} 1",
            "ctmon_iscsi_sessions{target=\"qnap\",state=\"free\"} 0",
            "ctmon_iscsi_sessions{target=\"qnap\",state=\"other\"} 0",
        ],
    );
    check("ctmon_softnet_dropped_total", &["ctmon_softnet_dropped_total 0"]);
    check("ctmon_listen_overflows_total", &["ctmon_listen_overflows_total 0"]);
    check("ctmon_tcp_retransmits_total", &["ctmon_tcp_retransmits_total 49"]);
    check("ctmon_tcp_keepalive_kills_total", &["ctmon_tcp_keepalive_kills_total 0"]);
    // Three services with `other`, ten states.
    assert_eq!(lines(&page, "ctmon_target_sockets").len(), 30);
    let open: Vec<_> =
        lines(&page, "ctmon_target_sockets").into_iter().filter(|line| line.ends_with(" 1")).collect();
    assert_eq!(
        open,
        [
            "ctmon_target_sockets{target=\"qnap\",target_service=\"smb\",tcp_state=\"established\"} 1",
            "ctmon_target_sockets{target=\"qnap\",target_service=\"iscsi\",tcp_state=\"syn_sent\"} 1",
        ]
    );
    check("ctmon_target_stalled_sockets", &["ctmon_target_stalled_sockets{target=\"qnap\"} 2"]);
    check("ctmon_target_keepalive_sockets", &["ctmon_target_keepalive_sockets{target=\"qnap\"} 0"]);
    for source in ["mounts", "iscsi", "cifs", "sysctl", "file_handles", "netstat", "sockets"] {
        let line = format!("ctmon_source_up{{source=\"{source}\"}} 1");
        assert!(lines(&page, "ctmon_source_up").contains(&line.as_str()), "{source}");
    }
}

#[test]
fn what_is_off_is_absent_not_zero() {
    let page = page(&nothing(&defaults()), &defaults());
    for metric in super::GROUP.metrics {
        assert_eq!(lines(&page, metric.name), Vec::<&str>::new());
    }
    for source in ["mounts", "iscsi", "cifs", "sysctl", "file_handles", "netstat", "logs"] {
        assert!(!page.contains(&format!("source=\"{source}\"")), "{source} is off");
    }
}

#[test]
fn what_cannot_be_read_is_down_and_absent() {
    let dir = TempDir::new();
    std::fs::create_dir_all(dir.path().join("proc/sys/fs/file-nr")).unwrap();
    dir.write("proc/fs/cifs/Stats", b"something else\n");
    let snapshot = crate::testing::snapshot(&dir.host(), &defaults());
    let page = page(&snapshot, &defaults());
    for source in ["file_handles", "cifs"] {
        let line = format!("ctmon_source_up{{source=\"{source}\"}} 0");
        assert!(lines(&page, "ctmon_source_up").contains(&line.as_str()), "{source}");
    }
    assert_eq!(lines(&page, "ctmon_file_handles_used"), Vec::<&str>::new());
    let found = crate::testing::findings(&snapshot, &defaults());
    let down = found.iter().find(|finding| finding.check == "CtmonSourceDown").unwrap();
    assert!(
        down.evidence.contains("file_handles: failed to read ")
            && down.evidence.contains("cifs: failed to parse "),
        "{down:?}"
    );
}

#[test]
fn every_log_pattern_is_there_at_zero_from_the_start() {
    let settings = parse("logs: [{preset: trident-qnap}]");
    let dir = TempDir::new();
    dir.write("pods/trident_trident-controller_uid/main/0.log", b"");
    let page = page(&crate::testing::snapshot(&dir.host(), &settings), &settings);
    assert_eq!(lines(&page, "ctmon_log_matches_total").len(), settings.logs.len());
    assert!(
        lines(&page, "ctmon_log_matches_total")
            .contains(&"ctmon_log_matches_total{pattern=\"rate_limiter\"} 0")
    );
    assert_eq!(lines(&page, "ctmon_log_skipped_bytes_total"), ["ctmon_log_skipped_bytes_total 0"]);
}
