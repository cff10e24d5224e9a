//! To which target and service an entry belongs.
//!
//! In: the targets, in the order of the configuration. Out: [`TargetIndex`]: the one rule, as a pure function of a
//! row and (in [`tables`]) as lookup tables with which the kernel side gives the same answer.
//! Must not: know where targets come from.
//!
//! The rule: an entry belongs to the lowest target that has either of its addresses. Its service is found by the
//! port at the address that matched; where both match, by the one whose port names a service, the responder's
//! first. Only TCP, UDP and SCTP have ports. What names no service is the target's `other`.

mod filter;
pub mod tables;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use monitor_abi::cell::{MAX_PAIRS, MAX_TARGETS};
use monitor_abi::cilium::proto;
use monitor_abi::class::Direction;
use monitor_abi::scan::{MAX_PORTS, MAX_PREFIXES, port_key};

use super::ct::CtRow;
use super::nat::NatRow;
use super::prefix::Prefix;
use super::tuple::{Endpoint, Transport, has_ports};
use crate::target::filter::AddressFilters;

/// The reserved name of an entry that belongs to no target.
pub const NO_TARGET: &str = "none";
/// The reserved name of the service of ports that name none.
pub const OTHER_SERVICE: &str = "other";

/// Where connections usually begin: below, ports are those of services.
pub const FIRST_EPHEMERAL_PORT: u16 = 32_768;

/// A named destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetSpec {
    pub name: String,
    pub prefixes: Vec<Prefix>,
    pub services: Vec<ServiceSpec>,
}

/// A named set of ports of a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceSpec {
    pub name: String,
    pub ports: Vec<u16>,
    /// `None`: every protocol that has ports.
    pub protocol: Option<Transport>,
}

impl TargetSpec {
    /// Pairs of target and service it needs, its `other` included.
    #[must_use]
    pub fn pairs(&self) -> usize {
        self.services.len() + 1
    }
}

impl ServiceSpec {
    /// The protocols whose ports are meant.
    pub fn transports(&self) -> impl Iterator<Item = Transport> {
        Transport::ALL.iter().copied().filter(|transport| self.protocol.is_none_or(|only| only == *transport))
    }
}

/// Targets that do not fit into the kernel's tables.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    #[error("{found} targets, at most {MAX_TARGETS} fit: merge some, or set targets_from_host to false")]
    Targets { found: usize },
    #[error("{found} pairs of target and service, at most {MAX_PAIRS} fit: merge services")]
    Pairs { found: usize },
    #[error("{found} different {family} prefixes, at most {MAX_PREFIXES} fit: merge them into wider ones")]
    Prefixes { family: &'static str, found: usize },
    #[error(
        "{found} combinations of target, protocol and port, at most {MAX_PORTS} fit: \
         give each service its protocol, or list fewer ports"
    )]
    Ports { found: usize },
}

/// What an entry belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TargetMatch {
    /// Index into the targets.
    pub target: usize,
    /// Index into the target's services; `None` is `other`.
    pub service: Option<usize>,
    /// The number of the pair: each target's services in order, then its `other`.
    pub pair: usize,
}

/// The targets, ready to classify entries.
#[derive(Clone, Debug)]
pub struct TargetIndex {
    targets: Vec<TargetSpec>,
    /// The pair of each target's first service.
    first_pair: Vec<usize>,
    /// Every prefix with its target, in first-match order.
    prefixes: Vec<(Prefix, usize)>,
    /// [`port_key`] to pair; ports that name no service are absent.
    ports: HashMap<u32, usize>,
    filters: AddressFilters,
}

impl Default for TargetIndex {
    /// No targets: no entry belongs to any.
    fn default() -> Self {
        Self {
            targets: Vec::new(),
            first_pair: Vec::new(),
            prefixes: Vec::new(),
            ports: HashMap::new(),
            filters: AddressFilters::default(),
        }
    }
}

impl TargetIndex {
    /// Builds the index; the order of `targets` is the order of their precedence.
    pub fn new(targets: Vec<TargetSpec>) -> Result<Self, TargetError> {
        if targets.len() > MAX_TARGETS {
            return Err(TargetError::Targets { found: targets.len() });
        }
        let mut index = Self::default();
        let mut next_pair = 0;
        for (number, target) in targets.iter().enumerate() {
            for prefix in &target.prefixes {
                index.filters.add(prefix);
                index.prefixes.push((*prefix, number));
            }
            index.first_pair.push(next_pair);
            for service in &target.services {
                index.add_ports(number, service, next_pair);
                next_pair += 1;
            }
            next_pair += 1;
        }
        if next_pair > MAX_PAIRS {
            return Err(TargetError::Pairs { found: next_pair });
        }
        if index.ports.len() > MAX_PORTS as usize {
            return Err(TargetError::Ports { found: index.ports.len() });
        }
        let distinct: HashSet<_> = index.prefixes.iter().map(|(prefix, _)| prefix).collect();
        for (family, v4) in [("IPv4", true), ("IPv6", false)] {
            let found = distinct.iter().filter(|prefix| prefix.address().is_ipv4() == v4).count();
            if found > MAX_PREFIXES as usize {
                return Err(TargetError::Prefixes { family, found });
            }
        }
        index.targets = targets;
        Ok(index)
    }

