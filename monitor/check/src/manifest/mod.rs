//! What Kubernetes objects and Talos machine configurations say about storage and conntrack, and where that is not what one
//! believes.
//!
//! In: a [`Manifest`], what is expected, and what the kernel shows if anything does. Out: [`ManifestFinding`]s in
//! the order of the objects. Must not: read anything; or call a key wrong that another version of the chart has.

use std::collections::BTreeMap;
use std::time::Duration;

use monitor_config::{Bound, SysctlValue};
use monitor_model::host::mounts::{Family, Mount, missing_options};
use monitor_model::manifest::{Container, Manifest, Object, ObjectId, PersistentVolume};

use monitor_model::snapshot::SysctlState;

use crate::finding::Level;

mod cilium;
pub mod keys;
mod report;
mod talos;

pub use crate::manifest::report::{findings, of_all, reference};
pub use crate::manifest::talos::{sysctl_names, sysfs_names};

/// One thing to know about one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManifestFinding {
    /// `Kind namespace/name`, and the part of it: `container csi-provisioner`.
    pub object: String,
    pub check: &'static str,
    pub evidence: String,
    pub advice: String,
    pub severity: Level,
}

/// What the user expects, and what is really there. Everything may be unknown.
#[derive(Clone, Debug, Default)]
pub struct Reference<'a> {
    /// Options every mount of that family must have.
    pub mount_options: Vec<(Family, Vec<String>)>,
    /// Sizes the maps have now.
    pub ct_tcp_capacity: Option<u64>,
    pub ct_any_capacity: Option<u64>,
    pub nat_capacity: Option<u64>,
    /// Timeouts that were read from the maps' entries, by their key in Cilium's configuration.
    pub timeouts: BTreeMap<&'static str, Duration>,
    /// By how much those may differ from what is in force.
    pub timeout_tolerance: Duration,
    /// The node's mounts, to compare volumes with.
    pub mounts: &'a [Mount],
    /// What the configuration expects of sysctls.
    pub expected_sysctls: BTreeMap<String, Bound<SysctlValue>>,
    /// Where ctmon listens.
    pub ports: Vec<u16>,
    /// What the node has of what manifests set; `None`: there is no node.
    pub kernel: Option<&'a KernelParams>,
}

/// The kernel parameters of a node that manifests name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct KernelParams {
    pub sysctls: SysctlState,
    /// Files below `/sys` that this kernel has not.
    pub absent_sysfs: Vec<String>,
}

/// Every finding, in the order of the objects.
#[must_use]
pub fn manifest_findings(manifest: &Manifest, reference: &Reference<'_>) -> Vec<ManifestFinding> {
    let mut findings = Vec::new();
    for object in &manifest.objects {
        match object {
            Object::Workload { id, containers } => {
                for container in containers {
                    workload(id, container, &mut findings);
                }
            }
            Object::TridentBackendConfig { id, driver, limit_volume_size } => {
                if limit_volume_size.is_none() {
                    findings.push(backend_without_limit(id, driver.as_deref()));
                }
            }
            Object::PersistentVolume(volume) => persistent_volume(volume, reference, &mut findings),
            Object::CiliumConfig { id, data } => cilium::config(id, data, reference, &mut findings),
            Object::CiliumValues { id, values } => cilium::values(id, values, reference, &mut findings),
            Object::TridentOrchestrator { id, api_version, keys } => {
                findings.extend(orchestrator(id, api_version, keys));
            }
            Object::Machine(config) => talos::machine(config, reference, &mut findings),
        }
    }
    findings
}

/// Sidecars of a CSI driver that ask the API server at their own pace.
const SIDECARS: &[&str] =
    &["csi-provisioner", "csi-attacher", "csi-resizer", "csi-snapshotter", "csi-external-health-monitor"];

fn workload(id: &ObjectId, container: &Container, findings: &mut Vec<ManifestFinding>) {
    let object = format!("{id} container {}", container.name);
    let is_trident = id.name.contains("trident") || id.namespace.contains("trident");
    let is_sidecar = SIDECARS
        .iter()
        .any(|name| container.name.starts_with(name) || image_name(&container.image).starts_with(name));
    if is_trident && is_sidecar {
        let missing: Vec<&str> = ["--kube-api-qps", "--kube-api-burst"]
            .into_iter()
            .filter(|flag| !has_flag(&container.arguments, flag))
            .collect();
        if !missing.is_empty() {
            findings.push(ManifestFinding {
                object: object.clone(),
                check: "TridentApiRateLimit",
                evidence: format!("without {}: 5 requests per second, bursts of 10", missing.join(" and ")),
                advice:
                    "add --kube-api-qps=50 --kube-api-burst=100 to the sidecar's arguments: at the default \
                         pace it waits for itself (\"client rate limiter Wait returned an error\")"
                        .to_owned(),
                severity: Level::WARNING,
            });
        }
    }
    if !container.has_requests && !container.has_limits {
        findings.push(ManifestFinding {
            object,
            check: "ContainerWithoutResources",
            evidence: "neither requests nor limits".to_owned(),
            advice:
                "set resources.requests: under pressure this container is the first to starve or be evicted"
                    .to_owned(),
            severity: if is_trident { Level::WARNING } else { Level::INFO },
        });
    }
}

