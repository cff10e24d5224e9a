//! Targets: the named destinations whose entries are counted on their own.
//!
//! In: the `targets` key. Out: validated [`Target`]s that fit the tables in the kernel.
//! Must not: resolve names or ask the host: addresses only.

use std::fmt;
use std::net::IpAddr;

use monitor_abi::cell::{MAX_PAIRS, MAX_TARGETS};
use monitor_abi::cilium::proto;
use monitor_abi::scan::{MAX_PORTS, MAX_PREFIXES};
use serde::Deserialize;

use super::field::{Field, check_name, choice, read_as};

/// The service of a target's entries whose port no service names.
pub const OTHER_SERVICE: &str = "other";
/// The target of entries that belong to none.
pub const NO_TARGET: &str = "none";

/// A named destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    pub name: String,
    /// Never empty.
    pub addresses: Vec<Cidr>,
    /// Without `other`, which every target has.
    pub services: Vec<Service>,
}

/// Ports of a target under one name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    pub name: String,
    /// Never empty, never 0.
    pub ports: Vec<u16>,
    /// `None`: whatever protocol has ports.
    pub protocol: Option<Transport>,
}

/// A protocol that has ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Transport {
    Tcp,
    Udp,
    Sctp,
}

/// An address or a network; host bits are zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Cidr {
    pub address: IpAddr,
    /// Leading bits that must match: at most 32 or 128.
    pub prefix: u8,
}

impl Target {
    /// Target x service pairs this target needs, `other` included.
    #[must_use]
    pub fn pairs(&self) -> usize {
        self.services.len() + 1
    }

    /// Whether one of the target's addresses covers this one.
    #[must_use]
    pub fn covers(&self, address: IpAddr) -> bool {
        self.addresses.iter().any(|cidr| cidr.contains(address))
    }

    /// The service that names this port, if one does.
    #[must_use]
    pub fn service(&self, nexthdr: u8, port: u16) -> Option<&Service> {
        self.services.iter().find(|service| {
            service.ports.contains(&port) && service.protocols().iter().any(|p| p.nexthdr() == nexthdr)
        })
    }
}

impl Service {
    /// The protocols whose ports are meant.
    #[must_use]
    pub fn protocols(&self) -> &'static [Transport] {
        match self.protocol {
            None => &Transport::ALL,
            Some(Transport::Tcp) => &[Transport::Tcp],
            Some(Transport::Udp) => &[Transport::Udp],
            Some(Transport::Sctp) => &[Transport::Sctp],
        }
    }
}

impl Transport {
    pub const ALL: [Self; 3] = [Self::Tcp, Self::Udp, Self::Sctp];

    /// The protocol number in a tuple.
    #[must_use]
    pub const fn nexthdr(self) -> u8 {
        match self {
            Self::Tcp => proto::TCP,
            Self::Udp => proto::UDP,
            Self::Sctp => proto::SCTP,
        }
    }
}

impl Cidr {
    /// One address.
    #[must_use]
    pub const fn host(address: IpAddr) -> Self {
        Self { address, prefix: width(address) }
    }

    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        address.is_ipv4() == self.address.is_ipv4() && network(address, self.prefix) == self.address
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.prefix == width(self.address) {
            write!(formatter, "{}", self.address)
        } else {
            write!(formatter, "{}/{}", self.address, self.prefix)
        }
    }
}

/// Checks what only the whole list can break: names and the sizes of the kernel's tables.
pub fn check_targets(targets: &[Target]) -> Result<(), String> {
    for (index, target) in targets.iter().enumerate() {
        if targets.iter().take(index).any(|earlier| earlier.name == target.name) {
            return Err(format!("two targets are called `{}`: rename one", target.name));
        }
    }
    let pairs: usize = targets.iter().map(Target::pairs).sum();
    let prefixes =
        |v4: bool| targets.iter().flat_map(|t| &t.addresses).filter(|c| c.address.is_ipv4() == v4).count();
    let ports = targets.iter().flat_map(|t| &t.services).map(|s| s.ports.len() * s.protocols().len()).sum();
    let at_most = |what: &str, count: usize, limit: usize| {
        if count > limit { Err(format!("{count} {what}, at most {limit} fit: remove some")) } else { Ok(()) }
    };
    at_most("targets", targets.len(), MAX_TARGETS)?;
    at_most("target and service pairs (each target's `other` counts)", pairs, MAX_PAIRS)?;
    at_most("IPv4 prefixes", prefixes(true), MAX_PREFIXES as usize)?;
    at_most("IPv6 prefixes", prefixes(false), MAX_PREFIXES as usize)?;
    at_most("ports (three for each without a protocol)", ports, MAX_PORTS as usize)
}

