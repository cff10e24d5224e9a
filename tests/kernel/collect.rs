//! The collector in this process, as the verbs build it.
//!
//! In: a node, targets of the reference. Out: a collector; what `list` prints of it.
//! Must not: do what a verb does not: it stands in where starting the binary again and again proves nothing more.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::Parser;
use monitor::command::list::{self, ListArgs};
use monitor_model::classifier::Classifier;
use monitor_model::eviction_plan::Choice;
use monitor_model::map_name::MapName;
use monitor_model::prefix::Prefix;
use monitor_model::target::{ServiceSpec, TargetIndex, TargetSpec};
use monitor_model::tuple::Transport;
use monitor_source::bpf::Kernel;
use monitor_source::collect::{CollectSettings, Collector};
use monitor_source::host::Host;
use monitor_source::host::collect::Wanted;
use support::node::Node;
use support::reference::Target;

/// The arguments of `ctmon list`.
#[derive(Parser)]
struct List {
    #[command(flatten)]
    args: ListArgs,
}

/// What `ctmon list` prints, by the same code in this process: loading the programs once serves many lists.
pub(crate) fn listed(collector: &mut Collector, arguments: &[&str]) -> Result<String> {
    let List { args } = List::try_parse_from(["list"].iter().chain(arguments))?;
    if let Some(problem) = collector.open_all().first() {
        bail!("{}", problem.detail);
    }
    collector.find_clock();
    let classifier =
        Classifier { targets: collector.targets().clone(), stale_after: collector.settings().stale_after };
    let mut out = Vec::new();
    list::print(
        &args,
        &classifier,
        |visitor| Ok(collector.stream(MapName::is_conntrack, visitor)?),
        &mut out,
    )?;
    Ok(String::from_utf8(out)?)
}

/// A collector in this process, for these targets.
pub(crate) fn collector(node: &Node, targets: &[Target]) -> Result<Collector> {
    collector_of(settings(node, targets)?)
}

/// Likewise, with other settings.
pub(crate) fn collector_of(settings: CollectSettings) -> Result<Collector> {
    Ok(Collector::new(Kernel::load_watching(settings.evictions)?, settings)?)
}

/// What such a collector follows.
pub(crate) fn settings(node: &Node, targets: &[Target]) -> Result<CollectSettings> {
    Ok(CollectSettings {
        bpffs: node.bpffs.root().to_owned(),
        host: Host { procfs: node.procfs().to_owned(), ..Host::default() },
        wanted: Wanted::default(),
        // Every collection walks every map.
        interval: Duration::ZERO,
        stale_after: Duration::from_secs(600),
        clock: None,
        targets: TargetIndex::new(targets.iter().map(spec).collect::<Result<_>>()?)?,
        evictions: Choice::Off,
    })
}

/// A reference target as the agent takes it.
fn spec(target: &Target) -> Result<TargetSpec> {
    let transport = |protocol: &str| match protocol {
        "tcp" => Transport::Tcp,
        "udp" => Transport::Udp,
        other => unreachable!("no service of {other} is tested"),
    };
    let prefix = |&(address, length): &(IpAddr, u8)| Prefix::new(address, length);
    Ok(TargetSpec {
        name: target.name.to_owned(),
        prefixes: target.networks.iter().map(prefix).collect::<Result<_, _>>()?,
        services: target
            .services
            .iter()
            .map(|service| ServiceSpec {
                name: service.name.to_owned(),
                ports: service.ports.clone(),
                protocol: service.protocol.map(transport),
            })
            .collect(),
    })
}
