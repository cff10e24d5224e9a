//! What several scans tell and one cannot: `ctmon check` beside a running daemon, and without one.
//!
//! In: a daemon on real maps that change under it. Out: pass or fail.
//! Must not: expect of one scan what takes several.

use std::net::SocketAddr;

use anyhow::{Context as _, Result, ensure};
use support::cilium::{self, MapName};
use support::config::{self, SMB};
use support::daemon::Finished;
use support::http;
use support::node::{Node, PATIENCE, second};
use support::simulate::entry::{CtValue, Facing, RX_CLOSING, SEEN_NON_SYN, TCP, TX_CLOSING, ct_key};
use support::sys::Map;
use support::wait::wait_for;

use crate::daemon::{END, start};

fn config() -> String {
    config::daemon(&format!(
        "clock: ktime\n{SMB}thresholds: {{TargetUnanswered: {{critical: {{window: 2s}}}}}}\n"
    ))
}

/// A pod's connection to the server's share.
fn insert(map: &Map, port: u16, flags: u16, lifetime: u32) -> Result<Vec<u8>> {
    let (pod, share) = (SocketAddr::new("10.244.0.14".parse()?, port), "192.168.100.180:445".parse()?);
    let key = ct_key(Facing::Out, pod, share, TCP);
    // Heard of long ago, as far as this machine has been up.
    map.update(&key, &CtValue { flags, lifetime, last_tx_report: 1, ..CtValue::default() }.to_bytes())?;
    Ok(key)
}

/// The lines of `ctmon check -o json` beside the daemon at this address, by the check's name.
fn found(node: &Node, url: &str, check: &str) -> Result<Vec<String>> {
    let Finished { status, stdout, stderr } = node.ctmon(&["check", "-o", "json", "--daemon", url])?;
    ensure!(matches!(status.code(), Some(0 | 1)) && stderr.is_empty(), "ended with {status}: {stderr}");
    let name = format!("\"{check}\"");
    Ok(stdout.lines().filter(|line| line.contains(&name)).map(str::to_owned).collect())
}

#[test]
fn connections_that_stay_unanswered_are_found_beside_the_daemon_only() -> Result<()> {
    let node = Node::new(&config())?;
    let map = cilium::create(&node.bpffs, MapName::Ct4, MapName::Ct4.pin(), 512, 0)?;
    let soon = second()? + 3_600;
    insert(&map, 40_001, 0, soon)?;
    insert(&map, 40_002, SEEN_NON_SYN, soon)?;
    let mut running = start(&node)?;
    let url = format!("http://{}", running.address);
    running.daemon.wait_for_http(running.address, "/readyz", PATIENCE)?;
    let line = wait_for("an unanswered connection", || {
        Ok(found(&node, &url, "CtmonTargetUnanswered")?.into_iter().next())
    })?;
    for word in [
        "\"critical\"",
        "\"qnap\"",
        "about 1 connections or more",
        "smb",
        "in the last 2s",
        "at three of four scans",
    ] {
        ensure!(line.contains(word), "no {word}: {line}");
    }
    ensure!(found(&node, &url, "history")?.is_empty(), "something is missing beside the daemon");

    // One scan cannot tell, and `check` says so.
    let nobody = "http://127.0.0.1:1";
    ensure!(
        found(&node, nobody, "CtmonTargetUnanswered")?.is_empty(),
        "one scan was taken for three minutes"
    );
    let missing = found(&node, nobody, "history")?;
    ensure!(
        missing.len() == 1 && missing.iter().all(|line| line.contains("\"info\"") && line.contains(nobody)),
        "{missing:?}"
    );

    // Another node's daemon has nothing to say about this one.
    let other = Node::new(&config())?;
    let _map = cilium::create(&other.bpffs, MapName::Ct4, MapName::Ct4.pin(), 512, 0)?;
    ensure!(found(&other, &url, "CtmonTargetUnanswered")?.is_empty(), "taken from another node");
    let missing = found(&other, &url, "history")?;
    ensure!(
        missing.len() == 1 && missing.iter().all(|line| line.contains("follows other maps")),
        "{missing:?}"
    );
    ensure!(running.daemon.stop(END)?.success(), "{}", running.daemon.output());
    Ok(())
}

#[test]
fn a_pass_of_the_gc_is_shown_and_counted() -> Result<()> {
    let node = Node::new(&config())?;
    let map = cilium::create(&node.bpffs, MapName::Ct4, MapName::Ct4.pin(), 4_096, 0)?;
    let now = second()?;
    let dead = (1_024..1_224_u16)
        .map(|port| insert(&map, port, SEEN_NON_SYN | RX_CLOSING | TX_CLOSING, now.saturating_sub(10)))
        .collect::<Result<Vec<_>>>()?;
    insert(&map, 40_001, SEEN_NON_SYN, now + 3_600)?;
    let mut running = start(&node)?;
    running.daemon.wait_for_page(running.address, PATIENCE, |page| {
        page.sum("ctmon_ct_entries", &[("state", "closed"), ("expired", "true")]) == Some(200.0)
    })?;
    for key in &dead {
        ensure!(map.delete(key)?, "an entry was gone already");
    }
    running.daemon.wait_for_page(running.address, PATIENCE, |page| {
        page.value("ctmon_gc_passes_total", &[("map_name", "ct4_global")]) >= Some(1.0)
    })?;
    let told = http::get(running.address, "/history")?;
    let told: serde_json::Value = serde_json::from_slice(&told.body)?;
    let collector = told.pointer("/maps/0/collector").with_context(|| told.to_string())?;
    ensure!(told.pointer("/maps/0/map_name").is_some_and(|name| name == "ct4_global"), "{told}");
    let removed = collector.pointer("/last_removed").and_then(serde_json::Value::as_u64);
    ensure!(removed.is_some_and(|removed| removed > 0), "{collector}");
    ensure!(running.daemon.stop(END)?.success(), "{}", running.daemon.output());
    Ok(())
}
