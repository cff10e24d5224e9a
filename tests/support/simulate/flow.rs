//! One connection, and the entries Cilium's datapath keeps of it at each stage.
//!
//! In: ends, stage, time. Out: entries written to the table. Must not: decide what happens next.

use std::net::SocketAddr;

use crate::cilium::MapName;
use crate::clock::Units;

use super::entry::{
    CtValue, Facing, RX_CLOSING, SEEN_NON_SYN, TCP, TX_CLOSING, ct_key, nat_in_key, nat_out_key, nat_value,
    related_key,
};
use super::table::Table;

/// `bpf-ct-timeout-regular-tcp` and `-service-tcp`.
pub const TCP_TIMEOUT: u32 = 8_000;
/// `bpf-ct-timeout-regular-tcp-syn`, and of everything that is not TCP.
pub const SHORT_TIMEOUT: u32 = 60;
/// `monitor-aggregation-interval`.
const REPORT_INTERVAL: u32 = 5;
/// `bpf-ct-timeout-regular-tcp-fin`.
pub const FIN_TIMEOUT: u32 = 10;

/// Flags seen of a side that only sent a SYN.
const SYN: u8 = 0x02;
/// SYN, PSH and ACK: a side that talks.
const TALKED: u8 = 0x1a;
/// The same and FIN.
const FINISHED: u8 = 0x1b;
/// The same as [`TALKED`] and RST.
const RESET: u8 = 0x1e;

/// How far a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// SYNs without an answer.
    Opening,
    Established,
    /// The client sent a FIN and heard nothing more.
    ClientClosed,
    /// The server sent a FIN; the client keeps its socket.
    ServerClosed,
    Closed,
    /// The server sent a RST.
    Reset,
}

/// When something is written: the clock's reading and its units.
#[derive(Clone, Copy, Debug)]
pub struct Stamp {
    pub now: u32,
    pub units: Units,
}

impl Stamp {
    const fn after(self, seconds: u32) -> u32 {
        self.now + self.units.of(seconds)
    }
}

/// The service address a client asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frontend {
    pub address: SocketAddr,
    pub backend_id: u64,
    pub rev_nat: u16,
}

/// A connection between two ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flow {
    pub client: SocketAddr,
    /// The backend where a service is in between.
    pub server: SocketAddr,
    pub protocol: u8,
    /// The client's security identity; 0 for the host's own connections.
    pub identity: u32,
    /// The server is a pod of this node: it gets an IN entry.
    pub server_local: bool,
    pub frontend: Option<Frontend>,
    /// The source as the world sees it.
    pub translated: Option<SocketAddr>,
}

impl Flow {
    /// The host's own connection: it keeps its address, and its port is reserved in the NAT map.
    #[must_use]
    pub fn is_host(&self) -> bool {
        self.identity == 0
    }

    /// Where conntrack keeps entries of this flow.
    #[must_use]
    pub const fn ct_map(&self) -> MapName {
        match (self.protocol == TCP, self.client.is_ipv4()) {
            (true, true) => MapName::Ct4,
            (true, false) => MapName::Ct6,
            (false, true) => MapName::CtAny4,
            (false, false) => MapName::CtAny6,
        }
    }

    const fn nat_map(&self) -> MapName {
        if self.client.is_ipv4() { MapName::Snat4 } else { MapName::Snat6 }
    }

    /// The key of the OUT entry, which every flow of this node has.
    #[must_use]
    pub fn out_key(&self) -> Vec<u8> {
        ct_key(Facing::Out, self.client, self.server, self.protocol)
    }

    /// The first packet: all entries are created, with companions and the NAT pair.
    pub fn create(&self, stage: Stage, at: Stamp, table: &mut Table) {
        self.write(stage, at, table);
        self.write_related(at, table);
        self.write_nat(at, table);
    }

