//! Golden files: the whole metrics page, `list`, `nat`, `top` and `check` on the capture, as a user sees them.
//!
//! In: the capture, shifted into the past; files captured on a node; the binary. Out: pass or fail;
//! `UPDATE_GOLDEN=1` rewrites the files.
//! Must not: hide a value that is not on the list of those that change from run to run.

use std::env;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use monitor_output::prometheus::metrics;
use support::cilium::Maps;
use support::clock::Clock;
use support::config::TARGETS;
use support::daemon::Finished;
use support::fixture::{self, Lifetimes};
use support::host;
use support::node::{Node, second};
use support::sys::counts_entries;

/// So long ago was the capture taken: what is stale has been silent for more than ten minutes. On the clock of jiffies,
/// which has such a past on a machine that booted just now.
const AGE: u32 = 610;
/// While fewer seconds than this have passed, no class is another one.
const STEADY: u32 = 40;

/// Behind the storage server another target, and what `check` is to complain of. What a kernel lets one trace differs
/// from machine to machine.
const MORE: &str = "- name: nas6
  addresses: ['fd64::180']
  services: [{name: smb, ports: [445]}]
evictions: off
thresholds: {EntriesHigh: {warning: {value: 300}}}
expect:
  preset: nas-tuning
  gc_interval: {at_most: 5m}
  map_capacity: {ct_tcp: {at_least: 524288}, ct_any: {at_least: 262144}, nat: {at_least: 262144}}
";

/// What differs between two runs or machines, and nothing else: metric by metric, whole value or one label.
const VOLATILE_VALUES: &[&str] = &[
    "ctmon_map_memory_bytes",
    "ctmon_ct_oldest_expired_seconds",
    "ctmon_source_duration_seconds",
    "ctmon_snapshot_timestamp_seconds",
    "ctmon_snapshot_duration_seconds",
    "ctmon_snapshot_age_seconds",
    // In units of 256 jiffies, whose length is another one on other machines.
    "ctmon_ct_timeout_seconds",
    // Stretched where scanning is slow.
    "ctmon_scan_interval_seconds",
];
const VOLATILE_LABELS: &[(&str, &str)] =
    &[("ctmon_map_info", "id"), ("ctmon_clock_info", "hz"), ("ctmon_build_info", "revision")];
/// Keys of JSON lines that are instants, or time since one.
const VOLATILE_KEYS: &[&str] = &[
    "expires",
    "remaining_seconds",
    "silent_seconds",
    "last_rx_report",
    "last_tx_report",
    "created",
    "age_seconds",
];

/// The kernel's own counts, which Linux has from 6.6 on, and what `check` says without them.
const COUNTS: &[&str] = &["ctmon_map_kernel_entries", "ctmon_map_peak_entries"];
const NO_COUNTS: &str = "; passes are told by walks alone, since this kernel has no bpf_map_sum_elem_count (Linux 6.6 and later do)";

/// Stands where a volatile value stood.
const PLACEHOLDER: &str = "VOLATILE";

/// Replays the capture and runs `verb`, again until it took place while nothing changed class.
fn capture(verb: &[&str]) -> Result<Finished> {
    let clock = Clock::jiffies()?;
    for _ in 0..10 {
        let now = second()?;
        let node = Node::new(&format!("{TARGETS}{MORE}"))?;
        let clock = clock.units().reference(clock.now()?);
        let _maps: Maps = fixture::replay(&node.bpffs, Lifetimes::Ago { clock, seconds: AGE })?;
        let words = host::on(&host::captured(&node)?, verb)?;
        let finished = node.ctmon(&words.iter().map(String::as_str).collect::<Vec<_>>())?;
        if second()? - now < STEADY {
            ensure!(finished.stderr.is_empty(), "{verb:?}: {}", finished.stderr);
            return Ok(finished);
        }
    }
    bail!("{verb:?} never ended within {STEADY} s of its capture")
}

