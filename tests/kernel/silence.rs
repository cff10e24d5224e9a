//! How long entries have been silent: the walk in the kernel, `list`, `check` and the page on the same maps.
//!
//! In: generated maps on both clocks, the capture, and entries that broke what was inferred before. Out: pass or fail.
//! Must not: need a second scan: everything here is known after the first.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use support::cilium::{self, MapName};
use support::clock::Clock;
use support::daemon::Finished;
use support::fixture::{self, Lifetimes, Record};
use support::generate::{self, Family, Generator};
use support::http;
use support::node::{Node, PATIENCE, second, whole};
use support::page::Page;
use support::reference::{self, classify};
use support::simulate::entry::{CtValue, Facing, RX_CLOSING, SEEN_NON_SYN, TCP, TX_CLOSING, ct_key};
use support::sys::Map;
use support::wait::wait_for;

use crate::daemon::{END, start};

const CLOSED: u16 = SEEN_NON_SYN | RX_CLOSING | TX_CLOSING;
/// The default of `stale_after`, in seconds.
const STALE_AFTER: i64 = 600;
/// One that a machine which booted just now has had time for.
const SOON: i64 = 20;

const ALL: &str = "
listen: '127.0.0.1:0'
targets_from_host: false
deep_interval: 0s
targets: [{name: all, addresses: [0.0.0.0/0, '::/0']}]
";
const QNAP: &str = "
targets_from_host: false
deep_interval: 0s
clock: jiffies
targets: [{name: qnap, addresses: [192.168.100.180], services: [{name: smb, ports: [445]}]}]
";

/// What all entries together are said to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Said {
    lingering: u64,
    unanswered: u64,
}

/// Nothing near a border: what passes between two runs of the program changes nothing. Entries without a report are warned
/// about, and those that Cilium does not define.
fn is_steady(Record { key, value }: &Record, clock: reference::Clock, stale_after: i64) -> Result<bool> {
    let class = classify(key, value, clock, stale_after, &[])?;
    let field = |offset: usize| -> Result<u32> {
        Ok(u32::from_ne_bytes(value.get(offset..offset + 4).context("short value")?.try_into()?))
    };
    let left = clock.seconds_left(field(32)?);
    let far_from_due = matches!(left, -100_000..-5 | 2_000..7_000 | 100_000..110_000);
    let last = i64::from(field(48)?.max(field(52)?));
    let far_from_silent = match class.silent.map(|units| clock.seconds_of(units)) {
        Some(silent) if silent * 2 >= stale_after * 3 => true,
        Some(silent) if silent >= 20 && silent * 2 <= stale_after => true,
        Some(0) => last > i64::from(clock.now) + 100_000,
        _ => false,
    };
    let flags =
        u16::from_ne_bytes([*value.get(36).context("short value")?, *value.get(37).context("short value")?]);
    let odd =
        flags & 0xf800 != 0 || key.last_chunk().is_none_or(|[nexthdr, flags]| *nexthdr == 0 || *flags > 7);
    Ok(far_from_due && far_from_silent && !odd)
}

/// Seconds since the reports of both directions: none, long ago, lately, or ahead of the clock.
type Ago = [Option<i64>; 2];

/// Sets both reports.
fn report(Record { key: _, value }: &mut Record, ago: &Ago, clock: reference::Clock) -> Result<()> {
    for (offset, seconds) in [48, 52].into_iter().zip(ago) {
        let report = seconds.map_or(0, |seconds| i64::from(clock.now) - clock.units(seconds));
        let to = value.get_mut(offset..offset + 4).context("short value")?;
        to.copy_from_slice(&u32::try_from(report)?.to_ne_bytes());
    }
    Ok(())
}

