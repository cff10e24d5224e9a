//! `ctmon run` as a kubelet and a Prometheus see it: pages, waiting, reloads, ends.
//!
//! In: the binary, private bpffs, HTTP. Out: pass or fail.
//! Must not: wait for a time instead of a condition.

use std::io::{PipeReader, Read as _, Write as _};
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use flate2::read::GzDecoder;
use serde_json::Value;
use support::cilium::{self, MapName};
use support::config::{self, SMB};
use support::daemon::{self, Daemon};
use support::fixture::{self, Lifetimes};
use support::http;
use support::node::{Node, PATIENCE, whole};
use support::page::Page;
use support::sys::{self, Capability, Signal};
use support::wait::wait_until;

use crate::counts;

/// How long an end may take. One second is the promise; the rest is for emulated processors on busy machines.
pub(crate) const END: Duration = Duration::from_secs(30);

/// A running daemon and where it listens.
pub(crate) struct Running {
    pub(crate) daemon: Daemon,
    pub(crate) address: SocketAddr,
}

pub(crate) fn start(node: &Node) -> Result<Running> {
    let mut command = Command::new(daemon::ctmon()?);
    command.args(node.arguments(&["run", "--log-format", "json"])?);
    start_command(&mut command)
}

pub(crate) fn start_command(command: &mut Command) -> Result<Running> {
    let mut daemon = Daemon::start_command(command)?;
    daemon.wait_for_output("serving /metrics", PATIENCE)?;
    let line = logged(&daemon, "serving /metrics")?.into_iter().next().context("no such line")?;
    let address = line.get("address").and_then(Value::as_str).context("no address")?.parse()?;
    Ok(Running { daemon, address })
}

/// The log lines with this message; every line must be JSON.
pub(crate) fn logged(daemon: &Daemon, message: &str) -> Result<Vec<Value>> {
    let output = daemon.output();
    let lines = output.lines().map(|line| {
        // The module that speaks is every line's `target`: a field of that name would hide it, or be hidden.
        ensure!(line.matches("\"target\":").count() == 1, "not one target: {line}");
        serde_json::from_str::<Value>(line).with_context(|| format!("not JSON: {line}"))
    });
    let lines = lines.collect::<Result<Vec<_>>>()?;
    Ok(lines.into_iter().filter(|line| text(line, "message").contains(message)).collect())
}

/// A field of a log line; empty if it has none of this name.
pub(crate) fn text<'a>(line: &'a Value, field: &str) -> &'a str {
    line.get(field).and_then(Value::as_str).unwrap_or_default()
}

impl Running {
    pub(crate) fn page(&mut self, wanted: impl FnMut(&Page) -> bool) -> Result<Page> {
        self.daemon.wait_for_page(self.address, PATIENCE, wanted)
    }

    /// A page of a collection that began after this call.
    pub(crate) fn next_page(&mut self) -> Result<Page> {
        let scans = |page: &Page| page.value("ctmon_scans_total", &[]).unwrap_or(0.0);
        let now = scans(&self.page(|page| scans(page) > 0.0)?);
        // The next one may be under way already.
        self.page(|page| scans(page) >= now + 2.0)
    }

