//! Tuning that is expected is not in force.

use monitor_config::Settings;
use monitor_model::alert::{Alert, Grade, Severity, minutes};
use monitor_model::float::float;
use monitor_model::host::mounts::OptionDifference;
use monitor_model::snapshot::{HostState, Snapshot, Towards};

use super::definition::{Condition, Definition, Evidence, Series};
use super::series;
use crate::finding::{Finding, Level, own};
use crate::tuning::{MountVerdict, SysctlVerdict, mismatches, mounts, sysctls};

pub(super) const TUNING_NOT_IN_FORCE: Definition = Definition {
    alert: Alert {
        name: "CtmonTuningNotInForce",
        severities: &[Grade::new(Severity::Warning, 0.0, minutes(15))],
        expr: "1 - ctmon_sysctl_in_force > $T\n\
               or ctmon_target_mount_option_mismatches > $T",
        labels: &["sysctl", "target"],
        summary: "expected tuning is not in force on $NODE",
        description: "{{ if $labels.sysctl }}The sysctl {{ $labels.sysctl }} on $NODE does not have the value \
                      configured as expected.{{ else }}{{ printf \"%.0f\" $value }} mounts of {{ $labels.target }} on \
                      $NODE lack options configured as expected: options of a live mount change only when it is made \
                      anew.{{ end }}",
        ..Alert::BASE
    },
    // One finding for each sysctl and mount in place of one for each reading.
    condition: Condition::Now { series: not_in_force, words: None },
    findings: Some(findings),
    ..Definition::BASE
};

fn not_in_force(snapshot: &Snapshot, settings: &Settings) -> Vec<Series> {
    let known: Vec<_> =
        sysctls(&snapshot.host, settings).iter().filter_map(SysctlVerdict::in_force).collect();
    let wrong = known.iter().filter(|in_force| !**in_force).count();
    let node = (!known.is_empty()).then(|| series::of_node(float(wrong as u64)));
    let targets = series::targets(snapshot, |target| mismatches(snapshot, settings, target));
    node.into_iter().chain(targets).collect()
}

fn findings(evidence: &Evidence<'_>) -> Vec<Finding> {
    let Evidence { snapshot, settings, .. } = evidence;
    if !settings.thresholds.is_on(&TUNING_NOT_IN_FORCE.alert) {
        return Vec::new();
    }
    let host = &snapshot.host;
    let sysctls = sysctls(host, settings).into_iter().filter(|verdict| verdict.in_force() == Some(false));
    let mounts = mounts(host, settings).into_iter().filter(|verdict| !verdict.missing.is_empty());
    sysctls.map(|verdict| sysctl(&verdict, host)).chain(mounts.map(|verdict| mount(&verdict))).collect()
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
    own(TUNING_NOT_IN_FORCE.alert.name, Level::WARNING, &evidence, advice)
}

/// What the sysctl is for, in the node's own numbers.
fn effect(name: &str, host: &HostState) -> String {
    let counters = host.netstat.as_ref().map(|netstat| &netstat.counters);
    let effect = match name {
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
    effect.map(|effect| format!("; {effect}")).unwrap_or_default()
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
    Finding {
        target: target.clone().unwrap_or_default(),
        ..own(TUNING_NOT_IN_FORCE.alert.name, Level::WARNING, &evidence, advice)
    }
}
