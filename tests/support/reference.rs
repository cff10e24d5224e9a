//! What an entry is, written down plainly from Cilium's own rules: what the kernel programs' classes are compared
//! with.
//!
//! In: raw key and value, a clock, targets. Out: words. Must not: be fast, or share code with what it checks:
//! fields are read by offset here, and classes are the label values themselves.

use std::net::IpAddr;

use anyhow::{Context, Result, bail};

/// The clock of a map's lifetimes: `now`, and how many seconds a unit is, as a fraction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clock {
    pub now: u32,
    pub numerator: i64,
    pub denominator: i64,
}

impl Clock {
    /// Seconds of `CLOCK_MONOTONIC`.
    #[must_use]
    pub const fn ktime(now: u32) -> Self {
        Self { now, numerator: 1, denominator: 1 }
    }

    /// `jiffies >> 8`.
    #[must_use]
    pub const fn jiffies(now: u32, hz: u32) -> Self {
        Self { now, numerator: 256, denominator: hz as i64 }
    }

    /// Whole seconds left, rounded down: below zero exactly when `lifetime < now`.
    #[must_use]
    pub const fn seconds_left(&self, lifetime: u32) -> i64 {
        (self.units_left(lifetime) * self.numerator).div_euclid(self.denominator)
    }

    /// Units that make up at least so many seconds.
    #[must_use]
    pub const fn units(&self, seconds: i64) -> i64 {
        let scaled = seconds * self.denominator;
        -((-scaled).div_euclid(self.numerator))
    }

    /// Whole seconds of so many units, rounded down.
    #[must_use]
    pub const fn seconds_of(&self, units: i64) -> i64 {
        (units * self.numerator).div_euclid(self.denominator)
    }

    const fn units_left(&self, lifetime: u32) -> i64 {
        lifetime as i64 - self.now as i64
    }
}

/// A service of a target: a name, its ports, and a protocol if it names one.
#[derive(Clone, Debug)]
pub struct Service {
    pub name: &'static str,
    pub ports: Vec<u16>,
    pub protocol: Option<&'static str>,
}

/// A named destination: addresses with prefix lengths.
#[derive(Clone, Debug)]
pub struct Target {
    pub name: &'static str,
    pub networks: Vec<(IpAddr, u8)>,
    pub services: Vec<Service>,
}

impl Service {
    /// A service by its ports; of one protocol, or of every one that has ports.
    #[must_use]
    pub fn new(name: &'static str, ports: &[u16], protocol: Option<&'static str>) -> Self {
        Self { name, ports: ports.to_vec(), protocol }
    }
}

impl Target {
    /// A target by its networks, written as in a configuration: an address alone stands for itself.
    pub fn new(name: &'static str, networks: &[&str], services: Vec<Service>) -> Result<Self> {
        let networks = networks.iter().map(|network| read_network(network)).collect::<Result<_>>()?;
        Ok(Self { name, networks, services })
    }

    /// The storage server of [`crate::config::TARGETS`].
    pub fn qnap() -> Result<Self> {
        let service = |name, ports: &[u16]| Service::new(name, ports, None);
        let services = vec![service("smb", &[445]), service("iscsi", &[3260]), service("api", &[8080, 443])];
        Self::new("qnap", &["192.168.100.180"], services)
    }
}

fn read_network(text: &str) -> Result<(IpAddr, u8)> {
    let (address, length) =
        text.split_once('/').map_or((text, None), |(address, length)| (address, Some(length)));
    let address: IpAddr = address.parse().with_context(|| format!("bad address {text}"))?;
    let whole = if address.is_ipv6() { 128 } else { 32 };
    Ok((address, length.map_or(Ok(whole), str::parse).with_context(|| format!("bad length {text}"))?))
}

/// A conntrack entry in words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Class {
    pub direction: &'static str,
    pub state: &'static str,
    pub protocol: &'static str,
    pub expired: bool,
    pub due: &'static str,
    pub stale: bool,
    /// Clock units since it last heard something; `None` if it never did.
    pub silent: Option<i64>,
    /// `None` where it cannot be judged.
    pub lingering: Option<bool>,
    /// Likewise.
    pub unanswered: Option<bool>,
    /// Target name and service name.
    pub target: Option<(&'static str, &'static str)>,
}

/// The raw fields a classification needs.
struct Fields {
    /// Offset 0 and the port that belongs to it.
    first: (IpAddr, u16),
    /// The second address and its port.
    second: (IpAddr, u16),
    nexthdr: u8,
    tuple_flags: u8,
    lifetime: u32,
    flags: u16,
    last_tx_report: u32,
    last_rx_report: u32,
}

