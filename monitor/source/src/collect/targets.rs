//! The targets of a collection: those that are configured, then those the host points at.
//!
//! In: the configured targets, the host's servers. Out: [`TargetIndex`] of both, and what found no room.
//! Must not: change what is configured: a server that a configured target covers adds nothing, and where the tables
//! are full, it is the host's that are left out.

use std::time::SystemTime;

use monitor_model::one_line::one_line;
use monitor_model::prefix::Prefix;
use monitor_model::snapshot::HostTargetFacts;
use monitor_model::target::tables::TargetWords;
use monitor_model::target::{ServiceSpec, TargetIndex, TargetSpec};
use monitor_model::tuple::Transport;

use super::{CollectSettings, Collector};
use crate::bpf::{ScanError, sys};
use crate::host::storage::Storage;
use crate::host::targets::{HostTarget, HostTargets};

/// What entries are given to.
pub(super) struct Targets {
    /// The configured ones, then those from the host.
    pub(super) index: TargetIndex,
    /// The host's servers.
    found: HostTargets,
    /// What of them found no room.
    facts: HostTargetFacts,
}

impl Targets {
    /// Those that are configured.
    pub(super) fn configured(index: TargetIndex) -> Self {
        Self { index, found: HostTargets::default(), facts: HostTargetFacts::default() }
    }

    fn with_host(configured: &TargetIndex, found: HostTargets) -> Self {
        let (index, facts) = join(configured, &found);
        Self { index, found, facts }
    }

    pub(super) fn host_facts(&self) -> HostTargetFacts {
        self.facts.clone()
    }

    fn log_change(&self) {
        let HostTargetFacts { skipped, without_address, dropped } = &self.facts;
        let names: Vec<&str> = self.index.targets().iter().map(|target| target.name.as_str()).collect();
        tracing::info!(targets = ?names, "the host's storage servers changed");
        if skipped + without_address + dropped.len() > 0 {
            tracing::warn!(
                skipped,
                without_address,
                ?dropped,
                "some of the host's storage servers are no targets"
            );
        }
    }
}

impl Collector {
    /// Gives entries to these targets from now on, and to the host's servers that are known.
    pub(super) fn configure_targets(&mut self, settings: &CollectSettings) -> Result<(), ScanError> {
        let keep = settings.wanted.targets;
        let found = if keep { self.targets.found.clone() } else { HostTargets::default() };
        self.retarget(Targets::with_host(&settings.targets, found))
    }

    fn retarget(&mut self, targets: Targets) -> Result<(), ScanError> {
        // No victim is given to a target while the tables are replaced: rather to none than to a wrong one.
        self.kernel.tracker().judge_by(self.clock.mode(), TargetWords::default())?;
        self.read_evictions(SystemTime::now(), sys::monotonic());
        self.kernel.set_targets(targets.index.tables())?;
        self.evictions.retarget(self.kernel.tracker(), &targets.index)?;
        // Counts under the old pair numbers mean nothing under the new ones.
        self.maps.drop_walks();
        self.targets = targets;
        Ok(())
    }

    /// Reads where the node's storage is, and makes its servers targets if that is wanted.
    pub fn follow_host(&mut self) -> Storage {
        let storage = Storage::read(&self.settings.host);
        let Some(found) = storage.targets().filter(|_| self.settings.wanted.targets) else { return storage };
        if found != self.targets.found {
            match self.retarget(Targets::with_host(&self.settings.targets, found)) {
                Ok(()) => self.targets.log_change(),
                Err(error) => tracing::error!(
                    error = one_line(&error),
                    "failed to follow the host's servers: trying again"
                ),
            }
        }
        storage
    }
}

/// Both kinds of targets in their order of precedence.
fn join(configured: &TargetIndex, found: &HostTargets) -> (TargetIndex, HostTargetFacts) {
    let HostTargets { targets, skipped, without_address } = found;
    let mut index = configured.clone();
    let mut facts =
        HostTargetFacts { skipped: *skipped, without_address: *without_address, dropped: Vec::new() };
    for target in targets {
        if target.addresses.iter().all(|address| configured.target_of(*address).is_some()) {
            continue;
        }
        let mut specs = index.targets().to_vec();
        specs.push(spec(target, &specs));
        match TargetIndex::new(specs) {
            Ok(wider) => index = wider,
            Err(_) => facts.dropped.push(target.name.clone()),
        }
    }
    (index, facts)
}

