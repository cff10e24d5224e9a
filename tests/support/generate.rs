//! Entries by the hundred thousand from a seed: every flag bit, odd protocols, both families, borders of classes.
//!
//! In: a seed, a clock, addresses that targets have. Out: distinct records, the same for the same seed; maps filled
//! for measurements. Must not: depend on the machine, the time or a crate.

use std::collections::HashSet;
use std::net::IpAddr;

use anyhow::{Result, bail, ensure};

use crate::fixture::Record;
use crate::reference::Clock;
use crate::sys::Map;

/// Borders between due classes and of what lingers, in seconds left: entries gather around them.
const BORDERS: [i64; 13] = [-43_200, -3_600, -600, -590, -1, 0, 10, 60, 600, 3_600, 7_400, 8_000, 21_000];
/// Borders of silence, in seconds: entries gather around them too.
const SILENCES: [i64; 4] = [0, 2, STALE_AFTER - 1, STALE_AFTER];
/// What the agent is to call too long, in seconds: so short that a machine that booted just now has had such a silence.
pub const STALE_AFTER: i64 = 10;
/// Ports that services of targets use, beside random ones.
const PORTS: [u16; 7] = [445, 3260, 8080, 443, 5353, 2049, 0];
/// Elements per batch update.
const BATCH: usize = 4_096;

