//! `ctmon check`: every finding with evidence and advice.
//!
//! In: global flags, settings, arguments, manifests, the lookback windows of the running daemon. Out: a table or JSON lines, and
//! the exit code.
//! Must not: call an `info` a finding, or need a node where only manifests are to be checked.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use anyhow::ensure;
use clap::{Args, ValueEnum};
use monitor_check::history::History;
use monitor_check::manifest::{self, KernelParams, reference};
use monitor_check::{Finding, Level, checks, findings, is_blank, readings};
use monitor_config::Settings;
use monitor_model::host::mounts::Mount;
use monitor_model::manifest::Manifest;
use monitor_model::one_line::one_line;
use monitor_model::snapshot::{Snapshot, SysctlState};
use monitor_output::history::Document;
use monitor_output::{json, runbooks, table};
use monitor_source::collect::Collector;
use monitor_source::daemon;
use monitor_source::deep::DeepScan;
use monitor_source::host::Host;
use monitor_source::host::sysctl::{Sysctls, has_sysfs, read_sysctls};
use monitor_source::manifest::read_manifest;

use super::format::ReportFormat;
use super::global::GlobalArgs;
use super::local_pages::HISTORY;
use super::node;
use super::terminal::complain;

/// Arguments of `ctmon check`.
#[derive(Args, Clone, Debug)]
pub struct CheckArgs {
    /// How to print the findings
    #[arg(short = 'o', long, value_enum, default_value_t, value_name = "FORMAT", env = "CTMON_OUTPUT")]
    pub output: ReportFormat,
    /// Show only these checks, such as `CtmonStaleConnections`, in any case, with or without `Ctmon`; may be given more than
    /// once
    #[arg(long, value_name = "CHECK", value_delimiter = ',', env = "CTMON_ONLY")]
    pub only: Vec<String>,
    /// From which level on a finding makes the exit code 1
    #[arg(long, value_enum, default_value = "warning", value_name = "LEVEL", env = "CTMON_FAIL_ON")]
    pub fail_on: FailOn,
    /// Check Kubernetes objects too: `kubectl get ... -o json` or YAML, Helm values for Cilium, Talos machine configurations and
    /// patches, `-` for standard input; may be given more than once. Where this machine is no node with Cilium, or may not be
    /// read, only the manifests are checked; on a node they are compared with its maps, mounts and sysctls
    #[arg(long, value_name = "FILE", value_delimiter = ',', env = "CTMON_MANIFEST")]
    pub manifest: Vec<PathBuf>,
    /// List every check with its levels and what it is, and check nothing
    #[arg(long)]
    pub list: bool,
    /// Print the runbook of this check, and check nothing
    #[arg(long, value_name = "CHECK", conflicts_with = "list")]
    pub explain: Option<String>,
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

/// Prints what checks there are, or what one of them means, where that is asked for: neither needs a node or its configuration.
pub(super) fn explain(args: &CheckArgs, out: &mut impl Write) -> anyhow::Result<Option<ExitCode>> {
    match &args.explain {
        None if !args.list => return Ok(None),
        None if args.output == ReportFormat::Json => runbooks::list_json(out)?,
        None => runbooks::list(out)?,
        Some(name) => out.write_all(runbooks::explain(name).map_err(anyhow::Error::msg)?.as_bytes())?,
    }
    Ok(Some(ExitCode::SUCCESS))
}

/// Collects once, checks, prints.
pub(super) fn run(
    global: &GlobalArgs,
    settings: &Settings,
    args: &CheckArgs,
    out: &mut impl Write,
) -> anyhow::Result<ExitCode> {
    // Before anything is read: a name with a typing error finds nothing.
    let only = args.only.iter().map(|name| checks::find(name)).collect::<Result<Vec<_>, _>>();
    let only = only.map_err(anyhow::Error::msg)?;
    let mut all = if args.manifest.is_empty() {
        Observed::collect(global, settings)?.findings(settings)
    } else {
        with_manifests(global, settings, &args.manifest)?
    };
    if !only.is_empty() {
        all.retain(|finding| is_blank(finding) || only.iter().any(|check| check.name == finding.check));
    }
    match args.output {
        ReportFormat::Table => table::findings(out, &all)?,
        ReportFormat::Json => json::findings(out, &all)?,
    }
    Ok(exit_code(&all, args.fail_on))
}

/// One collection and two deep scans of a node, and the lookback windows of the daemon that runs on it.
struct Observed {
    snapshot: Snapshot,
    history: anyhow::Result<History>,
}

impl Observed {
    fn collect(global: &GlobalArgs, settings: &Settings) -> anyhow::Result<Self> {
        let mut collector = node::collector(global, settings)?;
        // What cannot be opened becomes a finding when the collection meets it again.
        collector.open_all();
        let history = ask_daemon(global, collector.open_ids());
        let mut snapshot = collector.collect();
        if !settings.deep_interval.is_zero() {
            scan_deep(&mut collector, &mut snapshot, settings);
        }
        if snapshot.targets.iter().any(|state| state.silent.is_some_and(|silent| silent.unanswered > 0)) {
            match collector.unanswered_initiators() {
                Ok(initiators) => snapshot.initiators = initiators,
                Err(error) => {
                    tracing::warn!(%error, "failed to find out where unanswered connections come from");
                }
            }
        }
        if let Ok(history) = &history {
            history.complete(&mut snapshot);
        }
        Ok(Self { snapshot, history })
    }

