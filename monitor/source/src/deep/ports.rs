//! Source ports in use per destination.
//!
//! In: incoming NAT entries, one per port in use. Out: ports by translated address and remote end, fullest first.
//! Must not: grow with the table: a node may talk to a million destinations.
//!
//! Misra and Gries (1982): when the table is full, a new destination costs every known one a port. A count is never
//! too high, too low by at most entries / [`CAPACITY`]: 30 of 32,768 ports in a million entries.

use std::collections::HashMap;
use std::net::IpAddr;
use std::ops::RangeInclusive;

use monitor_abi::class::{Direction, Protocol};
use monitor_model::nat::NatRow;
use monitor_model::snapshot::deep::PortUse;
use monitor_model::snapshot::ratio;
use monitor_model::tuple::{Endpoint, has_ports};

/// Destinations counted exactly.
pub const CAPACITY: usize = 32_768;

const _: () = assert!(
    // At most twice as many buckets, and half of that while it grows.
    3 * CAPACITY * (size_of::<(Destination, u32)>() + 1) <= 6 << 20
);

/// What shares one range of ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Destination {
    pub translated: IpAddr,
    pub remote: Endpoint,
    pub nexthdr: u8,
}

/// Ports in use, counted.
#[derive(Debug)]
pub struct PortTable {
    range: RangeInclusive<u16>,
    capacity: usize,
    used: HashMap<Destination, u32>,
    /// By how much counts may be too low.
    lost: u32,
}

impl PortTable {
    #[must_use]
    pub fn new(range: RangeInclusive<u16>) -> Self {
        Self { range, capacity: CAPACITY, used: HashMap::new(), lost: 0 }
    }

    /// Counts an entry: the incoming half of a pair holds the port.
    pub fn add(&mut self, row: &NatRow) {
        let taken = row.direction == Direction::In
            && has_ports(row.nexthdr)
            && self.range.contains(&row.destination.port);
        if !taken {
            return;
        }
        let destination =
            Destination { translated: row.destination.address, remote: row.source, nexthdr: row.nexthdr };
        if let Some(used) = self.used.get_mut(&destination) {
            *used += 1;
        } else if self.used.len() < self.capacity {
            self.used.insert(destination, 1);
        } else {
            self.lost += 1;
            self.used.retain(|_, used| {
                *used -= 1;
                *used > 0
            });
        }
    }

    /// How many ports there are.
    #[must_use]
    pub fn ports(&self) -> u64 {
        u64::from(self.range.end().saturating_sub(*self.range.start())) + 1
    }

    /// Every destination that is known.
    pub fn iter(&self) -> impl Iterator<Item = (&Destination, u64)> {
        self.used.iter().map(|(destination, used)| (destination, u64::from(*used)))
    }

    /// By how many ports counts may be too low.
    #[must_use]
    pub const fn lost(&self) -> u32 {
        self.lost
    }

    /// The fullest destinations, fullest first.
    #[must_use]
    pub fn fullest(&self, limit: usize) -> Vec<PortUse> {
        let mut all: Vec<_> = self.iter().collect();
        all.sort_unstable_by_key(|(destination, used)| (std::cmp::Reverse(*used), **destination));
        all.truncate(limit);
        let describe = |(destination, ports): (&Destination, u64)| PortUse {
            translated: destination.translated,
            remote: destination.remote,
            protocol: Protocol::of(destination.nexthdr),
            ports,
            usage: ratio(ports, self.ports()),
        };
        all.into_iter().map(describe).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    /// A reply from `192.0.2.x:443` to this port of the node.
    fn reply(last: u8, port: u16, direction: Direction) -> NatRow {
        let end = |last: u8, port: u16| Endpoint { address: Ipv4Addr::new(192, 0, 2, last).into(), port };
        NatRow {
            source: end(last, 443),
            destination: end(250, port),
            to: end(251, port),
            nexthdr: 6,
            tuple_flags: 1,
            direction,
            protocol: Protocol::Tcp,
            created: 0,
            needs_ct: 0,
        }
    }

    #[test]
    fn ports_in_the_range_are_counted_by_destination() {
        let mut table = PortTable::new(32_768..=65_535);
        (40_000..40_010).for_each(|port| table.add(&reply(1, port, Direction::In)));
        (40_000..40_003).for_each(|port| table.add(&reply(2, port, Direction::In)));
        table.add(&reply(2, 1_000, Direction::In));
        table.add(&reply(2, 50_000, Direction::Out));
        let found: Vec<_> =
            table.fullest(10).into_iter().map(|line| (line.remote.to_string(), line.ports)).collect();
        assert_eq!(found, [("192.0.2.1:443".to_owned(), 10), ("192.0.2.2:443".to_owned(), 3)]);
        assert_eq!((table.ports(), table.fullest(1).len(), table.lost()), (32_768, 1, 0));
    }

    #[test]
    fn a_full_table_keeps_the_heavy_destinations_and_counts_them_never_too_high() {
        let mut table = PortTable { capacity: 4, ..PortTable::new(32_768..=65_535) };
        for round in 0..100_u16 {
            table.add(&reply(1, 40_000 + round, Direction::In));
            table.add(&reply(u8::try_from(2 + round % 60).unwrap(), 50_000 + round, Direction::In));
        }
        let fullest = &table.fullest(1)[0];
        assert_eq!(fullest.remote.to_string(), "192.0.2.1:443");
        let lost = u64::from(table.lost());
        assert!(fullest.ports <= 100 && fullest.ports + lost >= 100, "{fullest:?}, lost {lost}");
        assert!(lost <= 200 / 4, "{lost}");
    }
}