/// A deterministic source of numbers (`SplitMix64`).
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound` (which is not 0 anywhere here; 0 gives 0).
    pub const fn below(&mut self, bound: u64) -> u64 {
        match self.next().checked_rem(bound) {
            Some(number) => number,
            None => 0,
        }
    }

    /// True so many times in a hundred.
    pub const fn percent(&mut self, share: u64) -> bool {
        self.below(100) < share
    }

    #[expect(clippy::cast_possible_truncation, reason = "any two bytes of a random number are random")]
    const fn u16(&mut self) -> u16 {
        self.next() as u16
    }

    #[expect(clippy::cast_possible_truncation, reason = "any byte of a random number is random")]
    const fn u8(&mut self) -> u8 {
        self.next() as u8
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> Option<T> {
        let index = self.below(from.len() as u64);
        from.get(usize::try_from(index).ok()?).copied()
    }
}

/// Addresses of one family: those of targets (and close to them) mixed with others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    V4,
    V6,
}

/// Makes conntrack entries around a clock and some addresses.
#[derive(Clone, Debug)]
pub struct Generator {
    random: Random,
    clock: Clock,
    /// Addresses a fifth of all ends get: give targets' own ones and neighbours of theirs.
    near: Vec<IpAddr>,
}

impl Generator {
    #[must_use]
    pub fn new(seed: u64, clock: Clock, near: &[IpAddr]) -> Self {
        Self { random: Random::new(seed), clock, near: near.to_vec() }
    }

    /// `count` conntrack records with distinct keys.
    pub fn conntrack(&mut self, family: Family, count: usize) -> Result<Vec<Record>> {
        self.records(family, count, Self::value)
    }

    /// `count` NAT records with distinct keys; their values are created before now and lead anywhere.
    pub fn nat(&mut self, family: Family, count: usize) -> Result<Vec<Record>> {
        let length = if family == Family::V4 { 40 } else { 56 };
        self.records(family, count, |generator| {
            let created = generator.random.below(u64::from(generator.clock.now) + 1);
            let mut value = created.to_ne_bytes().to_vec();
            value.extend(generator.random.below(2).to_ne_bytes());
            value.extend([0; 16]);
            let address_and_port = if family == Family::V4 { 6 } else { 18 };
            value.extend((0..address_and_port).map(|_| generator.random.u8()));
            value.resize(length, 0);
            Ok(value)
        })
    }

    fn records(
        &mut self,
        family: Family,
        count: usize,
        value: impl Fn(&mut Self) -> Result<Vec<u8>>,
    ) -> Result<Vec<Record>> {
        let near: Vec<Vec<u8>> = self.near.iter().filter_map(|address| octets(*address, family)).collect();
        let mut seen = HashSet::with_capacity(count);
        let mut records = Vec::with_capacity(count);
        while records.len() < count {
            let key = self.key(family, &near);
            if seen.insert(key.clone()) {
                let value = value(self)?;
                records.push(Record { key, value });
            }
        }
        Ok(records)
    }

    fn key(&mut self, family: Family, near: &[Vec<u8>]) -> Vec<u8> {
        let mut key = self.address(family, near);
        key.extend(self.address(family, near));
        for _ in 0..2 {
            let port = if self.random.percent(40) { self.random.pick(&PORTS) } else { None };
            key.extend(port.unwrap_or_else(|| self.random.u16()).to_be_bytes());
        }
        let random = self.random.u8();
        let nexthdr = match self.random.below(100) {
            0..70 => 6,
            70..80 => 17,
            80..85 => 1,
            85..88 => 58,
            88..91 => 132,
            91..93 => 0,
            _ => random,
        };
        let flags = match self.random.below(100) {
            0..40 => 0,
            40..60 => 1,
            60..70 => 4,
            70..75 => 2,
            75..80 => 3,
            _ => self.random.u8(),
        };
        key.extend([nexthdr, flags]);
        key
    }

    fn address(&mut self, family: Family, near: &[Vec<u8>]) -> Vec<u8> {
        if self.random.percent(20)
            && let Some(index) = usize::try_from(self.random.below(near.len() as u64)).ok()
            && let Some(address) = near.get(index)
        {
            return address.clone();
        }
        let length = if family == Family::V4 { 4 } else { 16 };
        (0..length).map(|_| self.random.u8()).collect()
    }

    fn value(&mut self) -> Result<Vec<u8>> {
        let flags = match self.random.below(100) {
            0..15 => 0x0000,
            15..40 => 0x0010,
            40..55 => 0x0013,
            55..62 => 0x0011,
            62..70 => 0x0012,
            _ => self.random.u16(),
        };
        let mut value = Vec::with_capacity(56);
        for _ in 0..4 {
            value.extend(self.random.next().to_ne_bytes());
        }
        value.extend(self.lifetime()?.to_ne_bytes());
        value.extend(flags.to_ne_bytes());
        // Reverse NAT, port, flags seen, identity: nothing a class depends on, so anything goes.
        value.extend(self.random.next().to_ne_bytes());
        value.extend(self.random.u16().to_ne_bytes());
        value.extend(self.report()?.to_ne_bytes());
        value.extend(self.report()?.to_ne_bytes());
        Ok(value)
    }

    /// A fifth of all reports was never made, as that of a direction nobody used; most of the others lie around a border of
    /// silence, some after now, and some are whatever is left in a torn entry.
    fn report(&mut self) -> Result<u32> {
        let now = i64::from(self.clock.now);
        let report = match self.random.below(100) {
            0..20 => 0,
            20..70 => {
                let border = self.random.pick(&SILENCES).unwrap_or_default();
                now - self.clock.units(border) + i64::try_from(self.random.below(7))? - 3
            }
            70..97 => now - i64::try_from(self.random.below(90_000))?,
            _ => i64::try_from(self.random.next() >> 32)?,
        };
        Ok(u32::try_from(report.max(0))?)
    }

    /// Around a border, or anywhere between two days overdue and two days left; now and then 0.
    fn lifetime(&mut self) -> Result<u32> {
        if self.random.percent(1) {
            return Ok(0);
        }
        let left = if self.random.percent(50) {
            let border = self.random.pick(&BORDERS).unwrap_or_default();
            self.clock.units(border) + i64::try_from(self.random.below(5))? - 2
        } else {
            i64::try_from(self.random.below(345_600))? - 172_800
        };
        Ok(u32::try_from((i64::from(self.clock.now) + left).max(0))?)
    }
}

/// Puts records into a map with batch updates and makes sure that none was evicted on the way.
pub fn put(map: &Map, records: &[Record]) -> Result<()> {
    let mut keys = Vec::with_capacity(BATCH * map.key_len());
    let mut values = Vec::with_capacity(BATCH * map.value_len());
    for chunk in records.chunks(BATCH) {
        keys.clear();
        values.clear();
        for record in chunk {
            keys.extend_from_slice(&record.key);
            values.extend_from_slice(&record.value);
        }
        map.update_batch(&keys, &values)?;
    }
    let mut held = 0;
    map.for_each_batch(BATCH, |_, _| held += 1)?;
    ensure!(held >= records.len(), "the map holds {held} of {} records: it is too small", records.len());
    Ok(())
}

/// Fills a conntrack or NAT map with `count` plausible entries for measurements: a busy node's mixture of live,
/// closed, half-closed and expired connections, a tenth of them with 192.168.100.180 or `fd64::180`.
pub fn fill(map: &Map, count: usize, clock: Clock) -> Result<()> {
    let mut random = Random::new(count as u64);
    let records = (0..count)
        .map(|number| {
            let number = u32::try_from(number)?;
            Ok(Record {
                key: load_key(map.key_len(), number, &mut random)?,
                value: load_value(map.value_len(), clock, &mut random)?,
            })
        })
        .collect::<Result<Vec<_>>>()?;
    put(map, &records)
}

/// Distinct by construction: the number is spread over the initiator's address and port.
fn load_key(length: usize, number: u32, random: &mut Random) -> Result<Vec<u8>> {
    let [b3, b2, b1, b0] = number.to_be_bytes();
    let to_nas = random.percent(10);
    let remote = if to_nas { [192, 168, 100, 180] } else { [172, 16, random.u8(), random.u8()] };
    let port = random.pick(&[445_u16, 3260, 443, 8080]).unwrap_or_default();
    let mut key = match length {
        14 => [[10, 42, b3, b2], remote].concat(),
        38 => {
            let mut key = vec![0xfd, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, b3, b2];
            let [r0, r1, r2, r3] = remote;
            if to_nas {
                key.extend([0xfd, 0x64, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x01, 0x80]);
            } else {
                key.extend([0xfd, 0x99, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, r0, r1, r2, r3]);
            }
            key
        }
        other => bail!("a key of {other} bytes is none of Cilium's"),
    };
    key.extend(port.to_be_bytes());
    key.extend([b1, b0, 6, 0]);
    Ok(key)
}

fn load_value(length: usize, clock: Clock, random: &mut Random) -> Result<Vec<u8>> {
    let mut value = vec![0; length];
    if length != 56 {
        return Ok(value);
    }
    let (flags, timeout, left) = match random.below(100) {
        0..45 => (0x0010_u16, 8_000, random.below(8_000).cast_signed()),
        45..50 => (0x0000, 60, random.below(60).cast_signed()),
        50..90 => (0x0013, 10, 10 - random.below(20_000).cast_signed()),
        90..95 => (0x0011, 8_000, random.below(8_000).cast_signed()),
        _ => (0x0012, 8_000, random.below(8_000).cast_signed()),
    };
    // On a machine that has booted just now nothing was heard before its first units.
    let timeout = clock.units(timeout);
    let lifetime = (i64::from(clock.now) + clock.units(left)).max(timeout + 12);
    let last_packet = lifetime - timeout;
    // Closed ones ignore packets after their last FIN or RST; of others the last report is up to an interval older. One
    // direction was reported last, and which one is anybody's guess.
    let lag = if flags == 0x0013 { 0 } else { i64::try_from(random.below(6))? };
    let mut reports = [last_packet - lag, last_packet - lag - i64::try_from(random.below(6))?];
    if random.percent(50) {
        reports.reverse();
    }
    let fields = [(32, lifetime), (48, reports[0]), (52, reports[1])];
    for (offset, time) in fields {
        if let Some(to) = value.get_mut(offset..offset + 4) {
            to.copy_from_slice(&u32::try_from(time)?.to_ne_bytes());
        }
    }
    if let Some(to) = value.get_mut(36..38) {
        to.copy_from_slice(&flags.to_ne_bytes());
    }
    Ok(value)
}

fn octets(address: IpAddr, family: Family) -> Option<Vec<u8>> {
    match (address, family) {
        (IpAddr::V4(address), Family::V4) => Some(address.octets().to_vec()),
        (IpAddr::V6(address), Family::V6) => Some(address.octets().to_vec()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bpffs::Bpffs;
    use crate::cilium::{self, MapName};
    use crate::reference::classify;
    use std::collections::BTreeSet;

    fn near() -> [IpAddr; 3] {
        ["192.168.100.180", "192.168.100.181", "fd64::180"].map(|text| text.parse().unwrap())
    }

    #[test]
    fn the_same_seed_makes_the_same_records() {
        let make = |seed| {
            Generator::new(seed, Clock::ktime(1_000_000), &near()).conntrack(Family::V4, 1_000).unwrap()
        };
        assert_eq!(make(1), make(1));
        assert_ne!(make(1), make(2));
    }

    #[test]
    fn generated_entries_reach_every_class_on_both_clocks_and_families() {
        for (clock, family) in [
            (Clock::ktime(1_000_000), Family::V4),
            (Clock::ktime(1_000_000), Family::V6),
            (Clock::jiffies(16_900_000, 250), Family::V4),
            (Clock::jiffies(16_900_000, 1000), Family::V6),
        ] {
            let records = Generator::new(7, clock, &near()).conntrack(family, 50_000).unwrap();
            let mut seen = BTreeSet::new();
            let (mut flag_bits, mut tuple_bits) = (0u16, 0u8);
            for record in &records {
                let class = classify(&record.key, &record.value, clock, STALE_AFTER, &[]).unwrap();
                seen.extend([class.direction, class.state, class.protocol, class.due]);
                seen.insert(if class.expired { "expired" } else { "alive" });
                seen.insert(match (class.stale, class.lingering) {
                    (true, Some(true)) => "lingering",
                    (true, Some(false)) => "not lingering",
                    (true, None) => "nobody knows whether it lingers",
                    (false, _) => "not stale",
                });
                seen.insert(match class.unanswered {
                    Some(true) => "unanswered",
                    Some(false) => "not unanswered",
                    None => "nobody knows whether it is unanswered",
                });
                flag_bits |= u16::from_ne_bytes(record.value[36..38].try_into().unwrap());
                tuple_bits |= record.key.last().unwrap();
            }
            // 4 directions, 6 states, 6 protocols, 10 due classes, 2 + 4 + 3.
            assert_eq!(seen.len(), 35, "{seen:?}");
            assert_eq!((flag_bits, tuple_bits), (u16::MAX, u8::MAX));
        }
    }

    #[test]
    fn generated_nat_entries_fit_their_maps() {
        let bpffs = Bpffs::mount().unwrap();
        for (name, family) in [(MapName::Snat4, Family::V4), (MapName::Snat6, Family::V6)] {
            let map = cilium::create(&bpffs, name, name.pin(), 65_536, 0).unwrap();
            let records = Generator::new(3, Clock::ktime(1_000), &near()).nat(family, 5_000).unwrap();
            put(&map, &records).unwrap();
            assert_eq!(map.count().unwrap(), 5_000);
            let created = |record: &Record| u64::from_ne_bytes(record.value[..8].try_into().unwrap());
            assert!(records.iter().all(|record| created(record) <= 1_000));
        }
    }

    #[test]
    fn filling_a_map_puts_exactly_so_many_entries_into_it() {
        let bpffs = Bpffs::mount().unwrap();
        for (name, count, capacity) in [
            (MapName::Ct4, 400_000, 524_288),
            (MapName::Ct6, 22_519, 65_536),
            (MapName::Snat4, 22_519, 65_536),
        ] {
            let map = cilium::create(&bpffs, name, name.pin(), capacity, 0).unwrap();
            fill(&map, count, Clock::ktime(1_000_000)).unwrap();
            let mut held = 0;
            map.for_each_batch(4_096, |_, _| held += 1).unwrap();
            assert_eq!(held, count, "{}", name.pin());
        }
    }

    #[test]
    fn a_map_that_is_too_small_is_told() {
        let bpffs = Bpffs::mount().unwrap();
        let map = cilium::create(&bpffs, MapName::Ct4, "small", 1_024, 0).unwrap();
        assert!(fill(&map, 5_000, Clock::ktime(1_000_000)).is_err());
    }
}
