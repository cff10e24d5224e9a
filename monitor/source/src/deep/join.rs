//! Conntrack and NAT of one family joined: what of the one has nothing in the other.
//!
//! In: rows, conntrack's first, then NAT's; what is known of the host. Out: counts, and suspects for the next scan.
//! Must not: believe one scan: the maps are not read at one instant, so an orphan is one only if two scans saw it.
//!
//! A NAT entry belongs to the outgoing conntrack entry of the connection as its initiator knows it: source and
//! destination of an outgoing NAT key; the value and the remote end of an incoming one. With DSR the backend's node
//! translates replies: there the outgoing NAT key is the conntrack entry's reply, it has no incoming half, and the
//! conntrack entry says so by `DSRInternal`.

use std::collections::HashSet;
use std::net::IpAddr;
use std::time::Duration;

use monitor_abi::cilium::{ct_flag, proto};
use monitor_abi::class::{Direction, State};
use monitor_model::clock::ClockNow;
use monitor_model::ct::CtRow;
use monitor_model::host::sockets::{Socket, TcpState};
use monitor_model::nat::NatRow;
use monitor_model::snapshot::deep::Untracked;
use monitor_model::target::TargetIndex;
use monitor_model::tuple::Endpoint;

use super::fingerprint::{Fingerprints, Sorted, tag_of};
use super::ports::PortTable;

/// Suspects kept for the next scan, per kind and map; beyond them counts are too low.
pub const MOST_SUSPECTS: usize = 1 << 18;
/// An entry is a ghost if it has been silent for so many seconds: its last packet is a minute old at least, the time that
/// an ended socket stays, and the report that tells may be six seconds behind.
const SILENT: u64 = 66;

/// What rows are judged by.
pub struct Context<'a> {
    pub fingerprints: &'a Fingerprints,
    pub targets: &'a TargetIndex,
    /// The timeout of established connections; `None` while unknown.
    pub tcp_timeout: Option<Duration>,
    pub host: Option<HostView>,
}

/// What is known of the host's connections to targets.
pub struct HostView {
    pub addresses: HashSet<IpAddr>,
    /// Every TCP socket towards a target.
    pub sockets: Vec<Socket>,
    /// The first port Cilium translates to.
    pub first_port: u16,
    /// Whether Cilium translates the node's own traffic.
    pub masquerades: bool,
}

/// What a target has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TargetCounts {
    pub collisions: u64,
    pub collisions_alive: u64,
    pub ghosts: u64,
    pub untracked: Untracked,
    pub orphans: u64,
    pub broken_pairs: u64,
}

/// What the next scan is compared with.
#[derive(Debug, Default)]
pub struct Suspects {
    orphans: Sorted,
    halves: Sorted,
}

/// What a finished join says.
#[derive(Debug)]
pub struct Joined {
    pub entries: u64,
    /// By target.
    pub targets: Vec<TargetCounts>,
    /// Orphans and half pairs that the scan before saw too; `None` without one.
    pub confirmed: Option<(u64, u64)>,
    /// Whether it is known which collisions are alive.
    pub clock_known: bool,
    /// Whether it is known which entries are ghosts.
    pub ghosts_known: bool,
    pub suspects: Suspects,
}

/// The join while rows come in.
pub struct Join<'a> {
    context: &'a Context<'a>,
    entries: u64,
    /// Outgoing conntrack entries as their initiators know them.
    outgoing: Vec<u64>,
    /// Replies that DSR translates.
    replies: Vec<u64>,
    targets: Vec<TargetCounts>,
    clock_known: bool,
    ghosts_known: bool,
    sockets: HashSet<(Endpoint, Endpoint)>,
}

/// The join when all conntrack rows were seen.
pub struct NatJoin<'a> {
    context: &'a Context<'a>,
    entries: u64,
    outgoing: Sorted,
    replies: Sorted,
    targets: Vec<TargetCounts>,
    clock_known: bool,
    ghosts_known: bool,
    orphans: Vec<u64>,
    halves: Vec<u64>,
}

/// Adds a suspect. Where everything is one, those that would not be kept go early: memory stays bounded.
fn suspect(suspects: &mut Vec<u64>, fingerprint: u64) {
    if suspects.len() >= 2 * MOST_SUSPECTS {
        suspects.sort_unstable();
        suspects.truncate(MOST_SUSPECTS);
    }
    suspects.push(fingerprint);
}

