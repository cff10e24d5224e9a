//! `ctmon list`: conntrack entries, filtered, in one of three formats.
//!
//! In: arguments, a classifier, and a walk over maps. Out: lines, as they come.
//! Must not: hold entries: memory stays flat however long the table is.

use std::io::Write;
use std::ops::ControlFlow;

use clap::Args;
use clap::builder::BoolishValueParser;
use monitor_decode::cilium::ct::decode_ct;
use monitor_model::classifier::Classifier;
use monitor_model::walk::WalkVisitor;
use monitor_output::{cilium, json};

use super::filter::{CtSelectArgs, Filter};
use super::printer::{EntryFormat, PrintArgs, Printer};
use super::visit::{Visit, visit_entries};

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

/// What was listed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Listed {
    /// Entries that were selected.
    pub entries: u64,
    /// Entries that may have been, had their clock or a report of theirs been known.
    pub undecided: u64,
}

impl Listed {
    /// What to tell the user about entries that could not be judged.
    #[must_use]
    pub fn warning(&self) -> Option<String> {
        (self.undecided > 0).then(|| {
            format!(
                "{} entries could not be judged because their map's clock is unknown or nothing was ever reported of \
                 them: `clock` in the configuration sets the clock",
                self.undecided
            )
        })
    }
}

/// Prints the selected entries of the walk.
pub fn run(
    args: &ListArgs,
    classifier: &Classifier,
    walk: impl FnOnce(&mut WalkVisitor<'_>) -> anyhow::Result<()>,
    out: &mut impl Write,
) -> anyhow::Result<Listed> {
    let filter = Filter::ct(&args.select, &classifier.targets)?;
    let mut printer = Printer::new(args.print, out);
    let mut undecided = 0;
    let walked = visit_entries(classifier, &args.select.select, walk, |visit| {
        let Visit::Entry { map, key, value } = visit else { return Ok(printer.begin_map()) };
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
    Ok(Listed { entries, undecided })
}
