//! What the daemon saw since it began.
//!
//! In: lookback windows, what has been active for how long, a snapshot of the same maps. Out: [`History`].
//! Must not: speak for other maps than those it was asked about.

use std::time::Duration;

use monitor_config::Settings;
use monitor_model::alert::{Alert, Severity};
use monitor_model::snapshot::{Content, GcFacts, Snapshot};

use crate::files::Files;
use crate::finding::{Finding, Level, own};
use crate::lookback::reading::LookbackReading;

/// What a running daemon knows and one collection cannot.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// The maps it walks.
    pub maps: Vec<Followed>,
    pub lookback: Vec<LookbackReading>,
    /// The files it was given.
    pub files: Files,
    /// How long what one snapshot shows has been so.
    pub active: Vec<Active>,
}

/// A map that the daemon follows.
#[derive(Clone, Debug, PartialEq)]
pub struct Followed {
    pub map_name: String,
    pub id: u32,
    /// What it saw of Cilium's gc.
    pub gc: Option<GcFacts>,
}

/// A condition that holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Active {
    pub alert: &'static Alert,
    pub severity: Severity,
    /// Empty where it does not apply.
    pub map_name: String,
    /// Empty where it does not apply.
    pub target: String,
    pub held: Duration,
    /// It held when the daemon began to look: since when is not known.
    pub from_the_start: bool,
}

impl History {
    /// What the daemon remembers at this snapshot.
    #[must_use]
    pub fn of(snapshot: &Snapshot, lookback: Vec<LookbackReading>, active: Vec<Active>) -> Self {
        let maps = snapshot.present().map(|(map, present)| Followed {
            map_name: map.map.name.clone(),
            id: present.id,
            gc: present.gc,
        });
        Self { maps: maps.collect(), lookback, files: Files::default(), active }
    }

    /// Whether it is about these maps, by name and id: another daemon may follow another node's, in a test for example.
    #[must_use]
    pub fn is_of<'m>(&self, maps: impl IntoIterator<Item = (&'m str, u32)>) -> bool {
        maps.into_iter().any(|(name, id)| self.followed(name, id).is_some())
    }

    fn followed(&self, name: &str, id: u32) -> Option<&Followed> {
        self.maps.iter().find(|known| known.map_name == name && known.id == id)
    }

    /// Adds to the snapshot what was seen of the gc.
    pub fn complete(&self, snapshot: &mut Snapshot) {
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
        own("history", Level::INFO, &evidence, "ask beside the daemon of this node")
    }

    /// The series that are beyond their threshold.
    pub fn beyond<'h>(&'h self, settings: &'h Settings) -> impl Iterator<Item = &'h LookbackReading> {
        self.lookback.iter().filter(|reading| {
            let threshold = settings.thresholds.get(reading.alert, reading.severity);
            threshold
                .and_then(|rule| rule.value)
                .is_some_and(|limit| reading.alert.side.holds(reading.value, limit))
        })
    }
}