/// A connection as its initiator knows it.
type Connection = (Endpoint, Endpoint, u8);

impl<'a> Join<'a> {
    /// Makes room for about so many conntrack entries.
    #[must_use]
    pub fn new(context: &'a Context<'a>, expected: usize) -> Self {
        let sockets = context.host.iter().flat_map(|host| &host.sockets);
        Self {
            context,
            entries: 0,
            outgoing: Vec::with_capacity(expected),
            replies: Vec::new(),
            targets: vec![TargetCounts::default(); context.targets.targets().len()],
            clock_known: true,
            ghosts_known: context.host.is_some(),
            sockets: sockets.map(|socket| (end(socket.local), end(socket.remote))).collect(),
        }
    }

    /// Takes a conntrack entry.
    pub fn ct(&mut self, row: &CtRow, clock: Option<ClockNow>) {
        self.entries += 1;
        match row.direction {
            Direction::Out => {
                let connection: Connection = (row.initiator, row.responder, row.nexthdr);
                self.outgoing.push(self.context.fingerprints.of(&connection));
                if row.flags & ct_flag::DSR_INTERNAL != 0 {
                    let reply: Connection = (row.responder, row.initiator, row.nexthdr);
                    self.replies.push(self.context.fingerprints.of(&reply));
                }
                self.ghost(row, clock);
            }
            Direction::In => {
                let Some(target) = self.context.targets.blocks_reply_of(row) else { return };
                let Some(counts) = self.targets.get_mut(target) else { return };
                counts.collisions += 1;
                match row.expired(clock) {
                    Some(expired) => counts.collisions_alive += u64::from(!expired),
                    None => self.clock_known = false,
                }
            }
            Direction::Service | Direction::Related => {}
        }
    }

    /// Counts an entry of the node's own connections that no socket stands behind.
    fn ghost(&mut self, row: &CtRow, clock: Option<ClockNow>) {
        let Some(host) = &self.context.host else { return };
        let own = row.nexthdr == proto::TCP
            && row.flags & (ct_flag::NODE_PORT | ct_flag::DSR_INTERNAL) == 0
            && host.addresses.contains(&row.initiator.address);
        if !own || row.state == State::Closed {
            return;
        }
        let Some(target) = self.context.targets.target_of(row.responder.address) else { return };
        if self.sockets.contains(&(row.initiator, row.responder)) {
            return;
        }
        match row.silent(clock) {
            None => self.ghosts_known = false,
            Some(silent) if silent >= SILENT => {
                if let Some(counts) = self.targets.get_mut(target) {
                    counts.ghosts += 1;
                }
            }
            Some(_) => {}
        }
    }

    /// All conntrack entries were seen: NAT entries follow, about so many.
    #[must_use]
    pub fn finish_ct(mut self, v6: bool, expected: usize) -> NatJoin<'a> {
        let outgoing = Sorted::new(self.outgoing);
        if let Some(host) = &self.context.host {
            let mine = host.sockets.iter().filter(|socket| end(socket.remote).address.is_ipv6() == v6);
            for socket in mine.filter(|socket| is_tracked_state(socket.state)) {
                let connection: Connection = (end(socket.local), end(socket.remote), proto::TCP);
                if outgoing.contains(self.context.fingerprints.of(&connection)) {
                    continue;
                }
                let target = self.context.targets.target_of(end(socket.remote).address);
                let Some(counts) = target.and_then(|target| self.targets.get_mut(target)) else { continue };
                *why(host, socket, self.context.tcp_timeout, &mut counts.untracked) += 1;
            }
        }
        NatJoin {
            context: self.context,
            entries: self.entries,
            outgoing,
            replies: Sorted::new(self.replies),
            targets: self.targets,
            clock_known: self.clock_known,
            ghosts_known: self.ghosts_known,
            orphans: Vec::new(),
            halves: Vec::with_capacity(expected),
        }
    }
}

