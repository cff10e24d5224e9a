//! The names of everything that `ctmon check` can find: alerts, and checks that are no alerts.
//!
//! In: the alerts, and a list of the others. Out: each name with its levels and one line of what it is. Must not: find anything.

use monitor_model::alert::{Alert, PREFIX};

use crate::alerts::ALERTS;
use crate::finding::Level;

/// A name that findings may have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    pub name: &'static str,
    pub levels: Vec<Level>,
    /// One line.
    pub about: String,
}

/// A finding that is no alert.
struct Own {
    name: &'static str,
    levels: &'static [Level],
    about: &'static str,
}

const fn own(name: &'static str, levels: &'static [Level], about: &'static str) -> Own {
    Own { name, levels, about }
}

/// Those of a node, then those of manifests; a test compares with the names that the sources give to findings.
const OWN: &[Own] = &[
    own("certificate", &[Level::WARNING], "the certificate that the daemon shows ends soon or has ended"),
    own("cifs_session", &[Level::INFO, Level::WARNING], "the SMB client lost a server, or reconnected to it"),
    own("clock", &[Level::Unknown], "the clock of the entries' lifetimes could not be told"),
    own("collector", &[Level::INFO], "what Cilium's gc of conntrack does, and where that leads"),
    own("conntrack", &[Level::Unknown], "no conntrack map could be read"),
    own("ct_timeouts", &[Level::WARNING], "a conntrack timeout is not what is expected or configured"),
    own(
        "datapath_drops",
        &[Level::INFO],
        "packets that Cilium dropped for want of an entry or a source port",
    ),
    own("eviction_tracking", &[Level::INFO], "evictions are not seen, or not in full"),
    own("gc_interval", &[Level::WARNING], "Cilium's gc does not come as often as expected"),
    own(
        "ghost_entries",
        &[Level::INFO],
        "entries of the node's own connections that have no socket any more",
    ),
    own("history", &[Level::INFO], "no running daemon could be asked for what only time tells"),
    own(
        "keepalive",
        &[Level::INFO],
        "sockets to a target that do not use keepalive although it is configured",
    ),
    own("logs", &[Level::INFO], "pod logs that are selected and not read"),
    own("map_memory", &[Level::INFO], "the memory that Cilium's maps take"),
    own("maps_skipped", &[Level::INFO], "per-cluster maps beyond the limit are not read"),
    own("mounts", &[Level::INFO], "the mounts of the node cannot be read, only ctmon's own"),
    own("nat_broken_pairs", &[Level::WARNING], "NAT entries of a target that have lost their other half"),
    own("nat_orphans", &[Level::INFO], "NAT entries of a target without a conntrack entry"),
    own("nat_pairs", &[Level::INFO], "NAT entries of a map without a conntrack entry or their other half"),
    own("per_cpu_lru", &[Level::INFO], "every CPU owns a part of a map and evicts beyond it"),
    own("shared_connection", &[Level::INFO], "several mounts of a server share one connection"),
    own("sockets", &[Level::INFO], "sockets towards targets that are in no count"),
    own("sysctl", &[Level::Unknown], "expected sysctls that another network namespace answered for"),
    own("targets_from_host", &[Level::INFO], "servers of mounts and sessions that became no target"),
    own("unanswered", &[Level::WARNING], "connections to a target that wait for their first answer now"),
    own("CiliumCollectorAdaptive", &[Level::INFO], "manifests: the interval of Cilium's gc is not set"),
    own("CiliumKeyIgnored", &[Level::WARNING], "manifests: Cilium accepts a key and does nothing with it"),
    own(
        "CiliumKeyTwice",
        &[Level::INFO, Level::WARNING],
        "manifests: two keys of Cilium set the same thing, and one of them wins",
    ),
    own("CiliumKeyUnknown", &[Level::INFO], "manifests: no version of Cilium reads a key"),
    own(
        "CiliumKeyWithoutEffect",
        &[Level::INFO],
        "manifests: a key of Cilium changes nothing for its LRU maps",
    ),
    own("CiliumNotInForce", &[Level::WARNING], "manifests: the node's kernel shows another value"),
    own(
        "CiliumValueInvalid",
        &[Level::WARNING],
        "manifests: Cilium cannot read a value, or not as it is meant",
    ),
    own(
        "ContainerWithoutResources",
        &[Level::INFO, Level::WARNING],
        "manifests: a container has neither requests nor limits",
    ),
    own("TalosCniBesideCilium", &[Level::WARNING], "manifests: Talos installs another network beside Cilium"),
    own(
        "TalosKubeletRefused",
        &[Level::WARNING],
        "manifests: a key that Talos does not let the kubelet have",
    ),
    own("TalosModuleBuiltIn", &[Level::INFO], "manifests: Talos's kernel has a module built in"),
    own(
        "TalosMountNotShared",
        &[Level::INFO],
        "manifests: mounts made in a kubelet's mount are not seen outside",
    ),
    own("TalosParamAbsent", &[Level::WARNING], "manifests: there is no such sysctl or file of sysfs"),
    own("TalosPortClosed", &[Level::WARNING], "manifests: Talos's firewall keeps ctmon's port closed"),
    own("TalosProxyBesideCilium", &[Level::INFO], "manifests: kube-proxy runs beside Cilium"),
    own("TalosSysctlNotInForce", &[Level::WARNING], "manifests: the node has another value of a sysctl"),
    own(
        "TalosSysctlUnexpected",
        &[Level::WARNING],
        "manifests: a sysctl is not what the configuration expects",
    ),
    own("TalosSysctlUnset", &[Level::INFO], "manifests: an expected sysctl is not set"),
    own("TalosSysctlWithoutEffect", &[Level::INFO], "manifests: a setting that means nothing to Cilium"),
    own(
        "TalosValueInvalid",
        &[Level::INFO, Level::WARNING],
        "manifests: Talos takes a value otherwise, or not at all",
    ),
    own("TridentApiRateLimit", &[Level::WARNING], "manifests: Trident asks the API server too slowly"),
    own(
        "TridentBackendWithoutLimit",
        &[Level::WARNING],
        "manifests: a backend of Trident has no largest volume",
    ),
    own("TridentKeyIgnored", &[Level::WARNING], "manifests: this Trident's operator ignores a key"),
    own(
        "VolumeMountOptions",
        &[Level::WARNING],
        "manifests: a volume or its class lacks expected mount options",
    ),
    own(
        "VolumeMountedOtherwise",
        &[Level::WARNING],
        "manifests: a volume is mounted without the options it has",
    ),
    own("manifest", &[Level::Unknown], "manifests: a file has nothing that could be checked"),
];

