//! `ctmon list`: conntrack entries, filtered, in one of three formats.
//!
//! In: flags, settings, arguments; the entries of one walk. Out: lines, as they come.
//! Must not: hold entries: memory stays flat however long the table is.

use std::io::Write;
use std::ops::ControlFlow;

use clap::Args;
use clap::builder::BoolishValueParser;
use monitor_config::Settings;
use monitor_decode::cilium::ct::decode_ct;
use monitor_model::classifier::Classifier;
use monitor_model::map_name::MapName;
use monitor_model::walk::WalkVisitor;
use monitor_output::{cilium, json};

use super::entries::{Event, Selected, for_each_entry};
use super::filter::{CtSelectArgs, Filter};
use super::format::EntryFormat;
use super::global::GlobalArgs;
use super::node;
use super::printer::{PrintArgs, Printer};
use super::terminal::complain;

/// Arguments of `ctmon list`.
#[derive(Args, Clone, Debug, Default)]
pub struct ListArgs {
    #[command(flatten)]
    pub select: CtSelectArgs,
    /// Only entries that look as if a target had opened the connection: RESPONDER is the pod's address and port from
    /// which a new connection to the target's service gets no answer
    #[arg(long, env = "CTMON_COLLISIONS", value_parser = BoolishValueParser::new())]
    pub collisions: bool,
    #[command(flatten)]
    pub print: PrintArgs,
    /// With `-o cilium`, also print the seconds left, as Cilium's `--time-diff` does
    #[arg(short = 'd', long, env = "CTMON_TIME_DIFF", value_parser = BoolishValueParser::new())]
    pub time_diff: bool,
}

/// Loads, walks once, prints, and warns of entries that could not be judged.
pub(super) fn run(
    global: &GlobalArgs,
    settings: &Settings,
    args: &ListArgs,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let (mut collector, classifier) = node::open_to_show(global, settings, MapName::is_conntrack)?;
    let named = !args.select.select.maps.is_empty();
    let wanted = |map: &MapName| map.is_conntrack() && args.print.output.lists(map, named);
    let selected = print(args, &classifier, |visitor| Ok(collector.stream(wanted, visitor)?), out)?;
    selected.warning().iter().for_each(|warning| complain(warning));
    Ok(())
}

/// Prints the selected entries of the walk.
pub fn print(
    args: &ListArgs,
    classifier: &Classifier,
    walk: impl FnOnce(&mut WalkVisitor<'_>) -> anyhow::Result<()>,
    out: &mut impl Write,
) -> anyhow::Result<Selected> {
    let filter = Filter::ct(&args.select, &classifier.targets)?;
    let mut printer = Printer::new(args.print, out);
    let mut undecided = 0;
    let walked = for_each_entry(classifier, &args.select.select, walk, |event| {
        let Event::Entry { map, key, value } = event else { return Ok(printer.begin_map()) };
        let facts = map.ct(decode_ct(key, value)?);
        if args.collisions && classifier.targets.blocks_reply_of(&facts.row).is_none() {
            return Ok(ControlFlow::Continue(()));
        }
        match filter.matches(&facts) {
            Some(true) => {}
            Some(false) => return Ok(ControlFlow::Continue(())),
            None => {
                undecided += 1;
                return Ok(ControlFlow::Continue(()));
            }
        }
        Ok(printer.entry(facts.row.nexthdr, |format, table, out| match format {
            EntryFormat::Table => table.ct(out, &facts),
            EntryFormat::Json => json::ct(out, &facts),
            EntryFormat::Cilium(dialect) => {
                cilium::ct_line(out, &facts.row, facts.clock.filter(|_| args.time_diff), dialect)
            }
        }))
    });
    let entries = printer.finish()?;
    walked?;
    Ok(Selected { entries, undecided })
}
