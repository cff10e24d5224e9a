//! What the maps hold, as the datapath and the agent left it, and what changed since it was last asked.
//!
//! In: entries written by the model, and passes of the gc. Out: changes, one per key; counts.
//! Must not: know why an entry is written.

use std::collections::BTreeMap;

use crate::cilium::MapName;

use super::entry::{CtValue, SEEN_NON_SYN, TCP};

/// A key that got a value, or lost it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub map: MapName,
    pub key: Vec<u8>,
    pub value: Option<Vec<u8>>,
}

/// Conntrack entries by what one looks at in the incident.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub entries: usize,
    /// One closing bit or both.
    pub stale: usize,
    /// TCP with only SYNs seen.
    pub opening: usize,
    /// Lifetime below now.
    pub expired: usize,
    pub nat: usize,
}

/// The six maps.
#[derive(Clone, Debug, Default)]
pub struct Table {
    ct: BTreeMap<(MapName, Vec<u8>), CtValue>,
    nat: BTreeMap<(MapName, Vec<u8>), Vec<u8>>,
    changes: BTreeMap<(MapName, Vec<u8>), Option<Vec<u8>>>,
}

impl Table {
    #[must_use]
    pub fn ct(&self, map: MapName, key: &[u8]) -> Option<CtValue> {
        self.ct.get(&(map, key.to_vec())).copied()
    }

    pub fn put_ct(&mut self, map: MapName, key: Vec<u8>, value: CtValue) {
        self.changes.insert((map, key.clone()), Some(value.to_bytes()));
        self.ct.insert((map, key), value);
    }

    #[must_use]
    pub fn has_nat(&self, map: MapName, key: &[u8]) -> bool {
        self.nat.contains_key(&(map, key.to_vec()))
    }

    pub fn put_nat(&mut self, map: MapName, key: Vec<u8>, value: Vec<u8>) {
        self.changes.insert((map, key.clone()), Some(value.clone()));
        self.nat.insert((map, key), value);
    }

    /// One pass of the agent's gc: entries with a lifetime below `now` go, and with each OUT entry its NAT
    /// pair. Gives how many went, per conntrack map.
    pub fn collect(&mut self, now: u32) -> [(MapName, usize); 4] {
        let mut deleted = MapName::CT.map(|map| (map, 0));
        let gone: Vec<(MapName, Vec<u8>)> =
            self.ct.iter().filter(|(_, value)| value.lifetime < now).map(|(at, _)| at.clone()).collect();
        for at in gone {
            self.ct.remove(&at);
            if let Some((_, count)) = deleted.iter_mut().find(|(map, _)| *map == at.0) {
                *count += 1;
            }
            self.delete_nat_of(&at.1);
            self.changes.insert(at, None);
        }
        deleted
    }

    /// The NAT pair of an OUT key: the same tuple with its addresses swapped, and the reply its value leads to.
    fn delete_nat_of(&mut self, key: &[u8]) {
        let (map, width) = if key.len() == 14 { (MapName::Snat4, 4) } else { (MapName::Snat6, 16) };
        let Some((source, rest)) = key.split_at_checked(width) else { return };
        let Some((remote, rest)) = rest.split_at_checked(width) else { return };
        let [remote_port @ .., _, _, protocol, 0] = rest else { return };
        let out = [remote, source, rest].concat();
        let Some(value) = self.nat.remove(&(map, out.clone())) else { return };
        self.changes.insert((map, out), None);
        let (Some(address), Some(port)) = (value.get(32..32 + width), value.get(32 + width..34 + width))
        else {
            return;
        };
        let reply = [address, remote, port, remote_port, &[*protocol, 1]].concat();
        if self.nat.remove(&(map, reply.clone())).is_some() {
            self.changes.insert((map, reply), None);
        }
    }

    /// What changed since the last call, each key once, in the order of maps and keys.
    pub fn take_changes(&mut self) -> Vec<Change> {
        let changes = std::mem::take(&mut self.changes);
        changes.into_iter().map(|((map, key), value)| Change { map, key, value }).collect()
    }

    #[must_use]
    pub fn counts(&self, now: u32) -> Counts {
        let mut counts = Counts { entries: self.ct.len(), nat: self.nat.len(), ..Counts::default() };
        for ((_, key), value) in &self.ct {
            let tcp = matches!(key.as_slice(), [.., TCP, _]);
            counts.stale += usize::from(value.is_stale());
            counts.opening += usize::from(tcp && !value.is_stale() && value.flags & SEEN_NON_SYN == 0);
            counts.expired += usize::from(value.lifetime < now);
        }
        counts
    }

    /// All entries of all maps, as bytes.
    pub fn records(&self) -> impl Iterator<Item = (MapName, &[u8], Vec<u8>)> {
        let ct = self.ct.iter().map(|((map, key), value)| (*map, key.as_slice(), value.to_bytes()));
        ct.chain(self.nat.iter().map(|((map, key), value)| (*map, key.as_slice(), value.clone())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulate::entry::{Facing, ct_key, nat_in_key, nat_out_key, nat_value};
    use std::net::SocketAddr;

    #[test]
    fn the_collector_takes_what_expired_and_the_nat_pair_of_out_entries() {
        for (pod, nas, node, ct, nat) in [
            ("10.0.0.1:40000", "192.168.100.180:445", "192.168.100.10:50001", MapName::Ct4, MapName::Snat4),
            ("[fd10::1]:40000", "[fd64::180]:445", "[fd64::10]:50001", MapName::Ct6, MapName::Snat6),
        ] {
            let [pod, nas, node]: [SocketAddr; 3] = [pod, nas, node].map(|text| text.parse().unwrap());
            let mut table = Table::default();
            let value = CtValue { lifetime: 99, ..CtValue::default() };
            table.put_ct(ct, ct_key(Facing::Out, pod, nas, TCP), value);
            table.put_nat(nat, nat_out_key(pod, nas, TCP), nat_value(1, false, node));
            table.put_nat(nat, nat_in_key(nas, node, TCP), nat_value(1, false, pod));
            // An IN entry of the same ends takes nothing with it.
            table.put_ct(ct, ct_key(Facing::In, pod, nas, TCP), CtValue { lifetime: 98, ..value });
            assert_eq!(table.take_changes().len(), 4);

            assert_eq!(
                table.collect(98).iter().map(|(_, count)| count).sum::<usize>(),
                0,
                "98 is not below 98"
            );
            assert_eq!(table.collect(99).iter().map(|(_, count)| count).sum::<usize>(), 1);
            assert_eq!((table.counts(99).entries, table.counts(99).nat), (1, 2));
            assert_eq!(table.collect(100).iter().find(|(map, _)| *map == ct).unwrap().1, 1);
            assert_eq!((table.counts(99).entries, table.counts(99).nat), (0, 0));
            let changes = table.take_changes();
            assert_eq!(changes.len(), 4);
            assert!(changes.iter().all(|change| change.value.is_none()));
        }
    }
}