/// Compares with the file of this name, or writes it.
fn check(name: &str, found: &str) -> Result<()> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden").join(name);
    ensure!(!found.trim().is_empty(), "{name} would hold nothing");
    if env::var_os("UPDATE_GOLDEN").is_some_and(|value| value == "1") {
        return fs::write(&path, found).with_context(|| format!("failed to write {}", path.display()));
    }
    let expected = fs::read_to_string(&path)
        .with_context(|| format!("failed to read {}: UPDATE_GOLDEN=1 makes it", path.display()))?;
    // The files are of a kernel that counts; of one that does not, only that may be missing.
    let (expected, found) = if counts_entries()? {
        (expected, found.to_owned())
    } else {
        (without_counts(&expected), found.replace(NO_COUNTS, ""))
    };
    if expected == found {
        return Ok(());
    }
    let mut difference = String::new();
    for line in expected.lines().filter(|line| !found.lines().any(|other| other == *line)) {
        writeln!(difference, "- {line}")?;
    }
    for line in found.lines().filter(|line| !expected.lines().any(|other| other == *line)) {
        writeln!(difference, "+ {line}")?;
    }
    bail!(
        "{name} is not what ctmon says any more; if that is meant, run with UPDATE_GOLDEN=1 and read the \
         difference:\n{difference}"
    )
}

fn without_counts(page: &str) -> String {
    let is_count = |line: &&str| COUNTS.iter().any(|name| line.contains(name));
    page.lines().filter(|line| !is_count(line)).fold(String::new(), |page, line| page + line + "\n")
}

fn succeeds(verb: &[&str]) -> Result<String> {
    let finished = capture(verb)?;
    ensure!(finished.status.success(), "{verb:?} ended with {}", finished.status);
    Ok(finished.stdout)
}

#[test]
fn the_metrics_page_is_the_one_on_file() -> Result<()> {
    let page = succeeds(&["scrape"])?;
    let mut steady = String::new();
    for line in page.lines() {
        writeln!(steady, "{}", steady_sample(line)?)?;
    }
    check("metrics.prom", &steady)
}

/// Names, types, helps, labels and their order: nothing is on the page that the registry does not describe.
#[test]
fn the_page_on_file_is_described_by_the_registry() -> Result<()> {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/metrics.prom"))?;
    let families: Vec<&str> = text.split("# HELP ").skip(1).collect();
    let mut order = metrics();
    for family in &families {
        let name = family.split(' ').next().context("no name")?;
        let metric = order.find(|metric| metric.name == name);
        let metric = metric.with_context(|| format!("{name} is not described, or not at this place"))?;
        let head = format!("{name} {}\n# TYPE {name} {}\n", metric.help, metric.kind.name());
        let samples = family.strip_prefix(&head).with_context(|| format!("not {head}: {family}"))?;
        for sample in samples.lines() {
            let labels = support::page::label_names(sample).with_context(|| sample.to_owned())?;
            assert_eq!(labels, metric.labels, "{sample}");
        }
    }
    assert!(families.len() > 50, "{} families", families.len());
    Ok(())
}

fn steady_sample(line: &str) -> Result<String> {
    if line.starts_with('#') {
        return Ok(line.to_owned());
    }
    let (series, _) = line.rsplit_once(' ').with_context(|| format!("no value: {line}"))?;
    let name = series.split('{').next().unwrap_or(series);
    if VOLATILE_VALUES.contains(&name) {
        return Ok(format!("{series} {PLACEHOLDER}"));
    }
    let mut line = line.to_owned();
    for (_, label) in VOLATILE_LABELS.iter().filter(|(metric, _)| *metric == name) {
        let begin = line.find(&format!("{label}=\"")).with_context(|| format!("no {label}: {line}"))?;
        let begin = begin + label.len() + 2;
        let length = line.get(begin..).and_then(|rest| rest.find('"')).context("no end of a label")?;
        line.replace_range(begin..begin + length, PLACEHOLDER);
    }
    Ok(line)
}

/// The lines of a replayed map come in any order; what is volatile in them is replaced.
fn steady_json(text: &str) -> Result<String> {
    let mut lines = text.lines().map(steady_object).collect::<Result<Vec<_>>>()?;
    lines.sort();
    Ok(lines.join("\n") + "\n")
}

/// Replaces values in the text itself, so that the order of keys and the way numbers are written stay under test.
fn steady_object(line: &str) -> Result<String> {
    let _: serde_json::Value = serde_json::from_str(line).with_context(|| format!("not JSON: {line}"))?;
    let mut line = line.to_owned();
    for key in VOLATILE_KEYS {
        let quoted = format!("\"{key}\":");
        let Some(begin) = line.find(&quoted).map(|begin| begin + quoted.len()) else { continue };
        let length = line.get(begin..).and_then(|rest| rest.find([',', '}'])).context("no end of a value")?;
        line.replace_range(begin..begin + length, PLACEHOLDER);
    }
    Ok(line)
}

