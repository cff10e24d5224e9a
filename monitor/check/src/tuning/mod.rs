//! Whether the tuning that is expected is in force.
//!
//! In: what the node has, what is expected of it. Out: verdicts, and what is unknown.
//! Must not: call unknown wrong: what another network namespace answers, or what was not read, has no verdict.

use monitor_config::{Bound, Settings, SysctlValue};
use monitor_model::host::mounts::{Mount, OptionDifference, missing_options};
use monitor_model::host::net_scope::NetScope;
use monitor_model::host::sysctl::Sysctl;
use monitor_model::map_name::MapName;
use monitor_model::snapshot::{HostState, Snapshot, Towards};

use crate::finding::{Finding, Level, own};

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
        let is_known = found.is_some() || state.absent.contains(name);
        is_known.then_some(SysctlVerdict { name, expected, found })
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

/// The capacity that a map is expected to have, if any.
#[must_use]
pub fn expected_capacity(map: &MapName, settings: &Settings) -> Option<u64> {
    match settings.expect.map_capacity.get(&map.table)? {
        Bound::AtLeast(value) | Bound::Equals(value) => Some(*value),
        // Nobody is hurt by a map that is smaller than allowed.
        Bound::AtMost(_) => None,
    }
}

/// Mounts of a target that lack expected options; `None` while mounts are unknown or nothing is expected.
#[must_use]
pub fn mismatches(snapshot: &Snapshot, settings: &Settings, target: &str) -> Option<u64> {
    if settings.expect.mount_options.is_empty() || snapshot.host.mounts.is_none() {
        return None;
    }
    let lacking = mounts(&snapshot.host, settings)
        .into_iter()
        .filter(|verdict| verdict.mount.target.as_deref() == Some(target) && !verdict.missing.is_empty());
    Some(lacking.count() as u64)
}

/// What is worth knowing beside what is not in force.
pub(super) fn circumstances(snapshot: &Snapshot, settings: &Settings) -> Vec<Finding> {
    let foreign = foreign_sysctls(&snapshot.host, settings);
    foreign.into_iter().chain(memory(snapshot, settings)).collect()
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
    let known: Vec<(String, u64)> = snapshot
        .present()
        .filter_map(|(map, present)| Some((map.map.with_aliases(), present.memory_bytes?)))
        .collect();
    let sum: u64 = known.iter().map(|(_, bytes)| bytes).sum();
    let each: Vec<String> =
        known.iter().map(|(name, bytes)| format!("{name} {}", mebibytes(*bytes))).collect();
    (sum > 0).then(|| {
        let evidence =
            format!("Cilium's conntrack and NAT maps take {}: {}", mebibytes(sum), each.join(", "));
        own("map_memory", Level::INFO, &evidence, "")
    })
}

/// Memory in the unit people think of maps in.
pub(super) fn mebibytes(bytes: u64) -> String {
    let tenths = bytes.saturating_mul(10) >> 20;
    format!("{}.{} MiB", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests;
