//! What ctmon says of the captured maps equals what Cilium's own command line said of them.
//!
//! In: the capture, replayed into real maps; the text of `cilium-dbg`. Out: pass or fail.
//! Must not: derive an expected number from anything but that text.

use std::collections::BTreeMap;
use std::net::IpAddr;

use anyhow::{Context, Result, ensure};
use monitor_model::snapshot::{Content, PresentMap, Snapshot, TargetState};
use serde_json::Value;
use support::cilium::MapName;
use support::cli_text::{self, CtLine, ct_lines, nat_lines};
use support::config::TARGETS;
use support::fixture::{self, CT_LIST, CT_LIST_TIMEDIFF, Lifetimes, NAT_LIST};
use support::node::{Node, second, whole};
use support::page::Page;
use support::reference::{self, Service, Target};

use crate::collect::{collector, listed};

const STATES: [&str; 6] = ["rx_closing", "tx_closing", "closed", "stateless", "opening", "established"];
const DIRECTIONS: [&str; 4] = ["out", "in", "service", "related"];
const PROTOCOLS: [&str; 6] = ["tcp", "udp", "icmp", "icmpv6", "sctp", "other"];
const DUES: [&str; 10] =
    ["overdue_12h", "overdue_1h", "overdue_10m", "overdue", "10s", "60s", "10m", "1h", "8000s", "later"];

/// Behind the storage server a second one, with an address of each family.
const SECOND: &str = "- name: second
  addresses: [192.168.100.181, 'fd64::180']
  services: [{name: smb, ports: [445]}, {name: mdns, ports: [5353], protocol: udp}]
";

/// The same targets, for counting lines of text.
fn targets() -> Result<Vec<Target>> {
    let services = vec![Service::new("smb", &[445], None), Service::new("mdns", &[5353], Some("udp"))];
    Ok(vec![Target::qnap()?, Target::new("second", &["192.168.100.181", "fd64::180"], services)?])
}

/// A node on which the capture was replayed.
fn replayed(lifetimes: Lifetimes) -> Result<(Node, support::cilium::Maps)> {
    let node = Node::new(&format!("targets_from_host: false\n{TARGETS}{SECOND}"))?;
    let maps = fixture::replay(&node.bpffs, lifetimes)?;
    Ok((node, maps))
}

/// Target and service of a line: the first target with either address, the service by the port beside it.
fn target_of(targets: &[Target], line: &CtLine<'_>) -> Option<(&'static str, &'static str)> {
    let has = |target: &Target| {
        let addresses = [line.responder.address, line.initiator.address];
        addresses.into_iter().find(|address| target.networks.iter().any(|(network, _)| network == address))
    };
    let (address, target) = targets.iter().find_map(|target| Some((has(target)?, target)))?;
    // ICMP has identifiers where others have ports.
    let ports = !line.protocol.starts_with("ICMP");
    let named = line.ports_at(address).filter(|_| ports).find_map(|port| {
        target
            .services
            .iter()
            .find(|service| {
                service.ports.contains(&port)
                    && service.protocol.is_none_or(|protocol| protocol == line.protocol_name())
            })
            .map(|service| service.name)
    });
    Some((target.name, named.unwrap_or("other")))
}

