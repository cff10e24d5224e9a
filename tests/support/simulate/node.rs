//! Who lives on the simulated node and whom they talk to.
//!
//! In: a seed, and the table to see which ports are taken. Out: flows. Must not: write entries.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::generate::Random;

use super::entry::{TCP, UDP};
use super::flow::{Flow, Frontend};
use super::table::Table;

/// The node's own address.
pub const NODE: Ipv4Addr = Ipv4Addr::new(192, 168, 100, 10);
const NODE6: Ipv6Addr = Ipv6Addr::new(0xfd64, 0, 0, 0, 0, 0, 0, 0x10);
/// The storage server of the incident.
pub const NAS: Ipv4Addr = Ipv4Addr::new(192, 168, 100, 180);
const NAS6: Ipv6Addr = Ipv6Addr::new(0xfd64, 0, 0, 0, 0, 0, 0, 0x180);
/// SMB, iSCSI and the management interface, with how many of a hundred connections they get.
const NAS_SERVICES: [(u16, u64); 4] = [(445, 50), (3260, 20), (8080, 20), (443, 10)];
/// SMB and iSCSI alone: what stops answering.
const STORAGE_SERVICES: [(u16, u64); 2] = [(445, 70), (3260, 30)];

/// Linux's `net.ipv4.ip_local_port_range`.
const EPHEMERAL: std::ops::Range<u16> = 32_768..61_000;
/// First port Cilium translates to.
const FIRST_TRANSLATED: u16 = 32_768;
/// Attempts at a free port before the datapath drops the packet.
const TRANSLATION_TRIES: u32 = 32;

/// Media applications: the pods that use the NAS.
const MEDIA_PODS: u64 = 10;
/// Other pods.
const OTHER_PODS: u64 = 60;
/// Pods that serve others without a service in between.
const SERVER_PODS: u64 = 6;
/// Services with one backend each.
const SERVICES: u64 = 5;
/// Servers in the world.
const WORLD: u64 = 5;

/// The node's population and its next ports.
#[derive(Clone, Debug)]
pub struct Node {
    random: Random,
    next_port: BTreeMap<IpAddr, u16>,
}

/// A pod: its address, and its identity.
#[derive(Clone, Copy)]
struct Pod {
    address: IpAddr,
    identity: u32,
}

