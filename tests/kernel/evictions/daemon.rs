//! Victims as the daemon names them to `ctmon evictions` on its host.
//!
//! In: a running daemon, an overfilled map. Out: pass or fail, in whatever mode this kernel allows.
//! Must not: reach the daemon from anywhere but loopback.

use anyhow::{Result, ensure};
use support::cilium::{self, MapName};
use support::daemon::Daemon;
use support::http;
use support::node::{Node, PATIENCE};
use support::page::Page;

use super::{insert, records};

/// What the dashboard's panels on evictions select and sum by: where it runs on a Prometheus, no kernel shows any.
fn the_dashboard_would_show_them(page: &Page) -> Result<()> {
    let shown = |name: &str, labels: &[&str]| {
        page.matching(name, &[]).any(|sample| {
            let alive = sample.labels.get("expired").is_some_and(|expired| expired != "true");
            let open = sample.labels.get("state").is_some_and(|state| state != "closed");
            alive
                && open
                && sample.value > 0.0
                && labels.iter().all(|label| sample.labels.contains_key(*label))
        })
    };
    ensure!(shown("ctmon_evictions_total", &["map_name"]), "no live eviction by map");
    ensure!(shown("ctmon_target_evictions_total", &["target", "target_service"]), "none of a target");
    Ok(())
}

#[test]
fn the_daemon_names_victims_to_processes_on_its_host() -> Result<()> {
    let config = "interval: 1s\nclock: ktime\ntargets_from_host: false\n\
                  targets: [{name: qnap, addresses: [192.168.100.180], services: [{name: smb, ports: [445]}]}]\n";
    let node = Node::new(config)?;
    let map = cilium::create(&node.bpffs, MapName::Ct4, MapName::Ct4.pin(), 512, 0)?;
    let unreachable = node.ctmon(&["evictions", "-o", "json"])?;
    ensure!(
        unreachable.status.code() == Some(2) && unreachable.stderr.contains("ctmon run"),
        "{unreachable:?}"
    );

    let run = ["run", "--listen", "127.0.0.1:0", "--log-format", "json"];
    let mut daemon = Daemon::start(&node.arguments(&run)?)?;
    let address = daemon.wait_for_address(PATIENCE)?;
    let url = format!("http://{address}");
    let verb = ["evictions", "-o", "json", "--daemon", &url];
    let page =
        daemon.wait_for_page(address, PATIENCE, |page| page.value("ctmon_scans_total", &[]) >= Some(1.0))?;
    let off = page.value("ctmon_eviction_tracking", &[("mode", "off")]).is_some();
    let full = page.value("ctmon_eviction_tracking", &[("mode", "full")]).is_some();
    daemon.wait_for_output("evictions: ", PATIENCE)?;
    if full {
        let all = records(MapName::Ct4, 29, 2_000)?;
        insert(&map, &all)?;
        #[expect(clippy::cast_precision_loss, reason = "small numbers")]
        let expected = (all.len() - map.count()?) as f64;
        let labels = [("map_name", "ct4_global")];
        let page = daemon.wait_for_page(address, PATIENCE, |page| {
            page.sum("ctmon_evictions_total", &labels) == Some(expected)
        })?;
        the_dashboard_would_show_them(&page)?;
        ensure!(node.said(&verb)?.lines().count() == 256, "not 256 victims");
        let beside = node.ctmon(&["check", "-o", "json", "--daemon", &url])?.stdout;
        let of_map = |line: &&str| line.contains("CtmonLiveEvictions") && line.contains("were evicted");
        ensure!(beside.lines().filter(of_map).count() == 2, "by map and by target: {beside}");
        let table = node.said(&["evictions", "--daemon", &url])?;
        ensure!(table.contains("RESPONDER") && table.contains("more were evicted too fast"), "{table}");
    } else {
        let refused = node.ctmon(&verb)?;
        let word = if off { "not followed" } else { "cannot be named" };
        ensure!(refused.status.code() == Some(2) && refused.stderr.contains(word), "{refused:?}");
        ensure!(page.sum("ctmon_evictions_total", &[]).is_none() == off, "counters in spite of the mode");
        ensure!(page.sum("ctmon_target_evictions_total", &[]).is_none(), "targets in spite of the mode");
    }
    let check = node.ctmon(&["check", "-o", "json"])?;
    ensure!(check.stdout.contains("\"eviction_tracking\"") != full, "{}", check.stdout);

    node.configure(&format!("{config}evictions_api: false\n"))?;
    daemon.wait_for_output("configuration reloaded", PATIENCE)?;
    daemon.wait_for_page(address, PATIENCE, |_| {
        http::get(address, "/evictions").is_ok_and(|a| a.status == 404)
    })?;
    let refused = node.ctmon(&verb)?;
    ensure!(
        refused.status.code() == Some(2) && refused.stderr.contains("evictions_api: false"),
        "{refused:?}"
    );
    ensure!(daemon.stop(PATIENCE)?.success(), "{}", daemon.output());
    Ok(())
}