#[test]
fn listed_entries_are_those_on_file_as_json() -> Result<()> {
    let listed = succeeds(&["list", "-o", "json", "--target", "nas6"])?;
    check("list.jsonl", &steady_json(&listed)?)?;
    check(
        "nat.jsonl",
        &steady_json(&succeeds(&["nat", "-o", "json", "--target", "nas6", "--service", "smb"])?)?,
    )
}

/// The line above its table, then the sorted rest, in which the columns below `volatile` are replaced, the last first: what
/// stands for a value may be longer than it.
fn steady_table(text: &str, volatile: &[&str]) -> Result<String> {
    volatile.iter().rev().try_fold(text.to_owned(), |text, column| steady_column(&text, column))
}

fn steady_column(text: &str, volatile: &str) -> Result<String> {
    let header = text.lines().next().context("an empty table")?;
    let end =
        header.find(volatile).with_context(|| format!("no column {volatile}: {header}"))? + volatile.len();
    let mut lines: Vec<String> = text
        .lines()
        .skip(1)
        .map(|line| {
            // Right-aligned: the word that ends below the header.
            let (before, after) =
                line.split_at_checked(end).with_context(|| format!("short line: {line}"))?;
            let word = before.rfind(' ').map_or(0, |space| space + 1);
            let (before, span) = before.split_at_checked(word).context("no column")?;
            let is_span =
                |span: &str| span.starts_with('-') || span.starts_with(|c: char| c.is_ascii_digit());
            ensure!(is_span(span), "{volatile} is {span:?}: {line}");
            Ok(format!("{before}{PLACEHOLDER}{after}"))
        })
        .collect::<Result<_>>()?;
    lines.sort();
    Ok(format!("{header}\n{}\n", lines.join("\n")))
}

#[test]
fn listed_entries_are_those_on_file_as_a_table() -> Result<()> {
    for (name, map) in [("list.txt", "ct_any4_global"), ("list-v6.txt", "ct6_global")] {
        let said = succeeds(&["list", "--map", map])?;
        check(name, &steady_table(&said, &["LEFT", "SILENT"])?)?;
    }
    let said = succeeds(&["nat", "--target", "nas6", "--service", "smb"])?;
    check("nat.txt", &steady_table(&said, &["AGE"])?)
}

#[test]
fn the_report_of_top_is_the_one_on_file() -> Result<()> {
    check("top.txt", &succeeds(&["top"])?)?;
    check("top.jsonl", &succeeds(&["top", "-o", "json"])?)?;
    check("top-address.txt", &succeeds(&["top", "--by", "address", "--limit", "0"])?)
}

/// How long the oldest entry has been overdue is volatile, and so is every number that is worked out from it: in the
/// sentence on how fast connections close, `N` stands for numbers and times.
fn steady_findings(text: &str) -> Result<String> {
    const OLDEST: &str = "the oldest since ";
    const RATES: &str = "about ";
    let mut parts = text.split(OLDEST);
    let mut steady = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (_, rest) = part.split_once(';').with_context(|| format!("no end of a time: {part}"))?;
        write!(steady, "{OLDEST}{PLACEHOLDER};{rest}")?;
    }
    let mut parts = steady.split(RATES);
    let mut steady = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (sentence, rest) = part.split_at(part.find(['\n', '"']).unwrap_or(part.len()));
        let words: Vec<String> = sentence.split(' ').map(steady_word).collect();
        write!(steady, "{RATES}{}{rest}", words.join(" "))?;
    }
    Ok(steady)
}

fn steady_word(word: &str) -> String {
    if !word.starts_with(|c: char| c.is_ascii_digit()) {
        return word.to_owned();
    }
    let end = word.find([',', ';']).unwrap_or(word.len());
    format!("N{}", word.get(end..).unwrap_or_default())
}

#[test]
fn the_findings_are_those_on_file() -> Result<()> {
    for (name, verb) in [("check.txt", &["check"][..]), ("check.jsonl", &["check", "-o", "json"])] {
        let finished = capture(verb)?;
        assert_eq!(finished.status.code(), Some(1), "there are findings");
        check(name, &steady_findings(&finished.stdout)?)?;
    }
    Ok(())
}