/// Classifies one conntrack entry; a stale one lingers after so many seconds of silence.
pub fn classify(
    key: &[u8],
    value: &[u8],
    clock: Clock,
    stale_after: i64,
    targets: &[Target],
) -> Result<Class> {
    let fields = read(key, value)?;
    let direction = direction(fields.tuple_flags);
    let protocol = protocol(fields.nexthdr);
    let state = state(&fields, direction);
    let left = clock.seconds_left(fields.lifetime);
    let silent = silent(&fields, clock);
    let expired = fields.lifetime < clock.now;
    let is_stale = matches!(state, "rx_closing" | "tx_closing" | "closed");
    let waiting = state == "opening" && direction == "out" && !expired;
    Ok(Class {
        direction,
        state,
        protocol,
        expired,
        due: due(left),
        stale: is_stale,
        silent,
        lingering: if is_stale {
            silent.map(|silent| clock.seconds_of(silent) >= stale_after)
        } else {
            Some(false)
        },
        unanswered: if waiting { silent.map(|silent| silent >= 2) } else { Some(false) },
        target: target(&fields, protocol, targets),
    })
}

/// The direction by a key's tuple flags; NAT entries only know `out` and `in`.
#[must_use]
pub const fn direction(tuple_flags: u8) -> &'static str {
    if tuple_flags & 2 != 0 {
        "related"
    } else if tuple_flags & 4 != 0 {
        "service"
    } else if tuple_flags & 1 != 0 {
        "in"
    } else {
        "out"
    }
}

const fn protocol(nexthdr: u8) -> &'static str {
    match nexthdr {
        6 => "tcp",
        17 => "udp",
        1 => "icmp",
        58 => "icmpv6",
        132 => "sctp",
        _ => "other",
    }
}

fn state(fields: &Fields, direction: &str) -> &'static str {
    let (rx_closing, tx_closing) = (fields.flags & 1 != 0, fields.flags & 2 != 0);
    let seen_non_syn = fields.flags & 0x10 != 0;
    match (rx_closing, tx_closing) {
        (true, false) => "rx_closing",
        (false, true) => "tx_closing",
        (true, true) => "closed",
        (false, false) if fields.nexthdr != 6 || direction == "related" => "stateless",
        (false, false) if seen_non_syn => "established",
        (false, false) => "opening",
    }
}

/// The due class of whole seconds left.
#[must_use]
pub const fn due(left: i64) -> &'static str {
    match left {
        ..=-43_200 => "overdue_12h",
        -43_199..=-3_600 => "overdue_1h",
        -3_599..=-600 => "overdue_10m",
        -599..=-1 => "overdue",
        0..=10 => "10s",
        11..=60 => "60s",
        61..=600 => "10m",
        601..=3_600 => "1h",
        3_601..=8_000 => "8000s",
        8_001.. => "later",
    }
}

/// The later report counts; 0 is none, and one after now was written while the clock was read.
fn silent(fields: &Fields, clock: Clock) -> Option<i64> {
    let reports = [fields.last_tx_report, fields.last_rx_report];
    let last = reports.into_iter().filter(|report| *report != 0).max()?;
    Some((i64::from(clock.now) - i64::from(last)).max(0))
}

fn target(fields: &Fields, protocol: &str, targets: &[Target]) -> Option<(&'static str, &'static str)> {
    // The frontend of a service answers and stands first, related or not; otherwise who answers stands second.
    let mirrored = fields.tuple_flags & 4 != 0;
    let (responder, initiator) =
        if mirrored { (fields.first, fields.second) } else { (fields.second, fields.first) };
    let target = targets.iter().find(|target| target.has(responder.0) || target.has(initiator.0))?;
    // Others have identifiers, or nothing, where these have ports.
    let has_ports = matches!(protocol, "tcp" | "udp" | "sctp");
    let named = [responder, initiator]
        .into_iter()
        .filter(|(address, _)| has_ports && target.has(*address))
        .find_map(|(_, port)| target.service(port, protocol));
    Some((target.name, named.unwrap_or("other")))
}

impl Target {
    fn has(&self, address: IpAddr) -> bool {
        self.networks.iter().any(|(network, length)| contains(*network, *length, address))
    }

    fn service(&self, port: u16, protocol: &str) -> Option<&'static str> {
        self.services
            .iter()
            .find(|service| {
                service.ports.contains(&port) && service.protocol.is_none_or(|wanted| wanted == protocol)
            })
            .map(|service| service.name)
    }
}

