//! Cilium's own line format, byte for byte: `cilium-dbg bpf ct list global` and `bpf nat list`, as 1.18 or as 1.16 and
//! 1.17 print them. 1.14 and 1.15 print other counters under other names, and are not imitated.
//!
//! In: rows in map order, and the clock of the map. Out: lines; the caller closes each map with [`end_of_map`].
//! Must not: improve on the original. Trailing spaces, `SVC`, IPv6 without brackets in conntrack and with them in
//! NAT lines are what scripts out there parse. Entries whose `nexthdr` is 0 print nothing, as upstream.
//!
//! Sources: `pkg/maps/ctmap/types.go`, `pkg/tuple/ipv6.go`, `pkg/maps/nat/ipv4.go`, `pkg/types/ipv6.go` and
//! `pkg/u8proto/u8proto.go` in <https://github.com/cilium/cilium/tree/v1.18.0>.

use std::fmt;
use std::io::{self, Write};
use std::net::IpAddr;

use monitor_abi::cilium::{TUPLE_F_IN, TUPLE_F_RELATED, TUPLE_F_SERVICE, proto};
use monitor_model::clock::ClockNow;
use monitor_model::ct::CtRow;
use monitor_model::nat::NatRow;
use monitor_model::tuple::Endpoint;

/// Whose command line is imitated. NAT lines are the same in all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// 1.18.
    V1_18,
    /// 1.16 and 1.17, which also print the interface that bytes 40 and 41 of the value held then:
    /// <https://github.com/cilium/cilium/blob/v1.16.4/pkg/maps/ctmap/types.go>.
    V1_16,
}

/// The order in which `bpf ct list global` prints its maps.
pub const CT_ORDER: [&str; 4] = ["ct4_global", "ct_any4_global", "ct6_global", "ct_any6_global"];

/// The order in which `bpf nat list` prints its maps.
pub const NAT_ORDER: [&str; 2] = ["snat_v4_external", "snat_v6_external"];

/// Writes one conntrack line; with `now` also the seconds left, as `--time-diff` does.
pub fn ct_line(out: &mut impl Write, row: &CtRow, now: Option<ClockNow>, dialect: Dialect) -> io::Result<()> {
    if row.nexthdr == 0 {
        return Ok(());
    }
    let direction = if row.tuple_flags & TUPLE_F_SERVICE != 0 {
        "SVC"
    } else if row.tuple_flags & TUPLE_F_IN != 0 {
        "IN"
    } else {
        "OUT"
    };
    write!(
        out,
        "{} {direction} {} -> {} {}expires={}",
        ProtocolName(row.nexthdr),
        Bare(row.initiator),
        Bare(row.responder),
        related(row.tuple_flags),
        row.lifetime
    )?;
    if let Some(seconds) = row.remaining(now) {
        write!(out, " (remaining: {seconds} sec(s))")?;
    }
    write!(
        out,
        " Packets={} Bytes={} RxFlagsSeen={:#04x} LastRxReport={} TxFlagsSeen={:#04x} LastTxReport={} \
         Flags={:#06x} [ ",
        row.packets,
        row.bytes,
        row.rx_flags_seen,
        row.last_rx_report,
        row.tx_flags_seen,
        row.last_tx_report,
        row.flags
    )?;
    for name in row.flag_names() {
        write!(out, "{name} ")?;
    }
    if row.unknown_flags() != 0 {
        write!(out, "Unknown={:#06x} ", row.unknown_flags())?;
    }
    write!(out, "] RevNAT={} SourceSecurityID={} ", row.rev_nat, row.src_sec_id)?;
    if dialect == Dialect::V1_16 {
        write!(out, "IfIndex={} ", row.ifindex)?;
    }
    writeln!(out, "BackendID={} ", row.union1)
}

/// Writes one NAT line. Without a clock the age upstream prints cannot be known: `Created=?` stands for it.
pub fn nat_line(out: &mut impl Write, row: &NatRow, now: Option<ClockNow>) -> io::Result<()> {
    if row.nexthdr == 0 {
        return Ok(());
    }
    let (direction, translated) =
        if row.tuple_flags & TUPLE_F_IN != 0 { ("IN", "DST") } else { ("OUT", "SRC") };
    let service = if row.tuple_flags & TUPLE_F_SERVICE != 0 { "service " } else { "" };
    write!(
        out,
        "{} {direction} {} -> {} {}{service}XLATE_{translated} {} Created=",
        ProtocolName(row.nexthdr),
        Bracketed(row.source),
        Bracketed(row.destination),
        related(row.tuple_flags),
        Bracketed(row.to)
    )?;
    match row.age(now) {
        Some(seconds) => write!(out, "{seconds}sec ago")?,
        None => write!(out, "?")?,
    }
    writeln!(out, " NeedsCT={}", row.needs_ct)
}

/// Writes what follows the last line of a map.
pub fn end_of_map(out: &mut impl Write) -> io::Result<()> {
    writeln!(out)
}

const fn related(tuple_flags: u8) -> &'static str {
    if tuple_flags & TUPLE_F_RELATED != 0 { "related " } else { "" }
}

/// A protocol as `u8proto` of 1.18 names it: by number where it knows no name. Later versions know a few more.
struct ProtocolName(u8);

impl fmt::Display for ProtocolName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            proto::ICMP => f.write_str("ICMP"),
            proto::TCP => f.write_str("TCP"),
            proto::UDP => f.write_str("UDP"),
            proto::ICMPV6 => f.write_str("ICMPv6"),
            proto::SCTP => f.write_str("SCTP"),
            number => number.fmt(f),
        }
    }
}

/// An address as Go's `net.IP` prints it: IPv4-mapped IPv6 addresses look like IPv4.
struct Address(IpAddr);

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.to_canonical().fmt(f)
    }
}

/// `address:port`, as conntrack lines have it for both families.
struct Bare(Endpoint);

impl fmt::Display for Bare {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", Address(self.0.address), self.0.port)
    }
}

/// `address:port` or `[address]:port`, by the family of the map, as NAT lines have it.
struct Bracketed(Endpoint);

impl fmt::Display for Bracketed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.address {
            IpAddr::V4(address) => write!(f, "{address}:{}", self.0.port),
            address @ IpAddr::V6(_) => write!(f, "[{}]:{}", Address(address), self.0.port),
        }
    }
}

#[cfg(test)]
mod tests;
