//! Whether what somebody believes to be in force is.
//!
//! In: what the node has, what is expected of it. Out: verdicts, and findings that name value, expectation and effect.
//! Must not: call unknown wrong: what another network namespace answers, or what nobody told, has no verdict.

use monitor_config::{Bound, Settings, SysctlValue};
use monitor_model::host::mounts::{Mount, OptionDifference, missing_options};
use monitor_model::host::net_scope::NetScope;
use monitor_model::host::sysctl::Sysctl;
use monitor_model::snapshot::{HostState, Snapshot, Towards};

use super::Level;
use super::finding::{Finding, own};

/// The alert these findings belong to.
pub const ALERT: &str = "CtmonTuningNotInForce";

/// One expected sysctl.
#[derive(Clone, Copy, Debug)]
pub struct SysctlVerdict<'a> {
    pub name: &'a str,
    pub expected: &'a Bound<SysctlValue>,
    /// `None`: this kernel has none of that name.
    pub found: Option<&'a Sysctl>,
}

/// One mount of a kind of which options are expected.
#[derive(Clone, Debug)]
pub struct MountVerdict<'a> {
    pub mount: &'a Towards<Mount>,
    /// Empty: all are in force.
    pub missing: Vec<OptionDifference>,
}

impl SysctlVerdict<'_> {
    /// `None`: what answered was another network namespace than the node's.
    #[must_use]
    pub fn in_force(&self) -> Option<bool> {
        match self.found {
            None => Some(false),
            Some(found) if found.scope == Some(NetScope::Own) => None,
            Some(found) => Some(self.expected.holds_text(&found.text)),
        }
    }
}

/// Every expected sysctl; empty while the source is off or down.
#[must_use]
pub fn sysctls<'a>(host: &'a HostState, settings: &'a Settings) -> Vec<SysctlVerdict<'a>> {
    let Some(state) = &host.sysctls else { return Vec::new() };
    let verdict = |(name, expected): (&'a String, &'a Bound<SysctlValue>)| {
        let found = state.values.iter().find(|value| value.name == *name);
        let told = found.is_some() || state.absent.contains(name);
        told.then_some(SysctlVerdict { name, expected, found })
    };
    settings.expect.sysctls.iter().filter_map(verdict).collect()
}

/// Every mount of a kind of which options are expected.
#[must_use]
pub fn mounts<'a>(host: &'a HostState, settings: &Settings) -> Vec<MountVerdict<'a>> {
    let Some(state) = &host.mounts else { return Vec::new() };
    let verdict = |mount: &'a Towards<Mount>| {
        let expected = settings.expect.mount_options.get(&mount.value.family)?;
        Some(MountVerdict { mount, missing: missing_options(&mount.value, expected) })
    };
    state.mounts.iter().filter_map(verdict).collect()
}

/// What is not in force, one finding each.
pub(super) fn findings(snapshot: &Snapshot, settings: &Settings) -> Vec<Finding> {
    let host = &snapshot.host;
    let on = settings.thresholds.iter().any(|(alert, rule)| alert.name == ALERT && rule.value.is_some());
    let mut all = Vec::new();
    if on {
        let wrong = sysctls(host, settings).into_iter().filter(|verdict| verdict.in_force() == Some(false));
        all.extend(wrong.map(|verdict| sysctl(&verdict, host)));
        let wrong = mounts(host, settings).into_iter().filter(|verdict| !verdict.missing.is_empty());
        all.extend(wrong.map(|verdict| mount(&verdict)));
    }
    all.extend(foreign_sysctls(host, settings));
    all.extend(memory(snapshot, settings));
    all
}

fn sysctl(verdict: &SysctlVerdict<'_>, host: &HostState) -> Finding {
    let SysctlVerdict { name, expected, found } = verdict;
    let expected = expected.describe(ToString::to_string);
    let evidence = match found {
        Some(found) => format!("{name} is {}, expected {expected}{}", found.text, effect(name, host)),
        None => format!("{name} does not exist in this kernel, expected {expected}"),
    };
    let advice = if found.is_some() {
        "set it where the machine takes its sysctls from (Talos: machine.sysctls): one set by hand is lost at the \
         next boot, and Cilium sets some net.* itself"
    } else {
        "look for a typing error in expect.sysctls, or for a kernel module that is not loaded"
    };
    own(ALERT, Level::Warning, &evidence, advice)
}

