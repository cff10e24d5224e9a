//! `ctmon nat`: NAT entries, filtered, in one of three formats.
//!
//! In: arguments, a classifier, and a walk over maps. Out: lines, as they come.
//! Must not: hold entries: memory stays flat however long the table is.

use std::io::Write;
use std::ops::ControlFlow;

use clap::Args;
use monitor_decode::cilium::nat::decode_nat;
use monitor_model::classifier::Classifier;
use monitor_model::walk::WalkVisitor;
use monitor_output::{cilium, json};

use super::filter::{Filter, SelectArgs};
use super::printer::{EntryFormat, PrintArgs, Printer};
use super::visit::{Visit, visit_entries};

/// Arguments of `ctmon nat`.
#[derive(Args, Clone, Debug, Default)]
pub struct NatArgs {
    #[command(flatten)]
    pub select: SelectArgs,
    #[command(flatten)]
    pub print: PrintArgs,
}

/// Prints the selected entries of the walk and returns how many there were.
pub fn run(
    args: &NatArgs,
    classifier: &Classifier,
    walk: impl FnOnce(&mut WalkVisitor<'_>) -> anyhow::Result<()>,
    out: &mut impl Write,
) -> anyhow::Result<u64> {
    let filter = Filter::nat(&args.select, &classifier.targets)?;
    let mut printer = Printer::new(args.print, out);
    let walked = visit_entries(classifier, &args.select, walk, |visit| {
        let Visit::Entry { map, key, value } = visit else { return Ok(printer.begin_map()) };
        let facts = map.nat(decode_nat(key, value)?);
        if !filter.matches_nat(&facts) {
            return Ok(ControlFlow::Continue(()));
        }
        Ok(printer.entry(facts.row.nexthdr, |format, table, out| match format {
            EntryFormat::Table => table.nat(out, &facts),
            EntryFormat::Json => json::nat(out, &facts),
            EntryFormat::Cilium(_) => cilium::nat_line(out, &facts.row, facts.clock),
        }))
    });
    let entries = printer.finish()?;
    walked?;
    Ok(entries)
}
