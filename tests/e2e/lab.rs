//! The laboratory: a simulated node, the daemon on it, a Prometheus that watches the daemon.
//!
//! In: a configuration, a phase. Out: all three, running, with rules whose minutes pass in moments.
//! Must not: change what an alert compares with, but where the default is off.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use monitor_check::ALERTS;
use monitor_model::alert::{Alert, Grade};
use serde_json::{Map, Value, json};
use support::config::TARGETS;
use support::daemon::{self, Daemon};
use support::host;
use support::node::{Node, PATIENCE};
use support::player::Player;
use support::simulate::phase::Phase;

use crate::prometheus::Prometheus;

/// Seconds of the rules, and of the gc, that pass in one real second: its 5 minutes are 1.25 s.
pub(crate) const PACE: u32 = 240;
/// Windows must hold two samples even if one scrape is missed.
const SHORTEST_WINDOW: Duration = Duration::from_secs(5);
/// How long the exporter may be unknown: a Prometheus that has just started has scraped nothing, for however long a
/// busy machine takes.
const DOWN_FOR: Duration = Duration::from_secs(15);
/// Longest wait for an alert. Nothing is measured by it: it only ends a test that would hang.
pub(crate) const LONG: Duration = Duration::from_secs(600);
const POLL: Duration = Duration::from_millis(200);

/// What every scene watches. The gc should come every 20 minutes, 5 s here: a repaired one comes four times as
/// often, so that a machine that stalls for a moment is no finding.
pub(crate) const CONFIG: &str = "
listen: '127.0.0.1:0'
interval: 1s
deep_interval: 5s
# The shortest there is; as with the lifetimes of entries these are real seconds.
stale_after: 20s
";
pub(crate) const EXPECT: &str = "
expect: {gc_interval: {at_most: 5s}}
targets_from_host: false
";

/// Everything of one test.
pub(crate) struct Lab {
    // In this order they end: the server before whom it scrapes, the daemon before its maps.
    pub(crate) prometheus: Prometheus,
    daemon: Daemon,
    pub(crate) address: SocketAddr,
    pub(crate) player: Player,
    pub(crate) node: Node,
}

impl Lab {
    /// The node beside this machine's own files.
    pub(crate) fn start(config: &str, phase: Phase) -> Result<Self> {
        let node = node(config)?;
        let arguments = node.arguments(&["run", "--log-format", "json"])?;
        Self::start_on(node, &arguments, phase)
    }

    /// The node whose mounts and sessions are the captured ones.
    pub(crate) fn start_captured(
        config: &str,
        phase: Phase,
        prepare: impl FnOnce(&Node, &Path) -> Result<()>,
    ) -> Result<Self> {
        let node = node(config)?;
        let root = host::captured(&node)?;
        prepare(&node, &root)?;
        let words = host::on(&root, &["run", "--log-format", "json"])?;
        let arguments = node.arguments(&words.iter().map(String::as_str).collect::<Vec<_>>())?;
        Self::start_on(node, &arguments, phase)
    }

    fn start_on(node: Node, arguments: &[String], phase: Phase) -> Result<Self> {
        let player = Player::start(&node.bpffs, PACE.into(), phase)?;
        let mut daemon = Daemon::start_command(Command::new(daemon::ctmon()?).args(arguments))?;
        let address = daemon.wait_for_address(PATIENCE)?;
        // Complete from the first scrape on.
        daemon.wait_for_http(address, "/readyz", PATIENCE)?;
        let prometheus = Prometheus::start(address, &node.said(&["rules"])?)?;
        let lab = Self { prometheus, daemon, address, player, node };
        // Rules are evaluated before anything was scraped.
        lab.until("the first scrape", |lab| {
            let found = lab.prometheus.query("ctmon_build_info")?;
            Ok((!found.is_empty()).then_some(()))
        })?;
        Ok(lab)
    }

