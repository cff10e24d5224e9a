//! The scan thread: collects on a steady clock, checks, renders.
//!
//! In: a collector, new settings as they come. Out: a rendered page per snapshot.
//! Must not: share the collector: one scan runs at a time, and only here.

use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant, SystemTime};
use std::{io, thread};

use anyhow::Context as _;
use monitor_check::files::Files;
use monitor_check::history::History;
use monitor_check::lookback::Lookback;
use monitor_check::transitions::{SourceTransition, SourceTransitions, Transitions};
use monitor_check::{Reading, findings, readings};
use monitor_config::Settings;
use monitor_model::drops::Drops;
use monitor_model::one_line::one_line;
use monitor_model::served::{Stats, WebStatus};
use monitor_model::snapshot::Snapshot;
use monitor_model::snapshot::deep::DeepOutcome;
use monitor_output::page::View;
use monitor_output::prometheus::{self, Daemon, Input, Reload};
use monitor_serve::{LocalReply, Rendered, Web};
use monitor_source::collect::{CollectSettings, Collector, SHARE_OF_A_CORE};
use monitor_source::deep::DeepScan;
use monitor_source::process::process_metrics;
use tokio::sync::watch;

use super::index::index;
use super::local;

/// The time between two readings of the kernel's own counts: a pass of Cilium's gc is told from other deletions by how they
/// fall, which takes moments.
const COUNT_EVERY: Duration = Duration::from_secs(1);

/// What the scan thread is to do besides scanning.
pub(super) enum Order {
    /// Follow these settings from now on.
    Settings(Box<(Settings, CollectSettings, Reload)>),
    /// A reload failed, for this reason in one line: the old settings stay, and metric, page and `ctmon check` say so.
    ReloadFailed(String),
}

/// Where the thread's results go.
pub(super) struct Publish {
    pub pages: watch::Sender<Arc<Rendered>>,
    pub victims: watch::Sender<LocalReply>,
    pub history: watch::Sender<LocalReply>,
}

/// Starts the thread. It ends with the process, or when the receiver of its pages is gone.
pub(super) fn start(
    collector: Collector,
    settings: Settings,
    publish: Publish,
    web: Arc<Web>,
    stats: Arc<Stats>,
) -> anyhow::Result<mpsc::Sender<Order>> {
    let (orders, inbox) = mpsc::channel();
    let scanner = Scanner {
        collector,
        settings,
        publish,
        web,
        stats,
        inbox,
        reload: reloaded_now(),
        refusal: None,
        transitions: Transitions::default(),
        source_transitions: SourceTransitions::default(),
        lookback: Lookback::default(),
        deep: DeepScan::default(),
        scarce_ports: None,
        ports_ran_short: false,
        deep_at: None,
        deep_found: None,
    };
    thread::Builder::new()
        .name("scan".to_owned())
        .spawn(move || scanner.run())
        .context("failed to start the scan thread")?;
    Ok(orders)
}

/// Settings were taken over just now.
pub(super) fn reloaded_now() -> Reload {
    Reload { successful: true, loaded: SystemTime::now() }
}

struct Scanner {
    collector: Collector,
    settings: Settings,
    publish: Publish,
    web: Arc<Web>,
    stats: Arc<Stats>,
    inbox: mpsc::Receiver<Order>,
    reload: Reload,
    /// Why the last reload failed.
    refusal: Option<String>,
    transitions: Transitions,
    source_transitions: SourceTransitions,
    lookback: Lookback,
    deep: DeepScan,
    /// What [`Drops::scarce_ports`] said at the last snapshot.
    ///
    /// [`Drops::scarce_ports`]: monitor_model::drops::Drops::scarce_ports
    scarce_ports: Option<u64>,
    /// Whether it has grown since the last deep scan.
    ports_ran_short: bool,
    /// When the last deep scan began, and what it found.
    deep_at: Option<Instant>,
    deep_found: Option<DeepOutcome>,
}

impl Scanner {
    fn run(mut self) {
        let mut next = Instant::now();
        loop {
            let taken = Instant::now();
            let mut snapshot = self.collector.collect();
            if self.deep_found.as_ref().is_some_and(|outcome| !outcome.is_of(&snapshot)) {
                self.forget_deep();
            }
            if let Some(outcome) = &self.deep_found {
                snapshot.attach(outcome);
            }
            if self.check_and_publish(&snapshot, taken).is_err() {
                return;
            }
            // The numbers of this scan are published: the deep scan, which takes longer, adds to them.
            if self.deep_due(taken, &snapshot) {
                self.scan_deep(&mut snapshot, taken);
                if self.check_and_publish(&snapshot, taken).is_err() {
                    return;
                }
            }
            // A steady clock: the next scan counts from when the last one was due; scans that were missed are left out.
            next = (next + snapshot.interval).max(Instant::now());
            match self.wait_until(next) {
                Wait::Due => {}
                Wait::Now => next = Instant::now(),
                Wait::End => return,
            }
        }
    }

    /// Reads the alerts, logs what crossed a threshold, publishes.
    fn check_and_publish(&mut self, snapshot: &Snapshot, taken: Instant) -> Result<(), ()> {
        let readings = readings(snapshot, &self.settings);
        self.log_transitions(&readings, snapshot.monotonic);
        self.log_sources(snapshot);
        self.lookback.observe(snapshot, &self.settings);
        self.publish(snapshot, &readings, taken)
    }

