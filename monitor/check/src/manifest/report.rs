//! Manifests as `ctmon check` reports on them.
//!
//! In: what is expected and, if there is one, the node's snapshot; what was found wrong with a manifest. Out: the
//! [`Reference`] and [`Finding`]s. Must not: compare with what is unknown.

use std::net::SocketAddr;

use monitor_config::Settings;
use monitor_model::host::mounts::Mount;
use monitor_model::map_name::Table;
use monitor_model::snapshot::{Snapshot, TimeoutSource};

use super::{KernelParams, Manifest, ManifestFinding, Reference, manifest_findings, talos};
use crate::finding::own;
use crate::{Finding, Level};

/// What manifests are compared with.
#[must_use]
pub fn reference<'a>(
    settings: &Settings,
    snapshot: Option<&Snapshot>,
    mounts: &'a [Mount],
    kernel: Option<&'a KernelParams>,
) -> Reference<'a> {
    let expected = Reference {
        mount_options: settings.expect.mount_options.clone().into_iter().collect(),
        expected_sysctls: settings.expect.sysctls.clone(),
        ports: settings.listen.iter().map(SocketAddr::port).collect(),
        kernel,
        ..Reference::default()
    };
    let Some(snapshot) = snapshot else { return expected };
    let capacity = |table: Table| {
        let mut present = snapshot.present().filter(|(map, _)| map.map.table == table);
        present.next().map(|(_, present)| u64::from(present.capacity))
    };
    Reference {
        ct_tcp_capacity: capacity(Table::CtTcp),
        ct_any_capacity: capacity(Table::CtAny),
        nat_capacity: capacity(Table::Nat),
        timeouts: snapshot
            .timeouts
            .iter()
            .filter(|fact| fact.source == TimeoutSource::Entries)
            .map(|fact| (fact.class.cilium_key(), fact.value))
            .collect(),
        timeout_tolerance: snapshot.timeout_tolerance(),
        mounts,
        ..expected
    }
}

/// What is wrong with the objects of one file; that it has none that matter could be a mistake, and is told.
#[must_use]
pub fn findings(path: &str, manifest: &Manifest, reference: &Reference<'_>) -> Vec<Finding> {
    if manifest.objects.is_empty() {
        let evidence = format!(
            "{path}: none of its {} objects says anything about storage or conntrack",
            manifest.other
        );
        let advice = "give workloads, TridentBackendConfigs, PersistentVolumes, the ConfigMap cilium-config or the \
                      values of Cilium's chart, Talos machine configurations";
        return vec![own("manifest", Level::Unknown, &evidence, advice)];
    }
    manifest_findings(manifest, reference).into_iter().map(finding).collect()
}

/// What only all files together show.
#[must_use]
pub fn of_all(manifests: &[Manifest], reference: &Reference<'_>) -> Option<Finding> {
    talos::closed_port(manifests, reference).map(finding)
}

fn finding(found: ManifestFinding) -> Finding {
    let ManifestFinding { object, check, evidence, advice, severity } = found;
    own(check, severity, &format!("{object}: {evidence}"), &advice)
}

#[cfg(test)]
mod tests {
    use monitor_decode::manifest::parse_manifest;

    use monitor_model::host::mounts::Family;

    use super::*;

    #[test]
    fn a_finding_names_its_object_and_a_file_without_any_could_not_be_told() {
        let check = |text: &str, expected: &[(&str, Level, &str)]| {
            let manifest = parse_manifest(text.as_bytes()).unwrap();
            let found = findings("f.yaml", &manifest, &Reference::default());
            let found: Vec<_> = found
                .iter()
                .map(|finding| (finding.check.as_str(), finding.level, finding.evidence.as_str()))
                .collect();
            assert_eq!(found, expected, "{text}");
        };
        check(
            "kind: TridentBackendConfig\nmetadata: {name: qts, namespace: trident}\nspec: {}",
            &[(
                "TridentBackendWithoutLimit",
                Level::WARNING,
                "TridentBackendConfig trident/qts: no limitVolumeSize (driver not named)",
            )],
        );
        check(
            "kind: Namespace\nmetadata: {name: a}",
            &[(
                "manifest",
                Level::Unknown,
                "f.yaml: none of its 1 objects says anything about storage or conntrack",
            )],
        );
    }

    #[test]
    fn expected_mount_options_are_what_volumes_are_compared_with() {
        let mut settings = crate::testing::defaults();
        settings.expect.mount_options.insert(Family::CIFS, vec!["noatime".to_owned()]);
        let reference = reference(&settings, None, &[], None);
        assert_eq!(reference.mount_options, [(Family::CIFS, vec!["noatime".to_owned()])]);
        assert_eq!((reference.ct_tcp_capacity, reference.timeouts.len()), (None, 0));
    }
}
