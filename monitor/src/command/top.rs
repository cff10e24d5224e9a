//! `ctmon top`: who fills the table.
//!
//! In: flags, settings, arguments; the entries of one walk. Out: the remote ends with the most entries.
//! Must not: hold entries: only the bounded table of remote ends.

use std::io::{self, ErrorKind, Write};
use std::ops::{ControlFlow, RangeInclusive};

use clap::{Args, ValueEnum};
use monitor_config::Settings;
use monitor_decode::cilium::ct::decode_ct;
use monitor_decode::cilium::nat::decode_nat;
use monitor_model::classifier::Classifier;
use monitor_model::map_name::MapName;
use monitor_model::top::{Grouping, TopReport, TopTable};
use monitor_model::walk::WalkVisitor;
use monitor_output::{json, table};
use monitor_source::deep::ports::PortTable;

use super::entries::{Event, Selected, for_each_entry};
use super::filter::{CtSelectArgs, Filter};
use super::format::ReportFormat;
use super::global::GlobalArgs;
use super::node;
use super::terminal::complain;

/// Arguments of `ctmon top`.
#[derive(Args, Clone, Debug, Default)]
pub struct TopArgs {
    #[command(flatten)]
    pub select: CtSelectArgs,
    /// Show this many remote ends; 0 shows all
    #[arg(long, value_name = "N", default_value_t = 20, env = "CTMON_LIMIT")]
    pub limit: usize,
    /// What to count together
    #[arg(long, value_enum, default_value_t, value_name = "WHAT", env = "CTMON_BY")]
    pub by: By,
    /// How to print the report
    #[arg(short = 'o', long, value_enum, default_value_t, value_name = "FORMAT", env = "CTMON_OUTPUT")]
    pub output: ReportFormat,
}

/// What `top` counts together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum By {
    /// Remote address and port; clients by address alone (`:*`): they use a new port for each connection
    #[default]
    Remote,
    /// Remote address
    Address,
    /// Source ports that NAT takes, by translated address and destination
    NatPorts,
}

/// Loads, walks once, prints, and warns of entries that could not be judged.
pub(super) fn run(
    global: &GlobalArgs,
    settings: &Settings,
    args: &TopArgs,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    if args.by == By::NatPorts {
        let (mut collector, classifier) = node::open_to_show(global, settings, |map| !map.is_conntrack())?;
        let range = settings.snat_port_range.clone();
        let walk = |visitor: &mut WalkVisitor<'_>| Ok(collector.stream(|map| !map.is_conntrack(), visitor)?);
        return print_ports(args, &classifier, range, walk, out);
    }
    let (mut collector, classifier) = node::open_to_show(global, settings, MapName::is_conntrack)?;
    let walk = |visitor: &mut WalkVisitor<'_>| Ok(collector.stream(MapName::is_conntrack, visitor)?);
    let selected = print(args, &classifier, walk, out)?;
    selected.warning().iter().for_each(|warning| complain(warning));
    Ok(())
}

/// Counts the selected entries of the walk and prints the report.
pub fn print(
    args: &TopArgs,
    classifier: &Classifier,
    walk: impl FnOnce(&mut WalkVisitor<'_>) -> anyhow::Result<()>,
    out: &mut impl Write,
) -> anyhow::Result<Selected> {
    let (report, selected) = count(args, classifier, walk)?;
    match write_report(args.output, &report, out) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(selected),
    }
}

/// Counts the ports in use of the walk over NAT maps and prints the fullest destinations.
pub fn print_ports(
    args: &TopArgs,
    classifier: &Classifier,
    range: RangeInclusive<u16>,
    walk: impl FnOnce(&mut WalkVisitor<'_>) -> anyhow::Result<()>,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let filter = Filter::nat(&args.select.select, &classifier.targets)?;
    let mut ports = PortTable::new(range);
    for_each_entry(classifier, &args.select.select, walk, |event| {
        let Event::Entry { map, key, value } = event else { return Ok(ControlFlow::Continue(())) };
        let facts = map.nat(decode_nat(key, value)?);
        if filter.matches_nat(&facts) {
            ports.add(&facts.row);
        }
        Ok(ControlFlow::Continue(()))
    })?;
    let limit = if args.limit == 0 { usize::MAX } else { args.limit };
    let lines = ports.fullest(limit);
    let mut out = io::BufWriter::new(out);
    let printed = match args.output {
        ReportFormat::Table => table::ports(&mut out, &lines, ports.ports(), ports.lost()),
        ReportFormat::Json => json::ports(&mut out, &lines, ports.lost()),
    };
    match printed.and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

fn count(
    args: &TopArgs,
    classifier: &Classifier,
    walk: impl FnOnce(&mut WalkVisitor<'_>) -> anyhow::Result<()>,
) -> anyhow::Result<(TopReport, Selected)> {
    let filter = Filter::ct(&args.select, &classifier.targets)?;
    let mut table = TopTable::new(match args.by {
        By::Remote => Grouping::Endpoint,
        By::Address | By::NatPorts => Grouping::Address,
    });
    let mut selected = Selected::default();
    for_each_entry(classifier, &args.select.select, walk, |event| {
        let Event::Entry { map, key, value } = event else { return Ok(ControlFlow::Continue(())) };
        let facts = map.ct(decode_ct(key, value)?);
        match filter.matches(&facts) {
            Some(true) => {
                selected.entries += 1;
                table.add(&facts.row);
            }
            Some(false) => {}
            None => selected.undecided += 1,
        }
        Ok(ControlFlow::Continue(()))
    })?;
    let limit = if args.limit == 0 { usize::MAX } else { args.limit };
    Ok((table.into_report(limit), selected))
}

fn write_report(format: ReportFormat, report: &TopReport, out: &mut impl Write) -> io::Result<()> {
    let mut out = io::BufWriter::new(out);
    match format {
        ReportFormat::Table => table::top(&mut out, report)?,
        ReportFormat::Json => json::top(&mut out, report)?,
    }
    out.flush()
}