/// `registry/path/name:tag@digest` without all but the name.
fn image_name(image: &str) -> &str {
    let name = image.rsplit('/').next().unwrap_or(image);
    name.split([':', '@']).next().unwrap_or(name)
}

/// `--flag=1`, `--flag 1`, and with a single dash, as Go's flag package reads them.
fn has_flag(arguments: &[String], flag: &str) -> bool {
    let bare = flag.trim_start_matches('-');
    arguments.iter().any(|argument| {
        let name = argument.split_once('=').map_or(argument.as_str(), |(name, _)| name);
        name.starts_with('-') && name.trim_start_matches('-') == bare
    })
}

fn backend_without_limit(id: &ObjectId, driver: Option<&str>) -> ManifestFinding {
    ManifestFinding {
        object: id.to_string(),
        check: "TridentBackendWithoutLimit",
        evidence: format!("no limitVolumeSize (driver {})", driver.unwrap_or("not named")),
        advice: "set spec.limitVolumeSize: one claim with a typing error can take the whole pool".to_owned(),
        severity: Level::WARNING,
    }
}

/// QNAP's operator keeps what the one of `NetApp` has fields for, and reads none of it.
fn orchestrator(id: &ObjectId, api_version: &str, keys: &[String]) -> Option<ManifestFinding> {
    const NETAPPS: &[&str] = &["resources", "k8sAPIQPS"];
    let is_ignored =
        |key: &&String| NETAPPS.contains(&key.as_str()) || key.to_lowercase().contains("sidecar");
    let ignored: Vec<&str> = keys.iter().filter(is_ignored).map(String::as_str).collect();
    (api_version.contains("qnap") && !ignored.is_empty()).then(|| ManifestFinding {
        object: id.to_string(),
        check: "TridentKeyIgnored",
        evidence: format!("{} below spec: accepted by QNAP's schema and read by nobody", ignored.join(", ")),
        advice:
            "set them on the controller's Deployment on its way into the API server: deploy/tuning/trident"
                .to_owned(),
        severity: Level::WARNING,
    })
}

fn persistent_volume(
    volume: &PersistentVolume,
    reference: &Reference<'_>,
    findings: &mut Vec<ManifestFinding>,
) {
    let Some(family) = volume.family else { return };
    let expected = reference.mount_options.iter().filter(|(of, _)| *of == family);
    let missing: Vec<&str> = expected
        .flat_map(|(_, options)| options)
        .filter(|option| !volume.mount_options.contains(option))
        .map(String::as_str)
        .collect();
    if !missing.is_empty() {
        findings.push(ManifestFinding {
            object: volume.id.to_string(),
            check: "VolumeMountOptions",
            evidence: format!("mountOptions lack {}", missing.join(", ")),
            advice: "add them to the StorageClass for new volumes; a PersistentVolume that exists must be \
                     re-created to get them"
                .to_owned(),
            severity: Level::WARNING,
        });
    }
    for mount in reference.mounts.iter().filter(|mount| is_mount_of(mount, &volume.id.name)) {
        let differences = missing_options(mount, &volume.mount_options);
        if differences.is_empty() {
            continue;
        }
        let missing: Vec<String> = differences
            .iter()
            .map(|difference| match &difference.found {
                Some(found) => format!("{} (in force: {found})", difference.expected),
                None => difference.expected.clone(),
            })
            .collect();
        findings.push(ManifestFinding {
            object: volume.id.to_string(),
            check: "VolumeMountedOtherwise",
            evidence: format!("{} is mounted without {}", mount.mount_point, missing.join(", ")),
            advice:
                "mountOptions are read when the volume is mounted: restart the pods that use it; where the \
                     driver keeps its own copy, re-create the PersistentVolume"
                    .to_owned(),
            severity: Level::WARNING,
        });
        // The bind mounts of further pods share the superblock, and with it the difference.
        break;
    }
}

/// The kubelet mounts a volume below a folder of its name.
fn is_mount_of(mount: &Mount, volume: &str) -> bool {
    !volume.is_empty() && mount.mount_point.split('/').any(|part| part == volume)
}

#[cfg(test)]
mod tests;