impl NatJoin<'_> {
    /// Takes a NAT entry.
    pub fn nat(&mut self, row: &NatRow, ports: &mut PortTable) {
        self.entries += 1;
        ports.add(row);
        // Both halves of a pair are named alike: client, remote end, translated client.
        let (client, remote, translated) = match row.direction {
            Direction::In => (row.to, row.source, row.destination),
            _ => (row.source, row.destination, row.to),
        };
        let prints = self.context.fingerprints;
        let connection: Connection = (client, remote, row.nexthdr);
        let connection_print = prints.of(&connection);
        let dsr = row.direction == Direction::Out && self.replies.contains(connection_print);
        let target = self.context.targets.classify_ends(client, remote, row.nexthdr);
        let tag = target.and_then(|found| u8::try_from(found.target + 1).ok()).unwrap_or(0);
        if !dsr {
            self.halves.push(prints.tagged(&(connection, translated), tag));
        }
        if !dsr && !self.outgoing.contains(connection_print) {
            suspect(&mut self.orphans, prints.tagged(&(connection, row.tuple_flags), tag));
        }
    }

    /// Compares with the suspects of the scan before, if there was one.
    #[must_use]
    pub fn finish(self, before: Option<&Suspects>) -> Joined {
        let Self {
            context: _,
            entries,
            outgoing,
            replies,
            mut targets,
            clock_known,
            ghosts_known,
            orphans,
            halves,
        } = self;
        // Freed before the suspects are sorted: they are what memory is needed for now.
        drop((outgoing, replies));
        let mut suspects = Suspects { orphans: Sorted::new(orphans), halves: Sorted::new(halves) };
        suspects.halves.retain_singles();
        suspects.orphans.truncate(MOST_SUSPECTS);
        suspects.halves.truncate(MOST_SUSPECTS);
        let confirmed = before.map(|before| {
            let mut sums = (0, 0);
            for print in suspects.orphans.common(&before.orphans) {
                sums.0 += 1;
                if let Some(counts) = tagged(&mut targets, print) {
                    counts.orphans += 1;
                }
            }
            for print in suspects.halves.common(&before.halves) {
                sums.1 += 1;
                if let Some(counts) = tagged(&mut targets, print) {
                    counts.broken_pairs += 1;
                }
            }
            sums
        });
        Joined { entries, targets, confirmed, clock_known, ghosts_known, suspects }
    }
}

/// States in which the kernel sends and expects packets: the others say nothing about conntrack.
const fn is_tracked_state(state: TcpState) -> bool {
    matches!(state, TcpState::Established | TcpState::SynSent | TcpState::CloseWait | TcpState::FinWait1)
}

/// Why a socket has no entry.
fn why<'u>(
    host: &HostView,
    socket: &Socket,
    tcp_timeout: Option<Duration>,
    untracked: &'u mut Untracked,
) -> &'u mut u64 {
    let idle = socket.silent_for().zip(tcp_timeout).is_some_and(|(silent, timeout)| silent >= timeout);
    if !host.masquerades {
        &mut untracked.no_masquerade
    } else if socket.local.port() < host.first_port {
        &mut untracked.low_port
    } else if idle {
        &mut untracked.idle
    } else {
        &mut untracked.unknown
    }
}

fn tagged(targets: &mut [TargetCounts], fingerprint: u64) -> Option<&mut TargetCounts> {
    usize::from(tag_of(fingerprint)).checked_sub(1).and_then(|target| targets.get_mut(target))
}

/// A socket's end as conntrack knows it: IPv4 over an IPv6 socket is IPv4.
fn end(address: std::net::SocketAddr) -> Endpoint {
    Endpoint { address: address.ip().to_canonical(), port: address.port() }
}

#[cfg(test)]
mod tests {
    use monitor_model::target::{ServiceSpec, TargetSpec};

    use super::*;
    use monitor_decode::cilium::ct::decode_ct;

    fn at(text: &str) -> Endpoint {
        end(text.parse().unwrap())
    }

    fn targets() -> TargetIndex {
        let service = ServiceSpec { name: "smb".into(), ports: vec![445], protocol: None };
        let prefixes = vec!["192.168.100.180".parse().unwrap()];
        TargetIndex::new(vec![TargetSpec { name: "qnap".into(), prefixes, services: vec![service] }]).unwrap()
    }

