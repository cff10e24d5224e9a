//! What commands answer where they used to answer wrongly, and what the daemon says of a refused file and of its sources.
//!
//! In: the binary, private bpffs, a daemon. Out: pass or fail.
//! Must not: repeat what needs no kernel: that stands beside the binary's sources.

use anyhow::{Context as _, Result, ensure};
use support::cilium::{self, MapName};
use support::config;
use support::daemon::Finished;
use support::fixture::{self, Lifetimes};
use support::node::{Node, PATIENCE};
use support::sys::Signal;

use crate::daemon::{END, logged, start, text};

/// A node with the maps of the capture.
fn replayed(config: &str) -> Result<(Node, cilium::Maps)> {
    let node = Node::new(config)?;
    let maps = fixture::replay(&node.bpffs, Lifetimes::ShiftedToNow)?;
    Ok((node, maps))
}

#[test]
fn what_is_asked_for_alone_is_not_well_where_nothing_could_be_read() -> Result<()> {
    let node = Node::new(&config::daemon(""))?;
    let found = node.ctmon(&["check", "--only", "staleconnections"])?;
    ensure!(
        found.status.code() == Some(2) && found.stdout.contains("no conntrack map could be read"),
        "{found:?}"
    );
    let (node, _maps) = replayed(&config::daemon(""))?;
    let found = node.ctmon(&["check", "--only", "fileHandlesHigh"])?;
    ensure!(found.status.code() == Some(0) && found.stdout.trim() == "no findings", "{found:?}");
    Ok(())
}

#[test]
fn a_refused_file_is_on_the_page_and_in_check_with_its_reason() -> Result<()> {
    let (node, _maps) = replayed(&config::daemon(""))?;
    let mut running = start(&node)?;
    running.daemon.wait_for_http(running.address, "/readyz", PATIENCE)?;
    node.configure("targets: [{name: secret, addresses: [10.0.0.1/8]}]\n")?;
    running.page(|page| page.value("ctmon_config_last_reload_successful", &[]) == Some(0.0))?;

    let page = running.daemon.wait_for_http(running.address, "/", PATIENCE)?;
    let page = page.text()?;
    ensure!(page.contains("CtmonConfigRefused") && page.contains("restart would fail"), "{page}");
    ensure!(!page.contains("secret") && !page.contains("10.0.0.1/8"), "the page is for everyone: {page}");

    // The file is what `check` reads too, and says what is wrong with it.
    let Finished { status, stdout, stderr } = node.ctmon(&["check"])?;
    ensure!(status.code() == Some(2) && stdout.is_empty(), "{stdout}");
    ensure!(stderr.lines().count() == 1 && stderr.contains("host bits set"), "{stderr}");

    // With another one it says what the daemon told.
    let other = node.config().with_file_name("other.yaml");
    std::fs::write(&other, "targets_from_host: false\n")?;
    let url = format!("http://{}", running.address);
    let arguments: Vec<String> = node.arguments(&["check", "--only", "configrefused", "--daemon", &url])?;
    let own = node.config();
    let arguments = arguments
        .into_iter()
        .map(|word| if own.to_str() == Some(&word) { other.display().to_string() } else { word });
    let arguments: Vec<String> = arguments.collect();
    let found = support::daemon::run(&support::daemon::ctmon()?, &arguments, PATIENCE)?;
    ensure!(found.status.code() == Some(1), "{found:?}");
    for words in [
        "CtmonConfigRefused",
        "was refused (invalid configuration",
        "targets[0].addresses[0]",
        "host bits set",
    ] {
        ensure!(found.stdout.contains(words), "no {words:?} in {}", found.stdout);
    }

    // Half a file reads as a configuration, and is refused all the same.
    node.configure("listen: '127.0.0.1:0'\ntargets:\n")?;
    running.daemon.wait_for_output("nothing follows `targets:`", PATIENCE)?;
    running.next_page()?;
    let found = node.ctmon(&["check", "--only", "ConfigRefused", "--daemon", &url])?;
    ensure!(found.stdout.contains("nothing follows `targets:`"), "{found:?}");

    node.configure(&config::daemon(""))?;
    running.page(|page| page.value("ctmon_config_last_reload_successful", &[]) == Some(1.0))?;
    let found = node.ctmon(&["check", "--only", "ConfigRefused", "--daemon", &url])?;
    ensure!(found.stdout == "no findings\n" && found.status.success(), "{found:?}");
    assert_eq!(running.daemon.stop(END)?.code(), Some(0));
    Ok(())
}

#[test]
fn the_log_says_once_that_conntrack_is_not_there_and_once_that_it_is_back() -> Result<()> {
    let node = Node::new(&config::daemon(""))?;
    let mut running = start(&node)?;
    running.daemon.wait_for_http(running.address, "/readyz", PATIENCE)?;
    running.next_page()?;
    running.next_page()?;
    let of_conntrack = |running: &crate::daemon::Running, message: &str| -> Result<Vec<String>> {
        let lines = logged(&running.daemon, message)?.into_iter();
        let mine = lines.filter(|line| text(line, "source") == "conntrack");
        Ok(mine.map(|line| text(&line, "reason").to_owned()).collect())
    };
    let down = of_conntrack(&running, "source is down")?;
    let pins = node.bpffs.root().join("tc/globals");
    let expected = format!("no conntrack map is pinned below {}", pins.display());
    ensure!(matches!(&down[..], [only] if only.starts_with(&expected)), "{down:?}");

    let _map = cilium::create(&node.bpffs, MapName::Ct4, MapName::Ct4.pin(), 512, 0)?;
    running.daemon.wait_for_output("source is back", PATIENCE)?;
    running.next_page()?;
    assert_eq!(of_conntrack(&running, "source is back")?.len(), 1);
    assert_eq!(of_conntrack(&running, "source is down")?.len(), 1);
    running.daemon.signal(Signal::Terminate)?;
    assert_eq!(running.daemon.wait(END)?.code(), Some(0));
    Ok(())
}

#[test]
fn what_selects_entries_takes_any_case_zero_is_no_limit_and_a_map_elsewhere_is_told() -> Result<()> {
    let (node, _maps) = replayed("targets_from_host: false\n")?;
    assert_eq!(node.count(&["list", "--count", "--limit", "0"])?, 399);
    assert_eq!(
        node.count(&["list", "--count", "--state", "CLOSED"])?,
        node.count(&["list", "--count", "--state", "closed"])?
    );
    let Finished { status, stderr, .. } = node.ctmon(&["list", "--count", "--map", "snat_v4_external"])?;
    ensure!(status.code() == Some(2) && stderr.lines().count() == 1, "{stderr}");
    for words in ["snat_v4_external (nat, bpf.natMax) is not among", "ct_any4_global (ct_any, bpf.ctAnyMax)"]
    {
        ensure!(stderr.contains(words), "{stderr}");
    }
    Ok(())
}

#[test]
fn a_finding_about_a_map_names_its_key_and_its_helm_value() -> Result<()> {
    let config = "targets_from_host: false\nexpect: {map_capacity: {ct_tcp: {at_least: 2000000}}}\n";
    let (node, _maps) = replayed(config)?;
    let found = node.ctmon(&["check", "--only", "ctmonmapsmallerthanexpected"])?;
    ensure!(found.status.code() == Some(1), "{found:?}");
    let first = found.stdout.lines().next().context("no finding")?;
    assert_eq!(first, "WARNING  CtmonMapSmallerThanExpected ct4_global (ct_tcp, bpf.ctTcpMax)");
    Ok(())
}
