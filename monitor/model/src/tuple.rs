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

/// A protocol whose port fields hold ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Transport {
    Tcp,
    Udp,
    Sctp,
}

impl Transport {
    pub const ALL: &[Self] = &[Self::Tcp, Self::Udp, Self::Sctp];

    /// The word in the configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        }
    }

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

/// Whether the port fields of this protocol hold ports.
#[must_use]
pub fn has_ports(nexthdr: u8) -> bool {
    Transport::ALL.iter().any(|transport| transport.nexthdr() == nexthdr)
}