    /// A conntrack entry with this many seconds left at second 10,000.
    fn ct(initiator: &str, responder: &str, direction: Direction, flags: u16, left: i64) -> CtRow {
        let (initiator, responder) = (at(initiator), at(responder));
        let octets = |end: Endpoint| match end.address {
            IpAddr::V4(address) => address.octets().to_vec(),
            IpAddr::V6(address) => address.octets().to_vec(),
        };
        let ports = [responder.port.to_be_bytes(), initiator.port.to_be_bytes()].concat();
        let key = [octets(initiator), octets(responder), ports, vec![6, direction as u8]].concat();
        let mut value = [0; 56];
        let timeout = match flags & 0x13 {
            0x00 => 60,
            0x13 => 10,
            _ => 8_000,
        };
        value[32..36].copy_from_slice(&u32::try_from(10_000 + left).unwrap().to_ne_bytes());
        value[36..38].copy_from_slice(&flags.to_ne_bytes());
        value[52..56].copy_from_slice(&u32::try_from(10_000 + left - timeout).unwrap().to_ne_bytes());
        decode_ct(&key, &value).unwrap()
    }

    fn nat(source: &str, destination: &str, to: &str, direction: Direction) -> NatRow {
        NatRow {
            source: at(source),
            destination: at(destination),
            to: at(to),
            nexthdr: 6,
            tuple_flags: direction as u8,
            direction,
            protocol: monitor_abi::class::Protocol::Tcp,
            created: 0,
            needs_ct: 0,
        }
    }

    const POD: &str = "10.244.0.10:43210";
    const NAS: &str = "192.168.100.180:445";
    const NODE: &str = "192.168.42.254:43210";
    const CLOCK: Option<ClockNow> = Some(ClockNow::ktime(10_000));

    fn join(context: &Context<'_>, rows: &[CtRow], nats: &[NatRow], before: Option<&Suspects>) -> Joined {
        let mut join = Join::new(context, rows.len());
        for row in rows {
            join.ct(row, CLOCK);
        }
        let mut join = join.finish_ct(false, nats.len());
        let mut ports = PortTable::new(32_768..=65_535);
        for row in nats {
            join.nat(row, &mut ports);
        }
        join.finish(before)
    }