    /// What fires on this host whatever happens on the node: where the kernel refuses tracing, evictions are not seen.
    pub(crate) fn of_this_host(&self) -> Result<BTreeSet<String>> {
        let blind = !self.prometheus.query("ctmon_eviction_tracking{mode=\"off\"}")?.is_empty();
        Ok(blind.then(|| "CtmonBlind info".to_owned()).into_iter().collect())
    }

    /// What fires now because of the node.
    pub(crate) fn firing(&self) -> Result<BTreeSet<String>> {
        Ok(&self.prometheus.firing()? - &self.of_this_host()?)
    }

    /// What fired because of the node so far.
    pub(crate) fn fired(&self) -> Result<BTreeSet<String>> {
        Ok(&self.prometheus.fired()? - &self.of_this_host()?)
    }

    /// Looks again and again until there is an answer.
    pub(crate) fn until<T>(&self, what: &str, mut look: impl FnMut(&Self) -> Result<Option<T>>) -> Result<T> {
        let end = Instant::now() + LONG;
        loop {
            if let Some(found) = look(self)? {
                return Ok(found);
            }
            if Instant::now() > end {
                let (firing, status) = (self.prometheus.firing()?, self.player.status());
                bail!(
                    "{what} did not come within {LONG:?}; firing: {firing:#?}; node: {status:?}; ctmon: {}",
                    self.daemon.output()
                );
            }
            thread::sleep(POLL);
        }
    }

    /// Waits until every rule was evaluated that many times more, each time without an error.
    pub(crate) fn evaluations(&self, count: usize) -> Result<()> {
        let mut left = count;
        let mut last = String::new();
        self.until("an evaluation", |lab| {
            let rules = lab.prometheus.rules()?;
            ensure!(rules.len() == grades().count(), "{} rules of {}", rules.len(), grades().count());
            if rules.iter().any(|rule| rule.health == "unknown") {
                return Ok(None);
            }
            for rule in &rules {
                ensure!(rule.health == "ok", "{}: {}", rule.name, rule.health);
            }
            let evaluated = rules.last().map(|rule| rule.evaluated.clone()).unwrap_or_default();
            if evaluated != last {
                // The first one seen may have been before the call.
                left -= usize::from(!last.is_empty());
                last = evaluated;
            }
            Ok((left == 0).then_some(()))
        })
    }
}

/// A node whose rules are [`PACE`] times as fast.
fn node(config: &str) -> Result<Node> {
    Node::new(&format!("{CONFIG}{TARGETS}{config}thresholds: {}\n", thresholds()?))
}

/// Every severity of every alert.
fn grades() -> impl Iterator<Item = (&'static Alert, &'static Grade)> {
    ALERTS.iter().flat_map(|alert| alert.severities.iter().map(|grade| (*alert, grade)))
}

/// The default of every alert with its times shortened, as YAML (which JSON is).
fn thresholds() -> Result<Value> {
    let mut thresholds = Map::new();
    for (alert, grade) in grades() {
        let text = |time: Duration| Value::from(format!("{}ms", time.as_millis()));
        let hold = if alert.short_name() == "Down" { DOWN_FOR } else { grade.hold / PACE };
        let mut rule = Map::new();
        rule.insert("for".to_owned(), text(hold));
        rule.insert("keep_firing_for".to_owned(), text(alert.keep_firing_for / PACE));
        if let Some(window) = alert.window {
            rule.insert("window".to_owned(), text((window / PACE).max(SHORTEST_WINDOW)));
        }
        // Off by default. The simulated node has 4,000 to 6,000 entries when nothing is wrong.
        let value = match alert.short_name() {
            "EntriesAboveNormal" => Some(7_000),
            "EntriesHigh" => Some(10_000),
            _ => None,
        };
        rule.extend(value.map(|value| ("value".to_owned(), Value::from(value))));
        let severities = thresholds.entry(alert.short_name()).or_insert_with(|| json!({}));
        let severities = severities.as_object_mut().context("no severities")?;
        severities.insert(grade.severity.name().to_owned(), rule.into());
    }
    ensure!(!thresholds.is_empty(), "no alerts");
    Ok(thresholds.into())
}