/// What `scrape`, `list`, `check` and the daemon's page say, each on its own; fails unless they agree.
fn agreed(node: &Node, stale_after: i64) -> Result<Said> {
    let page = node.scrape()?;
    let metrics = Said {
        lingering: whole(page.sum("ctmon_target_lingering_entries", &[]))?,
        unanswered: whole(page.sum("ctmon_target_unanswered_entries", &[]))?,
    };
    let listed = Said {
        lingering: node.count(&["list", "--count", "--lingering"])?,
        unanswered: node.count(&["list", "--count", "--unanswered"])?,
    };
    ensure!(listed == metrics, "the metrics say {metrics:?}, list {listed:?}");
    let mut lines = Said::default();
    for line in node.said(&["list", "-o", "json"])?.lines() {
        let entry: serde_json::Value = serde_json::from_str(line)?;
        let is =
            |key: &str| entry.get(key).and_then(serde_json::Value::as_bool).with_context(|| line.to_owned());
        let silent = entry.get("silent_seconds").and_then(serde_json::Value::as_i64);
        let silent = silent.with_context(|| line.to_owned())?;
        ensure!(is("lingering")? == (is("stale")? && silent >= stale_after), "{line}");
        lines.lingering += u64::from(is("lingering")?);
        lines.unanswered += u64::from(is("unanswered")?);
    }
    ensure!(lines == metrics, "the metrics say {metrics:?}, the lines of list {lines:?}");
    let checked = found_lingering(node)?;
    ensure!(checked == metrics.lingering, "the metrics say {metrics:?}, check {checked}");
    Ok(metrics)
}

/// The closed and half-closed entries that `check` finds lingering.
fn found_lingering(node: &Node) -> Result<u64> {
    let Finished { status, stdout, stderr } =
        node.ctmon(&["check", "-o", "json", "--only", "StaleConnections"])?;
    ensure!(matches!(status.code(), Some(0 | 1)) && stderr.is_empty(), "ended with {status}: {stderr}");
    // A target is found once for each severity: the heaviest of its findings has the same numbers as the others.
    let mut by_target = BTreeMap::new();
    for line in stdout.lines() {
        let finding: serde_json::Value = serde_json::from_str(line)?;
        let text =
            |key: &str| finding.get(key).and_then(serde_json::Value::as_str).unwrap_or_default().to_owned();
        let numbers: Vec<u64> = text("evidence").split(' ').filter_map(|word| word.parse().ok()).collect();
        let [closed, half_closed, _] = numbers.as_slice() else { anyhow::bail!("no numbers: {line}") };
        by_target.insert(text("target"), closed + half_closed);
    }
    Ok(by_target.values().sum())
}

/// The columns Lingering and Unanswered of the daemon's page at `/`.
fn shown_on_the_page(node: &Node) -> Result<Said> {
    let mut running = start(node)?;
    running.daemon.wait_for_http(running.address, "/readyz", PATIENCE)?;
    let page = http::get(running.address, "/")?.text()?.to_owned();
    let (_, targets) = page.split_once("<h2>Targets</h2>").context("no targets on the page")?;
    let mut said = Said::default();
    for row in targets.split("<tr>").filter(|row| row.starts_with("<th scope=\"row\">")) {
        let cells: Vec<_> =
            row.split("<td>").filter_map(|cell| cell.split_once("</td>")).map(|(cell, _)| cell).collect();
        let [_service, _entries, _stale, lingering, unanswered] = cells.as_slice() else {
            anyhow::bail!("{row}")
        };
        said.lingering += lingering.parse::<u64>()?;
        said.unanswered += unanswered.parse::<u64>()?;
    }
    ensure!(running.daemon.stop(END)?.success(), "{}", running.daemon.output());
    Ok(said)
}

/// Generated maps of both families on one clock.
fn check_generated(clock: Clock, seed: u64, stale_after: i64, reports: &[Ago]) -> Result<()> {
    let node = Node::new(&format!("{ALL}stale_after: {stale_after}s\n"))?;
    let reading = clock.units().reference(clock.now()?);
    let mut expected = Said::default();
    let mut maps = Vec::new();
    for (name, family) in [(MapName::Ct4, Family::V4), (MapName::Ct6, Family::V6)] {
        let mut records = Vec::new();
        let generated = Generator::new(seed, reading, &[]).conntrack(family, 20_000)?;
        for (mut record, ago) in generated.into_iter().zip(reports.iter().cycle()) {
            report(&mut record, ago, reading)?;
            if is_steady(&record, reading, stale_after)? {
                let class = classify(&record.key, &record.value, reading, stale_after, &[])?;
                expected.lingering += u64::from(class.lingering == Some(true));
                expected.unanswered += u64::from(class.unanswered == Some(true));
                records.push(record);
            }
        }
        let map = cilium::create(&node.bpffs, name, name.pin(), 65_536, 0)?;
        generate::put(&map, &records)?;
        maps.push(map);
    }
    ensure!(expected.lingering > 100 && expected.unanswered > 30, "too few to prove anything: {expected:?}");
    assert_eq!(agreed(&node, stale_after)?, expected);
    assert_eq!(shown_on_the_page(&node)?, expected);
    assert_eq!(
        whole(node.scrape()?.sum("ctmon_ct_entries", &[("expired", "true")]))?,
        node.count(&["list", "--count", "--expired"])?
    );
    Ok(())
}