/// Every name once: alerts in display order, then the others.
#[must_use]
pub fn all() -> Vec<Check> {
    let mut all: Vec<Check> = Vec::new();
    for alert in ALERTS {
        let levels = alert.severities.iter().map(|grade| Level::Of(grade.severity));
        match all.iter_mut().find(|known| known.name == alert.name) {
            // One name whose severities have expressions of their own.
            Some(known) => known.levels.extend(levels),
            None => all.push(Check { name: alert.name, levels: levels.collect(), about: about(alert) }),
        }
    }
    all.extend(OWN.iter().map(|&Own { name, levels, about }| Check {
        name,
        levels: levels.to_vec(),
        about: about.to_owned(),
    }));
    all
}

/// The check of a name: case does not matter to who asks, nor the alerts' prefix. An error lists what there is.
pub fn find(asked: &str) -> Result<Check, String> {
    let mut all = all();
    let names: Vec<&str> = all.iter().map(|check| check.name).collect();
    let found = called(asked, names.iter().copied());
    match all.iter().position(|check| Some(check.name) == found) {
        Some(index) => Ok(all.swap_remove(index)),
        None => Err(format!("no check is called `{asked}`: use one of {}", names.join(", "))),
    }
}

/// The one of these names that is asked for.
#[must_use]
pub fn called<'n>(asked: &str, mut names: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    let bare = |name: &str| {
        let name = name.to_lowercase();
        name.strip_prefix(&PREFIX.to_lowercase()).unwrap_or(&name).to_owned()
    };
    let asked = bare(asked.trim());
    names.find(|name| bare(name) == asked)
}

