//! The capture of a real Cilium 1.18.10, embedded: test binaries run in a virtual machine without files.
//!
//! In: `fixtures/cilium-1.18.10-real`, see its ORIGIN.md. Out: records, the CLI's text, replayed maps.
//! Must not: interpret records beyond moving their times.

use anyhow::{Context, Result, ensure};

use crate::bpffs::Bpffs;
use crate::cilium::{Capacities, MapName, Maps};
use crate::reference::Clock;
use crate::sys;

macro_rules! embedded {
    (bytes $file:literal) => {
        include_bytes!(concat!("../fixtures/cilium-1.18.10-real/", $file))
    };
    (text $file:literal) => {
        include_str!(concat!("../fixtures/cilium-1.18.10-real/", $file))
    };
}

/// `cilium-dbg bpf ct list global`.
pub const CT_LIST: &str = embedded!(text "ct-list.txt");
/// `cilium-dbg bpf ct list global --time-diff`.
pub const CT_LIST_TIMEDIFF: &str = embedded!(text "ct-list-timediff.txt");
/// `cilium-dbg bpf nat list`.
pub const NAT_LIST: &str = embedded!(text "nat-list.txt");
/// What was captured, by the capturing program.
pub const MAPS_JSON: &str = embedded!(text "maps.json");

/// `CLOCK_MONOTONIC` in seconds when the CLI printed the conntrack lists.
pub const CAPTURE_CLOCK: u32 = 1860;
/// `CLOCK_MONOTONIC` in seconds when the CLI printed the NAT list, a moment later.
pub const NAT_LIST_CLOCK: u32 = 1861;

/// Offsets of the times in a conntrack value: lifetime, last report sent, last report received.
const CT_TIMES: [usize; 3] = [32, 48, 52];

/// One element of a map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub key: Vec<u8>,
    pub value: Vec<u8>,
}

/// What a replay does with the times in the values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lifetimes {
    /// Byte for byte.
    AsCaptured,
    /// As if the capture had been taken at this second: what was left then is left now.
    ShiftedTo(u32),
    /// [`Self::ShiftedTo`] the present second of `CLOCK_MONOTONIC`.
    ShiftedToNow,
    /// On the clock that was read, as if the capture had been taken so many seconds ago. Jiffies have a past of weeks
    /// on every machine, `CLOCK_MONOTONIC` only since it booted.
    Ago { clock: Clock, seconds: u32 },
}

/// The bytes of a map's file: key, value, key, value, in map order.
#[must_use]
pub const fn raw(name: MapName) -> &'static [u8] {
    match name {
        MapName::Ct4 => embedded!(bytes "cilium_ct4_global.bin"),
        MapName::CtAny4 => embedded!(bytes "cilium_ct_any4_global.bin"),
        MapName::Ct6 => embedded!(bytes "cilium_ct6_global.bin"),
        MapName::CtAny6 => embedded!(bytes "cilium_ct_any6_global.bin"),
        MapName::Snat4 => embedded!(bytes "cilium_snat_v4_external.bin"),
        MapName::Snat6 => embedded!(bytes "cilium_snat_v6_external.bin"),
    }
}

/// The records of a map, in map order.
pub fn records(name: MapName) -> Result<Vec<Record>> {
    let key_size = name.key_size() as usize;
    let chunks = raw(name).chunks_exact(key_size + name.value_size() as usize);
    ensure!(chunks.remainder().is_empty(), "{} does not hold whole records", name.pin());
    chunks
        .map(|record| {
            let (key, value) = record.split_at_checked(key_size).context("record shorter than its key")?;
            Ok(Record { key: key.to_vec(), value: value.to_vec() })
        })
        .collect()
}

/// The records of a map as they would be had the capture been taken at second `now`.
pub fn records_at(name: MapName, now: u32) -> Result<Vec<Record>> {
    records_ago(name, Clock::ktime(now), 0)
}

/// Creates the six maps and puts the capture into them.
pub fn replay(bpffs: &Bpffs, lifetimes: Lifetimes) -> Result<Maps> {
    let maps = Maps::create(bpffs, Capacities::SMALL, 0)?;
    replay_into(&maps, lifetimes)?;
    Ok(maps)
}

/// The records of a map on a clock, had the capture been taken so many seconds ago.
pub fn records_ago(name: MapName, clock: Clock, seconds: u32) -> Result<Vec<Record>> {
    let captured = i64::from(CAPTURE_CLOCK) + i64::from(seconds);
    // On a machine that booted a moment ago the past ends at its first second.
    moved(name, |time| {
        let units = i64::from(clock.now) + clock.units(i64::try_from(time)? - captured);
        Ok(u64::try_from(units.max(0))?)
    })
}

