//! `ctmon evictions`: the last victims seen by the running daemon.
//!
//! In: the daemon's address, a format. Out: a table or JSON lines.
//! Must not: look into the kernel itself: what was evicted before it came is known to the daemon only.

use std::io::Write;
use std::time::SystemTime;

use clap::Args;
use monitor_output::evictions::Document;
use monitor_source::daemon;

use super::format::ReportFormat;
use super::global::GlobalArgs;
use super::local_pages::EVICTIONS;

/// Arguments of `ctmon evictions`.
#[derive(Args, Clone, Copy, Debug)]
pub struct EvictionsArgs {
    /// How to print the victims
    #[arg(short = 'o', long, value_enum, default_value_t, value_name = "FORMAT", env = "CTMON_OUTPUT")]
    pub output: ReportFormat,
}

/// Asks and prints.
pub(super) fn run(global: &GlobalArgs, args: EvictionsArgs, out: &mut impl Write) -> anyhow::Result<()> {
    let document: Document = daemon::get(&global.daemon, EVICTIONS)?;
    if let Some(obstacle) = document.obstacle() {
        anyhow::bail!(obstacle);
    }
    match args.output {
        ReportFormat::Table => document.write_table(out, SystemTime::now())?,
        ReportFormat::Json => document.write_json(out)?,
    }
    Ok(())
}
