//! `ctmon top`: who fills the table.
//!
//! In: arguments, a classifier, and a walk over conntrack maps. Out: the remote ends with the most entries.
//! Must not: hold entries: only the bounded table of remote ends.

use std::io::{self, ErrorKind, Write};
use std::ops::{ControlFlow, RangeInclusive};

use clap::{Args, ValueEnum};
use monitor_decode::cilium::ct::decode_ct;
use monitor_decode::cilium::nat::decode_nat;
use monitor_model::classifier::Classifier;
use monitor_model::top::{Grouping, TopReport, TopTable};
use monitor_model::walk::WalkVisitor;
use monitor_output::{json, table};
use monitor_source::deep::ports::PortTable;

use super::filter::{CtSelectArgs, Filter};
use super::list::Listed;
use super::visit::{Visit, visit_entries};

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

/// A format for reports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ReportFormat {
    /// Aligned columns
    #[default]
    Table,
    /// One object per line
    Json,
}

/// Counts the selected entries of the walk and prints the report.
pub fn run(
    args: &TopArgs,
    classifier: &Classifier,
    walk: impl FnOnce(&mut WalkVisitor<'_>) -> anyhow::Result<()>,
    out: &mut impl Write,
) -> anyhow::Result<Listed> {
    let (report, listed) = count(args, classifier, walk)?;
    match print(args.output, &report, out) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(listed),
    }
}

/// Counts the ports in use of the walk over NAT maps and prints the fullest destinations.
pub fn run_ports(
    args: &TopArgs,
    classifier: &Classifier,
    range: RangeInclusive<u16>,
    walk: impl FnOnce(&mut WalkVisitor<'_>) -> anyhow::Result<()>,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let filter = Filter::nat(&args.select.select, &classifier.targets)?;
    let mut ports = PortTable::new(range);
    visit_entries(classifier, &args.select.select, walk, |visit| {
        let Visit::Entry { map, key, value } = visit else { return Ok(ControlFlow::Continue(())) };
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
) -> anyhow::Result<(TopReport, Listed)> {
    let filter = Filter::ct(&args.select, &classifier.targets)?;
    let mut table = TopTable::new(match args.by {
        By::Remote => Grouping::Endpoint,
        By::Address | By::NatPorts => Grouping::Address,
    });
    let mut listed = Listed::default();
    visit_entries(classifier, &args.select.select, walk, |visit| {
        let Visit::Entry { map, key, value } = visit else { return Ok(ControlFlow::Continue(())) };
        let facts = map.ct(decode_ct(key, value)?);
        match filter.matches(&facts) {
            Some(true) => {
                listed.entries += 1;
                table.add(&facts.row);
            }
            Some(false) => {}
            None => listed.undecided += 1,
        }
        Ok(ControlFlow::Continue(()))
    })?;
    let limit = if args.limit == 0 { usize::MAX } else { args.limit };
    Ok((table.into_report(limit), listed))
}

fn print(format: ReportFormat, report: &TopReport, out: &mut impl Write) -> io::Result<()> {
    let mut out = io::BufWriter::new(out);
    match format {
        ReportFormat::Table => table::top(&mut out, report)?,
        ReportFormat::Json => json::top(&mut out, report)?,
    }
    out.flush()
}