/// Puts the capture into maps that exist.
pub fn replay_into(maps: &Maps, lifetimes: Lifetimes) -> Result<()> {
    let (clock, ago) = match lifetimes {
        Lifetimes::AsCaptured => (Clock::ktime(CAPTURE_CLOCK), 0),
        Lifetimes::ShiftedTo(now) => (Clock::ktime(now), 0),
        Lifetimes::ShiftedToNow => (Clock::ktime(u32::try_from(sys::monotonic()?.as_secs())?), 0),
        Lifetimes::Ago { clock, seconds } => (clock, seconds),
    };
    for name in MapName::ALL {
        for record in records_ago(name, clock, ago)? {
            maps.get(name).update(&record.key, &record.value)?;
        }
    }
    Ok(())
}

/// The records of a map with every time in them replaced; 0 means "never" for reports and stays.
fn moved(name: MapName, to: impl Fn(u64) -> Result<u64>) -> Result<Vec<Record>> {
    let to = |time| if time == 0 { Ok(0) } else { to(time) };
    let mut records = records(name)?;
    for record in &mut records {
        if name.is_nat() {
            let field: &mut [u8; 8] = record.value.get_mut(..8).context("value too short")?.try_into()?;
            *field = to(u64::from_ne_bytes(*field))?.to_ne_bytes();
            continue;
        }
        for offset in CT_TIMES {
            let field = record.value.get_mut(offset..offset + 4).context("value too short")?;
            let field: &mut [u8; 4] = field.try_into()?;
            *field = u32::try_from(to(u64::from(u32::from_ne_bytes(*field)))?)?.to_ne_bytes();
        }
    }
    Ok(records)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    #[test]
    fn records_are_as_many_as_the_capture_says() {
        let said: serde_json::Value = serde_json::from_str(MAPS_JSON).unwrap();
        for name in MapName::ALL {
            let map = said["maps"].as_array().unwrap().iter().find(|map| map["pin"] == name.pin()).unwrap();
            assert_eq!(map["key_size"], name.key_size());
            assert_eq!(map["value_size"], name.value_size());
            assert_eq!(map["entries"], records(name).unwrap().len(), "{}", name.pin());
        }
    }

    #[test]
    fn a_replayed_capture_is_in_the_maps_byte_for_byte() {
        let bpffs = Bpffs::mount().unwrap();
        let maps = replay(&bpffs, Lifetimes::AsCaptured).unwrap();
        for name in MapName::ALL {
            let expected: HashMap<_, _> =
                records(name).unwrap().into_iter().map(|record| (record.key, record.value)).collect();
            let entries = maps.get(name).entries().unwrap();
            assert_eq!(entries.len(), expected.len());
            assert_eq!(entries.into_iter().collect::<HashMap<_, _>>(), expected, "{}", name.pin());
        }
    }

    #[test]
    fn batches_and_single_reads_see_the_same() {
        let bpffs = Bpffs::mount().unwrap();
        let maps = replay(&bpffs, Lifetimes::AsCaptured).unwrap();
        for name in MapName::ALL {
            let mut single = maps.get(name).entries().unwrap();
            let mut batch = Vec::new();
            maps.get(name)
                .for_each_batch(1, |key, value| batch.push((key.to_vec(), value.to_vec())))
                .unwrap();
            single.sort();
            batch.sort();
            assert_eq!(single, batch);
        }
    }

    #[test]
    fn a_past_on_the_jiffies_clock_keeps_what_is_left_to_the_unit() {
        for hz in [100, 250, 1000] {
            let clock = Clock::jiffies(16_800_000, hz);
            for name in MapName::CT {
                for (then, now) in records(name).unwrap().iter().zip(records_ago(name, clock, 600).unwrap()) {
                    let lifetime =
                        |record: &Record| u32::from_ne_bytes(record.value[32..36].try_into().unwrap());
                    let expected = i64::from(lifetime(then)) - i64::from(CAPTURE_CLOCK) - 600;
                    let late = clock.seconds_left(lifetime(&now)) - expected;
                    assert!((0..=256 / i64::from(hz) + 1).contains(&late), "{late} s too late with HZ {hz}");
                }
            }
        }
    }

    #[test]
    fn shifting_keeps_what_is_left() {
        let left = |records: &[Record], now: u32| -> Vec<i64> {
            records
                .iter()
                .map(|record| u32::from_ne_bytes(record.value[32..36].try_into().unwrap()))
                .map(|lifetime| i64::from(lifetime) - i64::from(now))
                .collect()
        };
        for now in [5, CAPTURE_CLOCK, 4_000_000] {
            for name in MapName::CT {
                let then = left(&records(name).unwrap(), CAPTURE_CLOCK);
                assert_eq!(left(&records_at(name, now).unwrap(), now), then);
            }
        }
    }
}