    fn get(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> Result<http::Response> {
        http::request(self.address, method, path, headers)
    }
}

fn entries(page: &Page) -> Option<f64> {
    page.sum("ctmon_ct_entries", &[])
}

#[test]
fn pages_are_served_as_promised() -> Result<()> {
    let node = Node::new(&config::daemon(""))?;
    let _maps = fixture::replay(&node.bpffs, Lifetimes::ShiftedToNow)?;
    let mut running = start(&node)?;
    running.daemon.wait_for_http(running.address, "/readyz", PATIENCE)?;
    let plain = running.get("GET", "/metrics", &[])?;
    assert_eq!(plain.status, 200);
    assert_eq!(plain.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    assert_eq!(plain.header("content-encoding"), None);
    let page = Page::parse(plain.text()?)?;
    assert_eq!(whole(entries(&page))?, 399);
    for name in ["ctmon_build_info", "ctmon_snapshot_age_seconds", "process_resident_memory_bytes"] {
        assert!(page.value(name, &[]).is_some(), "{name}");
    }
    assert_eq!(page.value("ctmon_config_last_reload_successful", &[]), Some(1.0));

    let zipped = running.get("GET", "/metrics", &[("Accept-Encoding", "gzip")])?;
    assert_eq!((zipped.status, zipped.header("content-encoding")), (200, Some("gzip")));
    assert!(zipped.body.len() < plain.body.len() / 3, "{} of {}", zipped.body.len(), plain.body.len());
    let mut text = String::new();
    GzDecoder::new(zipped.body.as_slice()).read_to_string(&mut text)?;
    assert_eq!(whole(entries(&Page::parse(&text)?))?, 399);

    assert_eq!(running.get("GET", "/healthz", &[])?.status, 200);
    let index = running.get("GET", "/", &[])?;
    assert_eq!((index.status, index.header("content-type")), (200, Some("text/html; charset=utf-8")));
    assert!(index.text()?.contains("/metrics"));
    let head = running.get("HEAD", "/metrics", &[])?;
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert_eq!(running.get("GET", "/nothing", &[])?.status, 404);
    let refused = running.get("POST", "/metrics", &[])?;
    assert_eq!((refused.status, refused.header("allow")), (405, Some("GET, HEAD")));
    assert_eq!(running.daemon.stop(END)?.code(), Some(0));
    Ok(())
}

#[test]
fn without_pins_it_waits_and_picks_them_up() -> Result<()> {
    let node = Node::new(&config::daemon(""))?;
    let mut running = start(&node)?;
    // Ready: there is a snapshot, and it says that nothing is there.
    running.daemon.wait_for_http(running.address, "/readyz", PATIENCE)?;
    let page = running.page(|page| page.value("ctmon_scans_total", &[]).is_some())?;
    assert_eq!(page.value("ctmon_map_present", &[("map_name", "ct4_global")]), Some(0.0));
    assert_eq!(page.value("ctmon_source_up", &[("source", "conntrack")]), Some(0.0));
    assert_eq!((entries(&page), page.sum("ctmon_map_entries", &[])), (None, None), "unknown, not 0");

    let _maps = fixture::replay(&node.bpffs, Lifetimes::ShiftedToNow)?;
    let page = running.next_page()?;
    assert_eq!(whole(entries(&page))?, 399, "within one collection");
    assert_eq!(page.value("ctmon_source_up", &[("source", "conntrack")]), Some(1.0));
    assert_eq!(whole(page.sum("ctmon_map_recreations_total", &[]))?, 0);

    let _new = cilium::recreate(&node.bpffs, MapName::Ct4, 4_096)?;
    let page = running.next_page()?;
    let map = ("map_name", "ct4_global");
    assert_eq!(page.value("ctmon_map_recreations_total", &[map]), Some(1.0));
    assert_eq!(whole(page.value("ctmon_map_entries", &[map]))?, 0);
    assert_eq!(whole(entries(&page))?, 64);
    assert_eq!(running.daemon.stop(END)?.code(), Some(0));
    Ok(())
}

#[test]
fn a_changed_configuration_is_followed_and_a_bad_one_refused() -> Result<()> {
    const STALE: (&str, &[(&str, &str)]) = ("ctmon_target_stale_entries", &[("target", "qnap")]);
    let node = Node::new(&config::daemon(""))?;
    let _maps = fixture::replay(&node.bpffs, Lifetimes::ShiftedToNow)?;
    let mut running = start(&node)?;
    let page = running.page(|page| entries(page).is_some())?;
    assert_eq!(page.sum(STALE.0, STALE.1), None);

    node.configure(&config::daemon(SMB))?;
    let page = running.page(|page| page.sum(STALE.0, STALE.1).is_some())?;
    assert_eq!(whole(page.sum(STALE.0, STALE.1))?, 183);
    assert_eq!(page.value("ctmon_config_last_reload_successful", &[]), Some(1.0));

    node.configure(&config::daemon(&format!("{SMB}intervall: 15s\n")))?;
    let page = running.page(|page| page.value("ctmon_config_last_reload_successful", &[]) == Some(0.0))?;
    assert_eq!(whole(page.sum(STALE.0, STALE.1))?, 183, "the old settings stay in force");
    let refusal = logged(&running.daemon, "failed to reload the configuration")?;
    let said = refusal.first().map(|line| text(line, "message")).context("nothing was logged")?;
    assert!(said.contains("`intervall`") && said.contains("line 5"), "{said}");
    assert_eq!(refusal.len(), 1, "once, not at every look at the file");

    node.configure(&config::daemon(&SMB.replace("qnap", "nas")))?;
    let page = running.page(|page| page.value("ctmon_config_last_reload_successful", &[]) == Some(1.0))?;
    assert_eq!(page.sum(STALE.0, STALE.1), None, "a target that is not configured any more has no series");
    assert_eq!(whole(page.sum("ctmon_target_stale_entries", &[("target", "nas")]))?, 183);

    // SIGHUP reloads even what has not changed: the time of the last success moves on.
    let loaded = |page: &Page| page.value("ctmon_config_last_reload_success_timestamp_seconds", &[]);
    let before = loaded(&page).context("no time")?;
    running.daemon.signal(Signal::Hangup)?;
    running.page(|page| loaded(page).is_some_and(|loaded| loaded > before))?;

    node.configure(&config::daemon("").replace(":0'", ":1'"))?;
    running.daemon.wait_for_output("`listen` needs a restart", PATIENCE)?;
    assert_eq!(running.get("GET", "/healthz", &[])?.status, 200);
    assert_eq!(running.daemon.stop(END)?.code(), Some(0));
    Ok(())
}

#[test]
fn an_address_of_the_command_line_stands_beside_any_configuration() -> Result<()> {
    let node = Node::new("interval: 1s\n")?;
    let mut command = Command::new(daemon::ctmon()?);
    command.args(node.arguments(&["run", "--log-format", "json", "--listen", "127.0.0.1:0"])?);
    let mut running = start_command(&mut command)?;
    running.daemon.wait_for_http(running.address, "/readyz", PATIENCE)?;
    node.configure("interval: 2s\n")?;
    running.daemon.wait_for_output("configuration reloaded", PATIENCE)?;
    assert!(logged(&running.daemon, "needs a restart")?.is_empty(), "{}", running.daemon.output());
    assert_eq!(running.daemon.stop(END)?.code(), Some(0));
    Ok(())
}

#[test]
fn a_threshold_is_logged_once_each_way_and_shown_as_active() -> Result<()> {
    let thresholds = "thresholds: {EntriesHigh: {warning: {value: 300}}, MapFilling: null}\n";
    let node = Node::new(&config::daemon(thresholds))?;
    let _maps = fixture::replay(&node.bpffs, Lifetimes::ShiftedToNow)?;
    let mut running = start(&node)?;
    let labels = [("alert", "CtmonEntriesHigh"), ("severity", "warning")];
    let page = running.page(|page| entries(page).is_some())?;
    assert_eq!(page.value("ctmon_threshold", &labels), Some(300.0));
    assert_eq!(page.value("ctmon_alert_active", &labels), Some(1.0));
    assert_eq!(page.sum("ctmon_threshold", &[("alert", "CtmonMapFilling")]), None, "off");
    assert_eq!(page.sum("ctmon_alert_active", &[("alert", "CtmonMapFilling")]), None, "off");
    running.next_page()?;
    running.next_page()?;
    let of_alert = |lines: Vec<Value>| {
        lines.into_iter().filter(|line| text(line, "alert") == "CtmonEntriesHigh").count()
    };
    assert_eq!(of_alert(logged(&running.daemon, "threshold crossed")?), 1);
    assert_eq!(of_alert(logged(&running.daemon, "back within threshold")?), 0);

    let _new = cilium::recreate(&node.bpffs, MapName::Ct4, 4_096)?;
    let page = running.next_page()?;
    assert_eq!(page.value("ctmon_alert_active", &labels), Some(0.0));
    running.next_page()?;
    assert_eq!(of_alert(logged(&running.daemon, "threshold crossed")?), 1);
    assert_eq!(of_alert(logged(&running.daemon, "back within threshold")?), 1);
    assert_eq!(running.daemon.stop(END)?.code(), Some(0));
    Ok(())
}

#[test]
fn both_signals_end_it_at_once_even_before_the_next_collection() -> Result<()> {
    for signal in [Signal::Terminate, Signal::Interrupt] {
        let node =
            Node::new(&config::daemon("").replace("interval: 1s", "interval: 10m\ndeep_interval: 0s"))?;
        let mut running = start(&node)?;
        running.daemon.wait_for_http(running.address, "/readyz", PATIENCE)?;
        running.daemon.signal(signal)?;
        let status = running.daemon.wait(END)?;
        assert_eq!((status.code(), status.signal()), (Some(0), None), "{}", running.daemon.output());
        assert!(http::get(running.address, "/healthz").is_err(), "nobody listens any more");
    }
    Ok(())
}

#[test]
fn the_first_process_of_a_pod_is_ended_by_a_signal_however_early_it_comes() -> Result<()> {
    /// What a pipe holds unless told otherwise.
    const PIPE: usize = 64 << 10;
    let node = Node::new(&config::daemon(""))?;
    // A log that nobody reads yet: the process stops at its first line, before it serves anything.
    let (log, mut full) = std::io::pipe()?;
    full.write_all(&vec![b'.'; PIPE])?;
    let mut command = Command::new(daemon::ctmon()?);
    command.args(node.arguments(&["run"])?).stdin(Stdio::null()).stdout(Stdio::null()).stderr(full);
    let started = thread::spawn(move || -> Result<Child> {
        sys::unshare_processes()?;
        Ok(command.spawn()?)
    });
    let mut child = started.join().map_err(|_| anyhow::anyhow!("the thread that starts it died"))??;
    let ended = terminate_early(&mut child, log);
    // Whatever came of it, it does not stay.
    let _ = child.kill();
    let _ = child.wait();
    let ended = ended?;
    assert_eq!((ended.code(), ended.signal()), (Some(0), None));
    Ok(())
}

/// Sends SIGTERM while the log is full, then reads the log.
fn terminate_early(child: &mut Child, mut log: PipeReader) -> Result<ExitStatus> {
    let status = format!("/proc/{}/status", child.id());
    // The first process of a namespace gets no signal before it has a handler for it: the kernel drops it.
    wait_until("handler of SIGTERM", || {
        let status = std::fs::read_to_string(&status)?;
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).context("no SigCgt")?;
        Ok(u64::from_str_radix(caught.trim(), 16)? & (1 << 14) != 0)
    })?;
    sys::kill(child.id(), Signal::Terminate)?;
    let reader = thread::spawn(move || log.read_to_end(&mut Vec::new()));
    wait_until("end", || Ok(child.try_wait()?.is_some()))?;
    let _ = reader.join();
    Ok(child.wait()?)
}

#[test]
fn a_file_without_an_end_in_the_place_of_the_configuration_holds_nobody() -> Result<()> {
    let node = Node::new(&config::daemon(""))?;
    let mut running = start(&node)?;
    running.daemon.wait_for_http(running.address, "/readyz", PATIENCE)?;
    let refused = |page: &Page| page.value("ctmon_config_last_reload_successful", &[]) == Some(0.0);
    let endless = node.config().with_file_name("endless");
    std::os::unix::fs::symlink("/dev/zero", &endless)?;
    std::fs::rename(&endless, node.config())?;
    let page = running.page(refused)?;
    let resident = page.value("process_resident_memory_bytes", &[]).context("no memory")?;
    assert!(resident < f64::from(64 << 20), "{resident} bytes");
    running.daemon.wait_for_output("is not a regular file", PATIENCE)?;
    assert_eq!(running.get("GET", "/healthz", &[])?.status, 200);

    // Half a file, and none: refused likewise, and said.
    node.configure(&config::daemon("targets:\n"))?;
    running.daemon.wait_for_output("nothing follows `targets:`", PATIENCE)?;
    std::fs::remove_file(node.config())?;
    running.daemon.wait_for_output("is gone: put it back", PATIENCE)?;
    running.page(refused)?;
    node.configure(&config::daemon("targets: []\n"))?;
    running.page(|page| page.value("ctmon_config_last_reload_successful", &[]) == Some(1.0))?;
    assert_eq!(running.daemon.stop(END)?.code(), Some(0));
    Ok(())
}

/// Ends with 2 and one line on standard error, nothing on standard output.
fn refuses(finished: &daemon::Finished, words: &[&str]) -> Result<()> {
    ensure!(finished.status.code() == Some(2), "ended with {}: {}", finished.status, finished.stderr);
    assert_eq!((finished.stdout.as_str(), finished.stderr.lines().count()), ("", 1), "{}", finished.stderr);
    for word in words {
        assert!(finished.stderr.contains(word), "{word:?} is not in {:?}", finished.stderr);
    }
    for cause in ["os error", "failed to create map", "No such file"] {
        assert!(finished.stderr.matches(cause).count() < 2, "{cause:?} twice in {:?}", finished.stderr);
    }
    Ok(())
}

#[test]
fn without_a_bpffs_every_verb_that_reads_maps_says_so_and_ends() -> Result<()> {
    let node = Node::new(&config::daemon(""))?;
    let config = node.config();
    let config = config.to_str().context("a path that is not UTF-8")?;
    for verb in ["run", "scrape", "list", "nat", "top", "check"] {
        for (place, words) in [("/proc", "is not a bpffs"), ("/nowhere/at/all", "mount bpffs there")] {
            let arguments = [verb, "--bpffs", place, "--config", config];
            refuses(&daemon::run(&daemon::ctmon()?, &arguments, PATIENCE)?, &[place, words, "--bpffs"])?;
        }
    }
    Ok(())
}

/// What a command that was started with these capabilities only, as user 0, ended with.
fn run_with(node: &Node, verb: &[&str], capabilities: &[Capability]) -> Result<daemon::Finished> {
    let mut command = Command::new(daemon::ctmon()?);
    command.args(node.arguments(verb)?);
    sys::keep_only(&mut command, capabilities);
    daemon::run_command(&mut command, PATIENCE)
}

#[test]
fn without_capabilities_it_says_which_ones_it_needs_and_ends() -> Result<()> {
    let node = Node::new(&config::daemon(""))?;
    let _maps = fixture::replay(&node.bpffs, Lifetimes::ShiftedToNow)?;
    for verb in ["run", "scrape"] {
        refuses(&run_with(&node, &[verb], &[])?, &["CAP_BPF", "CAP_PERFMON"])?;
        refuses(&run_with(&node, &[verb], &[Capability::Perfmon])?, &["CAP_BPF"])?;
        refuses(&run_with(&node, &[verb], &[Capability::Bpf])?, &["CAP_PERFMON"])?;
    }
    Ok(())
}

#[test]
fn two_capabilities_are_enough() -> Result<()> {
    const TWO: [Capability; 2] = [Capability::Bpf, Capability::Perfmon];
    let node = Node::new(&config::daemon(SMB))?;
    let _maps = fixture::replay(&node.bpffs, Lifetimes::ShiftedToNow)?;
    let mut command = Command::new(daemon::ctmon()?);
    command.args(node.arguments(&["run", "--log-format", "json"])?);
    sys::keep_only(&mut command, &TWO);
    let mut running = start_command(&mut command)?;
    // Nothing but the two is there to be used.
    let status = std::fs::read_to_string(format!("/proc/{}/status", running.daemon.pid()))?;
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:")).context("no CapEff")?;
    let effective = u64::from_str_radix(effective.trim(), 16)?;
    assert_eq!(effective, TWO.iter().map(|capability| 1 << *capability as u64).sum::<u64>());
    let page = running.page(|page| entries(page).is_some())?;
    assert_eq!(whole(entries(&page))?, 399);
    assert_eq!(whole(page.sum("ctmon_map_entries", &[]))?, 991);
    assert_eq!(whole(page.sum("ctmon_target_stale_entries", &[]))?, 183);
    assert_eq!(whole(page.sum("ctmon_map_problem", &[]))?, 0);
    if counts::tells()? {
        assert_eq!(whole(page.sum("ctmon_map_kernel_entries", &[]))?, 991);
    }
    assert_eq!(running.daemon.stop(END)?.code(), Some(0));

    let listed = run_with(&node, &["list", "--count", "--stale", "--address", "192.168.100.180"], &TWO)?;
    assert_eq!((listed.status.code(), listed.stdout.trim()), (Some(0), "183"), "{}", listed.stderr);
    Ok(())
}
