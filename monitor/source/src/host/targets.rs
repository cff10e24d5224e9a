//! Targets from the host: the servers its mounts and sessions point at.
//!
//! In: where mounts and sessions go, by protocol. Out: at most [`MAX_TARGETS`] named destinations with their addresses and
//! services, in a stable order. Must not: do IO: a mount whose server has no known address gives no target (the
//! count of those is kept).

use std::net::IpAddr;

use super::endpoint::Endpoint;

pub const MAX_TARGETS: usize = 16;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostTarget {
    /// `[a-z0-9_-]`, unique, never one of the reserved names.
    pub name: String,
    pub addresses: Vec<IpAddr>,
    pub services: Vec<HostService>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostService {
    /// `smb`, `iscsi`; with a second port of the same kind, `smb-1445`.
    pub name: String,
    pub port: u16,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostTargets {
    pub targets: Vec<HostTarget>,
    /// Servers beyond the bound.
    pub skipped: usize,
    /// Mounts whose server's address is unknown, and sessions without a portal.
    pub without_address: usize,
}

/// The servers in the order of their address, so that names do not move when a mount comes or goes first.
#[must_use]
pub(super) fn host_targets(endpoints: &[Endpoint<'_>]) -> HostTargets {
    let mut targets = HostTargets::default();
    let mut servers: Vec<Server<'_>> = Vec::new();
    for &Endpoint { service, address, port, server: name } in endpoints {
        let Some(address) = address else {
            targets.without_address += 1;
            continue;
        };
        let known = servers.iter().position(|server| server.address == address);
        let index = known.unwrap_or_else(|| {
            servers.push(Server { address, names: Vec::new(), services: Vec::new() });
            servers.len() - 1
        });
        let Some(server) = servers.get_mut(index) else { continue };
        // An address says less than a name, and is what is left when no mount used one.
        server.names.extend(name.filter(|name| name.trim_matches(['[', ']']).parse::<IpAddr>().is_err()));
        server.services.push((service, port));
    }
    servers.sort_by_key(|server| server.address);
    targets.skipped = servers.len().saturating_sub(MAX_TARGETS);
    for server in servers.into_iter().take(MAX_TARGETS) {
        let taken: Vec<&str> = targets.targets.iter().map(|target| target.name.as_str()).collect();
        let target = server.target(&taken);
        targets.targets.push(target);
    }
    targets
}

struct Server<'a> {
    address: IpAddr,
    names: Vec<&'a str>,
    services: Vec<(&'static str, u16)>,
}

impl Server<'_> {
    fn target(mut self, taken: &[&str]) -> HostTarget {
        self.names.sort_unstable();
        let name = self.names.first().map_or_else(|| self.address.to_string(), |name| (*name).to_owned());
        self.services.sort_unstable();
        self.services.dedup();
        let services = self
            .services
            .iter()
            .enumerate()
            .map(|(index, (label, port))| {
                let second = self.services.iter().take(index).any(|(before, _)| before == label);
                let name = if second { format!("{label}-{port}") } else { (*label).to_owned() };
                HostService { name, port: *port }
            })
            .collect();
        HostTarget { name: unique(&sanitise(&name), taken), addresses: vec![self.address], services }
    }
}

/// Lower case; what is not `[a-z0-9_-]` becomes `-`; never empty, at most 63 long.
fn sanitise(name: &str) -> String {
    let name: String = name
        .chars()
        .map(|symbol| symbol.to_ascii_lowercase())
        .map(|symbol| match symbol {
            'a'..='z' | '0'..='9' | '_' | '-' => symbol,
            _ => '-',
        })
        .take(63)
        .collect();
    let name = name.trim_matches('-');
    if name.is_empty() { "server".to_owned() } else { name.to_owned() }
}

/// The name, or with the first free number behind it. `none` and `other` are reserved.
fn unique(name: &str, taken: &[&str]) -> String {
    let free = |name: &str| !taken.contains(&name) && !["none", "other"].contains(&name);
    if free(name) {
        return name.to_owned();
    }
    (2..=MAX_TARGETS + 2)
        .map(|number| format!("{name}-{number}"))
        .find(|name| free(name))
        .unwrap_or_else(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use monitor_model::host::iscsi::{Connection, Session, SessionState};
    use monitor_model::host::mounts::{Family, Mount, MountSource, Mounts};
    use proptest::prelude::*;

    use super::super::storage::Storage;
    use super::*;

    fn mount(family: Family, server: &str, address: Option<&str>, port: u16) -> Mount {
        Mount {
            family,
            device: format!("{server}{port}"),
            mount_point: "/m".to_owned(),
            source: format!("//{server}/share"),
            server: server.to_owned(),
            address: address.map(|address| address.parse().unwrap()),
            port,
            options: vec![],
        }
    }

    fn session(portal: Option<(&str, u16)>) -> Session {
        Session {
            name: "session1".to_owned(),
            state: SessionState::LoggedIn,
            target: None,
            recovery_timeout: None,
            connections: vec![Connection {
                portal: portal.map(|(address, port)| (address.parse().unwrap(), port)),
                connected_to: None,
                state: None,
            }],
        }
    }

    fn targets_of(mounts: &[Mount], sessions: &[Session]) -> HostTargets {
        let mounts = Some(Mounts { source: MountSource::Pid1, mounts: mounts.to_vec() });
        let storage = Storage { mounts, iscsi: Some(sessions.to_vec()), sources: Vec::new() };
        storage.targets().unwrap()
    }

    fn shown(targets: &HostTargets) -> Vec<String> {
        targets
            .targets
            .iter()
            .map(|target| {
                let services: Vec<_> = target
                    .services
                    .iter()
                    .map(|service| format!("{}:{}", service.name, service.port))
                    .collect();
                format!("{} {:?} {}", target.name, target.addresses, services.join(" "))
            })
            .collect()
    }

    #[test]
    fn a_server_with_shares_and_sessions_is_one_target_with_their_services() {
        let targets = targets_of(
            &[
                mount(Family::CIFS, "192.168.100.180", Some("192.168.100.180"), 445),
                mount(Family::CIFS, "QNAP.lan", Some("192.168.100.180"), 445),
                mount(Family::NFS, "qnap.lan", Some("192.168.100.180"), 2049),
            ],
            &[session(Some(("192.168.100.180", 3260))), session(None)],
        );
        assert_eq!(shown(&targets), ["qnap-lan [192.168.100.180] iscsi:3260 nfs:2049 smb:445"]);
        assert_eq!((targets.skipped, targets.without_address), (0, 1));
    }

    #[test]
    fn names_are_safe_unique_and_not_reserved() {
        let targets = targets_of(
            &[
                mount(Family::CIFS, "192.168.1.9", Some("192.168.1.9"), 445),
                mount(Family::CIFS, "nas", Some("10.0.0.1"), 445),
                mount(Family::CIFS, "NAS", Some("10.0.0.2"), 1445),
                mount(Family::NFS, "other", Some("10.0.0.3"), 2049),
                mount(Family::NFS, "[2001:db8::1]", Some("2001:db8::1"), 2049),
                mount(Family::NFS, "nameless", None, 2049),
            ],
            &[],
        );
        let names: Vec<_> = targets.targets.iter().map(|target| target.name.as_str()).collect();
        assert_eq!(names, ["nas", "nas-2", "other-2", "192-168-1-9", "2001-db8--1"]);
        assert_eq!(targets.without_address, 1);
    }

    #[test]
    fn a_second_port_of_a_kind_has_its_own_service() {
        let targets = targets_of(
            &[
                mount(Family::CIFS, "nas", Some("10.0.0.1"), 1445),
                mount(Family::CIFS, "nas", Some("10.0.0.1"), 445),
            ],
            &[],
        );
        assert_eq!(shown(&targets), ["nas [10.0.0.1] smb:445 smb-1445:1445"]);
    }

    proptest! {
        #[test]
        fn any_servers_give_bounded_unique_names(servers in prop::collection::vec((".{0,70}", any::<[u8; 4]>(), 1_u16..), 0..40)) {
            let mounts: Vec<Mount> = servers
                .iter()
                .map(|(name, address, port)| {
                    mount(Family::CIFS, name, Some(&std::net::Ipv4Addr::from(*address).to_string()), *port)
                })
                .collect();
            let targets = targets_of(&mounts, &[]);
            prop_assert!(targets.targets.len() <= MAX_TARGETS);
            let mut names: Vec<&str> = targets.targets.iter().map(|target| target.name.as_str()).collect();
            prop_assert!(names.iter().all(|name| !name.is_empty()
                && name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-'))));
            names.sort_unstable();
            names.dedup();
            prop_assert_eq!(names.len(), targets.targets.len());
        }
    }
}
