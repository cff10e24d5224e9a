//! `ctmon check`: every finding with evidence and advice.
//!
//! In: global flags, settings, arguments, manifests, what the running daemon remembers. Out: a table or JSON lines, and
//! the exit code.
//! Must not: call an `info` a finding, or demand a node of those who only have manifests.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::cli::GlobalArgs;
use super::top::ReportFormat;
use super::{node, remembered};
use crate::check::history::History;
use crate::check::manifest::{self, reference};
use crate::check::{Finding, Level, findings, readings};
use crate::config::Settings;
use crate::output::{json, table};
use crate::snapshot::Snapshot;
use crate::source::collect::Collector;
use crate::source::deep::DeepScan;
use crate::source::host::mounts::Mount;
use crate::source::manifest::read_manifest;

/// Arguments of `ctmon check`.
#[derive(Args, Clone, Debug)]
pub struct CheckArgs {
    /// How to print the findings
    #[arg(short = 'o', long, value_enum, default_value_t, value_name = "FORMAT", env = "CTMON_OUTPUT")]
    pub output: ReportFormat,
    /// Show only these checks, such as `CtmonStaleConnections`; may be given more than once
    #[arg(long, value_name = "CHECK", value_delimiter = ',', env = "CTMON_ONLY")]
    pub only: Vec<String>,
    /// From which level on a finding makes the exit code 1
    #[arg(long, value_enum, default_value = "warning", value_name = "LEVEL", env = "CTMON_FAIL_ON")]
    pub fail_on: FailOn,
    /// Check Kubernetes objects too: `kubectl get ... -o json` or YAML, Helm values for Cilium, `-` for standard
    /// input; may be given more than once. Where this machine is no node with Cilium, or may not be read, only
    /// the manifests are checked; on a node they are compared with its maps and mounts
    #[arg(long, value_name = "FILE", value_delimiter = ',', env = "CTMON_MANIFEST")]
    pub manifest: Vec<PathBuf>,
}

/// A level that fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FailOn {
    Info,
    Warning,
    Critical,
    /// No finding does
    Never,
}

/// Collects once, checks, prints.
pub(super) fn run(
    global: &GlobalArgs,
    settings: &Settings,
    args: &CheckArgs,
    out: &mut impl Write,
) -> anyhow::Result<ExitCode> {
    let mut all = if args.manifest.is_empty() {
        of_node(global, settings, snapshot(global, settings)?).1
    } else {
        with_manifests(global, settings, &args.manifest)?
    };
    if !args.only.is_empty() {
        all.retain(|finding| args.only.iter().any(|only| is_called(finding, only)));
    }
    match args.output {
        ReportFormat::Table => table::findings(out, &all)?,
        ReportFormat::Json => json::findings(out, &all)?,
    }
    Ok(exit_code(&all, args.fail_on))
}

/// The findings of a node, and its snapshot with what the running daemon lent it.
fn of_node(global: &GlobalArgs, settings: &Settings, mut snapshot: Snapshot) -> (Snapshot, Vec<Finding>) {
    let maps = snapshot.present().map(|(map, present)| (map.map.name.as_str(), present.id));
    let remembered = remembered::ask(global, maps);
    if let Ok(history) = &remembered {
        history.tell(&mut snapshot);
    }
    let mut all = findings(&readings(&snapshot, settings), &snapshot, remembered.as_ref().ok(), settings);
    // Last: it says what else there would be.
    all.extend(remembered.err().map(|why| History::unknown(&why.to_string())));
    (snapshot, all)
}

/// What one collection and two deep scans tell.
fn snapshot(global: &GlobalArgs, settings: &Settings) -> anyhow::Result<Snapshot> {
    let mut collector = node::collector(global, settings)?;
    let mut snapshot = collector.collect();
    if !settings.deep_interval.is_zero() {
        scan_deep(&mut collector, &mut snapshot, settings);
    }
    Ok(snapshot)
}

/// Twice in a row: the maps are not read at one instant, only what both see counts.
fn scan_deep(collector: &mut Collector, snapshot: &mut Snapshot, settings: &Settings) {
    // Connections that were being made or removed during the first are done with by then.
    const PAUSE: Duration = Duration::from_millis(500);
    let mut deep = DeepScan::default();
    deep.run(collector, snapshot, &settings.snat_port_range);
    thread::sleep(PAUSE);
    snapshot.attach(&deep.run(collector, snapshot, &settings.snat_port_range));
}

/// The findings of manifests, and those of the node if there is one.
fn with_manifests(
    global: &GlobalArgs,
    settings: &Settings,
    paths: &[PathBuf],
) -> anyhow::Result<Vec<Finding>> {
    // Before the node: a path with a typing error is told at once.
    let manifests = paths.iter().map(|path| read_manifest(path)).collect::<Result<Vec<_>, _>>()?;
    let snapshot = match snapshot(global, settings) {
        Ok(snapshot) if snapshot.present().any(|(map, _)| map.map.is_conntrack()) => Some(snapshot),
        Ok(_) => {
            eprintln!("ctmon: no conntrack map of Cilium is here: only the manifests are checked");
            None
        }
        Err(error) => {
            eprintln!("ctmon: only the manifests are checked, because the node cannot be read: {error:#}");
            None
        }
    };
    let (snapshot, mut all) = match snapshot.map(|snapshot| of_node(global, settings, snapshot)) {
        Some((snapshot, all)) => (Some(snapshot), all),
        None => (None, Vec::new()),
    };
    let mounts = snapshot.as_ref().map(node_mounts).unwrap_or_default();
    let reference = reference(settings, snapshot.as_ref(), &mounts);
    for (path, manifest) in paths.iter().zip(&manifests) {
        all.extend(manifest::findings(&path.display().to_string(), manifest, &reference));
    }
    all.sort_by_key(|finding| std::cmp::Reverse(finding.level));
    Ok(all)
}

fn node_mounts(snapshot: &Snapshot) -> Vec<Mount> {
    snapshot.host.mounts.iter().flat_map(|state| &state.mounts).map(|mount| mount.value.clone()).collect()
}

/// The name, with or without its prefix.
fn is_called(finding: &Finding, name: &str) -> bool {
    let bare = |name: &str| name.strip_prefix(crate::check::catalog::PREFIX).unwrap_or(name).to_lowercase();
    bare(&finding.check) == bare(name)
}

/// 1 for findings, 2 where something could not be told; 1 wins.
fn exit_code(findings: &[Finding], fail_on: FailOn) -> ExitCode {
    let least = match fail_on {
        FailOn::Info => Some(Level::Info),
        FailOn::Warning => Some(Level::Warning),
        FailOn::Critical => Some(Level::Critical),
        FailOn::Never => None,
    };
    let fails = |finding: &Finding| {
        finding.level != Level::Unknown && least.is_some_and(|least| finding.level >= least)
    };
    if findings.iter().any(fails) {
        ExitCode::from(1)
    } else if findings.iter().any(|finding| finding.level == Level::Unknown) {
        ExitCode::from(2)
    } else {
        ExitCode::SUCCESS
    }
}