    /// Enters a service's ports; the first service that names a port keeps it.
    fn add_ports(&mut self, target: usize, service: &ServiceSpec, pair: usize) {
        for transport in service.transports() {
            for &port in &service.ports {
                self.ports.entry(port_key(as_u32(target), transport.nexthdr(), port)).or_insert(pair);
            }
        }
    }

    /// The targets, in order.
    #[must_use]
    pub fn targets(&self) -> &[TargetSpec] {
        &self.targets
    }

    /// The names of every pair, by its number.
    pub fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.targets.iter().flat_map(|target| {
            let services = target.services.iter().map(|service| service.name.as_str());
            services.chain([OTHER_SERVICE]).map(|service| (target.name.as_str(), service))
        })
    }

    /// The names of a match; [`NO_TARGET`] and [`OTHER_SERVICE`] without one.
    #[must_use]
    pub fn names(&self, found: Option<TargetMatch>) -> (&str, &str) {
        let Some(TargetMatch { target, service, pair: _ }) = found else { return (NO_TARGET, OTHER_SERVICE) };
        let Some(target) = self.targets.get(target) else { return (NO_TARGET, OTHER_SERVICE) };
        let service = service.and_then(|service| target.services.get(service));
        (&target.name, service.map_or(OTHER_SERVICE, |service| &service.name))
    }

    /// What the entry belongs to.
    #[must_use]
    pub fn classify(&self, row: &CtRow) -> Option<TargetMatch> {
        self.classify_ends(row.initiator, row.responder, row.nexthdr)
    }

    /// What the NAT entry belongs to: its packet goes to the responder, or comes back from it.
    #[must_use]
    pub fn classify_nat(&self, row: &NatRow) -> Option<TargetMatch> {
        let (initiator, responder) = match row.direction {
            Direction::In => (row.destination, row.source),
            _ => (row.source, row.destination),
        };
        self.classify_ends(initiator, responder, row.nexthdr)
    }

    /// What a connection between these ends belongs to.
    #[must_use]
    pub fn classify_ends(&self, opened: Endpoint, answered: Endpoint, nexthdr: u8) -> Option<TargetMatch> {
        let [initiator, responder] = [opened, answered].map(|end| self.target_of(end.address));
        let target = match (initiator, responder) {
            (Some(initiator), Some(responder)) => initiator.min(responder),
            (found, None) | (None, found) => found?,
        };
        let named = [(responder, answered), (initiator, opened)]
            .into_iter()
            .filter(|&(of_end, _)| of_end == Some(target))
            .find_map(|(_, end)| self.service_pair(target, nexthdr, end));
        let first = self.first_pair.get(target).copied()?;
        Some(match named {
            Some(pair) => TargetMatch { target, service: Some(pair - first), pair },
            None => TargetMatch { target, service: None, pair: self.other_pair(target)? },
        })
    }

    /// The target whose service an incoming entry takes for the initiator, if it does: its reply's tuple is that of a
    /// new connection from `responder` to the service, which then leaves without being masqueraded.
    ///
    /// Dead entries do the same harm: the datapath only asks whether there is one. Ports below
    /// [`FIRST_EPHEMERAL_PORT`] are services of the node that the target uses.
    /// See <https://github.com/cilium/cilium/issues/47425>.
    #[must_use]
    pub fn blocks_reply_of(&self, row: &CtRow) -> Option<usize> {
        if row.direction != Direction::In || row.responder.port < FIRST_EPHEMERAL_PORT {
            return None;
        }
        let target = self.target_of(row.initiator.address)?;
        self.service_pair(target, row.nexthdr, row.initiator).map(|_| target)
    }

    /// The lowest target that has this address.
    #[must_use]
    pub fn target_of(&self, address: IpAddr) -> Option<usize> {
        if !self.filters.may_contain(address) {
            return None;
        }
        self.prefixes.iter().find(|(prefix, _)| prefix.contains(address)).map(|&(_, target)| target)
    }

    /// The names of what a TCP socket with this remote end belongs to.
    #[must_use]
    pub fn names_of_tcp(&self, address: IpAddr, port: u16) -> Option<(&str, &str)> {
        let target = self.target_of(address)?;
        let first = self.first_pair.get(target).copied()?;
        let named = self.service_pair(target, proto::TCP, Endpoint { address, port });
        let pair = named.or_else(|| self.other_pair(target))?;
        Some(self.names(Some(TargetMatch { target, service: named.map(|pair| pair - first), pair })))
    }

    /// The pair of the service that this port names.
    fn service_pair(&self, target: usize, nexthdr: u8, end: Endpoint) -> Option<usize> {
        has_ports(nexthdr)
            .then(|| self.ports.get(&port_key(as_u32(target), nexthdr, end.port)).copied())
            .flatten()
    }

    /// The pair of a target's `other`.
    fn other_pair(&self, target: usize) -> Option<usize> {
        Some(self.first_pair.get(target)? + self.targets.get(target)?.services.len())
    }
}

/// A target, pair or count as the tables store it; all are far below 2^32.
fn as_u32(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
