//! What a deep scan found: conntrack and NAT joined, and both compared with the host's sockets.
//!
//! In: the deep scan. Out: plain data. Must not: hold an address of traffic, except in the few lines meant for people.

use std::net::IpAddr;
use std::time::Duration;

use super::{Snapshot, SourceState};
use crate::tuple::Endpoint;

/// How a deep scan went.
#[derive(Clone, Debug)]
pub struct DeepOutcome {
    /// `None` if it failed.
    pub facts: Option<DeepFacts>,
    pub source: SourceState,
}

/// Everything one deep scan found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DeepFacts {
    /// When it began, on `CLOCK_MONOTONIC`.
    pub monotonic: Duration,
    pub duration: Duration,
    /// Conntrack and NAT entries it read.
    pub entries: u64,
    /// By NAT map, absent ones left out.
    pub nat: Vec<NatDeep>,
    /// By target, in configuration order.
    pub targets: Vec<TargetDeep>,
    /// By target and service, in configuration order; empty without a NAT map.
    pub services: Vec<ServiceDeep>,
    /// The tuples with the most ports in use, fullest first.
    pub fullest: Vec<PortUse>,
}

/// A NAT map.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NatDeep {
    pub map_name: String,
    /// Ports in use over those there are, of the fullest tuple.
    pub port_usage_max: f64,
    /// Entries without a conntrack entry behind them, in two deep scans; `None` after the first.
    pub orphans: Option<u64>,
    /// Entries whose other half is missing, likewise.
    pub broken_pairs: Option<u64>,
}

/// A target.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TargetDeep {
    pub target: String,
    pub orphans: Option<u64>,
    pub broken_pairs: Option<u64>,
    /// Entries that look as if the target had opened the connection.
    pub collisions: u64,
    /// Of these, entries whose lifetime has not passed; `None` while the clock is unknown.
    pub collisions_alive: Option<u64>,
    /// Entries of the node's own connections without a socket; `None` where that is unknown.
    pub ghosts: Option<u64>,
    /// Sockets of the node without an entry; `None` where that is unknown.
    pub untracked: Option<Untracked>,
}

/// Sockets without a conntrack entry, by why that is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Untracked {
    /// Their port lies below those Cilium translates to: it leaves them alone.
    pub low_port: u64,
    /// Cilium does not masquerade: the node's own traffic does not pass its NAT.
    pub no_masquerade: u64,
    /// Silent for longer than the timeout: the entry is gone, the connection is not.
    pub idle: u64,
    pub unknown: u64,
}

/// A service of a target.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ServiceDeep {
    pub target: String,
    pub service: String,
    /// Ports in use towards one address and port of it, of the fullest.
    pub ports_used: u64,
    /// The same over the ports there are.
    pub port_usage: f64,
}

/// How many source ports connections to one destination take.
#[derive(Clone, Debug, PartialEq)]
pub struct PortUse {
    /// The address connections leave with.
    pub translated: IpAddr,
    pub remote: Endpoint,
    pub protocol: monitor_abi::class::Protocol,
    pub ports: u64,
    pub usage: f64,
}

impl DeepOutcome {
    /// Whether it was found for the targets of this snapshot: those from the host come and go.
    #[must_use]
    pub fn is_of(&self, snapshot: &Snapshot) -> bool {
        let Some(facts) = &self.facts else { return true };
        let pair = |state: &super::TargetState| (state.target.clone(), state.service.clone());
        let services = facts.services.iter().map(|state| (state.target.clone(), state.service.clone()));
        facts.targets.iter().map(|target| target.target.as_str()).eq(snapshot.target_names())
            && (facts.services.is_empty() || services.eq(snapshot.targets.iter().map(pair)))
    }
}

impl Snapshot {
    /// Replaces what an earlier deep scan found by what the last one found.
    pub fn attach(&mut self, outcome: &DeepOutcome) {
        self.deep.clone_from(&outcome.facts);
        self.sources.retain(|source| source.name != outcome.source.name);
        self.sources.push(outcome.source.clone());
    }
}

impl Untracked {
    #[must_use]
    pub const fn all(&self) -> u64 {
        let Self { low_port, no_masquerade, idle, unknown } = *self;
        low_port + no_masquerade + idle + unknown
    }
}