/// Every client of storage that is read speaks TCP.
fn spec(target: &HostTarget, taken: &[TargetSpec]) -> TargetSpec {
    TargetSpec {
        name: unique(&target.name, taken),
        prefixes: target.addresses.iter().copied().map(Prefix::host).collect(),
        services: target
            .services
            .iter()
            .map(|service| ServiceSpec {
                name: service.name.clone(),
                ports: vec![service.port],
                protocol: Some(Transport::Tcp),
            })
            .collect(),
    }
}

/// The name, or with `-host` and a number behind it: the configuration may use the name for something else.
fn unique(name: &str, taken: &[TargetSpec]) -> String {
    let free = |name: &String| !taken.iter().any(|target| target.name == *name);
    let numbered = (2..=taken.len() + 2).map(|number| format!("{name}-host-{number}"));
    [name.to_owned(), format!("{name}-host")].into_iter().chain(numbered).find(free).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use monitor_abi::cell::MAX_TARGETS;

    use super::*;
    use crate::host::targets::HostService;

    fn server(name: &str, address: impl Into<IpAddr>, services: &[(&str, u16)]) -> HostTarget {
        let service = |&(name, port): &(&str, u16)| HostService { name: name.to_owned(), port };
        HostTarget {
            name: name.to_owned(),
            addresses: vec![address.into()],
            services: services.iter().map(service).collect(),
        }
    }

    fn configured(number: usize) -> TargetIndex {
        let target = |number| TargetSpec {
            name: format!("t{number}"),
            prefixes: vec![Prefix::new([10, 0, u8::try_from(number).unwrap(), 0].into(), 24).unwrap()],
            services: vec![],
        };
        TargetIndex::new((0..number).map(target).collect()).unwrap()
    }

    fn found(targets: Vec<HostTarget>) -> HostTargets {
        HostTargets { targets, skipped: 1, without_address: 2 }
    }

    fn names(index: &TargetIndex) -> Vec<&str> {
        index.targets().iter().map(|target| target.name.as_str()).collect()
    }

    #[test]
    fn the_hosts_servers_follow_the_configured_targets_with_their_services() {
        let servers = found(vec![server("nas", [192, 168, 1, 2], &[("iscsi", 3260), ("smb", 445)])]);
        let (index, facts) = join(&configured(1), &servers);
        assert_eq!(names(&index), ["t0", "nas"]);
        let pairs: Vec<_> = index.pairs().collect();
        assert_eq!(pairs, [("t0", "other"), ("nas", "iscsi"), ("nas", "smb"), ("nas", "other")]);
        assert_eq!(facts, HostTargetFacts { skipped: 1, without_address: 2, dropped: vec![] });
        let nas = [192, 168, 1, 2].into();
        assert_eq!(index.names_of_tcp(nas, 445), Some(("nas", "smb")));
        assert_eq!(index.names_of_tcp(nas, 80), Some(("nas", "other")));
        assert_eq!(index.names_of_tcp([192, 168, 1, 3].into(), 445), None);
    }

    #[test]
    fn a_server_that_is_configured_adds_nothing_and_a_name_that_is_taken_is_changed() {
        let servers = found(vec![server("nas", [10, 0, 0, 9], &[]), server("t0", [10, 9, 0, 1], &[])]);
        let (index, _) = join(&configured(1), &servers);
        assert_eq!(names(&index), ["t0", "t0-host"]);
        assert_eq!(index.target_of([10, 0, 0, 9].into()), Some(0));
    }

    #[test]
    fn where_the_tables_are_full_the_hosts_servers_are_left_out_and_named() {
        let servers = found(vec![server("a", [192, 168, 1, 2], &[]), server("b", [192, 168, 1, 3], &[])]);
        let (index, facts) = join(&configured(MAX_TARGETS - 1), &servers);
        assert_eq!(names(&index).len(), MAX_TARGETS);
        assert_eq!(facts.dropped, ["b"]);
    }
}
