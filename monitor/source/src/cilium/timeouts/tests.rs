//! Timeouts out of entries: those of the capture, and made ones that break the rule.
//!
//! In: rows. Out: pass or fail. Must not: count in another way than the walk does.

use monitor_abi::cell::CHUNK;
use monitor_abi::scan::found;
use monitor_abi::silence::pack_reports;
use monitor_abi::timeout;
use monitor_decode::cilium::ct::decode_ct;
use monitor_decode::scan::RawScan;
use monitor_model::ct::CtRow;
use monitor_model::timeouts::tolerance;

use super::*;
use crate::cilium::capture;

const NAS: [u8; 4] = [192, 168, 100, 180];
const CLOCK: Option<ClockNow> = Some(ClockNow::ktime(0));
const INTERVAL: Duration = Duration::from_secs(5);

/// What the walk counts of these rows.
fn shown(rows: impl IntoIterator<Item = CtRow>) -> TimeoutCounts {
    let mut raw = RawScan {
        found: [0; found::LEN],
        cells: Vec::new(),
        target_cells: Vec::new(),
        timeouts: vec![0; CHUNK],
        reads: 1,
    };
    for row in rows {
        let reports = pack_reports(row.last_tx_report, row.last_rx_report);
        let report = monitor_abi::silence::last_report(reports, |number| number);
        if report == 0 {
            continue;
        }
        let class = Class::number_of(row.state as u8, row.direction as u8);
        let value = row.lifetime.wrapping_sub(report);
        let fits = timeout::places(class, value).into_iter().find_map(|place| {
            let counted = timeout::counted(raw.timeouts[place], value)?;
            raw.timeouts[place] = counted;
            Some(())
        });
        if fits.is_none() {
            raw.found[found::LOST + class as usize] += 1;
        }
    }
    TimeoutCounts::of(&raw)
}

/// An entry of this protocol, tuple flags and entry flags that shows this many units.
fn row(nexthdr: u8, tuple_flags: u8, flags: u16, units: i64) -> CtRow {
    let key = [10, 244, 0, 10, 192, 168, 100, 180, 0x01, 0xbd, 0xa8, 0xca, nexthdr, tuple_flags];
    let report = 1_000_000;
    let mut value = [0; 56];
    value[32..36].copy_from_slice(&u32::try_from(report + units).unwrap().to_ne_bytes());
    value[36..38].copy_from_slice(&flags.to_ne_bytes());
    value[48..52].copy_from_slice(&u32::try_from(report).unwrap().to_ne_bytes());
    decode_ct(&key, &value).unwrap()
}

fn closed(units: i64) -> CtRow {
    row(6, 0, 0x13, units)
}

fn open(units: i64) -> CtRow {
    row(6, 0, 0x10, units)
}

fn times(entries: usize, row: CtRow) -> impl Iterator<Item = CtRow> {
    std::iter::repeat_n(row, entries)
}

fn seconds(timeouts: &Timeouts, class: TimeoutClass) -> Option<u64> {
    timeouts.facts(CLOCK).iter().find(|fact| fact.class == class).map(|fact| fact.value.as_secs())
}

fn known(maps: &[TimeoutCounts]) -> Timeouts {
    let mut timeouts = Timeouts::default();
    timeouts.observe(maps.iter());
    timeouts
}

fn odd(timeouts: &Timeouts, map: &TimeoutCounts) -> Option<u64> {
    timeouts.odd(map, None, INTERVAL, CLOCK)
}

fn captured(map: &str) -> Vec<CtRow> {
    capture::records(map).iter().map(|(key, value)| decode_ct(key, value).unwrap()).collect()
}