#[test]
fn verbs_and_pages_agree_on_what_is_silent_in_generated_entries_in_jiffies() -> Result<()> {
    const AGO: [Ago; 6] = [
        [Some(100), None],
        [None, Some(100)],
        [Some(1_500), Some(1_900)],
        [Some(1_900), Some(1_500)],
        [Some(1_900), Some(100)],
        [Some(-200_000), Some(1_900)],
    ];
    check_generated(Clock::jiffies()?, 3, STALE_AFTER, &AGO)
}

#[test]
fn verbs_and_pages_agree_on_what_is_silent_in_generated_entries_in_seconds() -> Result<()> {
    // The clock of seconds began when this machine did: whatever is in it is no older.
    let all = wait_for("a past of twice the silence", || {
        Ok(Some(i64::from(second()?) - 1).filter(|past| *past >= 2 * SOON))
    })?;
    let long = all.min(1_900);
    let ahead = Some(-200_000);
    let ago = [
        [Some(long), None],
        [None, Some(long)],
        [Some(long), Some(long - 2)],
        [ahead, Some(long)],
        [Some(long), ahead],
    ];
    check_generated(Clock::ktime(), 4, SOON, &ago)
}

#[test]
fn verbs_and_pages_agree_on_what_is_silent_in_the_capture() -> Result<()> {
    let node = Node::new(&format!("{ALL}clock: jiffies\n"))?;
    let clock = Clock::jiffies()?;
    let clock = clock.units().reference(clock.now()?);
    let _maps = fixture::replay(&node.bpffs, Lifetimes::Ago { clock, seconds: 1_000 })?;
    let said = agreed(&node, STALE_AFTER)?;
    assert_eq!(said, shown_on_the_page(&node)?);
    // By then everything stale has been silent for more than ten minutes, and no SYN waits any more.
    let stale = whole(node.scrape()?.sum("ctmon_target_stale_entries", &[]))?;
    assert_eq!(said, Said { lingering: stale, unanswered: 0 });
    Ok(())
}

#[test]
fn the_capture_as_it_was_taken_has_connections_without_an_answer_and_nothing_that_lingers() -> Result<()> {
    // In half a minute the SYNs run out of time: where that passed meanwhile, once more.
    for _ in 0..10 {
        let node = Node::new(&format!("{ALL}clock: ktime\n"))?;
        let now = second()?;
        let _maps = fixture::replay(&node.bpffs, Lifetimes::ShiftedTo(now))?;
        let said = agreed(&node, STALE_AFTER)?;
        if second()? < now + 40 {
            assert_eq!(said, Said { lingering: 0, unanswered: 8 });
            return Ok(());
        }
    }
    anyhow::bail!("one look at the maps took 40 s, ten times over")
}

/// A pod's connection to the server's share: flags, lifetime and last report in seconds from now, in jiffies, which have such
/// a past on a machine that booted just now.
fn insert(map: &Map, clock: Clock, port: u16, flags: u16, left: i64, report: i64) -> Result<()> {
    let clock = clock.units().reference(clock.now()?);
    let at = |seconds: i64| u32::try_from(i64::from(clock.now) + clock.units(seconds));
    let (pod, share) =
        (std::net::SocketAddr::new("10.244.0.14".parse()?, port), "192.168.100.180:445".parse()?);
    let value = CtValue { flags, lifetime: at(left)?, last_tx_report: at(report)?, ..CtValue::default() };
    map.update(&ct_key(Facing::Out, pod, share, TCP), &value.to_bytes())
}

