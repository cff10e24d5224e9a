//! Cilium's timeouts, by what its agent is configured with and by what entries show.
//!
//! In: the agent's configuration, the walks of a collection. Out: the timeouts in force, and per map the closed entries that
//! are kept for longer. Must not: prefer what entries show to what Cilium is configured with.

use monitor_model::agent_config::AgentConfig;
use monitor_model::clock::ClockNow;
use monitor_model::snapshot::{Content, MapState, SourceState, TimeoutFact, report_interval};
use monitor_model::timeouts::TimeoutClass;

use super::maps::Maps;
use crate::cilium::agent_config::read_agent_config;
use crate::cilium::timeouts::{Timeouts, configured};
use crate::host::Host;
use crate::sources::read_source;

/// Both sources of them.
#[derive(Default)]
pub(super) struct TimeoutSources {
    agent: Option<AgentConfig>,
    entries: Timeouts,
}

impl TimeoutSources {
    /// What the agent is configured with.
    pub(super) const fn agent(&self) -> Option<&AgentConfig> {
        self.agent.as_ref()
    }

    /// Reads the copy of Cilium's configuration anew: it is mounted, and changes.
    pub(super) fn read_agent_config(&mut self, host: &Host, sources: &mut Vec<SourceState>) {
        self.agent = read_source(sources, "cilium_config", || read_agent_config(host));
    }

    /// Takes over which timeouts the entries show, and counts those that show none.
    pub(super) fn observe(&mut self, followed: &Maps, maps: &mut [MapState], scale: ClockNow) {
        self.entries.observe(followed.walks().map(|walk| &walk.timeouts));
        let configured =
            self.agent.as_ref().and_then(|agent| agent.ct_timeouts.get(&TimeoutClass::Fin).copied());
        let interval = report_interval(self.agent.as_ref());
        for map in maps.iter_mut().filter(|map| map.map.is_conntrack()) {
            if let Content::Present(present) = &mut map.content
                && let Some(last) = followed.get(&map.map).and_then(|followed| followed.last.as_ref())
            {
                present.scan.odd_lifetimes =
                    self.entries.odd(&last.timeouts, configured, interval, Some(scale));
            }
        }
    }

    /// What entries showed was on another clock.
    pub(super) fn drop_shown(&mut self) {
        self.entries = Timeouts::default();
    }

    /// What Cilium is configured with, then what the entries show.
    pub(super) fn facts(&self, scale: ClockNow) -> Vec<TimeoutFact> {
        let configured = self.agent.iter().flat_map(|agent| configured(&agent.ct_timeouts));
        configured.chain(self.entries.facts(Some(scale))).collect()
    }
}
