//! Aligned tables for people.
//!
//! In: facts, one by one, or a finished report. Out: lines under a header.
//! Must not: hold rows back to measure them: columns have fixed widths, so that a table of a million entries streams.
//!
//! Addresses of the two families differ too much in length for one width. A map has one family, so the header is
//! written anew where the family changes, and where a map of another cluster brings a longer name.

use std::fmt;
use std::io::{self, Write};
use std::net::IpAddr;

use monitor_abi::class::{Direction, State};
use monitor_check::Finding;
use monitor_model::classifier::{CtFacts, NatFacts};
use monitor_model::map_name;
use monitor_model::snapshot::deep::PortUse;
use monitor_model::top::{Grouping, TopReport, TopRow};
use monitor_model::tuple::Endpoint;

use super::terminal::Shown;

/// `snat_v4_external`; only maps of other clusters have longer names.
const MAP_WIDTH: usize = 16;
/// `255.255.255.255:65535`
const V4_WIDTH: usize = 21;
/// `[8 groups of 4 digits]:65535`
const V6_WIDTH: usize = 47;
/// Wider columns help nobody, and beyond 65,535 there are none.
const WIDEST: usize = 64;

/// A table of entries; it knows which header stands above the next line.
#[derive(Debug, Default)]
pub struct EntryTable {
    shape: Option<Shape>,
}

/// The widths that differ between maps: of the map's name, and of addresses.
pub(super) type Shape = (usize, usize);

impl EntryTable {
    /// Writes a conntrack entry.
    pub fn ct(&mut self, out: &mut impl Write, facts: &CtFacts<'_>) -> io::Result<()> {
        let row = &facts.row;
        let (map, width) = shape(facts.map, row.initiator);
        if self.begins((map, width)) {
            writeln!(
                out,
                "{:<map$} {:<6} {:<7} {:<11} {:<width$} {:<width$} {:>8} {:>8} {:<24} FLAGS",
                "MAP", "PROTO", "DIR", "STATE", "INITIATOR", "RESPONDER", "LEFT", "SILENT", "TARGET"
            )?;
        }
        write!(
            out,
            "{:<map$} {:<6} {:<7} {:<11} {:<width$} {:<width$} {:>8} {:>8} {:<24} ",
            Shown::name(facts.map),
            row.protocol.name(),
            row.direction.name(),
            row.state.name(),
            Cell(row.initiator),
            Cell(row.responder),
            Span(facts.remaining),
            Span(facts.silent.map(u64::cast_signed)),
            Target(facts.target, facts.target_service)
        )?;
        write_flags(out, facts)
    }

    /// Writes a NAT entry.
    pub fn nat(&mut self, out: &mut impl Write, facts: &NatFacts<'_>) -> io::Result<()> {
        let row = &facts.row;
        let (map, width) = shape(facts.map, row.source);
        if self.begins((map, width)) {
            writeln!(
                out,
                "{:<map$} {:<6} {:<7} {:<width$} {:<width$} {:<width$} {:>8} {:>2} TARGET",
                "MAP", "PROTO", "DIR", "SOURCE", "DESTINATION", "TRANSLATED", "AGE", "CT"
            )?;
        }
        writeln!(
            out,
            "{:<map$} {:<6} {:<7} {:<width$} {:<width$} {:<width$} {:>8} {:>2} {}",
            Shown::name(facts.map),
            row.protocol.name(),
            row.direction.name(),
            Cell(row.source),
            Cell(row.destination),
            Cell(row.to),
            Span(facts.age),
            row.needs_ct,
            Target(facts.target, facts.target_service)
        )
    }

    /// Whether a header with columns of these widths has to be written first.
    fn begins(&mut self, shape: Shape) -> bool {
        self.shape.replace(shape) != Some(shape)
    }
}

/// Writes findings as paragraphs: what, where, the numbers behind it, what to do.
pub fn findings(out: &mut impl Write, findings: &[Finding]) -> io::Result<()> {
    for Finding { check, level, map_name, target, evidence, advice } in findings {
        write!(out, "{:<8} {}", level.name().to_uppercase(), Shown::name(check))?;
        let map = map_name::with_aliases(map_name);
        for place in [&map, target].into_iter().filter(|place| !place.is_empty()) {
            write!(out, " {}", Shown::name(place))?;
        }
        writeln!(out, "\n         {}", Shown::line(evidence))?;
        if !advice.is_empty() {
            writeln!(out, "         -> {}", Shown::line(advice))?;
        }
    }
    if findings.is_empty() {
        writeln!(out, "no findings")?;
    }
    Ok(())
}

