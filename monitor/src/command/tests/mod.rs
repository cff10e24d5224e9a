//! `list`, `nat` and `top` over the captured maps, against the text Cilium's CLI printed of them.
//!
//! The text is read by its words, not with our decoder: what is counted here is what a shell would count.

use std::collections::HashMap;
use std::io::{self, ErrorKind, Write};
use std::ops::ControlFlow;
use std::time::Duration;

use clap::Parser;
use monitor_model::classifier::Classifier;
use monitor_model::clock::ClockNow;
use monitor_model::target::{ServiceSpec, TargetIndex, TargetSpec};
use monitor_model::walk::{WalkEvent, WalkVisitor};
use monitor_output::cilium::{CT_ORDER, NAT_ORDER};
use monitor_source::cilium::capture::{self, CT_NOW, NAT_NOW};
use monitor_source::host::logs::{Limits, LogCounter};
use proptest::prelude::*;

use super::entries::Selected;
use super::list::{self, ListArgs};
use super::nat::{self, NatArgs};
use super::top;

mod terminal;

#[derive(Parser)]
struct Line<A: clap::Args> {
    #[command(flatten)]
    args: A,
}

fn parse<A: clap::Args>(line: &str) -> A {
    Line::<A>::try_parse_from(["ctmon"].into_iter().chain(line.split_whitespace())).unwrap().args
}

fn refusal<A: clap::Args>(line: &str) -> String {
    let Err(error) = Line::<A>::try_parse_from(["ctmon"].into_iter().chain(line.split_whitespace())) else {
        panic!("{line} is accepted");
    };
    error.to_string()
}

/// The storage server of the captured node.
fn classifier() -> Classifier {
    let service = |name: &str, ports: &[u16]| ServiceSpec {
        name: name.to_owned(),
        ports: ports.to_vec(),
        protocol: None,
    };
    let qnap = TargetSpec {
        name: "qnap".to_owned(),
        prefixes: vec!["192.168.100.180".parse().unwrap()],
        services: vec![service("smb", &[445]), service("iscsi", &[3260])],
    };
    Classifier { targets: TargetIndex::new(vec![qnap]).unwrap(), stale_after: Duration::from_secs(600) }
}

fn list(line: &str) -> (String, Selected) {
    let mut out = Vec::new();
    let listed = list::print(&parse(line), &classifier(), walk(&CT_ORDER, Some(CT_NOW)), &mut out).unwrap();
    (String::from_utf8(out).unwrap(), listed)
}

