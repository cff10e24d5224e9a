//! One JSON object per line.
//!
//! In: facts, one by one, or a finished report. Out: lines; the shapes below are the contract.
//! Must not: leave a key out: unknown is `null`. Keys are added over time, never renamed or removed.
//!
//! `ctmon list -o json`, one object per conntrack entry:
//!
//! | key | value |
//! |---|---|
//! | `map` | the map's pin without `cilium_` |
//! | `protocol`, `protocol_number` | `tcp`, `udp`, `icmp`, `icmpv6`, `sctp`, `other`; the IP protocol number |
//! | `direction` | `out`, `in`, `service`, `related` |
//! | `state` | `rx_closing`, `tx_closing`, `closed`, `stateless`, `opening`, `established` |
//! | `initiator`, `responder`, `remote` | `{"address": text, "port": number}`; ICMP identifiers stand for ports |
//! | `expires` | absolute expiry on the map's clock, in its own units |
//! | `remaining_seconds`, `expired` | seconds left (negative when overdue), boolean; `null` while the clock is unknown |
//! | `silent_seconds` | since the later report, at most Cilium's report interval (5 s) and one too many; `null` without a report and while the clock is unknown |
//! | `stale`, `lingering`, `unanswered` | booleans; the last two are `null` where `silent_seconds` would decide and is |
//! | `target`, `target_service` | names, `none` and `other` where nothing matches |
//! | `flags`, `flags_raw` | names as Cilium prints them; the flag word |
//! | `rx_flags_seen`, `tx_flags_seen` | TCP flag bytes |
//! | `last_rx_report`, `last_tx_report` | instants on the map's clock |
//! | `packets`, `bytes` | both directions (one of them on Cilium 1.14 and 1.15); 0 unless Cilium accounts |
//! | `rev_nat`, `source_identity` | numbers |
//! | `backend_id` | number; `null` but for `service` entries |
//!
//! `ctmon nat -o json`, one object per NAT entry: `map`, `protocol`, `protocol_number`, `direction`, `target`,
//! `target_service` as above; `source`, `destination`, `translated` as `{"address", "port"}`: the packet as it
//! arrives, and the new source (`out`) or destination (`in`); `created` on the map's clock; `age_seconds`, `null`
//! while the clock is unknown; `needs_ct`, boolean.
//!
//! `ctmon top -o json`, one object per remote end, most entries first:
//!
//! | key | value |
//! |---|---|
//! | `rank` | from 1 |
//! | `address`, `port` | `port` is `null` when counted by address, as clients always are: they take a new port for each connection |
//! | `entries` | never too low |
//! | `error` | `entries` is too high by this at the most; 0 is exact |
//! | `states`, `directions` | objects with every state and direction: of the `entries - error` certainly seen |
//! | `total_entries` | all entries counted, the same in every line |
//!
//! `ctmon top --by nat-ports -o json`, one object per destination, fullest first: `rank`; `translated`, the address
//! connections leave with; `remote` as `{"address", "port"}`; `protocol`; `ports`, in use; `usage`, the same over those
//! there are; `error`: `ports` is too low by this at the most.
//!
//! `ctmon check -o json`, one object per finding, the heaviest first: `check`, its name; `level`, one of `info`,
//! `warning`, `critical`, `unknown` (could not be told); `map_name` and `target`, `null` where they do not apply;
//! `evidence`, the numbers behind it; `advice`, what to do, `null` where nothing needs to be done.

use std::io::{self, Write};
use std::net::IpAddr;

use monitor_abi::class::{Direction, State};
use monitor_check::Finding;
use monitor_model::classifier::{CtFacts, NatFacts};
use monitor_model::nat::NatRow;
use monitor_model::snapshot::deep::PortUse;
use monitor_model::top::{TopReport, TopRow};
use monitor_model::tuple::Endpoint;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

/// Writes a conntrack entry.
pub fn ct(out: &mut impl Write, facts: &CtFacts<'_>) -> io::Result<()> {
    let CtFacts {
        map,
        row,
        clock: _,
        remaining,
        expired,
        silent,
        lingering,
        unanswered,
        target,
        target_service,
    } = facts;
    line(
        out,
        &CtObject {
            map,
            protocol: row.protocol.name(),
            protocol_number: row.nexthdr,
            direction: row.direction.name(),
            state: row.state.name(),
            initiator: row.initiator.into(),
            responder: row.responder.into(),
            remote: row.remote().into(),
            expires: row.lifetime,
            remaining_seconds: *remaining,
            expired: *expired,
            silent_seconds: *silent,
            stale: row.state.is_stale(),
            lingering: *lingering,
            unanswered: *unanswered,
            target,
            target_service,
            flags: row.flag_names().collect(),
            flags_raw: row.flags,
            rx_flags_seen: row.rx_flags_seen,
            tx_flags_seen: row.tx_flags_seen,
            last_rx_report: row.last_rx_report,
            last_tx_report: row.last_tx_report,
            packets: row.packets,
            bytes: row.bytes,
            rev_nat: row.rev_nat,
            source_identity: row.src_sec_id,
            backend_id: row.backend_id(),
        },
    )
}

