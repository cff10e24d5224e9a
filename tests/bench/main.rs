//! What reading costs: ctmon's scan beside every other way to read the same map, in one run.
//!
//! In: generated maps in a private bpffs, the release binary. Out: a table of times and ratios, judged by the
//! project's own limits. Must not: compare runs with each other: only ratios inside one run mean something.

mod classifier;
mod daemon;
mod methods;
mod report;
mod writers;

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use clap::{Parser, Subcommand};
use support::bpffs::Bpffs;
use support::cilium::{Capacities, MapName, Maps};
use support::generate;
use support::reference::Clock;
use support::sys;

use self::methods::Methods;
use self::report::{Report, Table};

/// Measures what reading a node's maps costs
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// A scan against an empty iterator, batch lookups, key-by-key reads and bpftool
    Scan(ScanArguments),
}

#[derive(clap::Args)]
struct ScanArguments {
    /// Interleaved rounds; the best of each method counts
    #[arg(long, default_value_t = 15)]
    rounds: usize,
    /// Entries in the map of 524,288
    #[arg(long, value_delimiter = ',', default_values_t = [22_519, 400_000])]
    entries: Vec<usize>,
    /// Leave out what takes long: bpftool, key by key, the writers, the daemon
    #[arg(long)]
    quick: bool,
    /// Also write the table to this file
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = "docs/bench-scan.md")]
    write: Option<PathBuf>,
}

fn main() -> Result<()> {
    let Arguments { what: What::Scan(arguments) } = Arguments::parse();
    if fs::read_to_string("/proc/sys/kernel/bpf_stats_enabled").is_ok_and(|text| text.trim() != "0") {
        println!(
            "note: kernel.bpf_stats_enabled is on, which adds about 100 ns to every element of an iterator"
        );
    }
    let mut report = Report::default();
    for entries in &arguments.entries {
        let bpffs = Bpffs::mount()?;
        let maps = Maps::create(&bpffs, Capacities::STATIC, 0)?;
        let now = u32::try_from(sys::monotonic()?.as_secs())?;
        generate::fill(maps.get(MapName::Ct4), *entries, Clock::ktime(now))?;
        let mut methods = Methods::new(&bpffs, maps.get(MapName::Ct4), now)?;
        methods.check()?;
        println!("{entries} entries of 524288, {} rounds", arguments.rounds);
        report.tables.push(Table::measure(*entries, arguments.rounds, arguments.quick, &mut methods)?);
    }
    if !arguments.quick {
        println!("a writer's updates beside readers, {} rounds", arguments.rounds);
        report.writers = writers::measure(arguments.rounds)?;
        report.daemon = Some(daemon::measure()?);
    }
    let text = report.text();
    println!("{text}");
    if let Some(path) = &arguments.write {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::write(path, format!("# What a scan costs\n\n{text}"))
            .with_context(|| format!("failed to write {}", path.display()))?;
        println!("written to {}", path.display());
    }
    let missed = report.missed();
    if !missed.is_empty() {
        bail!("limits missed: {}", missed.join(", "));
    }
    Ok(())
}