fn nat(line: &str) -> String {
    let mut out = Vec::new();
    nat::print(&parse(line), &classifier(), walk(&NAT_ORDER, Some(NAT_NOW)), &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

fn top(line: &str) -> String {
    let mut out = Vec::new();
    top::print(&parse(line), &classifier(), walk(&CT_ORDER, Some(CT_NOW)), &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

fn json_lines(text: &str) -> Vec<serde_json::Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// How many lines of the CLI's text have all of these words and one of those.
fn grep(all: &[&str], one_of: &[&str]) -> usize {
    let text = capture::text("ct-list.txt");
    let lines = text.lines().filter(|line| !line.is_empty());
    lines
        .filter(|line| all.iter().all(|word| line.contains(word)))
        .filter(|line| one_of.is_empty() || one_of.iter().any(|word| line.contains(word)))
        .count()
}

fn check_count(line: &str, expected: usize) {
    assert_ne!(expected, 0, "{line}: nothing to compare");
    let (out, listed) = list(&format!("--count {line}"));
    assert_eq!(out, format!("{expected}\n"), "{line}");
    assert_eq!(listed, Selected { entries: expected as u64, undecided: 0 }, "{line}");
}

#[test]
fn cilium_format_is_byte_for_byte_what_cilium_prints() {
    assert!(list("-o cilium").0 == capture::text("ct-list.txt"));
    assert!(list("-o cilium --time-diff").0 == capture::text("ct-list-timediff.txt"));
    assert!(nat("-o cilium") == capture::text("nat-list.txt"));
}

#[test]
fn filters_count_what_grep_counts() {
    let closing = ["RxClosing", "TxClosing"];
    check_count("", 399);
    check_count("--stale", grep(&[], &closing));
    // The documents' own check: stale entries of the storage server.
    assert_eq!(grep(&["192.168.100.180"], &closing), 183);
    check_count("--stale --target qnap", 183);
    check_count("--stale --address 192.168.100.180", 183);
    check_count("--target none", 399 - grep(&["192.168.100.180:"], &[]));
    check_count("--state closed", grep(&["RxClosing TxClosing"], &[]));
    check_count("--state CLOSED", grep(&["RxClosing TxClosing"], &[]));
    check_count("--direction Service --limit 0", grep(&[" SVC "], &[]));
    check_count("--state rx_closing,closed", grep(&["RxClosing"], &[]));
    check_count("--state opening", grep(&["TCP", "[ ]"], &[]));
    check_count("--direction service", grep(&[" SVC "], &[]));
    check_count("--direction related", grep(&[" related "], &[]));
    check_count("--direction in --state tx_closing", grep(&[" IN ", "[ TxClosing "], &[]));
    check_count("--address fd10::/16", grep(&["fd10::"], &[]));
    check_count("--map cilium_ct_any4_global,ct_any6_global", 16);
    check_count("--target qnap --service iscsi", grep(&["192.168.100.180:3260 "], &[]));
}

#[test]
fn nat_filters_count_what_grep_counts() {
    let text = capture::text("nat-list.txt");
    let count = |words: &[&str]| {
        let found = text.lines().filter(|line| words.iter().all(|word| line.contains(word))).count();
        assert_ne!(found, 0);
        format!("{found}\n")
    };
    assert_eq!(nat("--count"), count(&["XLATE"]));
    assert_eq!(nat("--count --direction in"), count(&[" IN "]));
    assert_eq!(nat("--count --target qnap --service smb"), count(&["192.168.100.180:445 "]));
    assert_eq!(nat("--count --address fd64::180/128"), count(&["[fd64::180]"]));
}

#[test]
fn nothing_has_expired_and_nothing_lingers_at_the_instant_of_the_capture() {
    for line in ["--count --expired", "--count --lingering"] {
        assert_eq!(list(line), ("0\n".to_owned(), Selected::default()));
    }
}

/// How long each line of the CLI's text says its entry has been silent.
fn printed_silences(words: &[&str]) -> Vec<u32> {
    let text = capture::text("ct-list.txt");
    let lines = text.lines().filter(|line| words.iter().all(|word| line.contains(word)));
    let number = |line: &str, name: &str| -> u32 {
        let (_, rest) = line.split_once(name).unwrap();
        rest.split(' ').next().unwrap().parse().unwrap()
    };
    lines
        .filter(|line| !line.is_empty())
        .map(|line| CT_NOW.now - number(line, "LastTxReport=").max(number(line, "LastRxReport=")))
        .collect()
}

#[test]
fn silence_is_what_the_printed_reports_say() {
    let silences = printed_silences(&[]);
    assert_eq!(silences.len(), 399);
    let objects = json_lines(&list("-o json").0);
    let found: Vec<_> = objects.iter().map(|object| object["silent_seconds"].as_u64().unwrap()).collect();
    assert_eq!(found, silences.iter().map(|silent| u64::from(*silent)).collect::<Vec<_>>());
    // The table has it in its own column.
    let (table, _) = list("--state opening --direction out");
    let column = table.lines().next().unwrap().find("  SILENT").unwrap();
    let shown: Vec<_> =
        table.lines().skip(1).map(|line| line[column..column + 8].trim().to_owned()).collect();
    let silences = printed_silences(&["TCP OUT", "[ ]"]);
    assert_eq!(shown, silences.iter().map(|silent| format!("{silent}s")).collect::<Vec<_>>());
    assert_eq!(silences.len(), 8);
    check_count("--unanswered", silences.iter().filter(|silent| **silent >= 2).count());
}

#[test]
fn entries_that_cannot_be_judged_are_reported_and_not_shown() {
    let walk = walk(&CT_ORDER, None);
    let mut out = Vec::new();
    let listed = list::print(&parse("--count --expired --stale"), &classifier(), walk, &mut out).unwrap();
    let stale = grep(&[], &["RxClosing", "TxClosing"]) as u64;
    assert_eq!((out.as_slice(), listed), (&b"0\n"[..], Selected { entries: 0, undecided: stale }));
    assert!(listed.warning().unwrap().starts_with(&format!("{stale} entries could not be judged")));
}

#[test]
fn names_that_no_target_has_are_refused_with_those_there_are() {
    let check = |line: &str, expected: &str| {
        let walk = walk(&CT_ORDER, None);
        let error = list::print(&parse(line), &classifier(), walk, &mut io::sink()).unwrap_err();
        assert_eq!(error.to_string(), expected);
    };
    check("--target nas", "no target is called \"nas\": use one of qnap, none");
    check("--service nfs", "no service is called \"nfs\": use one of smb, iscsi, other");
    assert!(refusal::<ListArgs>("--state dead").contains("use one of rx_closing, tx_closing, closed"));
    assert!(refusal::<NatArgs>("--direction up").contains("use one of out, in, service, related"));
    assert!(refusal::<ListArgs>("--address nas").contains("is not an IP address or a CIDR"));
    assert!(refusal::<ListArgs>("--limit=-1").contains("--limit"));
    let unknown = refusal::<ListArgs>("--map ct5_global");
    assert!(
        unknown.contains("use one of ct4_global (ct_tcp, bpf.ctTcpMax), ct_any4_global (ct_any, "),
        "{unknown}"
    );
}

#[test]
fn the_limit_stops_the_walk() {
    let (mut steps, mut out) = (0, Vec::new());
    let records = capture::records("ct4_global");
    let walk = |visitor: &mut WalkVisitor<'_>| {
        let _ = visitor(WalkEvent::Map { name: "ct4_global", clock: Some(CT_NOW) });
        for (key, value) in &records {
            steps += 1;
            if visitor(WalkEvent::Entry { key, value }).is_break() {
                break;
            }
        }
        Ok(())
    };
    list::print(&parse("-o cilium --limit 3"), &classifier(), walk, &mut out).unwrap();
    assert_eq!(steps, 3);
    let expected =
        capture::text("ct-list.txt").lines().take(3).fold(String::new(), |text, line| text + line + "\n");
    assert_eq!(String::from_utf8(out).unwrap(), expected + "\n");
}

/// Counts bytes that arrive, and can refuse them.
struct Pipe<'c> {
    arrived: &'c std::cell::Cell<usize>,
    broken: Option<ErrorKind>,
}

impl Write for Pipe<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Some(kind) = self.broken {
            return Err(kind.into());
        }
        self.arrived.set(self.arrived.get() + bytes.len());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn the_first_line_leaves_before_the_second_entry_is_read() {
    let arrived = std::cell::Cell::new(0);
    let records = capture::records("ct4_global");
    let walk = |visitor: &mut WalkVisitor<'_>| {
        let _ = visitor(WalkEvent::Map { name: "ct4_global", clock: Some(CT_NOW) });
        let (key, value) = &records[0];
        assert_eq!(visitor(WalkEvent::Entry { key, value }), ControlFlow::Continue(()));
        assert_ne!(arrived.get(), 0);
        Ok(())
    };
    let mut out = Pipe { arrived: &arrived, broken: None };
    list::print(&parse("-o json"), &classifier(), walk, &mut out).unwrap();
}

#[test]
fn a_reader_that_goes_away_is_a_success_and_a_full_disk_is_not() {
    let arrived = std::cell::Cell::new(0);
    let mut out = Pipe { arrived: &arrived, broken: Some(ErrorKind::BrokenPipe) };
    for format in ["table", "json", "cilium"] {
        let line = format!("-o {format}");
        list::print(&parse(&line), &classifier(), walk(&CT_ORDER, None), &mut out).unwrap();
        nat::print(&parse(&line), &classifier(), walk(&NAT_ORDER, None), &mut out).unwrap();
    }
    top::print(&parse("-o json"), &classifier(), walk(&CT_ORDER, None), &mut out).unwrap();
    out.broken = Some(ErrorKind::StorageFull);
    assert!(list::print(&parse(""), &classifier(), walk(&CT_ORDER, None), &mut out).is_err());
    assert!(top::print(&parse(""), &classifier(), walk(&CT_ORDER, None), &mut out).is_err());
}

#[test]
fn an_entry_of_another_layout_is_an_error_that_names_the_map() {
    let walk = |visitor: &mut WalkVisitor<'_>| {
        let _ = visitor(WalkEvent::Map { name: "ct4_global", clock: None });
        assert_eq!(visitor(WalkEvent::Entry { key: &[0; 14], value: &[0; 64] }), ControlFlow::Break(()));
        Ok(())
    };
    let error = list::print(&parse(""), &classifier(), walk, &mut io::sink()).unwrap_err();
    let text = format!("{error:#}");
    assert!(text.starts_with("failed to read map ct4_global: ") && text.contains("64 bytes"), "{text}");
}