/// Writes a NAT entry.
pub fn nat(out: &mut impl Write, facts: &NatFacts<'_>) -> io::Result<()> {
    let NatFacts { map, row, clock: _, age, target, target_service } = facts;
    let NatRow { source, destination, to, nexthdr, tuple_flags: _, direction, protocol, created, needs_ct } =
        *row;
    line(
        out,
        &NatObject {
            map,
            protocol: protocol.name(),
            protocol_number: nexthdr,
            direction: direction.name(),
            source: source.into(),
            destination: destination.into(),
            translated: to.into(),
            created,
            age_seconds: *age,
            needs_ct: needs_ct != 0,
            target,
            target_service,
        },
    )
}

/// Writes the report, one line per remote end.
pub fn top(out: &mut impl Write, report: &TopReport) -> io::Result<()> {
    let TopReport { grouping: _, rows, entries, remotes: _, max_error: _ } = report;
    for (rank, row) in (1..).zip(rows) {
        let TopRow { remote, count, error, states, directions } = *row;
        line(
            out,
            &TopObject {
                rank,
                address: remote.address,
                port: remote.port,
                entries: count,
                error,
                states: Counts(State::ALL.iter().map(|state| state.name()).zip(states).collect()),
                directions: Counts(Direction::ALL.iter().map(|way| way.name()).zip(directions).collect()),
                total_entries: *entries,
            },
        )?;
    }
    Ok(())
}

/// Writes findings, one line each.
pub fn findings(out: &mut impl Write, findings: &[Finding]) -> io::Result<()> {
    fn some(text: &str) -> Option<&str> {
        (!text.is_empty()).then_some(text)
    }
    for Finding { check, level, map_name, target, evidence, advice } in findings {
        line(
            out,
            &FindingObject {
                check,
                level: level.name(),
                map_name: some(map_name),
                target: some(target),
                evidence,
                advice: some(advice),
            },
        )?;
    }
    Ok(())
}

#[derive(Serialize)]
struct FindingObject<'a> {
    check: &'a str,
    level: &'static str,
    map_name: Option<&'a str>,
    target: Option<&'a str>,
    evidence: &'a str,
    advice: Option<&'a str>,
}

/// Writes the destinations that take the most source ports.
pub fn ports(out: &mut impl Write, lines: &[PortUse], lost: u32) -> io::Result<()> {
    for (rank, found) in (1..).zip(lines) {
        let PortUse { translated, remote, protocol, ports, usage } = *found;
        let protocol = protocol.name();
        line(
            out,
            &PortsObject { rank, translated, remote: remote.into(), protocol, ports, usage, error: lost },
        )?;
    }
    Ok(())
}

#[derive(Serialize)]
struct PortsObject {
    rank: u32,
    translated: IpAddr,
    remote: EndObject,
    protocol: &'static str,
    ports: u64,
    usage: f64,
    error: u32,
}

fn line(out: &mut impl Write, object: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *out, object)?;
    writeln!(out)
}

#[derive(Serialize)]
struct EndObject {
    address: IpAddr,
    port: u16,
}

impl From<Endpoint> for EndObject {
    fn from(Endpoint { address, port }: Endpoint) -> Self {
        Self { address, port }
    }
}

#[derive(Serialize)]
struct CtObject<'a> {
    map: &'a str,
    protocol: &'static str,
    protocol_number: u8,
    direction: &'static str,
    state: &'static str,
    initiator: EndObject,
    responder: EndObject,
    remote: EndObject,
    expires: u32,
    remaining_seconds: Option<i64>,
    expired: Option<bool>,
    silent_seconds: Option<u64>,
    stale: bool,
    lingering: Option<bool>,
    unanswered: Option<bool>,
    target: &'a str,
    target_service: &'a str,
    flags: Vec<&'static str>,
    flags_raw: u16,
    rx_flags_seen: u8,
    tx_flags_seen: u8,
    last_rx_report: u32,
    last_tx_report: u32,
    packets: u64,
    bytes: u64,
    rev_nat: u16,
    source_identity: u32,
    backend_id: Option<u64>,
}

#[derive(Serialize)]
struct NatObject<'a> {
    map: &'a str,
    protocol: &'static str,
    protocol_number: u8,
    direction: &'static str,
    source: EndObject,
    destination: EndObject,
    translated: EndObject,
    created: u64,
    age_seconds: Option<i64>,
    needs_ct: bool,
    target: &'a str,
    target_service: &'a str,
}

#[derive(Serialize)]
struct TopObject {
    rank: u32,
    address: IpAddr,
    port: Option<u16>,
    entries: u32,
    error: u32,
    states: Counts,
    directions: Counts,
    total_entries: u64,
}

/// An object of counts, in display order.
struct Counts(Vec<(&'static str, u32)>);

impl Serialize for Counts {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, count) in &self.0 {
            map.serialize_entry(name, count)?;
        }
        map.end()
    }
}