fn contains(network: IpAddr, length: u8, address: IpAddr) -> bool {
    let (network, address, width) = match (network, address) {
        (IpAddr::V4(network), IpAddr::V4(address)) => {
            (u128::from(network.to_bits()), u128::from(address.to_bits()), 32)
        }
        (IpAddr::V6(network), IpAddr::V6(address)) => (network.to_bits(), address.to_bits(), 128),
        _ => return false,
    };
    let host_bits = width - u32::from(length).min(width);
    // Shifting by the whole width is shifting everything out.
    network.checked_shr(host_bits).unwrap_or(0) == address.checked_shr(host_bits).unwrap_or(0)
}

fn read(key: &[u8], value: &[u8]) -> Result<Fields> {
    let (first, second, rest): (IpAddr, IpAddr, usize) = match key.len() {
        14 => (bytes::<4>(key, 0)?.into(), bytes::<4>(key, 4)?.into(), 8),
        38 => (bytes::<16>(key, 0)?.into(), bytes::<16>(key, 16)?.into(), 32),
        other => bail!("a key of {other} bytes is none of Cilium's"),
    };
    if value.len() != 56 {
        bail!("a conntrack value has 56 bytes, not {}", value.len());
    }
    let [nexthdr, tuple_flags] = bytes(key, rest + 4)?;
    Ok(Fields {
        first: (first, u16::from_be_bytes(bytes(key, rest + 2)?)),
        second: (second, u16::from_be_bytes(bytes(key, rest)?)),
        nexthdr,
        tuple_flags,
        lifetime: u32::from_ne_bytes(bytes(value, 32)?),
        flags: u16::from_ne_bytes(bytes(value, 36)?),
        last_tx_report: u32::from_ne_bytes(bytes(value, 48)?),
        last_rx_report: u32::from_ne_bytes(bytes(value, 52)?),
    })
}