#[test]
fn json_has_one_object_per_entry_and_the_documented_keys() {
    let (text, _) = list("-o json");
    let objects = json_lines(&text);
    assert_eq!(objects.len(), 399);
    for state in ["established", "rx_closing", "tx_closing", "closed", "opening", "stateless"] {
        let (expected, _) = list(&format!("--count --state {state}"));
        let found = objects.iter().filter(|object| object["state"] == state).count();
        assert_eq!(format!("{found}\n"), expected);
    }
    let expected = serde_json::json!({
        "map": "ct4_global", "protocol": "tcp", "protocol_number": 6, "direction": "service",
        "state": "established",
        "initiator": {"address": "10.10.0.5", "port": 38820},
        "responder": {"address": "10.96.0.10", "port": 445},
        "remote": {"address": "10.10.0.5", "port": 38820},
        "expires": 23454, "remaining_seconds": 21594, "expired": false, "silent_seconds": 6,
        "stale": false, "lingering": false, "unanswered": false,
        "target": "none", "target_service": "other",
        "flags": ["SeenNonSyn"], "flags_raw": 16, "rx_flags_seen": 0, "tx_flags_seen": 26,
        "last_rx_report": 0, "last_tx_report": 1854, "packets": 6, "bytes": 429,
        "rev_nat": 7, "source_identity": 0, "backend_id": 101,
    });
    assert_eq!(objects[0], expected);
    let mut unknown = Vec::new();
    list::print(&parse("-o json --limit 2"), &classifier(), walk(&CT_ORDER, None), &mut unknown).unwrap();
    let objects = json_lines(&String::from_utf8(unknown).unwrap());
    for key in ["remaining_seconds", "expired", "silent_seconds", "lingering"] {
        assert!(objects[1][key].is_null(), "{key} without a clock, on a stale entry");
    }
    assert_eq!(objects[1]["backend_id"], serde_json::Value::Null);
}

