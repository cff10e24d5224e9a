//! The node as flags and settings say: where it is, and what to follow there.
//!
//! In: global flags, settings. Out: a collector, for the verbs that show entries with its maps open and its clock found out.
//! Must not: know a verb.

use anyhow::Context as _;
use monitor_config::Settings;
use monitor_model::classifier::Classifier;
use monitor_model::eviction_plan::Choice;
use monitor_model::map_name::{self, MapName};
use monitor_model::target::TargetIndex;
use monitor_source::bpf::Kernel;
use monitor_source::cilium::pins;
use monitor_source::collect::{CollectSettings, Collector};
use monitor_source::host::collect::Wanted;
use monitor_source::host::{self, Host};

use super::global::GlobalArgs;
use super::terminal::complain;

/// Loads the programs and prepares to collect.
pub(super) fn collector(global: &GlobalArgs, settings: &Settings) -> anyhow::Result<Collector> {
    check(global)?;
    let settings = collect_settings(global, settings)?;
    Ok(Collector::new(Kernel::load_watching(settings.evictions)?, settings)?)
}

/// What no verb that reads the node can do without.
fn check(global: &GlobalArgs) -> anyhow::Result<()> {
    host::check_procfs(&global.procfs)?;
    Kernel::check_built()?;
    Ok(pins::check_bpffs(&global.bpffs)?)
}

/// The same for verbs that show entries: they end before anything could be evicted.
fn reader(global: &GlobalArgs, settings: &Settings) -> anyhow::Result<Collector> {
    check(global)?;
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
pub(super) fn host(global: &GlobalArgs) -> Host {
    Host {
        procfs: global.procfs.clone(),
        sysfs: global.sysfs.clone(),
        pod_logs: global.pod_logs.clone(),
        cilium_config: global.cilium_config.clone(),
    }
}

/// A collector whose maps are open, with the clock and the targets known, and what to judge its entries by. It fails where no
/// map is `wanted`.
pub(super) fn open_to_show(
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