#[test]
fn every_stale_entry_of_the_capture_shows_its_timeout_to_the_second() {
    let rows = captured("ct4_global");
    let own = |half: bool| {
        let mine = rows.iter().filter(move |row| {
            [row.initiator, row.responder].iter().any(|end| end.address == std::net::IpAddr::from(NAS))
                && row.state.is_stale()
                && row.state.is_half_closed() == half
        });
        mine.map(|row| row.lifetime - row.last_report().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!((own(false), own(true)), (vec![10; 111], vec![21_600; 72]));
}

#[test]
fn the_capture_tells_the_timeouts_it_was_taken_with() {
    let maps = ["ct4_global", "ct_any4_global", "ct6_global", "ct_any6_global"];
    let maps: Vec<_> = maps.iter().map(|map| shown(captured(map))).collect();
    let timeouts = known(&maps);
    let told = [
        (TimeoutClass::Tcp, Some(21_600)),
        // Their SYNs were sent again within the report interval: all eight say so.
        (TimeoutClass::Syn, Some(65)),
        (TimeoutClass::Fin, Some(10)),
        (TimeoutClass::ServiceTcp, Some(21_600)),
    ];
    for (class, expected) in told {
        assert_eq!(seconds(&timeouts, class), expected, "{class:?}");
    }
    let any = seconds(&timeouts, TimeoutClass::Any).unwrap();
    assert!((60..=66).contains(&any), "{any}");
    assert!(maps.iter().all(|map| odd(&timeouts, map) == Some(0)));
}

#[test]
fn one_reset_in_thousands_that_keeps_the_whole_lifetime_changes_nothing() {
    let map = shown(times(24_999, closed(10)).chain([closed(8_000)]).chain(times(40, open(8_003))));
    let timeouts = known(std::slice::from_ref(&map));
    assert_eq!(seconds(&timeouts, TimeoutClass::Fin), Some(10));
    assert_eq!(seconds(&timeouts, TimeoutClass::Tcp), Some(8_003));
    assert_eq!(odd(&timeouts, &map), Some(1));
    // A pass later it is the only closed one left, for hours.
    let left = shown([closed(8_000)].into_iter().chain(times(40, open(8_000))));
    let mut later = timeouts.clone();
    later.observe([&left].into_iter());
    assert_eq!((seconds(&later, TimeoutClass::Fin), odd(&later, &left)), (Some(10), Some(1)));
    // So it is for whoever looks at that moment for the first time.
    let first = known(std::slice::from_ref(&left));
    assert_eq!((seconds(&first, TimeoutClass::Fin), odd(&first, &left)), (None, Some(1)));
}

#[test]
fn what_cilium_was_told_decides_what_is_odd() {
    let map = shown(times(10, closed(40)).chain([closed(48), closed(8_000)]));
    let timeouts = known(std::slice::from_ref(&map));
    let told = |seconds| timeouts.odd(&map, Some(Duration::from_secs(seconds)), INTERVAL, CLOCK);
    assert_eq!((told(40), told(41), told(10)), (Some(2), Some(1), Some(12)));
    assert_eq!(timeouts.odd(&map, None, Duration::from_secs(60), CLOCK), Some(1));
    assert_eq!(timeouts.odd(&map, None, INTERVAL, None), None, "no clock, no seconds");
    assert_eq!(odd(&Timeouts::default(), &shown([])), Some(0));
    assert_eq!(odd(&Timeouts::default(), &map), None, "nothing says how long closed ones are kept");
}

#[test]
fn entries_that_break_the_rule_are_too_few_to_tell_a_timeout() {
    let check = |values: &[(usize, i64)], expected| {
        let rows = values.iter().flat_map(|(entries, units)| times(*entries, open(*units)));
        let told = seconds(&known(&[shown(rows)]), TimeoutClass::Tcp);
        assert_eq!(told, expected, "{values:?}");
    };
    check(&[], None);
    check(&[(1, 8_000)], Some(8_000));
    // Below the timeout stands what was torn, above it what was heard lately.
    check(&[(4, 7), (96, 8_000)], Some(8_000));
    check(&[(5, 7), (95, 8_000)], Some(7));
    check(&[(10, 8_005), (10, 8_003), (10, 8_001)], Some(8_001));
    check(&[(19, 8_003), (1, -5)], Some(8_003));
    // The timeout was lowered: it shows once a part of the entries took it over.
    check(&[(96, 21_600), (4, 8_000)], Some(21_600));
    check(&[(95, 21_600), (5, 8_000)], Some(8_000));
}

#[test]
fn classes_are_told_apart_and_related_entries_tell_nothing() {
    let map = shown(
        // A storm of datagrams: each entry was refreshed a moment ago.
        (0..3_000)
            .map(|number| row(17, 0, 0, 60 + number % 6))
            .chain(times(5_000, row(1, 2, 0x10, 33)))
            .chain(times(3, row(17, 4, 0, 62)))
            .chain(times(3, row(6, 0, 0, 60)))
            // 1.14 keeps closed SERVICE entries with one bit for the whole timeout.
            .chain(times(50, row(6, 4, 0x12, 21_600)))
            .chain(times(50, row(6, 0, 0x12, 8_000)))
            .chain(times(50, closed(10))),
    );
    let timeouts = known(std::slice::from_ref(&map));
    let told: Vec<_> = TimeoutClass::ALL
        .iter()
        .filter(|class| class.is_lifetime())
        .map(|class| seconds(&timeouts, *class))
        .collect();
    let [tcp, any, syn, fin, service_tcp, service_any] = [8_000, 60, 60, 10, 21_600, 62].map(Some);
    assert_eq!(told, [tcp, any, syn, fin, service_tcp, service_any]);
    assert_eq!(odd(&timeouts, &map), Some(0));
}

#[test]
fn maps_of_one_class_are_taken_together_and_a_quiet_class_keeps_what_it_showed() {
    let maps = [shown(times(96, open(21_600))), shown(times(4, open(8_000)))];
    let mut timeouts = known(&maps);
    assert_eq!(seconds(&timeouts, TimeoutClass::Tcp), Some(21_600));
    timeouts.observe([].iter());
    assert_eq!(seconds(&timeouts, TimeoutClass::Tcp), Some(21_600));
}

#[test]
fn more_values_than_are_counted_tell_nothing() {
    let many = shown((0..100_000).map(|number| open(number * 7)));
    assert_eq!(seconds(&known(&[many]), TimeoutClass::Tcp), None);
    // A wide report interval spreads them too, but most are counted.
    let wide = shown((0..10_000).map(|number| open(8_000 + number % 120)));
    let told = seconds(&known(&[wide]), TimeoutClass::Tcp).unwrap();
    assert!((8_000..8_030).contains(&told), "{told}");
}

#[test]
fn jiffies_become_seconds_to_a_fraction() {
    let timeouts = known(&[shown(times(9, closed(9)))]);
    let at = |hz| timeouts.facts(Some(ClockNow::jiffies(0, hz))).first().map(|fact| fact.value);
    assert_eq!(at(250), Some(Duration::from_millis(9_216)));
    assert_eq!(at(0), None, "HZ 0 is no HZ");
    assert_eq!(timeouts.facts(None), []);
    let check = |clock, expected| assert_eq!(tolerance(INTERVAL, clock), Duration::from_millis(expected));
    check(CLOCK, 7_000);
    check(Some(ClockNow::jiffies(0, 100)), 10_120);
    check(Some(ClockNow::jiffies(0, 1_000)), 5_512);
}

#[test]
fn what_cilium_was_told_is_said_in_the_same_words() {
    let timeouts = BTreeMap::from([(TimeoutClass::Tcp, Duration::from_secs(21_600))]);
    let facts: Vec<_> = configured(&timeouts).collect();
    let value = Duration::from_secs(21_600);
    assert_eq!(facts, [TimeoutFact { class: TimeoutClass::Tcp, source: TimeoutSource::CiliumConfig, value }]);
}