#[test]
fn a_map_that_did_not_come_is_an_error_after_what_did() {
    let mut out = Vec::new();
    let args: NatArgs = parse("--count --map snat_v4_external,cilium_ct4_global");
    let error = nat::print(&args, &classifier(), walk(&NAT_ORDER, None), &mut out).unwrap_err();
    let expected = "map ct4_global (ct_tcp, bpf.ctTcpMax) is not among the maps that were read: snat_v4_external (nat, bpf.natMax), ";
    assert!(error.to_string().starts_with(expected), "{error}");
    assert_eq!(out, b"490\n");
}

proptest! {
    #[test]
    fn any_bytes_print_one_line_in_every_format(
        key in prop_oneof![prop::collection::vec(any::<u8>(), 14), prop::collection::vec(any::<u8>(), 38)],
        value in prop::collection::vec(any::<u8>(), 56),
        now in any::<u32>(),
        hz in any::<u32>(),
    ) {
        let nat_value = if key.len() == 14 { &value[..40] } else { &value[..] };
        for clock in [None, Some(ClockNow::ktime(now)), Some(ClockNow::jiffies(now, hz))] {
            for format in ["table", "json", "cilium"] {
                let line = format!("-o {format}");
                let walk = |value| one_entry(clock, &key, value);
                let (mut ct, mut nat) = (Vec::new(), Vec::new());
                list::print(&parse(&line), &classifier(), walk(&value), &mut ct).unwrap();
                nat::print(&parse(&line), &classifier(), walk(nat_value), &mut nat).unwrap();
                for out in [ct, nat] {
                    let lines = String::from_utf8(out).unwrap().lines().count();
                    // A header, or the empty line after the map.
                    let around = usize::from(format != "json");
                    let skipped = format == "cilium" && key[key.len() - 2] == 0;
                    prop_assert_eq!(lines, 1 + around - usize::from(skipped));
                }
            }
            let mut out = Vec::new();
            top::print(&parse("-o json"), &classifier(), one_entry(clock, &key, &value), &mut out).unwrap();
            prop_assert_eq!(&json_lines(&String::from_utf8(out).unwrap())[0]["entries"], 1);
        }
    }
}

