//! Findings that need memory: what the daemon saw since it began.
//!
//! In: what the daemon remembers, a snapshot of the same maps, settings. Out: findings.
//! Must not: speak for other maps than those it was asked about.

use std::time::Duration;

use monitor_config::Settings;
use monitor_model::catalog::{Alert, PREFIX, Severity};
use monitor_model::duration;
use monitor_model::snapshot::{Content, GcFacts, Snapshot};

use super::alerts::Reading;
use super::crossing::Crossings;
use super::files::Files;
use super::finding::{Finding, Level, format_number, own};
use super::windows::Windows;

/// What a running daemon knows and one collection cannot.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// The maps it walks.
    pub maps: Vec<Followed>,
    pub looked: Vec<Looked>,
    /// The files it was given.
    pub files: Files,
    /// How long what one snapshot tells has been so.
    pub active: Vec<Active>,
}

/// A map that the daemon follows.
#[derive(Clone, Debug, PartialEq)]
pub struct Followed {
    pub map_name: String,
    pub id: u32,
    /// What it saw of Cilium's collector.
    pub gc: Option<GcFacts>,
}

/// A condition that holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Active {
    pub alert: String,
    pub severity: Severity,
    /// Empty where it does not apply.
    pub map_name: String,
    /// Empty where it does not apply.
    pub target: String,
    pub held: Duration,
    /// It held when the daemon began to look: since when is not known.
    pub from_the_start: bool,
}

/// What the window of one alert holds on one series.
#[derive(Clone, Debug)]
pub struct Looked {
    pub alert: &'static Alert,
    /// Empty where it does not apply.
    pub map_name: String,
    /// Empty where it does not apply.
    pub target: String,
    /// A service of the target or a log pattern; empty where neither applies.
    pub subject: String,
    pub window: Duration,
    /// In the alert's unit.
    pub value: f64,
}

impl History {
    /// What the daemon remembers at this snapshot.
    #[must_use]
    pub fn of(windows: &Windows, crossings: &Crossings, snapshot: &Snapshot, settings: &Settings) -> Self {
        let maps = snapshot.present().map(|(map, present)| Followed {
            map_name: map.map.name.clone(),
            id: present.id,
            gc: present.gc,
        });
        Self {
            maps: maps.collect(),
            looked: windows.look(snapshot.monotonic, settings),
            files: Files::default(),
            active: crossings.active(snapshot.monotonic),
        }
    }

    /// Whether it is about these maps, by name and id: another daemon may follow another node's, in a test for example.
    #[must_use]
    pub fn is_of<'m>(&self, maps: impl IntoIterator<Item = (&'m str, u32)>) -> bool {
        maps.into_iter().any(|(name, id)| self.followed(name, id).is_some())
    }

    fn followed(&self, name: &str, id: u32) -> Option<&Followed> {
        self.maps.iter().find(|known| known.map_name == name && known.id == id)
    }

    /// How long a reading has been active; `None` where the daemon does not know it.
    #[must_use]
    pub fn held(&self, reading: &Reading) -> Option<&Active> {
        self.active.iter().find(|active| {
            active.alert == reading.alert.name
                && active.severity == reading.alert.severity
                && active.map_name == reading.map_name
                && active.target == reading.target
        })
    }

    /// Lends the snapshot what was seen of the collector.
    pub fn tell(&self, snapshot: &mut Snapshot) {
        for map in &mut snapshot.maps {
            let Content::Present(present) = &mut map.content else { continue };
            present.gc = self.followed(&map.map.name, present.id).and_then(|known| known.gc).or(present.gc);
        }
    }

    /// The finding that there is none, and why.
    #[must_use]
    pub fn unknown(why: &str) -> Finding {
        let evidence = format!(
            "what only time tells is unknown (evictions, failed inserts, connections that stay unanswered, reconnects, \
             log patterns, passes of the collector): {why}"
        );
        own("history", Level::Info, &evidence, "ask beside the daemon of this node")
    }

    /// A finding for each series that is beyond its threshold, and for each file that is not in force.
    #[must_use]
    pub fn findings(&self, settings: &Settings) -> Vec<Finding> {
        let beyond = |looked: &&Looked| {
            let rule = settings.thresholds.get(looked.alert.name, looked.alert.severity);
            rule.and_then(|rule| rule.value).is_some_and(|threshold| looked.value > threshold)
        };
        let beyond = self.looked.iter().filter(beyond).map(explain);
        beyond.chain(self.files.findings(settings)).collect()
    }
}

fn explain(looked: &Looked) -> Finding {
    let Looked { alert, map_name, target, subject, window, value } = looked;
    let number = format_number(*value);
    let lately = format!("in the last {}", duration::format(*window));
    let (evidence, advice) = match alert.name.strip_prefix(PREFIX).unwrap_or(alert.name) {
        "LiveEvictions" if target.is_empty() => (
            format!(
                "{number} entries of live connections were evicted from {map_name} {lately} to make room"
            ),
            "`ctmon evictions` names the last of them, `ctmon top` who fills the map, `ctmon list --expired --count` \
             how much of it is dead",
        ),
        "LiveEvictions" => (
            format!(
                "{number} live connections towards {target} were evicted {lately}: they stall until they time out"
            ),
            "`ctmon evictions` names the last of them",
        ),
        "InsertFailures" => (
            format!(
                "the datapath failed {number} times to insert a conntrack entry {lately}: as many new connections failed"
            ),
            "look at the fill of the conntrack maps, and at how much of it is dead",
        ),
        "NatMappingFailures" => (
            format!(
                "{number} packets a second found no port to be translated to {lately}: connections out of the cluster fail"
            ),
            "`ctmon top --by nat-ports` shows the fullest tuples",
        ),
        "TargetUnanswered" => (
            format!(
                // A quartile lies between two counts.
                "at three of four scans {lately} about {:.0} connections or more to its service {subject} had sent a SYN and \
                 heard nothing",
                value.ceil()
            ),
            "`ctmon list --unanswered` shows them; see whether the server answers on that port from another host, \
             then `ctmon list --collisions`",
        ),
        "CifsReconnecting" => (
            format!("the SMB client reconnected {number} times {lately}: the sessions do not last"),
            "read what the client says (`dmesg | grep CIFS`) and the server's own log at that time",
        ),
        "LogPattern" => (
            format!("pod logs matched the pattern {subject} {number} times {lately}"),
            "read the logs of the pods that the pattern selects",
        ),
        _ => (format!("{number} {lately}"), ""),
    };
    Finding {
        map_name: map_name.clone(),
        target: target.clone(),
        ..own(alert.name, alert.severity.into(), &evidence, advice)
    }
}