/// Writes the whole report: remote ends, most entries first, and what was counted.
pub fn top(out: &mut impl Write, report: &TopReport) -> io::Result<()> {
    let TopReport { grouping, rows, entries, remotes, max_error } = report;
    let remote = |row: &TopRow| match grouping {
        Grouping::Endpoint => row.remote.to_string(),
        Grouping::Address => row.remote.address.to_string(),
    };
    let width = rows.iter().map(|row| remote(row).len()).max().unwrap_or(0).max("REMOTE".len());
    write!(out, "{:<width$} {:>8}", "REMOTE", "ENTRIES")?;
    if *max_error > 0 {
        write!(out, " {:>8}", "OVER_BY")?;
    }
    for name in State::ALL.iter().map(|state| state.name()).chain(Direction::ALL.iter().map(|way| way.name()))
    {
        write!(out, " {:>1$}", name.to_uppercase(), name.len().max(8))?;
    }
    writeln!(out)?;
    for row in rows {
        write!(out, "{:<width$} {:>8}", remote(row), row.count)?;
        if *max_error > 0 {
            write!(out, " {:>8}", row.error)?;
        }
        for (state, count) in State::ALL.iter().zip(row.states) {
            write!(out, " {:>1$}", count, state.name().len().max(8))?;
        }
        for (direction, count) in Direction::ALL.iter().zip(row.directions) {
            write!(out, " {:>1$}", count, direction.name().len().max(8))?;
        }
        writeln!(out)?;
    }
    let what = if *grouping == Grouping::Endpoint { "remote ends" } else { "remote addresses" };
    if *max_error == 0 {
        writeln!(out, "{} of {remotes} {what}, {entries} entries in all", rows.len())
    } else {
        writeln!(
            out,
            "{} of more than {remotes} {what}, {entries} entries in all; counts are too high by OVER_BY at the most, \
             states and directions are of the entries certainly seen",
            rows.len()
        )
    }
}

/// Writes the destinations that take the most source ports, of so many there are.
pub fn ports(out: &mut impl Write, lines: &[PortUse], ports: u64, lost: u32) -> io::Result<()> {
    let width = |text: &dyn Fn(&PortUse) -> String, title: &str| {
        lines.iter().map(|line| text(line).len()).max().unwrap_or(0).max(title.len())
    };
    let translated = width(&|line| line.translated.to_string(), "TRANSLATED");
    let remote = width(&|line| line.remote.to_string(), "DESTINATION");
    writeln!(
        out,
        "{:<translated$} {:<remote$} {:<6} {:>6} {:>7}",
        "TRANSLATED", "DESTINATION", "PROTO", "PORTS", "USED"
    )?;
    for line in lines {
        writeln!(
            out,
            "{:<translated$} {:<remote$} {:<6} {:>6} {:>6.1}%",
            line.translated.to_string(),
            Cell(line.remote),
            line.protocol.name(),
            line.ports,
            line.usage * 100.0
        )?;
    }
    write!(out, "{} destinations, each has {ports} source ports", lines.len())?;
    if lost > 0 {
        write!(out, "; counts are too low by {lost} at the most")?;
    }
    writeln!(out)
}

fn write_flags(out: &mut impl Write, facts: &CtFacts<'_>) -> io::Result<()> {
    let mut separator = "";
    for name in facts.row.flag_names() {
        write!(out, "{separator}{name}")?;
        separator = ",";
    }
    match facts.row.unknown_flags() {
        0 if separator.is_empty() => writeln!(out, "-"),
        0 => writeln!(out),
        unknown => writeln!(out, "{separator}Unknown={unknown:#06x}"),
    }
}

/// The widths a row of this map needs.
pub(super) fn shape(map: &str, end: Endpoint) -> Shape {
    let addresses = match end.address {
        IpAddr::V4(_) => V4_WIDTH,
        IpAddr::V6(_) => V6_WIDTH,
    };
    (map.len().clamp(MAP_WIDTH, WIDEST), addresses)
}

/// An address and port, padded as a whole.
pub(super) struct Cell(pub(super) Endpoint);

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0.to_string())
    }
}

/// `target/service`, `-` for entries of no target.
pub(super) struct Target<'a>(pub(super) &'a str, pub(super) &'a str);

impl fmt::Display for Target<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(target, service) = self;
        if *target == monitor_model::target::NO_TARGET {
            return f.pad("-");
        }
        f.pad(&format!("{}/{}", Shown::name(target), Shown::name(service)))
    }
}

/// Seconds in the two largest units that fit, `?` while unknown.
pub(super) struct Span(pub(super) Option<i64>);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(seconds) = self.0 else { return f.pad("?") };
        let sign = if seconds < 0 { "-" } else { "" };
        let seconds = seconds.unsigned_abs();
        let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
        f.pad(&match (days, hours, minutes) {
            (0, 0, 0) => format!("{sign}{seconds}s"),
            (0, 0, _) => format!("{sign}{minutes}m{}s", seconds % 60),
            (0, ..) => format!("{sign}{hours}h{}m", minutes % 60),
            _ => format!("{sign}{days}d{}h", hours % 24),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_show_their_two_largest_units() {
        let shown = [0, 59, 61, -3600, 21_594, 90_061].map(|seconds| Span(Some(seconds)).to_string());
        assert_eq!(shown, ["0s", "59s", "1m1s", "-1h0m", "5h59m", "1d1h"]);
        assert_eq!(format!("{:>4}|", Span(None)), "   ?|");
    }
}