fn one_entry(
    clock: Option<ClockNow>,
    key: &[u8],
    value: &[u8],
) -> impl FnOnce(&mut WalkVisitor<'_>) -> anyhow::Result<()> {
    move |visitor| {
        let _ = visitor(WalkEvent::Map { name: "map", clock });
        let _ = visitor(WalkEvent::Entry { key, value });
        Ok(())
    }
}

#[test]
fn nat_json_has_the_documented_keys() {
    let objects = json_lines(&nat("-o json"));
    assert_eq!(objects.len(), 592);
    let expected = serde_json::json!({
        "map": "snat_v4_external", "protocol": "tcp", "protocol_number": 6, "direction": "out",
        "source": {"address": "10.10.0.5", "port": 38828},
        "destination": {"address": "192.168.100.180", "port": 445},
        "translated": {"address": "192.168.100.10", "port": 38828},
        "created": 1854, "age_seconds": 7, "needs_ct": false,
        "target": "qnap", "target_service": "smb",
    });
    assert_eq!(objects[0], expected);
}

#[test]
fn tables_are_aligned_and_repeat_the_header_where_the_family_changes() {
    let (text, _) = list("");
    let headers: Vec<_> = text.lines().enumerate().filter(|(_, line)| line.starts_with("MAP ")).collect();
    assert_eq!(headers.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [0, 346]);
    let lines: Vec<_> = text.lines().take(3).collect();
    assert_eq!(
        lines,
        [
            "MAP              PROTO  DIR     STATE       INITIATOR             RESPONDER                 LEFT   \
             SILENT TARGET                   FLAGS",
            "ct4_global       tcp    service established 10.10.0.5:38820       10.96.0.10:445           5h59m       6s \
             -                        SeenNonSyn",
            "ct4_global       tcp    out     rx_closing  192.168.100.10:59764  192.168.100.180:3260     5h59m       6s \
             qnap/iscsi               RxClosing,SeenNonSyn",
        ]
    );
    let nat = nat("");
    let lines: Vec<_> = nat.lines().take(2).collect();
    assert_eq!(
        lines,
        [
            "MAP              PROTO  DIR     SOURCE                DESTINATION           TRANSLATED            \
             \x20    AGE CT TARGET",
            "snat_v4_external tcp    out     10.10.0.5:38828       192.168.100.180:445   192.168.100.10:38828  \
             \x20     7s  0 qnap/smb",
        ]
    );
}

