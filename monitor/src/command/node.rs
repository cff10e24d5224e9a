//! The node as one-off verbs see it: load, find out the clock, walk once.
//!
//! In: global flags, settings. Out: a collector ready to walk; `list`, `nat` and `top` over its entries.
//! Must not: keep anything after the verb: there is no daemon here.

use std::io::Write;

use anyhow::Context as _;
use monitor_config::Settings;
use monitor_model::classifier::Classifier;
use monitor_model::eviction_plan::Choice;
use monitor_model::map_name::{self, MapName};
use monitor_model::target::TargetIndex;
use monitor_model::walk::WalkVisitor;
use monitor_output::terminal::complain;
use monitor_source::bpf::Kernel;
use monitor_source::cilium::pins;
use monitor_source::collect::{CollectSettings, Collector};
use monitor_source::host::Host;
use monitor_source::host::collect::Wanted;

use super::cli::GlobalArgs;
use super::list::{self, ListArgs, Listed};
use super::nat::{self, NatArgs};
use super::top::{self, By, TopArgs};

/// Loads the programs and prepares to collect.
pub(super) fn collector(global: &GlobalArgs, settings: &Settings) -> anyhow::Result<Collector> {
    Kernel::check_built()?;
    pins::check_bpffs(&global.bpffs)?;
    let settings = collect_settings(global, settings)?;
    Ok(Collector::new(Kernel::load_watching(settings.evictions)?, settings)?)
}

/// The same for verbs that show entries: they end before anything could be evicted.
fn reader(global: &GlobalArgs, settings: &Settings) -> anyhow::Result<Collector> {
    Kernel::check_built()?;
    pins::check_bpffs(&global.bpffs)?;
    let settings = CollectSettings { evictions: Choice::Off, ..collect_settings(global, settings)? };
    Ok(Collector::new(Kernel::load_to_show()?, settings)?)
}

/// What a collection follows, out of flags and configuration.
pub(super) fn collect_settings(global: &GlobalArgs, settings: &Settings) -> anyhow::Result<CollectSettings> {
    Ok(CollectSettings {
        bpffs: global.bpffs.clone(),
        host: host(global),
        wanted: Wanted {
            targets: settings.targets_from_host,
            sysctls: settings.expect.sysctls.keys().cloned().collect(),
            logs: settings.logs.clone(),
        },
        interval: settings.interval,
        stale_after: settings.stale_after,
        clock: settings.clock,
        targets: TargetIndex::new(settings.targets.clone())
            .context("failed to prepare the configured targets")?,
        evictions: settings.evictions,
    })
}

/// Where the node's files are, as the flags say.
fn host(global: &GlobalArgs) -> Host {
    Host {
        procfs: global.procfs.clone(),
        sysfs: global.sysfs.clone(),
        pod_logs: global.pod_logs.clone(),
        cilium_config: global.cilium_config.clone(),
    }
}

/// `ctmon list`.
pub(super) fn list(
    global: &GlobalArgs,
    settings: &Settings,
    args: &ListArgs,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let (mut collector, classifier) = prepare(global, settings, MapName::is_conntrack)?;
    let named = !args.select.select.maps.is_empty();
    let wanted = |map: &MapName| map.is_conntrack() && args.print.output.lists(map, named);
    let listed = list::run(args, &classifier, |visitor| Ok(collector.stream(wanted, visitor)?), out)?;
    warn(listed);
    Ok(())
}

/// `ctmon nat`.
pub(super) fn nat(
    global: &GlobalArgs,
    settings: &Settings,
    args: &NatArgs,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    // Conntrack entries tell the clock of the NAT entries' creation.
    let (mut collector, classifier) = prepare(global, settings, |_| true)?;
    let named = !args.select.maps.is_empty();
    let wanted = |map: &MapName| !map.is_conntrack() && args.print.output.lists(map, named);
    nat::run(args, &classifier, |visitor| Ok(collector.stream(wanted, visitor)?), out)?;
    Ok(())
}

/// `ctmon top`.
pub(super) fn top(
    global: &GlobalArgs,
    settings: &Settings,
    args: &TopArgs,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    if args.by == By::NatPorts {
        let (mut collector, classifier) = prepare(global, settings, |map| !map.is_conntrack())?;
        let range = settings.snat_port_range.clone();
        let walk = |visitor: &mut WalkVisitor<'_>| Ok(collector.stream(|map| !map.is_conntrack(), visitor)?);
        return top::run_ports(args, &classifier, range, walk, out);
    }
    let (mut collector, classifier) = prepare(global, settings, MapName::is_conntrack)?;
    let listed =
        top::run(args, &classifier, |visitor| Ok(collector.stream(MapName::is_conntrack, visitor)?), out)?;
    warn(listed);
    Ok(())
}

fn prepare(
    global: &GlobalArgs,
    settings: &Settings,
    wanted: impl Fn(&MapName) -> bool,
) -> anyhow::Result<(Collector, Classifier)> {
    let mut collector = reader(global, settings)?;
    let problems = collector.open_all();
    for problem in &problems {
        complain(&problem.detail);
    }
    if !collector.has_open(wanted) {
        anyhow::bail!(
            "no such map of Cilium can be read below {}: is Cilium running on this node?",
            global.bpffs.join(map_name::GLOBALS).display()
        );
    }
    collector.follow_host();
    collector.find_clock();
    let classifier =
        Classifier { targets: collector.targets().clone(), stale_after: collector.settings().stale_after };
    Ok((collector, classifier))
}

fn warn(listed: Listed) {
    if let Some(warning) = listed.warning() {
        complain(&warning);
    }
}