/// The alert's summary as it is before anything has happened: a label stands for its value.
fn about(alert: &Alert) -> String {
    let mut text = String::new();
    for piece in alert.summary.replace("$NODE", "the node").split("{{") {
        let (action, rest) = piece.split_once("}}").unwrap_or(("", piece));
        if let Some(label) = action.trim().strip_prefix("$labels.") {
            text.extend(["<", label, ">"]);
        }
        text.push_str(rest);
    }
    text
}

#[cfg(test)]
mod tests {
    #![expect(clippy::disallowed_methods, reason = "tests read the sources")]

    use std::collections::BTreeSet;
    use std::path::{Path, PathBuf};

    use super::*;

    fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                sources(&path, found);
            } else if !["tests.rs", "testing.rs", "checks.rs"].iter().any(|name| path.ends_with(name)) {
                found.push(path);
            }
        }
    }

    /// The names that findings are given in a source.
    fn names(text: &str) -> impl Iterator<Item = &str> {
        let product = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        ["own(", "tell(", "finding(", "check: "].into_iter().flat_map(move |opening| {
            let arguments = product.match_indices(opening).map(move |(at, _)| &product[at + opening.len()..]);
            arguments.filter_map(|rest| Some(rest.trim_start().strip_prefix('"')?.split_once('"')?.0))
        })
    }

    #[test]
    fn every_name_that_a_source_gives_to_a_finding_is_listed_and_no_other() {
        let mut files = Vec::new();
        sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut files);
        let texts: Vec<_> = files.iter().map(|file| std::fs::read_to_string(file).unwrap()).collect();
        let given: BTreeSet<&str> = texts.iter().flat_map(|text| names(text)).collect();
        let listed: BTreeSet<&str> = OWN.iter().map(|own| own.name).collect();
        assert_eq!(given, listed);
        assert_eq!(listed.len(), OWN.len());
    }

    #[test]
    fn names_are_found_in_any_case_with_and_without_the_prefix() {
        let check = |asked: &str, expected: &str| assert_eq!(find(asked).unwrap().name, expected);
        check("ctmonstaleconnections", "CtmonStaleConnections");
        check("STALECONNECTIONS", "CtmonStaleConnections");
        check("CtmonLiveEvictions", "CtmonLiveEvictions");
        check("Per_CPU_LRU", "per_cpu_lru");
        check("ciliumkeyunknown", "CiliumKeyUnknown");
        let error = find("Foo").unwrap_err();
        for name in ["`Foo`", "CtmonMapFilling", "clock", "manifest"] {
            assert!(error.contains(name) && !error.contains('\n'), "{error}");
        }
    }

    #[test]
    fn each_is_listed_once_with_its_levels_and_one_line() {
        let all = all();
        let names: BTreeSet<_> = all.iter().map(|check| check.name).collect();
        assert_eq!(names.len(), all.len());
        let of = |name: &str| all.iter().find(|check| check.name == name).unwrap();
        assert_eq!(of("CtmonLiveEvictions").levels, [Level::WARNING, Level::CRITICAL]);
        assert_eq!(of("CtmonMapFull").about, "<map_name> on the node is nearly full");
        assert_eq!(of("CtmonDown").about, "ctmon is down on the node");
        for check in &all {
            assert!(!check.about.is_empty() && !check.about.contains(['\n', '{', '$']), "{check:?}");
            assert!(!check.levels.is_empty(), "{check:?}");
        }
    }
}