    /// A later packet: the entries of the connection itself are refreshed.
    pub fn write(&self, stage: Stage, at: Stamp, table: &mut Table) {
        let map = self.ct_map();
        let (client_seen, server_seen) = self.seen(stage);
        let rev_nat = self.frontend.map_or(0, |frontend| frontend.rev_nat);
        let out = CtValue {
            lifetime: at.after(self.timeout(stage)),
            flags: self.flags(stage),
            rev_nat,
            tx_flags_seen: client_seen,
            rx_flags_seen: server_seen,
            src_sec_id: self.identity,
            last_tx_report: at.now,
            last_rx_report: if stage == Stage::Opening { 0 } else { at.now },
            ..CtValue::default()
        };
        put(map, self.out_key(), out, at, table);
        if self.server_local {
            let value = CtValue {
                flags: mirrored(out.flags),
                rev_nat: 0,
                tx_flags_seen: server_seen,
                rx_flags_seen: client_seen,
                last_tx_report: out.last_rx_report,
                last_rx_report: out.last_tx_report,
                ..out
            };
            put(map, ct_key(Facing::In, self.client, self.server, self.protocol), value, at, table);
        }
        if let Some(frontend) = self.frontend {
            // Only the way forth passes the service, and its FIN sets both bits at once.
            let stage = match stage {
                Stage::ClientClosed => Stage::Closed,
                Stage::ServerClosed | Stage::Reset => Stage::Established,
                other => other,
            };
            let value = CtValue {
                backend_id: frontend.backend_id,
                lifetime: at.after(self.timeout(stage)),
                flags: self.flags(stage),
                rev_nat: frontend.rev_nat,
                tx_flags_seen: self.seen(stage).0,
                last_tx_report: at.now,
                ..CtValue::default()
            };
            let key = ct_key(Facing::Service, self.client, frontend.address, self.protocol);
            put(map, key, value, at, table);
        }
    }

    /// The companion for ICMP errors; the host's own connections have none.
    fn write_related(&self, at: Stamp, table: &mut Table) {
        if self.is_host() {
            return;
        }
        let map = if self.client.is_ipv4() { MapName::CtAny4 } else { MapName::CtAny6 };
        let first_seen = if self.protocol == TCP { SYN } else { 0 };
        let value =
            CtValue { lifetime: at.after(SHORT_TIMEOUT), src_sec_id: self.identity, ..CtValue::default() };
        let out = CtValue { tx_flags_seen: first_seen, last_tx_report: at.now, ..value };
        table.put_ct(map, related_key(Facing::Out, self.client.ip(), self.server.ip()), out);
        if self.server_local {
            let value = CtValue { rx_flags_seen: first_seen, last_rx_report: at.now, ..value };
            table.put_ct(map, related_key(Facing::In, self.client.ip(), self.server.ip()), value);
        }
    }

    /// The NAT pair: made once; a mapping that exists is used again.
    fn write_nat(&self, at: Stamp, table: &mut Table) {
        let Some(translated) = self.translated else { return };
        let map = self.nat_map();
        let key = nat_out_key(self.client, self.server, self.protocol);
        if table.has_nat(map, &key) {
            return;
        }
        table.put_nat(map, key, nat_value(at.now, self.is_host(), translated));
        let reply = nat_in_key(self.server, translated, self.protocol);
        table.put_nat(map, reply, nat_value(at.now, self.is_host(), self.client));
    }

    /// Whether replies to this source are still free to be led back to this flow.
    #[must_use]
    pub fn can_translate_to(&self, translated: SocketAddr, table: &Table) -> bool {
        !table.has_nat(self.nat_map(), &nat_in_key(self.server, translated, self.protocol))
    }

    /// Whether the ends are free: no entry, or one of a connection that is over.
    #[must_use]
    pub fn is_free(&self, table: &Table) -> bool {
        table.ct(self.ct_map(), &self.out_key()).is_none_or(CtValue::is_closed)
    }