/// What the sysctl is for, in the node's own numbers.
fn effect(name: &str, host: &HostState) -> String {
    let counters = host.netstat.as_ref().map(|netstat| &netstat.counters);
    let told = match name {
        "net.core.netdev_max_backlog" => host
            .netstat
            .as_ref()
            .and_then(|netstat| netstat.softnet)
            .map(|softnet| format!("{} packets were dropped since boot because a backlog was full", softnet.dropped)),
        "net.ipv4.tcp_max_syn_backlog" => counters
            .and_then(|counters| Some((counters.syn_queue_drops?, counters.syn_queue_cookies?)))
            .map(|(drops, cookies)| format!("{drops} SYNs were dropped and {cookies} answered with a cookie since boot because a queue was full")),
        "net.core.somaxconn" => counters
            .and_then(|counters| counters.listen_overflows)
            .map(|overflows| format!("{overflows} handshakes found an accept queue full since boot")),
        "fs.file-max" => {
            host.file_handles.map(|handles| format!("{} file handles are in use", handles.used))
        }
        _ if name.starts_with("net.ipv4.tcp_keepalive_") => counters
            .and_then(|counters| counters.keepalive_probes)
            .map(|probes| format!("{probes} keepalive probes were sent since boot")),
        _ => None,
    };
    told.map(|told| format!("; {told}")).unwrap_or_default()
}

fn mount(verdict: &MountVerdict<'_>) -> Finding {
    let MountVerdict { mount: Towards { target, value: mount }, missing } = verdict;
    let differences: Vec<String> = missing
        .iter()
        .map(|OptionDifference { expected, found }| match found {
            Some(found) => format!("{expected} (in force: {found})"),
            None => expected.clone(),
        })
        .collect();
    let evidence = format!("{} on {} lacks {}", mount.source, mount.mount_point, differences.join(", "));
    let advice = "options are taken when the mount is made, a live mount never gets others: correct the StorageClass, \
                  re-create the PersistentVolume, and restart its pods on this node until the mount is gone";
    Finding { target: target.clone().unwrap_or_default(), ..own(ALERT, Level::Warning, &evidence, advice) }
}

/// Values that cannot be judged because another network namespace answered.
fn foreign_sysctls(host: &HostState, settings: &Settings) -> Option<Finding> {
    let names: Vec<&str> = sysctls(host, settings)
        .iter()
        .filter(|verdict| verdict.in_force().is_none())
        .map(|verdict| verdict.name)
        .collect();
    (!names.is_empty()).then(|| {
        let evidence =
            format!("{} answered for ctmon's own network namespace, not the node's", names.join(", "));
        own("sysctl", Level::Unknown, &evidence, "run ctmon with hostNetwork: true")
    })
}

/// What the expected sizes cost, as the kernel accounts it.
fn memory(snapshot: &Snapshot, settings: &Settings) -> Option<Finding> {
    if settings.expect.map_capacity.is_empty() {
        return None;
    }
    let known: Vec<(&str, u64)> = snapshot
        .present()
        .filter_map(|(map, present)| Some((map.map.name.as_str(), present.memory_bytes?)))
        .collect();
    let sum: u64 = known.iter().map(|(_, bytes)| bytes).sum();
    let each: Vec<String> =
        known.iter().map(|(name, bytes)| format!("{name} {}", mebibytes(*bytes))).collect();
    (sum > 0).then(|| {
        let evidence =
            format!("Cilium's conntrack and NAT maps take {}: {}", mebibytes(sum), each.join(", "));
        own("map_memory", Level::Info, &evidence, "")
    })
}

/// Memory in the unit people think of maps in.
pub(super) fn mebibytes(bytes: u64) -> String {
    let tenths = bytes.saturating_mul(10) >> 20;
    format!("{}.{} MiB", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests;