/// Expected entries by target, service and state, zeros included.
fn by_target(lines: &[CtLine<'_>]) -> Result<BTreeMap<(String, String, String), u64>> {
    let (targets, mut expected) = (targets()?, BTreeMap::new());
    for target in &targets {
        let services = target.services.iter().map(|service| service.name).chain(["other"]);
        for service in services {
            for state in STATES {
                expected.insert((target.name.into(), service.into(), state.into()), 0);
            }
        }
    }
    for line in lines {
        if let Some((target, service)) = target_of(&targets, line) {
            *expected.entry((target.into(), service.into(), line.state().into())).or_default() += 1;
        }
    }
    Ok(expected)
}

fn present(snapshot: &Snapshot, name: MapName) -> Result<&PresentMap> {
    let map = snapshot.maps.iter().find(|map| map.map.name == name.label()).context("map not listed")?;
    match &map.content {
        Content::Present(present) => Ok(present),
        other => anyhow::bail!("{} is not present: {other:?}", name.label()),
    }
}

#[test]
fn every_count_of_a_walk_is_the_one_in_the_text() -> Result<()> {
    let (node, _maps) = replayed(Lifetimes::AsCaptured)?;
    let snapshot = collector(&node, &targets()?)?.collect();
    let lines = ct_lines(CT_LIST)?;
    let counts = cli_text::count_states(&lines);
    let mut total = 0;
    for name in MapName::CT {
        let scan = &present(&snapshot, name)?.scan;
        for direction in DIRECTIONS {
            for state in STATES {
                let expected = counts.get(&(name.label(), direction, state)).copied().unwrap_or(0);
                let found =
                    scan.count(|cell| cell.direction.name() == direction && cell.state.name() == state);
                assert_eq!(found, expected, "{} {direction} {state}", name.label());
            }
        }
        for protocol in PROTOCOLS {
            let expected = lines.iter().filter(|line| line.map == name && line.protocol_name() == protocol);
            let found = scan.count(|cell| cell.protocol.name() == protocol);
            assert_eq!(found, expected.count() as u64, "{} {protocol}", name.label());
        }
        assert_eq!((scan.odd_flags, scan.odd_nexthdr), (0, 0), "{}", name.label());
        total += scan.entries;
    }
    assert_eq!(total, 399);
    let nat = nat_lines(NAT_LIST)?;
    for name in MapName::NAT {
        let scan = &present(&snapshot, name)?.scan;
        for direction in ["out", "in"] {
            let expected = nat.iter().filter(|line| line.map == name && line.direction() == direction);
            let found = scan.count(|cell| cell.direction.name() == direction);
            assert_eq!(found, expected.count() as u64, "{} {direction}", name.label());
        }
    }
    let mut found = BTreeMap::new();
    for state in &snapshot.targets {
        for cell in &state.cells {
            let key = (state.target.clone(), state.service.clone(), cell.state.name().to_owned());
            *found.entry(key).or_default() += cell.entries;
        }
    }
    assert_eq!(found, by_target(&lines)?);
    let stale: u64 =
        snapshot.targets.iter().filter(|state| state.target == "qnap").map(TargetState::stale).sum();
    assert_eq!(stale, 183, "the documents' grep");
    Ok(())
}

#[test]
fn the_scraped_page_says_what_the_text_says() -> Result<()> {
    let (node, _maps) = replayed(Lifetimes::AsCaptured)?;
    let page = node.scrape()?;
    let lines = ct_lines(CT_LIST)?;
    let counts = cli_text::count_states(&lines);
    for name in MapName::CT {
        let map = ("map_name", name.label());
        for direction in DIRECTIONS {
            for state in STATES {
                let expected = counts.get(&(name.label(), direction, state)).copied().unwrap_or(0);
                let labels = [map, ("direction", direction), ("state", state)];
                assert_eq!(whole(page.sum("ctmon_ct_entries", &labels))?, expected);
            }
        }
        for protocol in PROTOCOLS {
            let expected = lines.iter().filter(|line| line.map == name && line.protocol_name() == protocol);
            let found = page.value("ctmon_ct_protocol_entries", &[map, ("protocol", protocol)]);
            assert_eq!(whole(found)?, expected.count() as u64);
        }
        let expected = lines.iter().filter(|line| line.map == name).count() as u64;
        assert_eq!(whole(page.value("ctmon_map_entries", &[map]))?, expected);
        assert_eq!(whole(page.value("ctmon_map_present", &[map]))?, 1);
        assert_eq!(whole(page.sum("ctmon_map_problem", &[map]))?, 0);
    }
    assert_eq!(whole(page.sum("ctmon_ct_entries", &[]))?, 399);
    for ((target, service, state), expected) in by_target(&lines)? {
        let labels = [("target", &*target), ("target_service", &*service), ("state", &*state)];
        assert_eq!(whole(page.sum("ctmon_target_entries", &labels))?, expected);
    }
    assert_eq!(whole(page.sum("ctmon_target_stale_entries", &[("target", "qnap")]))?, 183);
    let nat = nat_lines(NAT_LIST)?;
    for name in MapName::NAT {
        for direction in ["out", "in"] {
            let expected = nat.iter().filter(|line| line.map == name && line.direction() == direction);
            let labels = [("map_name", name.label()), ("direction", direction)];
            assert_eq!(whole(page.value("ctmon_nat_entries", &labels))?, expected.count() as u64);
        }
    }
    Ok(())
}

/// The lines of each map, sorted: a replayed map has another hash seed.
fn blocks(text: &str) -> Vec<Vec<&str>> {
    let mut blocks = vec![Vec::new()];
    for line in text.lines() {
        if line.is_empty() {
            blocks.push(Vec::new());
        } else if let Some(last) = blocks.last_mut() {
            last.push(line);
        }
    }
    for block in &mut blocks {
        block.sort_unstable();
    }
    blocks
}

#[test]
fn conntrack_lines_are_those_of_the_command_line() -> Result<()> {
    let (node, _maps) = replayed(Lifetimes::AsCaptured)?;
    let said = node.said(&["list", "-o", "cilium"])?;
    assert_eq!(blocks(&said), blocks(CT_LIST));
    assert_eq!(said.len(), CT_LIST.len(), "byte for byte, but for the order");
    assert_eq!(cli_text::grep_stale(&said, "192.168.100.180"), 183);
    // One map only: its lines, and one empty line after them.
    let mut collector = collector(&node, &[])?;
    for (name, lines) in MapName::CT.into_iter().zip(blocks(CT_LIST)) {
        let said = listed(&mut collector, &["-o", "cilium", "--map", name.label()])?;
        assert_eq!(blocks(&said), [lines, Vec::new()], "{}", name.label());
    }
    Ok(())
}

#[test]
fn nat_lines_are_those_of_the_command_line() -> Result<()> {
    let before = second()?;
    let (node, _maps) = replayed(Lifetimes::ShiftedTo(before))?;
    let said = node.said(&["nat", "-o", "cilium"])?;
    // The walk took place this many seconds after the capture's clock, all entries of a map in the same one.
    let passed = second()? - before;
    let expected = |map: usize, later: u32| {
        let text = NAT_LIST.replace("Created=7sec", &format!("Created={}sec", 6 + later));
        blocks(&text).get(map).map(|lines| lines.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>())
    };
    let found = blocks(&said);
    assert_eq!(found.len(), 3, "two maps, an empty line after each");
    for (map, lines) in found.iter().enumerate() {
        let fits = (0..=passed).any(|later| expected(map, later).is_some_and(|text| text == *lines));
        assert!(fits, "map {map} within {passed} s: {:?}", lines.first());
    }
    Ok(())
}

#[test]
fn each_filter_selects_the_lines_the_text_has() -> Result<()> {
    let (node, _maps) = replayed(Lifetimes::AsCaptured)?;
    let lines = ct_lines(CT_LIST)?;
    let count = |pass: &dyn Fn(&CtLine<'_>) -> bool| lines.iter().filter(|line| pass(line)).count() as u64;
    let nas: IpAddr = "192.168.100.180".parse()?;
    let at = |line: &CtLine<'_>, address: &dyn Fn(IpAddr) -> bool| {
        address(line.initiator.address) || address(line.responder.address)
    };
    let in_lan = |address: IpAddr| address.to_string().starts_with("192.168.100.");
    let targets = targets()?;
    let mut collector = collector(&node, &targets)?;
    let mut check = |filter: &[&str], expected: u64| -> Result<()> {
        ensure!(expected > 0, "{filter:?} would prove nothing");
        let found = listed(&mut collector, &[&["--count"], filter].concat())?;
        assert_eq!(found, format!("{expected}\n"), "{filter:?}");
        Ok(())
    };
    check(&[], 399)?;
    check(&["--stale", "--address", "192.168.100.180"], 183)?;
    check(&["--map", "cilium_ct6_global"], count(&|line| line.map == MapName::Ct6))?;
    check(&["--stale"], count(&|line| line.is_stale()))?;
    check(&["--address", "192.168.100.180"], count(&|line| at(line, &|address| address == nas)))?;
    check(&["--address", "192.168.100.0/24"], count(&|line| at(line, &in_lan)))?;
    check(
        &["--target", "qnap"],
        count(&|line| target_of(&targets, line).is_some_and(|(name, _)| name == "qnap")),
    )?;
    check(&["--target", "none"], count(&|line| target_of(&targets, line).is_none()))?;
    check(
        &["--target", "qnap", "--service", "smb"],
        count(&|line| target_of(&targets, line) == Some(("qnap", "smb"))),
    )?;
    check(
        &["--target", "qnap", "--service", "other"],
        count(&|line| target_of(&targets, line) == Some(("qnap", "other"))),
    )?;
    for direction in DIRECTIONS {
        check(&["--direction", direction], count(&|line| line.direction() == direction))?;
    }
    for state in STATES {
        check(&["--state", state], count(&|line| line.state() == state))?;
    }
    check(&["--limit", "7"], 7)?;
    let printed = listed(&mut collector, &["-o", "cilium", "--limit", "7"])?;
    assert_eq!(printed.lines().filter(|line| !line.is_empty()).count(), 7);
    // The documents' command, and what passes from the command line to the filter.
    assert_eq!(node.count(&["list", "--count", "--stale", "--address", "192.168.100.180"])?, 183);
    assert_eq!(node.count(&["nat", "--count"])?, 592);
    Ok(())
}

#[test]
fn json_lines_agree_with_the_text() -> Result<()> {
    let (node, _maps) = replayed(Lifetimes::AsCaptured)?;
    let said = node.said(&["list", "-o", "json"])?;
    let mut found = said.lines().map(json_row).collect::<Result<Vec<_>>>()?;
    let mut expected = ct_lines(CT_LIST)?.iter().map(text_row).collect::<Result<Vec<_>>>()?;
    found.sort();
    expected.sort();
    assert_eq!(found.len(), 399);
    assert_eq!(found, expected);
    let said = node.said(&["nat", "-o", "json"])?;
    let nat = nat_lines(NAT_LIST)?;
    let mut expected: Vec<_> = nat
        .iter()
        .map(|line| {
            let end = |end: cli_text::Endpoint| format!("{} {}", end.address, end.port);
            let ends = [line.source, line.destination, line.translated].map(end);
            (line.map.label().to_owned(), line.direction().to_owned(), ends)
        })
        .collect();
    let mut found = said
        .lines()
        .map(|line| {
            let row: Value = serde_json::from_str(line)?;
            let ends = ["source", "destination", "translated"].map(|key| json_end(&row, key));
            Ok((json_text(&row, "map"), json_text(&row, "direction"), ends))
        })
        .collect::<Result<Vec<_>>>()?;
    found.sort();
    expected.sort();
    assert_eq!(found, expected);
    Ok(())
}

/// Everything a line of text and a line of JSON both say, as text.
fn text_row(line: &CtLine<'_>) -> Result<Vec<String>> {
    let field =
        |name: &str| line.fields.get(name).copied().with_context(|| format!("no {name}: {}", line.text));
    let hex = |name: &str| -> Result<String> {
        Ok(u64::from_str_radix(field(name)?.trim_start_matches("0x"), 16)?.to_string())
    };
    let (target, service) = target_of(&targets()?, line).unwrap_or(("none", "other"));
    let service_of = |name: &str| if line.direction() == "service" { name.to_owned() } else { "null".into() };
    Ok(vec![
        line.map.label().into(),
        line.protocol_name().into(),
        line.direction().into(),
        line.state().into(),
        format!("{} {}", line.initiator.address, line.initiator.port),
        format!("{} {}", line.responder.address, line.responder.port),
        line.is_stale().to_string(),
        target.into(),
        service.into(),
        line.words.join(" "),
        hex("Flags")?,
        hex("RxFlagsSeen")?,
        hex("TxFlagsSeen")?,
        field("expires")?.into(),
        field("LastRxReport")?.into(),
        field("LastTxReport")?.into(),
        field("Packets")?.into(),
        field("Bytes")?.into(),
        field("RevNAT")?.into(),
        field("SourceSecurityID")?.into(),
        service_of(field("BackendID")?),
    ])
}

fn json_row(line: &str) -> Result<Vec<String>> {
    let row: Value = serde_json::from_str(line).with_context(|| format!("not JSON: {line}"))?;
    let flags = row.get("flags").and_then(Value::as_array).context("no flags")?;
    let flags: Vec<_> = flags.iter().filter_map(Value::as_str).collect();
    let mut texts = vec![
        json_text(&row, "map"),
        json_text(&row, "protocol"),
        json_text(&row, "direction"),
        json_text(&row, "state"),
        json_end(&row, "initiator"),
        json_end(&row, "responder"),
        json_text(&row, "stale"),
        json_text(&row, "target"),
        json_text(&row, "target_service"),
        flags.join(" "),
    ];
    let numbers = [
        "flags_raw",
        "rx_flags_seen",
        "tx_flags_seen",
        "expires",
        "last_rx_report",
        "last_tx_report",
        "packets",
        "bytes",
        "rev_nat",
        "source_identity",
        "backend_id",
    ];
    texts.extend(numbers.iter().map(|name| json_text(&row, name)));
    Ok(texts)
}

/// The value of a key as text; `null` if it is not there, which no line of text says.
fn json_text(row: &Value, key: &str) -> String {
    let value = row.get(key).unwrap_or(&Value::Null);
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn json_end(row: &Value, key: &str) -> String {
    let end = row.get(key).unwrap_or(&Value::Null);
    format!("{} {}", json_text(end, "address"), json_text(end, "port"))
}

/// What the lines fall due in, this many seconds after they were printed.
fn due_counts(lines: &[CtLine<'_>], map: MapName, later: i64) -> Result<BTreeMap<String, u64>> {
    let mut counts: BTreeMap<String, u64> = DUES.iter().map(|due| ((*due).to_owned(), 0)).collect();
    for line in lines.iter().filter(|line| line.map == map) {
        let left = line.remaining.context("no remaining time")? - later;
        *counts.entry(reference::due(left).to_owned()).or_default() += 1;
    }
    Ok(counts)
}

/// Collects on a capture shifted so that `age` seconds have passed since it was taken, and compares due classes,
/// expiry and the oldest entry with the text.
fn check_due(age: u32) -> Result<()> {
    let now = second()?;
    let (node, _maps) = replayed(Lifetimes::ShiftedTo(now - age))?;
    let page = node.scrape()?;
    let passed = second()? - now;
    let lines = ct_lines(CT_LIST_TIMEDIFF)?;
    for name in MapName::CT {
        let map = ("map_name", name.label());
        let found = (
            due_on(&page, name)?,
            whole(page.sum("ctmon_ct_entries", &[map, ("expired", "true")]))?,
            whole(page.value("ctmon_ct_oldest_expired_seconds", &[map]))?,
        );
        let expected = |later: u32| -> Result<_> {
            let later = i64::from(later);
            let overdue = lines
                .iter()
                .filter(|line| line.map == name)
                .filter_map(|line| Some(later - line.remaining?))
                .filter(|overdue| *overdue > 0);
            let oldest = u64::try_from(overdue.clone().max().unwrap_or(0))?;
            Ok((due_counts(&lines, name, later)?, overdue.count() as u64, oldest))
        };
        // The walk took place in one of the seconds between the shift and the answer.
        let seconds = (age..=age + passed).map(expected).collect::<Result<Vec<_>>>()?;
        assert!(seconds.contains(&found), "{}: {found:?} is none of {seconds:#?}", name.label());
    }
    Ok(())
}

fn due_on(page: &Page, name: MapName) -> Result<BTreeMap<String, u64>> {
    DUES.iter()
        .map(|due| {
            let labels = [("map_name", name.label()), ("due", *due)];
            Ok(((*due).to_owned(), whole(page.value("ctmon_ct_due_entries", &labels))?))
        })
        .collect()
}

#[test]
fn due_classes_follow_the_seconds_that_were_printed() -> Result<()> {
    check_due(0)
}

#[test]
fn entries_expire_as_the_clock_moves_on() -> Result<()> {
    // A machine that has just booted has no such past.
    check_due(second()?.min(30))
}

#[test]
fn printed_seconds_are_those_of_the_command_line() -> Result<()> {
    let now = second()?;
    let (node, _maps) = replayed(Lifetimes::ShiftedTo(now))?;
    let said = node.said(&["list", "-o", "cilium", "--time-diff"])?;
    let passed = i64::from(second()? - now);
    // Absolute times are shifted, so the rest of the line is left to the test above.
    let left = |text: &str| -> Result<BTreeMap<(MapName, String), i64>> {
        ct_lines(text)?
            .iter()
            .map(|line| {
                let key =
                    format!("{} {:?} {:?} {}", line.facing, line.initiator, line.responder, line.related);
                Ok(((line.map, key), line.remaining.context("no remaining time")?))
            })
            .collect()
    };
    let (found, expected) = (left(&said)?, left(CT_LIST_TIMEDIFF)?);
    assert_eq!(found.len(), 399);
    for (entry, left) in expected {
        let found = found.get(&entry).with_context(|| format!("{entry:?} is not listed"))?;
        assert!((left - passed..=left).contains(found), "{entry:?}: {found} of {left}");
    }
    Ok(())
}