impl Node {
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self { random: Random::new(seed), next_port: BTreeMap::new() }
    }

    /// A number of the node's own sequence.
    pub const fn below(&mut self, bound: u64) -> u64 {
        self.random.below(bound)
    }

    pub const fn percent(&mut self, share: u64) -> bool {
        self.random.percent(share)
    }

    /// A connection to the NAS, by a media pod or by the host itself (its kernel's mounts).
    pub fn to_nas(&mut self, table: &Table) -> Option<Flow> {
        let port = self.pick(&NAS_SERVICES);
        self.nas_at_port(port, table)
    }

    /// A connection to the NAS's storage services.
    pub fn to_storage(&mut self, table: &Table) -> Option<Flow> {
        let port = self.pick(&STORAGE_SERVICES);
        self.nas_at_port(port, table)
    }

    fn nas_at_port(&mut self, port: u16, table: &Table) -> Option<Flow> {
        let server = SocketAddr::new(NAS.into(), port);
        let from =
            if self.percent(30) { Pod { address: NODE.into(), identity: 0 } } else { self.media_pod(false) };
        self.outward(from, server, NODE.into(), table)
    }

    /// The same over IPv6, by a media pod.
    pub fn to_nas_v6(&mut self, table: &Table) -> Option<Flow> {
        let server = SocketAddr::new(NAS6.into(), self.pick(&NAS_SERVICES));
        let from = self.media_pod(true);
        self.outward(from, server, NODE6.into(), table)
    }

    /// A pod's connection to some server outside.
    pub fn to_world(&mut self, table: &Table) -> Option<Flow> {
        let last = u8::try_from(self.below(WORLD)).unwrap_or_default() + 1;
        let server = SocketAddr::new(Ipv4Addr::new(203, 0, 113, last).into(), 443);
        let from = self.other_pod();
        self.outward(from, server, NODE.into(), table)
    }

    /// A connection between two pods of this node.
    pub fn between_pods(&mut self, table: &Table) -> Option<Flow> {
        let client = self.other_pod();
        let last = 200 + u8::try_from(self.below(SERVER_PODS)).unwrap_or_default();
        let server = SocketAddr::new(Ipv4Addr::new(10, 244, 0, last).into(), 8_080);
        self.inward(client, server, TCP, None, table)
    }

    /// A connection to a service of this node, balanced by the datapath.
    pub fn to_service(&mut self, table: &Table) -> Option<Flow> {
        let client = self.other_pod();
        let number = u8::try_from(self.below(SERVICES)).unwrap_or_default();
        let server = SocketAddr::new(Ipv4Addr::new(10, 244, 0, 100 + number).into(), 8_080);
        let frontend = Frontend {
            address: SocketAddr::new(Ipv4Addr::new(10, 96, 0, 10 + number).into(), 80),
            backend_id: 100 + u64::from(number),
            rev_nat: 5 + u16::from(number),
        };
        self.inward(client, server, TCP, Some(frontend), table)
    }

    /// A question to the cluster's DNS, which lives on this node.
    pub fn dns(&mut self, table: &Table) -> Option<Flow> {
        let client = if self.percent(30) { self.media_pod(false) } else { self.other_pod() };
        let server = SocketAddr::new(Ipv4Addr::new(10, 244, 0, 5).into(), 53);
        self.inward(client, server, UDP, None, table)
    }

    fn inward(
        &mut self,
        client: Pod,
        server: SocketAddr,
        protocol: u8,
        frontend: Option<Frontend>,
        table: &Table,
    ) -> Option<Flow> {
        self.free_port(client, table, |client| Flow {
            client,
            server,
            protocol,
            identity: 0,
            server_local: true,
            frontend,
            translated: None,
        })
    }

    /// A flow that leaves the node and is translated to its address.
    fn outward(&mut self, from: Pod, server: SocketAddr, node: IpAddr, table: &Table) -> Option<Flow> {
        let mut flow = self.free_port(from, table, |client| Flow {
            client,
            server,
            protocol: TCP,
            identity: 0,
            server_local: false,
            frontend: None,
            translated: None,
        })?;
        // The source port is kept if it can be, otherwise others are tried at random.
        let mut port = flow.client.port();
        for _ in 0..TRANSLATION_TRIES {
            let translated = SocketAddr::new(node, port);
            if flow.can_translate_to(translated, table) {
                flow.translated = Some(translated);
                return Some(flow);
            }
            let offset = self.below(u64::from(u16::MAX - FIRST_TRANSLATED) + 1);
            port = FIRST_TRANSLATED + u16::try_from(offset).unwrap_or_default();
        }
        None
    }

    /// The flow with the client's next port that is not in use.
    fn free_port(&mut self, from: Pod, table: &Table, flow: impl Fn(SocketAddr) -> Flow) -> Option<Flow> {
        for _ in EPHEMERAL {
            let next = self.next_port.entry(from.address).or_insert(EPHEMERAL.start);
            let port = *next;
            *next = if port + 1 < EPHEMERAL.end { port + 1 } else { EPHEMERAL.start };
            let flow = Flow { identity: from.identity, ..flow(SocketAddr::new(from.address, port)) };
            if flow.is_free(table) {
                return Some(flow);
            }
        }
        None
    }

    fn media_pod(&mut self, v6: bool) -> Pod {
        let number = self.below(MEDIA_PODS);
        let last = 11 + u8::try_from(number).unwrap_or_default();
        let address = if v6 {
            Ipv6Addr::new(0xfd10, 0, 0, 0, 0, 0, 0, u16::from(last)).into()
        } else {
            Ipv4Addr::new(10, 244, 0, last).into()
        };
        Pod { address, identity: 20_000 + u32::from(last) }
    }

    fn other_pod(&mut self) -> Pod {
        let number = self.below(OTHER_PODS);
        let last = 30 + u8::try_from(number).unwrap_or_default();
        Pod { address: Ipv4Addr::new(10, 244, 0, last).into(), identity: 30_000 + u32::from(last) }
    }

    fn pick(&mut self, services: &[(u16, u64)]) -> u16 {
        let mut left = self.below(services.iter().map(|(_, share)| share).sum());
        for (port, share) in services {
            match left.checked_sub(*share) {
                Some(rest) => left = rest,
                None => return *port,
            }
        }
        0
    }
}
