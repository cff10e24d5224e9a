//! `ctmon nat`: NAT entries, filtered, in one of three formats.
//!
//! In: flags, settings, arguments; the entries of one walk. Out: lines, as they come.
//! Must not: hold entries: memory stays flat however long the table is.

use std::io::Write;
use std::ops::ControlFlow;

use clap::Args;
use monitor_config::Settings;
use monitor_decode::cilium::nat::decode_nat;
use monitor_model::classifier::Classifier;
use monitor_model::map_name::MapName;
use monitor_model::walk::WalkVisitor;
use monitor_output::{cilium, json};

use super::entries::{Event, for_each_entry};
use super::filter::{Filter, SelectArgs};
use super::format::EntryFormat;
use super::global::GlobalArgs;
use super::node;
use super::printer::{PrintArgs, Printer};

/// Arguments of `ctmon nat`.
#[derive(Args, Clone, Debug, Default)]
pub struct NatArgs {
    #[command(flatten)]
    pub select: SelectArgs,
    #[command(flatten)]
    pub print: PrintArgs,
}

/// Loads, walks once, prints.
pub(super) fn run(
    global: &GlobalArgs,
    settings: &Settings,
    args: &NatArgs,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    // Conntrack entries tell the clock of the NAT entries' creation.
    let (mut collector, classifier) = node::open_to_show(global, settings, |_| true)?;
    let named = !args.select.maps.is_empty();
    let wanted = |map: &MapName| !map.is_conntrack() && args.print.output.lists(map, named);
    print(args, &classifier, |visitor| Ok(collector.stream(wanted, visitor)?), out)?;
    Ok(())
}

/// Prints the selected entries of the walk and returns how many there were.
pub fn print(
    args: &NatArgs,
    classifier: &Classifier,
    walk: impl FnOnce(&mut WalkVisitor<'_>) -> anyhow::Result<()>,
    out: &mut impl Write,
) -> anyhow::Result<u64> {
    let filter = Filter::nat(&args.select, &classifier.targets)?;
    let mut printer = Printer::new(args.print, out);
    let walked = for_each_entry(classifier, &args.select, walk, |event| {
        let Event::Entry { map, key, value } = event else { return Ok(printer.begin_map()) };
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
