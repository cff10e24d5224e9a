//! Prometheus itself reads the metrics page (`promtool check metrics`), and the rules under every way to scrape.
//!
//! In: the capture, the binary, the rules with their cases, promtool on PATH. Out: pass or fail; a promtool that is
//! missing is a failure that says what to install. Must not: run in the virtual machines, which have no promtool.

mod doubled;

use std::io::Write as _;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use support::fixture::{self, Lifetimes};
use support::node::Node;

/// What promtool says of a page; nothing at all if it has nothing to complain about.
fn lint(page: &str) -> Result<()> {
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("failed to start promtool: install Debian's package prometheus, or put promtool on PATH")?;
    promtool.stdin.take().context("no standard input")?.write_all(page.as_bytes())?;
    let output = promtool.wait_with_output()?;
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    ensure!(output.status.success() && said.is_empty(), "promtool ended with {}:\n{said}", output.status);
    Ok(())
}

#[test]
fn the_page_of_a_capture_has_no_fault() -> Result<()> {
    let node = Node::new(
        "targets: [{name: qnap, addresses: [192.168.100.180]}]\nexpect: {gc_interval: {at_most: 5m}}\n",
    )?;
    let _maps = fixture::replay(&node.bpffs, Lifetimes::ShiftedToNow)?;
    let page = node.said(&["scrape"])?;
    assert!(page.contains("ctmon_target_stale_entries"), "the page is complete");
    lint(&page)
}

#[test]
fn the_page_of_a_node_without_maps_has_no_fault() -> Result<()> {
    lint(&Node::new("")?.said(&["scrape"])?)
}

#[test]
fn a_fault_is_noticed() {
    assert!(lint("# TYPE some_total gauge\nsome_total 1\n").is_err());
}