    fn context<'a>(
        prints: &'a Fingerprints,
        targets: &'a TargetIndex,
        host: Option<HostView>,
    ) -> Context<'a> {
        let timeout = |seconds| Some(Duration::from_secs(seconds));
        Context { fingerprints: prints, targets, tcp_timeout: timeout(8_000), host }
    }

    /// Orphans and half pairs that two scans of the same entries confirm.
    fn confirmed(rows: &[CtRow], nats: &[NatRow]) -> (u64, u64) {
        let (prints, targets) = (Fingerprints::default(), targets());
        let context = context(&prints, &targets, None);
        let first = join(&context, rows, nats, None);
        assert_eq!(first.confirmed, None, "one scan proves nothing");
        let second = join(&context, rows, nats, Some(&first.suspects));
        let (orphans, halves) = second.confirmed.unwrap();
        assert_eq!((second.targets[0].orphans, second.targets[0].broken_pairs), (orphans, halves));
        (orphans, halves)
    }

    #[test]
    fn a_pair_with_its_conntrack_entry_is_whole() {
        let rows = [ct(POD, NAS, Direction::Out, 0x10, 8_000)];
        let pair = [nat(POD, NAS, NODE, Direction::Out), nat(NAS, NODE, POD, Direction::In)];
        assert_eq!(confirmed(&rows, &pair), (0, 0));
        assert_eq!(confirmed(&[], &pair), (2, 0), "nothing behind it");
        assert_eq!(confirmed(&rows, &pair[..1]), (0, 1), "the reply's half is gone");
        assert_eq!(confirmed(&rows, &pair[1..]), (0, 1), "the request's half is gone");
        let other = nat(NAS, NODE, "10.244.0.99:43210", Direction::In);
        assert_eq!(confirmed(&rows, &[pair[0], other]), (1, 2), "the reply leads to somebody else");
    }

    #[test]
    fn where_everything_is_an_orphan_the_same_ones_are_kept_in_every_scan() {
        let mut all: Vec<u64> =
            (0..5 * MOST_SUSPECTS as u64).map(|number| number.wrapping_mul(0x9e37_79b9)).collect();
        let kept = |order: &[u64]| {
            let mut suspects = Vec::new();
            for print in order {
                suspect(&mut suspects, *print);
                assert!(suspects.len() <= 2 * MOST_SUSPECTS);
            }
            let mut sorted = Sorted::new(suspects);
            sorted.truncate(MOST_SUSPECTS);
            sorted
        };
        let first = kept(&all);
        all.reverse();
        let second = kept(&all);
        assert_eq!(first.common(&second).count(), MOST_SUSPECTS);
    }

    #[test]
    fn only_what_two_scans_saw_counts() {
        let (prints, targets) = (Fingerprints::default(), targets());
        let context = context(&prints, &targets, None);
        let stray = nat(POD, NAS, NODE, Direction::Out);
        let first = join(&context, &[], &[], None);
        let second = join(&context, &[], &[stray], Some(&first.suspects));
        assert_eq!(second.confirmed, Some((0, 0)));
        let third = join(&context, &[], &[stray], Some(&second.suspects));
        assert_eq!(third.confirmed, Some((1, 1)));
    }

    #[test]
    fn replies_that_dsr_translates_have_no_other_half_and_are_no_orphans() {
        let (client, backend, vip) = ("203.0.113.5:51000", "10.244.0.10:8080", "192.168.100.180:80");
        let reply = nat(backend, client, vip, Direction::Out);
        let dsr = ct(client, backend, Direction::Out, 0x10 | ct_flag::DSR_INTERNAL, 8_000);
        let (prints, targets) = (Fingerprints::default(), targets());
        let context = context(&prints, &targets, None);
        for (rows, expected) in [(vec![dsr], (0, 0)), (vec![], (1, 1))] {
            let first = join(&context, &rows, &[reply], None);
            assert_eq!(join(&context, &rows, &[reply], Some(&first.suspects)).confirmed, Some(expected));
        }
    }

    #[test]
    fn entries_in_the_wrong_direction_are_collisions_dead_or_alive() {
        let (prints, targets) = (Fingerprints::default(), targets());
        let context = context(&prints, &targets, None);
        let rows = [
            ct(NAS, POD, Direction::In, 0x00, 30),
            ct(NAS, "10.244.0.10:43211", Direction::In, 0x13, -3_000),
            ct(NAS, "10.244.0.10:8080", Direction::In, 0x10, 30),
            ct("192.168.100.180:50000", POD, Direction::In, 0x10, 30),
            ct(POD, NAS, Direction::Out, 0x10, 30),
        ];
        let counts = join(&context, &rows, &[], None).targets[0];
        assert_eq!((counts.collisions, counts.collisions_alive), (2, 1));
    }

    fn socket(local: &str, remote: &str, state: TcpState) -> Socket {
        Socket {
            state,
            local: local.parse().unwrap(),
            remote: remote.parse().unwrap(),
            timer: None,
            inode: 1,
            receive_queue: 0,
            send_queue: 0,
            info: None,
        }
    }

    #[test]
    fn entries_without_a_socket_are_ghosts_and_sockets_without_an_entry_untracked() {
        let (prints, targets) = (Fingerprints::default(), targets());
        let host = HostView {
            addresses: [at(NODE).address].into(),
            sockets: vec![
                socket(NODE, NAS, TcpState::Established),
                socket(
                    "[::ffff:192.168.42.254]:43299",
                    "[::ffff:192.168.100.180]:445",
                    TcpState::Established,
                ),
                socket("192.168.42.254:875", NAS, TcpState::Established),
                socket("192.168.42.254:43220", NAS, TcpState::CloseWait),
                socket("192.168.42.254:43221", NAS, TcpState::TimeWait),
            ],
            first_port: 32_768,
            masquerades: true,
        };
        let context = context(&prints, &targets, Some(host));
        let rows = [
            ct(NODE, NAS, Direction::Out, 0x10, 1_000),
            ct("192.168.42.254:43299", NAS, Direction::Out, 0x10, 1_000),
            ct("192.168.42.254:43300", NAS, Direction::Out, 0x10, 7_934),
            ct("192.168.42.254:43301", NAS, Direction::Out, 0x10, 7_935),
            ct("192.168.42.254:43302", NAS, Direction::Out, 0x13, -700),
            ct("192.168.42.254:43303", NAS, Direction::Out, 0x00, -6),
            ct(POD, NAS, Direction::Out, 0x10, 1_000),
        ];
        let joined = join(&context, &rows, &[], None);
        assert_eq!((joined.targets[0].ghosts, joined.ghosts_known), (2, true), "ports 43300 and 43303");
        let expected = Untracked { low_port: 1, unknown: 1, ..Untracked::default() };
        assert_eq!(joined.targets[0].untracked, expected);
    }
}
