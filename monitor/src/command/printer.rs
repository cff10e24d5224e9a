//! Entries on their way out: in the format asked for, up to the limit, or only their number.
//!
//! In: arguments, the beginnings of maps, entries that were selected. Out: bytes.
//! Must not: select entries, or hold them.

use std::io::{self, BufWriter, Write};
use std::ops::ControlFlow;

use clap::Args;
use clap::builder::BoolishValueParser;
use monitor_output::cilium;
use monitor_output::table::EntryTable;

use super::format::EntryFormat;
use super::limited_output::LimitedOutput;

/// How entries are printed.
#[derive(Args, Clone, Copy, Debug, Default)]
pub struct PrintArgs {
    /// Stop after this many entries; 0 shows all
    #[arg(long, value_name = "N", env = "CTMON_LIMIT")]
    pub limit: Option<u64>,
    /// Print only how many entries there are
    #[arg(long, env = "CTMON_COUNT", value_parser = BoolishValueParser::new())]
    pub count: bool,
    /// How to print entries
    #[arg(short = 'o', long, value_enum, default_value_t, value_name = "FORMAT", env = "CTMON_OUTPUT")]
    pub output: EntryFormat,
}

/// Prints entries, map by map.
pub(crate) struct Printer<'o, W: Write> {
    args: PrintArgs,
    out: LimitedOutput<'o, W>,
    table: EntryTable,
    /// Whether a map has begun whose end has to be marked.
    within_map: bool,
}

impl<'o, W: Write> Printer<'o, W> {
    pub(crate) fn new(args: PrintArgs, out: &'o mut W) -> Self {
        let out = LimitedOutput::new(out, args.limit.filter(|limit| *limit > 0));
        Self { args, out, table: EntryTable::default(), within_map: false }
    }

    /// A map begins, so the one before has ended.
    pub(crate) fn begin_map(&mut self) -> ControlFlow<()> {
        self.end_map()?;
        self.within_map = true;
        // What the maps before have left in the buffer must not wait for this one.
        self.out.other(Write::flush)
    }

    /// Prints an entry, or only counts it.
    pub(crate) fn entry(
        &mut self,
        nexthdr: u8,
        write: impl FnOnce(EntryFormat, &mut EntryTable, &mut BufWriter<&'o mut W>) -> io::Result<()>,
    ) -> ControlFlow<()> {
        let PrintArgs { limit: _, count, output } = self.args;
        if output.is_cilium() && nexthdr == 0 {
            // Cilium prints no line for it, so none counts towards the limit.
            return ControlFlow::Continue(());
        }
        let table = &mut self.table;
        self.out.entry(|out| if count { Ok(()) } else { write(output, table, out) })
    }

    /// Marks the end of a map where the format does.
    fn end_map(&mut self) -> ControlFlow<()> {
        let marks = self.args.output.is_cilium() && !self.args.count;
        if std::mem::take(&mut self.within_map) && marks {
            return self.out.other(cilium::end_of_map);
        }
        ControlFlow::Continue(())
    }

    /// Ends the output and returns how many entries there were.
    pub(crate) fn finish(mut self) -> io::Result<u64> {
        let _ = self.end_map();
        if self.args.count {
            let written = self.out.written();
            let _ = self.out.other(|out| writeln!(out, "{written}"));
        }
        self.out.finish()
    }
}