    const fn timeout(&self, stage: Stage) -> u32 {
        match (self.protocol, stage) {
            (TCP, Stage::Opening) => SHORT_TIMEOUT,
            (TCP, Stage::Closed | Stage::Reset) => FIN_TIMEOUT,
            (TCP, _) => TCP_TIMEOUT,
            _ => SHORT_TIMEOUT,
        }
    }

    /// Flags of the OUT entry.
    const fn flags(&self, stage: Stage) -> u16 {
        match (self.protocol, stage) {
            (TCP, Stage::Established) => SEEN_NON_SYN,
            (TCP, Stage::ClientClosed) => SEEN_NON_SYN | TX_CLOSING,
            (TCP, Stage::ServerClosed) => SEEN_NON_SYN | RX_CLOSING,
            (TCP, Stage::Closed | Stage::Reset) => SEEN_NON_SYN | RX_CLOSING | TX_CLOSING,
            _ => 0,
        }
    }

    /// TCP flags seen of the client and of the server.
    const fn seen(&self, stage: Stage) -> (u8, u8) {
        match (self.protocol, stage) {
            (TCP, Stage::Opening) => (SYN, 0),
            (TCP, Stage::Established) => (TALKED, TALKED),
            (TCP, Stage::ClientClosed) => (FINISHED, TALKED),
            (TCP, Stage::ServerClosed) => (TALKED, FINISHED),
            (TCP, Stage::Closed) => (FINISHED, FINISHED),
            (TCP, Stage::Reset) => (FINISHED, RESET),
            _ => (0, 0),
        }
    }
}

/// Writes an entry. One that is there keeps its reports, but where a flag is new or the last one is older than the report
/// interval; a packet on a closed one opens it anew.
fn put(map: MapName, key: Vec<u8>, value: CtValue, at: Stamp, table: &mut Table) {
    let before = table.ct(map, &key).filter(|before| !before.is_closed());
    let report = |now: u32, seen: u8, last: u32, seen_before: u8| {
        let is_due = seen & !seen_before != 0 || last + at.units.of(REPORT_INTERVAL) < at.now;
        if is_due { now } else { last }
    };
    let value = match before {
        None => value,
        Some(before) => CtValue {
            last_tx_report: report(
                value.last_tx_report,
                value.tx_flags_seen,
                before.last_tx_report,
                before.tx_flags_seen,
            ),
            last_rx_report: report(
                value.last_rx_report,
                value.rx_flags_seen,
                before.last_rx_report,
                before.rx_flags_seen,
            ),
            ..value
        },
    };
    table.put_ct(map, key, value);
}