/// What an entry shows that was inserted like this: its lifetime less its report, in seconds at the frequency the page names.
fn shown(page: &Page, clock: Clock, left: i64, report: i64) -> Result<f64> {
    let clock = clock.units().reference(0);
    let units = i32::try_from(clock.units(left) - clock.units(report))?;
    let info = page.matching("ctmon_clock_info", &[]).next().context("no clock")?;
    let hz: f64 = info.labels.get("hz").context("no frequency")?.parse()?;
    Ok(f64::from(units) * 256.0 / hz)
}

/// Two processors reset a connection at once: both closing bits, and the lifetime of an open one.
#[test]
fn one_reset_among_thousands_that_kept_the_whole_lifetime_makes_nothing_linger() -> Result<()> {
    let (node, clock) = (Node::new(QNAP)?, Clock::jiffies()?);
    let map = cilium::create(&node.bpffs, MapName::Ct4, MapName::Ct4.pin(), 131_072, 0)?;
    for port in 10_000..35_000 {
        insert(&map, clock, port, CLOSED, -20, -30)?;
    }
    insert(&map, clock, 40_000, CLOSED, 7_964, -36)?;
    for port in 41_000..41_030 {
        insert(&map, clock, port, SEEN_NON_SYN, 7_990, -10)?;
    }
    let page = node.scrape()?;
    let timeout = |class: &str| -> Result<f64> {
        let labels = [("class", class), ("source", "entries")];
        page.value("ctmon_ct_timeout_seconds", &labels).with_context(|| format!("no timeout {class}"))
    };
    for (class, expected) in
        [("fin", shown(&page, clock, -20, -30)?), ("tcp", shown(&page, clock, 7_990, -10)?)]
    {
        ensure!((timeout(class)? - expected).abs() < 1e-6, "{class}: {} is not {expected}", timeout(class)?);
    }
    assert_eq!(page.sum("ctmon_target_stale_entries", &[("target", "qnap")]), Some(25_001.0));
    assert_eq!(page.sum("ctmon_target_lingering_entries", &[("target", "qnap")]), Some(0.0));
    assert_eq!(page.sum("ctmon_ct_odd_lifetime_entries", &[]), Some(1.0));
    assert_eq!((node.count(&["list", "--count", "--lingering"])?, found_lingering(&node)?), (0, 0));
    // Silent for ten minutes, it lingers as any other does.
    insert(&map, clock, 40_000, CLOSED, 7_000, -1_000)?;
    insert(&map, clock, 40_001, CLOSED, -990, -1_000)?;
    insert(&map, clock, 40_002, SEEN_NON_SYN | RX_CLOSING, 7_000, -1_000)?;
    assert_eq!((node.count(&["list", "--count", "--lingering"])?, found_lingering(&node)?), (3, 3));
    Ok(())
}

#[test]
fn handshakes_in_flight_are_not_unanswered_and_one_without_an_answer_is() -> Result<()> {
    let (node, clock) = (Node::new(QNAP)?, Clock::jiffies()?);
    let map = cilium::create(&node.bpffs, MapName::Ct4, MapName::Ct4.pin(), 512, 0)?;
    let unanswered = || {
        let page = node.scrape()?;
        let count =
            page.value("ctmon_target_unanswered_entries", &[("target", "qnap"), ("target_service", "smb")]);
        Ok::<_, anyhow::Error>((whole(count)?, node.count(&["list", "--count", "--unanswered"])?))
    };
    // Their reports lie ahead, as if they had been made while this ran: however slow it runs, they are in flight.
    for port in 40_000..40_009 {
        insert(&map, clock, port, 0, 4_060, 4_000)?;
    }
    assert_eq!(unanswered()?, (0, 0));
    insert(&map, clock, 41_000, 0, 3_600, -5)?;
    assert_eq!(unanswered()?, (1, 1));
    // Given up: its time has passed.
    insert(&map, clock, 41_000, 0, -3, -63)?;
    assert_eq!(unanswered()?, (0, 0));
    Ok(())
}