/// The remote end of every line of the CLI's text: the right one of OUT, the left one of IN and SVC, which as a client has
/// no port of its own.
fn remotes_in_text() -> HashMap<(String, Option<u16>), u32> {
    let mut counts = HashMap::new();
    let text = capture::text("ct-list.txt");
    for line in text.lines().filter(|line| !line.is_empty()) {
        let words: Vec<_> = line.split(' ').collect();
        let outward = words[1] == "OUT" && !line.contains("NodePort") && !line.contains("DSRInternal");
        let (address, port) = words[if outward { 4 } else { 2 }].rsplit_once(':').unwrap();
        let named = outward || words[0].starts_with("ICMP");
        *counts.entry((address.to_owned(), named.then(|| port.parse().unwrap()))).or_default() += 1;
    }
    counts
}

#[test]
fn top_counts_the_remote_ends_that_the_text_has() {
    let rows = json_lines(&top("-o json --limit 0"));
    let number = |value: &serde_json::Value| u32::try_from(value.as_u64().unwrap()).unwrap();
    let counted: HashMap<_, _> = rows
        .iter()
        .map(|row| {
            let port = row["port"].as_u64().map(|port| u16::try_from(port).unwrap());
            ((row["address"].as_str().unwrap().to_owned(), port), number(&row["entries"]))
        })
        .collect();
    assert_eq!(counted, remotes_in_text());
    for (rank, row) in (1..).zip(&rows) {
        assert_eq!(
            (number(&row["rank"]), &row["error"], &row["total_entries"]),
            (rank, &0.into(), &399.into())
        );
        for breakdown in ["states", "directions"] {
            let sum: u32 = row[breakdown].as_object().unwrap().values().map(number).sum();
            assert_eq!(sum, number(&row["entries"]), "{breakdown} of {row}");
        }
    }
    assert!(rows.windows(2).all(|pair| number(&pair[0]["entries"]) >= number(&pair[1]["entries"])));
}

#[test]
fn top_by_address_adds_up_the_ports() {
    let mut expected: HashMap<String, u32> = HashMap::new();
    for ((address, _), count) in remotes_in_text() {
        *expected.entry(address).or_default() += count;
    }
    let rows = json_lines(&top("-o json --by address --limit 0"));
    assert_eq!(rows.len(), expected.len());
    for row in &rows {
        assert!(row["port"].is_null());
        assert_eq!(row["entries"], expected[row["address"].as_str().unwrap()]);
    }
}

#[test]
fn the_top_table_says_what_it_leaves_out() {
    let text = top("--limit 1 --target qnap");
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.len(), 3);
    assert!(lines[0].starts_with("REMOTE "), "{text}");
    assert!(lines[1].starts_with("192.168.100.180:"), "{text}");
    assert!(lines[2].starts_with("1 of ") && lines[2].contains(" remote ends, "), "{text}");
}

#[test]
fn the_log_counter_takes_every_pattern_of_the_preset() {
    let logs =
        monitor_config::parse::<monitor_check::Catalog>("logs: [{preset: trident-qnap}]").unwrap().logs;
    assert!(logs.len() > 3, "{logs:?}");
    LogCounter::new(&logs, Limits::default()).unwrap();
}

/// A walk over maps of the capture.
fn walk(
    maps: &[&str],
    clock: Option<ClockNow>,
) -> impl Fn(&mut WalkVisitor<'_>) -> anyhow::Result<()> + use<> {
    let maps: Vec<_> = maps.iter().map(|&map| (map.to_owned(), capture::records(map))).collect();
    move |visitor| {
        for (name, records) in &maps {
            if visitor(WalkEvent::Map { name, clock }).is_break() {
                return Ok(());
            }
            for (key, value) in records {
                if visitor(WalkEvent::Entry { key, value }).is_break() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}