/// The same flags seen from the other end.
const fn mirrored(flags: u16) -> u16 {
    let rest = flags & !(RX_CLOSING | TX_CLOSING);
    match (flags & RX_CLOSING != 0, flags & TX_CLOSING != 0) {
        (true, false) => rest | TX_CLOSING,
        (false, true) => rest | RX_CLOSING,
        _ => flags,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference;
    use std::collections::BTreeMap;

    const AT: Stamp = Stamp { now: 1_000, units: Units::Seconds };

    /// Direction to state and seconds left, by the reference.
    fn written(flow: &Flow, stage: Stage) -> BTreeMap<&'static str, (&'static str, u32)> {
        let mut table = Table::default();
        flow.write(stage, AT, &mut table);
        table
            .records()
            .map(|(_, key, value)| {
                let clock = reference::Clock::ktime(AT.now);
                let class = reference::classify(key, &value, clock, 600, &[]).unwrap();
                let lifetime = u32::from_ne_bytes(value[32..36].try_into().unwrap());
                (class.direction, (class.state, lifetime - AT.now))
            })
            .collect()
    }

    fn flow(server_local: bool, service: bool) -> Flow {
        Flow {
            client: "10.244.0.11:40000".parse().unwrap(),
            server: "10.244.0.40:8080".parse().unwrap(),
            protocol: TCP,
            identity: 4_242,
            server_local,
            frontend: service.then(|| Frontend {
                address: "10.96.0.10:80".parse().unwrap(),
                backend_id: 7,
                rev_nat: 3,
            }),
            translated: None,
        }
    }

    #[test]
    fn each_stage_is_written_as_both_ends_and_the_service_see_it() {
        for (stage, out, inward, service) in [
            (Stage::Opening, ("opening", 60), ("opening", 60), ("opening", 60)),
            (Stage::Established, ("established", 8_000), ("established", 8_000), ("established", 8_000)),
            (Stage::ClientClosed, ("tx_closing", 8_000), ("rx_closing", 8_000), ("closed", 10)),
            (Stage::ServerClosed, ("rx_closing", 8_000), ("tx_closing", 8_000), ("established", 8_000)),
            (Stage::Closed, ("closed", 10), ("closed", 10), ("closed", 10)),
            (Stage::Reset, ("closed", 10), ("closed", 10), ("established", 8_000)),
        ] {
            let expected = BTreeMap::from([("out", out), ("in", inward), ("service", service)]);
            assert_eq!(written(&flow(true, true), stage), expected, "{stage:?}");
            assert_eq!(written(&flow(false, false), stage), BTreeMap::from([("out", out)]));
        }
        let udp = Flow { protocol: 17, ..flow(true, false) };
        let both = BTreeMap::from([("out", ("stateless", 60)), ("in", ("stateless", 60))]);
        assert_eq!(written(&udp, Stage::Established), both);
    }

    #[test]
    fn a_syn_that_is_sent_again_is_reported_when_the_last_report_is_older_than_the_interval() {
        let (flow, mut table) = (flow(false, false), Table::default());
        let mut told = Vec::new();
        for sent in [0, 1, 3, 7, 15, 31, 63] {
            flow.write(Stage::Opening, Stamp { now: 1_000 + sent, ..AT }, &mut table);
            let value = table.ct(flow.ct_map(), &flow.out_key()).unwrap();
            assert_eq!(value.lifetime, 1_060 + sent);
            told.push((value.last_tx_report - 1_000, value.last_rx_report));
        }
        assert_eq!(told, [0, 0, 0, 7, 15, 31, 63].map(|report| (report, 0)));
        flow.write(Stage::Established, Stamp { now: 1_064, ..AT }, &mut table);
        flow.write(Stage::Established, Stamp { now: 1_069, ..AT }, &mut table);
        let value = table.ct(flow.ct_map(), &flow.out_key()).unwrap();
        // The answer brought flags that were new to both directions.
        assert_eq!((value.last_tx_report, value.last_rx_report), (1_064, 1_064));
        flow.write(Stage::Closed, Stamp { now: 1_070, ..AT }, &mut table);
        let value = table.ct(flow.ct_map(), &flow.out_key()).unwrap();
        assert_eq!((value.last_tx_report, value.last_rx_report), (1_070, 1_070));
    }

    #[test]
    fn a_pods_flow_has_companions_and_the_hosts_has_a_reserved_port() {
        let count = |flow: &Flow| {
            let mut table = Table::default();
            flow.create(Stage::Established, AT, &mut table);
            let mut counts = BTreeMap::new();
            for (map, ..) in table.records() {
                *counts.entry(map).or_insert(0) += 1;
            }
            counts
        };
        assert_eq!(count(&flow(true, true)), BTreeMap::from([(MapName::Ct4, 3), (MapName::CtAny4, 2)]));
        let node = "192.168.100.10:40000".parse().unwrap();
        let host = Flow { client: node, identity: 0, translated: Some(node), ..flow(false, false) };
        assert_eq!(count(&host), BTreeMap::from([(MapName::Ct4, 1), (MapName::Snat4, 2)]));
        assert!(!host.can_translate_to(node, &{
            let mut table = Table::default();
            host.create(Stage::Established, AT, &mut table);
            table
        }));
    }
}
