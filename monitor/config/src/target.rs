//! Targets: the named destinations whose entries are counted on their own.
//!
//! In: the `targets` key. Out: validated [`TargetSpec`]s that fit the tables in the kernel.
//! Must not: resolve names or ask the host: addresses only.

use std::net::IpAddr;

use monitor_abi::cell::{MAX_PAIRS, MAX_TARGETS};
use monitor_abi::scan::{MAX_PORTS, MAX_PREFIXES};
use monitor_model::prefix::Prefix;
use monitor_model::target::{NO_TARGET, OTHER_SERVICE, ServiceSpec, TargetSpec};
use monitor_model::tuple::Transport;
use serde::Deserialize;

use super::field::{Field, List, Word, check_name, choice, read_as};

/// Checks what only the whole list can break: names and the sizes of the kernel's tables.
fn check_targets(targets: &[TargetSpec]) -> Result<(), String> {
    for (index, target) in targets.iter().enumerate() {
        if targets.iter().take(index).any(|earlier| earlier.name == target.name) {
            return Err(format!("two targets are called `{}`: rename one", target.name));
        }
    }
    check_prefixes(targets)?;
    let pairs: usize = targets.iter().map(TargetSpec::pairs).sum();
    let prefixes =
        |v4: bool| targets.iter().flat_map(|t| &t.prefixes).filter(|p| p.address().is_ipv4() == v4).count();
    let ports =
        targets.iter().flat_map(|t| &t.services).map(|s| s.ports.len() * s.transports().count()).sum();
    let at_most = |what: &str, count: usize, limit: usize| {
        if count > limit { Err(format!("{count} {what}, at most {limit} fit: remove some")) } else { Ok(()) }
    };
    at_most("targets", targets.len(), MAX_TARGETS)?;
    at_most("target and service pairs (each target's `other` counts)", pairs, MAX_PAIRS)?;
    at_most("IPv4 prefixes", prefixes(true), MAX_PREFIXES as usize)?;
    at_most("IPv6 prefixes", prefixes(false), MAX_PREFIXES as usize)?;
    at_most("ports (three for each without a protocol)", ports, MAX_PORTS as usize)
}

/// An entry belongs to the first target that has its address, whatever its port: of a later one with the same address, or
/// with one inside an earlier one's block, that address would count nothing. The other way round it is meant: a host
/// before the network around it, which counts the rest.
fn check_prefixes(targets: &[TargetSpec]) -> Result<(), String> {
    for (index, target) in targets.iter().enumerate() {
        let earlier = targets.iter().take(index);
        let covering = earlier.flat_map(|first| first.prefixes.iter().map(move |block| (first, block)));
        let mut hidden = covering.flat_map(|(first, block)| {
            target
                .prefixes
                .iter()
                .filter(|prefix| block.covers(prefix))
                .map(move |prefix| (first, block, prefix))
        });
        match hidden.next() {
            None => {}
            Some((first, block, prefix)) if block == prefix => {
                return Err(format!(
                    "targets `{}` and `{}` both have {prefix}, and every entry of it would belong to the first: give the \
                     address to one of them, with the services of both",
                    first.name, target.name
                ));
            }
            Some((first, block, prefix)) => {
                return Err(format!(
                    "{prefix} of target `{}` lies in {block} of target `{}`, which stands before it and would get every \
                     entry: put `{}` first",
                    target.name, first.name, target.name
                ));
            }
        }
    }
    Ok(())
}

/// The validated list.
pub(super) struct Targets(pub(super) Vec<TargetSpec>);

/// As in the file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawTarget {
    name: Name<Target>,
    addresses: List<Cidr>,
    #[serde(default)]
    services: List<Service>,
}

/// As in the file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawService {
    name: Name<Service>,
    ports: List<Port>,
    protocol: Option<Word<Transport>>,
}

/// A name of the kind of thing that reserves another name.
struct Name<T>(String, std::marker::PhantomData<T>);
/// A port that a packet can have.
pub(super) struct Port(pub(super) u16);
struct Cidr(Prefix);
/// What a target is while it is read.
pub(super) struct Target(TargetSpec);
/// What a service is while it is read.
struct Service(ServiceSpec);

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

choice!(Transport);

impl Field for Cidr {
    type Raw = String;
    const EXPECTED: &'static str = "an IP address or a CIDR";

    fn check(raw: String) -> Result<Self, String> {
        let wrong = || format!("`{raw}` is neither an IP address nor a CIDR like 10.0.0.0/8");
        let (address, _) = raw.split_once('/').unwrap_or((&raw, ""));
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        // A mapped address would never match: Cilium keeps IPv4 in the v4 maps.
        if address != address.to_canonical() {
            return Err(format!("`{raw}` is IPv4 inside IPv6: write {}", address.to_canonical()));
        }
        let prefix: Prefix = raw.parse().map_err(|_| wrong())?;
        if prefix.address() == address {
            Ok(Self(prefix))
        } else {
            Err(format!("`{raw}` has host bits set: the network is {prefix}"))
        }
    }
}

impl Field for Service {
    type Raw = RawService;
    const EXPECTED: &'static str = "a service: {name: smb, ports: [445]}";

    fn check(RawService { name, ports, protocol }: RawService) -> Result<Self, String> {
        if ports.0.is_empty() {
            return Err(format!("service `{}` has no ports: give at least one", name.0));
        }
        let ports = ports.0.into_iter().map(|port| port.0).collect();
        Ok(Self(ServiceSpec { name: name.0, ports, protocol: protocol.map(|protocol| protocol.0) }))
    }
}

impl Field for Target {
    type Raw = RawTarget;
    const EXPECTED: &'static str = "a target: {name: nas, addresses: [192.0.2.10]}";

    fn check(RawTarget { name, addresses, services }: RawTarget) -> Result<Self, String> {
        let name = name.0;
        if addresses.0.is_empty() {
            return Err(format!("target `{name}` has no addresses: give at least one"));
        }
        let services: Vec<_> = services.0.into_iter().map(|service| service.0).collect();
        let mut taken = Vec::new();
        for (index, service) in services.iter().enumerate() {
            if services.iter().take(index).any(|earlier| earlier.name == service.name) {
                return Err(format!(
                    "target `{name}` has two services called `{}`: rename one",
                    service.name
                ));
            }
            for transport in service.transports() {
                for port in &service.ports {
                    if taken.contains(&(transport, *port)) {
                        let transport = transport.name();
                        return Err(format!("target `{name}` names port {port}/{transport} twice: keep one"));
                    }
                    taken.push((transport, *port));
                }
            }
        }
        Ok(Self(TargetSpec {
            name,
            prefixes: addresses.0.into_iter().map(|cidr| cidr.0).collect(),
            services,
        }))
    }
}

impl Field for Targets {
    type Raw = Vec<Target>;
    const EXPECTED: &'static str = "a list of targets";

    fn check(raw: Vec<Target>) -> Result<Self, String> {
        let targets: Vec<_> = raw.into_iter().map(|target| target.0).collect();
        check_targets(&targets)?;
        Ok(Self(targets))
    }
}

read_as!(text: Name<Target>, Name<Service>, Port, Cidr);
read_as!(map: Service, Target);
read_as!(seq: Targets);