/// The validated list.
pub(super) struct Targets(pub(super) Vec<Target>);

/// As in the file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawTarget {
    name: Name<Target>,
    addresses: Vec<Cidr>,
    #[serde(default)]
    services: Vec<Service>,
}

/// As in the file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawService {
    name: Name<Service>,
    ports: Vec<Port>,
    protocol: Option<Transport>,
}

/// A name of the kind of thing that reserves another name.
struct Name<T>(String, std::marker::PhantomData<T>);
struct Port(u16);

trait Reserves {
    const RESERVED: &'static str;
}

impl Reserves for Target {
    const RESERVED: &'static str = NO_TARGET;
}

impl Reserves for Service {
    const RESERVED: &'static str = OTHER_SERVICE;
}

impl<T: Reserves> Field for Name<T> {
    type Raw = String;
    const EXPECTED: &'static str = "a name";

    fn check(raw: String) -> Result<Self, String> {
        check_name(&raw, T::RESERVED)?;
        Ok(Self(raw, std::marker::PhantomData))
    }
}

impl Field for Port {
    type Raw = String;
    const EXPECTED: &'static str = "a port";

    fn check(raw: String) -> Result<Self, String> {
        match raw.parse() {
            Ok(port) if port > 0 => Ok(Self(port)),
            _ => Err(format!("`{raw}` is not a port: give one between 1 and 65535")),
        }
    }
}

choice!(pub Transport { Tcp => "tcp", Udp => "udp", Sctp => "sctp" });

impl Field for Cidr {
    type Raw = String;
    const EXPECTED: &'static str = "an IP address or a CIDR";

    fn check(raw: String) -> Result<Self, String> {
        let wrong = || format!("`{raw}` is neither an IP address nor a CIDR like 10.0.0.0/8");
        let (address, prefix) = raw.split_once('/').map_or((raw.as_str(), None), |(a, p)| (a, Some(p)));
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        // A mapped address would never match: Cilium keeps IPv4 in the v4 maps.
        if address != address.to_canonical() {
            return Err(format!("`{raw}` is IPv4 inside IPv6: write {}", address.to_canonical()));
        }
        let Some(prefix) = prefix else { return Ok(Self::host(address)) };
        let prefix: u8 = prefix.parse().ok().filter(|p| *p <= width(address)).ok_or_else(wrong)?;
        let network = network(address, prefix);
        if network == address {
            Ok(Self { address, prefix })
        } else {
            Err(format!("`{raw}` has host bits set: the network is {network}/{prefix}"))
        }
    }
}

impl Field for Service {
    type Raw = RawService;
    const EXPECTED: &'static str = "a service: {name: smb, ports: [445]}";

    fn check(RawService { name, ports, protocol }: RawService) -> Result<Self, String> {
        if ports.is_empty() {
            return Err(format!("service `{}` has no ports: give at least one", name.0));
        }
        Ok(Self { name: name.0, ports: ports.into_iter().map(|port| port.0).collect(), protocol })
    }
}

impl Field for Target {
    type Raw = RawTarget;
    const EXPECTED: &'static str = "a target: {name: nas, addresses: [192.0.2.10]}";

    fn check(RawTarget { name, addresses, services }: RawTarget) -> Result<Self, String> {
        let name = name.0;
        if addresses.is_empty() {
            return Err(format!("target `{name}` has no addresses: give at least one"));
        }
        let mut taken = Vec::new();
        for (index, service) in services.iter().enumerate() {
            if services.iter().take(index).any(|earlier| earlier.name == service.name) {
                return Err(format!(
                    "target `{name}` has two services called `{}`: rename one",
                    service.name
                ));
            }
            for transport in service.protocols() {
                for port in &service.ports {
                    if taken.contains(&(*transport, *port)) {
                        let transport = transport.name();
                        return Err(format!("target `{name}` names port {port}/{transport} twice: keep one"));
                    }
                    taken.push((*transport, *port));
                }
            }
        }
        Ok(Self { name, addresses, services })
    }
}

impl Field for Targets {
    type Raw = Vec<Target>;
    const EXPECTED: &'static str = "a list of targets";

    fn check(raw: Vec<Target>) -> Result<Self, String> {
        check_targets(&raw)?;
        Ok(Self(raw))
    }
}

read_as!(text: Name<Target>, Name<Service>, Port, Cidr);
read_as!(map: Service, Target);
read_as!(seq: Targets);

const fn width(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

/// The address with everything after the prefix cleared.
fn network(address: IpAddr, prefix: u8) -> IpAddr {
    match address {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
            IpAddr::V4((v4.to_bits() & mask).into())
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
            IpAddr::V6((v6.to_bits() & mask).into())
        }
    }
}