fn bytes<const N: usize>(from: &[u8], offset: usize) -> Result<[u8; N]> {
    let part = from.get(offset..offset + N).with_context(|| format!("no {N} bytes at {offset}"))?;
    Ok(part.try_into()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cilium::MapName;
    use crate::cli_text::{CtLine, ct_lines};
    use crate::fixture::{self, CAPTURE_CLOCK, CT_LIST_TIMEDIFF};

    fn qnap() -> Target {
        Target {
            name: "qnap",
            networks: vec![("192.168.100.180".parse().unwrap(), 32), ("fd64::180".parse().unwrap(), 128)],
            services: vec![
                Service { name: "smb", ports: vec![445], protocol: None },
                Service { name: "iscsi", ports: vec![3260], protocol: Some("tcp") },
                Service { name: "mdns", ports: vec![5353], protocol: Some("udp") },
            ],
        }
    }

    #[test]
    fn the_reference_and_the_printed_words_agree_on_every_captured_entry() {
        let targets = [qnap()];
        let lines = ct_lines(CT_LIST_TIMEDIFF).unwrap();
        let mut compared = 0;
        for map in MapName::CT {
            let lines: Vec<&CtLine<'_>> = lines.iter().filter(|line| line.map == map).collect();
            let records = fixture::records(map).unwrap();
            assert_eq!(lines.len(), records.len());
            // Records are in map order, and so is the text.
            for (line, record) in lines.into_iter().zip(records) {
                let clock = Clock::ktime(CAPTURE_CLOCK);
                let class = classify(&record.key, &record.value, clock, 600, &targets).unwrap();
                let words = (line.direction(), line.state(), line.protocol_name(), line.is_stale());
                assert_eq!(
                    (class.direction, class.state, class.protocol, class.stale),
                    words,
                    "{}",
                    line.text
                );
                assert_eq!(class.due, due(line.remaining.unwrap()), "{}", line.text);
                assert_eq!(class.expired, line.remaining.unwrap() < 0);
                let named = class.target.map(|(_, service)| service);
                assert_eq!(named, printed_service(line), "{}", line.text);
                compared += 1;
            }
        }
        assert_eq!(compared, 399);
    }

    fn printed_service(line: &CtLine<'_>) -> Option<&'static str> {
        let port = ["192.168.100.180", "fd64::180"]
            .iter()
            .find_map(|nas| line.ports_at(nas.parse().unwrap()).next())?;
        Some(match (port, line.protocol) {
            (445, _) => "smb",
            (3260, "TCP") => "iscsi",
            (5353, "UDP") => "mdns",
            _ => "other",
        })
    }

    fn entry(flags: u16, lifetime: u32) -> ([u8; 14], [u8; 56]) {
        let key = [10, 0, 0, 1, 192, 168, 100, 180, 0x01, 0xbd, 0xa8, 0xca, 6, 0];
        let mut value = [0; 56];
        value[32..36].copy_from_slice(&lifetime.to_ne_bytes());
        value[36..38].copy_from_slice(&flags.to_ne_bytes());
        (key, value)
    }

    #[test]
    fn lingering_and_unanswered_follow_the_later_report() {
        const NEVER: i64 = i64::MAX;
        let said = |flags, left: i64, reports: [i64; 2]| {
            let now = 1_000_000;
            let (key, mut value) = entry(flags, u32::try_from(i64::from(now) + left).unwrap());
            for (offset, ago) in [48, 52].into_iter().zip(reports) {
                let report = if ago == NEVER { 0 } else { i64::from(now) - ago };
                value[offset..offset + 4].copy_from_slice(&u32::try_from(report).unwrap().to_ne_bytes());
            }
            let class = classify(&key, &value, Clock::ktime(now), 600, &[]).unwrap();
            (class.silent, class.lingering, class.unanswered)
        };
        let no = Some(false);
        // Whatever is left: half-closed entries are judged as closed ones are.
        for (flags, left) in [(0x13, -590), (0x11, 21_000), (0x12, -9_999)] {
            assert_eq!(said(flags, left, [600, 700]), (Some(600), Some(true), no));
            assert_eq!(said(flags, left, [700, 599]), (Some(599), no, no));
            assert_eq!(said(flags, left, [600, NEVER]), (Some(600), Some(true), no));
            assert_eq!(said(flags, left, [NEVER, NEVER]), (None, None, no));
            assert_eq!(said(flags, left, [-1, 9_000]), (Some(0), no, no));
        }
        assert_eq!(said(0x10, -9_999, [9_999, 9_999]), (Some(9_999), no, no));
        assert_eq!(said(0x00, 30, [2, NEVER]), (Some(2), no, Some(true)));
        assert_eq!(said(0x00, 30, [1, NEVER]), (Some(1), no, no));
        assert_eq!(said(0x00, -1, [61, NEVER]), (Some(61), no, no));
        assert_eq!(said(0x00, 30, [NEVER, NEVER]), (None, no, None));
    }

    #[test]
    fn every_captured_entry_was_reported_as_the_cli_printed() {
        let lines = ct_lines(CT_LIST_TIMEDIFF).unwrap();
        for map in MapName::CT {
            let lines = lines.iter().filter(|line| line.map == map);
            for (line, record) in lines.zip(fixture::records(map).unwrap()) {
                let class =
                    classify(&record.key, &record.value, Clock::ktime(CAPTURE_CLOCK), 600, &[]).unwrap();
                let printed = |name: &str| line.fields[name].parse::<u32>().unwrap();
                let last = printed("LastTxReport").max(printed("LastRxReport"));
                assert_eq!(class.silent, Some(i64::from(CAPTURE_CLOCK - last)), "{}", line.text);
            }
        }
    }

    #[test]
    fn jiffies_round_down_to_seconds_and_expire_below_now() {
        let clock = Clock::jiffies(16_800_000, 250);
        let left = |units: i64| clock.seconds_left(u32::try_from(16_800_000 + units).unwrap());
        assert_eq!((left(0), left(1), left(-1), left(10), left(-586)), (0, 1, -2, 10, -601));
        // 10 units are 10.24 s, 11 units 11.264 s: the last "10s" entry has 10 units left.
        assert_eq!((due(left(10)), due(left(11)), clock.units(11)), ("10s", "60s", 11));
    }

    #[test]
    fn the_first_target_wins_and_the_port_at_its_address_names_the_service() {
        let wide = Target {
            name: "lan",
            networks: vec![("192.168.100.0".parse().unwrap(), 24), ("10.0.0.0".parse().unwrap(), 8)],
            services: vec![Service { name: "high", ports: vec![43210], protocol: None }],
        };
        let (key, value) = entry(0x10, 5);
        let of = |targets: &[Target]| classify(&key, &value, Clock::ktime(1), 600, targets).unwrap().target;
        assert_eq!(of(&[qnap(), wide.clone()]), Some(("qnap", "smb")));
        // Both addresses are in the wide one: the initiator's port names a service, the responder's does not.
        assert_eq!(of(&[wide.clone(), qnap()]), Some(("lan", "high")));
        assert_eq!(of(&[Target { services: Vec::new(), ..wide }]), Some(("lan", "other")));
        assert_eq!(of(&[]), None);
    }

    #[test]
    fn networks_contain_what_their_prefix_says() {
        let holds = |network: &str, length, address: &str| {
            contains(network.parse().unwrap(), length, address.parse().unwrap())
        };
        assert!(holds("0.0.0.0", 0, "255.1.2.3") && holds("::", 0, "ffff::1"));
        assert!(holds("10.1.0.0", 16, "10.1.255.255") && !holds("10.1.0.0", 16, "10.2.0.0"));
        assert!(holds("fd64::180", 128, "fd64::180") && !holds("fd64::180", 128, "fd64::181"));
        assert!(!holds("0.0.0.0", 0, "::1"));
    }
}
