//! One end of a connection, and what its protocol makes of ports.
//!
//! In: nothing. Out: [`Endpoint`]. Must not: say who talks to whom: conntrack and NAT read the same fields differently.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use monitor_abi::cilium::proto;

/// An address and a port. ICMP identifiers take the place of a port; RELATED entries have port 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Endpoint {
    pub address: IpAddr,
    pub port: u16,
}

/// `address:port`, IPv6 addresses in brackets.
impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        SocketAddr::new(self.address, self.port).fmt(f)
    }
}

/// Protocols whose port fields hold ports.
#[must_use]
pub const fn has_ports(nexthdr: u8) -> bool {
    matches!(nexthdr, proto::TCP | proto::UDP | proto::SCTP)
}