    fn findings(&self, settings: &Settings) -> Vec<Finding> {
        let Self { snapshot, history } = self;
        let mut all = findings(&readings(snapshot, settings), snapshot, history.as_ref().ok(), settings);
        // Last: it says what else there would be.
        all.extend(history.as_ref().err().map(|why| History::unknown(&why.to_string())));
        all
    }
}

/// The lookback windows of the running daemon, if it follows these maps, given by name and id.
fn ask_daemon<'m>(
    global: &GlobalArgs,
    maps: impl IntoIterator<Item = (&'m str, u32)>,
) -> anyhow::Result<History> {
    let history = History::from(daemon::get::<Document>(&global.daemon, HISTORY)?);
    ensure!(history.is_of(maps), "the daemon at {} follows other maps", global.daemon);
    Ok(history)
}

/// Twice in a row: the maps are not read at one instant, so that only what both scans see counts.
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
    // Before the node, so that a mistyped path is reported at once.
    let manifests = paths.iter().map(|path| read_manifest(path)).collect::<Result<Vec<_>, _>>()?;
    let node = match Observed::collect(global, settings) {
        Ok(node) if node.snapshot.present().any(|(map, _)| map.map.is_conntrack()) => Some(node),
        Ok(_) => {
            complain("no conntrack map of Cilium is here: only the manifests are checked");
            None
        }
        Err(error) => {
            complain(&format!(
                "only the manifests are checked, because the node cannot be read: {}",
                one_line(error.as_ref())
            ));
            None
        }
    };
    let mut all = node.as_ref().map(|node| node.findings(settings)).unwrap_or_default();
    let snapshot = node.as_ref().map(|node| &node.snapshot);
    let mounts = snapshot.map(node_mounts).unwrap_or_default();
    let kernel = node.is_some().then(|| kernel_params(&node::host(global), &manifests));
    let reference = reference(settings, snapshot, &mounts, kernel.as_ref());
    for (path, manifest) in paths.iter().zip(&manifests) {
        all.extend(manifest::findings(&path.display().to_string(), manifest, &reference));
    }
    all.extend(manifest::of_all(&manifests, &reference));
    all.sort_by_key(|finding| std::cmp::Reverse(finding.level));
    Ok(all)
}

fn node_mounts(snapshot: &Snapshot) -> Vec<Mount> {
    snapshot.host.mounts.iter().flat_map(|state| &state.mounts).map(|mount| mount.value.clone()).collect()
}

/// What the node has of the kernel parameters that manifests set; what cannot be read is left out.
fn kernel_params(host: &Host, manifests: &[Manifest]) -> KernelParams {
    let names = manifest::sysctl_names(manifests);
    let Sysctls { values, absent, failed: _ } = read_sysctls(host, names.iter().map(String::as_str));
    let files = manifest::sysfs_names(manifests);
    let absent_sysfs = files.into_iter().filter(|name| !has_sysfs(host, name)).collect();
    KernelParams { sysctls: SysctlState { values, absent }, absent_sysfs }
}

/// 1 if there are findings, else 2 if something is unknown.
fn exit_code(findings: &[Finding], fail_on: FailOn) -> ExitCode {
    let least = match fail_on {
        FailOn::Info => Some(Level::INFO),
        FailOn::Warning => Some(Level::WARNING),
        FailOn::Critical => Some(Level::CRITICAL),
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