    /// In its turn, or at once when the kernel has to look for source ports: a destination may fill up in seconds. Even
    /// then deep scans take no larger share of a core than walking does.
    fn deep_due(&mut self, now: Instant, snapshot: &Snapshot) -> bool {
        let interval = self.settings.deep_interval;
        let scarce = snapshot.drops.as_ref().map(Drops::scarce_ports);
        let before = std::mem::replace(&mut self.scarce_ports, scarce);
        self.ports_ran_short |= scarce.zip(before).is_some_and(|(now, before)| now > before);
        let cost = self.deep_found.as_ref().map_or(Duration::ZERO, |outcome| outcome.source.duration);
        let interval = if self.ports_ran_short { interval.min(cost * SHARE_OF_A_CORE) } else { interval };
        !self.settings.deep_interval.is_zero()
            && self.deep_at.is_none_or(|at| now.saturating_duration_since(at) >= interval)
    }

    /// Joins conntrack and NAT; what it finds stays in the snapshots until the next time.
    fn scan_deep(&mut self, snapshot: &mut Snapshot, now: Instant) {
        (self.deep_at, self.ports_ran_short) = (Some(now), false);
        let outcome = self.deep.run(&mut self.collector, snapshot, &self.settings.snat_port_range);
        snapshot.attach(&outcome);
        self.deep_found = Some(outcome);
    }

    /// Under other targets what was found means nothing: the next deep scan is due.
    fn forget_deep(&mut self) {
        (self.deep, self.deep_at, self.deep_found) = (DeepScan::default(), None, None);
    }

    /// Logs every threshold crossed, once each way.
    fn log_transitions(&mut self, readings: &[Reading], now: Duration) {
        for transition in self.transitions.next(readings, now) {
            let Reading { definition, severity, map_name, target, value, threshold, active: _ } =
                &transition.reading;
            let (alert, severity) = (definition.alert.name, severity.name());
            if transition.began {
                tracing::warn!(
                    alert,
                    severity,
                    map_name,
                    target_name = target,
                    value,
                    threshold,
                    "threshold crossed"
                );
            } else {
                tracing::info!(
                    alert,
                    severity,
                    map_name,
                    target_name = target,
                    value,
                    threshold,
                    "back within threshold"
                );
            }
        }
    }

    /// Logs every source that went down or came back, and one that is down for another reason.
    fn log_sources(&mut self, snapshot: &Snapshot) {
        for SourceTransition { name, reason } in self.source_transitions.next(&snapshot.sources) {
            if let Some(reason) = reason {
                tracing::warn!(source = name, reason, "source is down");
            } else {
                tracing::info!(source = name, "source is back");
            }
        }
    }

    fn publish(&self, snapshot: &Snapshot, readings: &[Reading], taken: Instant) -> Result<(), ()> {
        let mut page = Vec::with_capacity(64 * 1024);
        let web = self.web.status();
        let process = process_metrics();
        let daemon =
            Some(Daemon { reload: self.reload, web: web.as_ref(), stats: &self.stats, process: &process });
        let input = Input { snapshot, settings: &self.settings, readings, daemon };
        if let Err(error) = prometheus::write(&input, &mut page) {
            tracing::error!(error = %io::Error::other(error), "failed to render the metrics page");
            return Ok(());
        }
        let now = snapshot.monotonic;
        let lookback = self.lookback.read(now, &self.settings);
        let mut history = History::of(snapshot, lookback, self.transitions.active(now));
        history.files = self.files(web.as_ref());
        let findings = findings(readings, snapshot, Some(&history), &self.settings);
        let view = View { snapshot, findings: &findings };
        let rendered = Rendered::new(index(Some(view)), page, taken, snapshot.interval);
        self.publish.victims.send_replace(local::of_victims(&snapshot.evictions, &self.settings));
        // Not before: the page is for everyone, and an error repeats words of the file.
        history.files.config_problem.clone_from(&self.refusal);
        self.publish.history.send_replace(local::of_history(&history));
        self.publish.pages.send(Arc::new(rendered)).map_err(|_| ())
    }

    fn files(&self, web: Option<&WebStatus>) -> Files {
        let left = |end: SystemTime| match end.duration_since(SystemTime::now()) {
            Ok(left) => left.as_secs_f64(),
            Err(past) => -past.duration().as_secs_f64(),
        };
        Files {
            config_refused: !self.reload.successful,
            config_problem: None,
            web_refused: web.map(|web| web.refused.is_some()),
            certificate_left: web.and_then(|web| web.not_after).map(left),
        }
    }

    /// Waits for the next turn, and lets the kernel count meanwhile.
    fn wait_until(&mut self, next: Instant) -> Wait {
        loop {
            let now = Instant::now();
            let count = now + COUNT_EVERY;
            if count >= next {
                return self.wait_for_orders(next);
            }
            match self.wait_for_orders(count) {
                Wait::Due => self.collector.count(),
                other => return other,
            }
        }
    }

    fn wait_for_orders(&mut self, until: Instant) -> Wait {
        match self.inbox.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(Order::Settings(order)) => {
                let (settings, collect, reload) = *order;
                self.settings = settings;
                (self.reload, self.refusal) = (reload, None);
                // Counts by target belong to the old targets.
                self.forget_deep();
                if let Err(error) = self.collector.reconfigure(collect) {
                    tracing::error!(
                        error = one_line(&error),
                        "failed to load the new targets into the kernel"
                    );
                }
                Wait::Now
            }
            Ok(Order::ReloadFailed(why)) => {
                (self.reload.successful, self.refusal) = (false, Some(why));
                Wait::Now
            }
            Err(RecvTimeoutError::Timeout) => Wait::Due,
            Err(RecvTimeoutError::Disconnected) => Wait::End,
        }
    }
}

enum Wait {
    Due,
    Now,
    End,
}
