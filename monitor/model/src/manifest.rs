//! Kubernetes objects and Talos machine configurations, as far as they concern storage or conntrack.
//!
//! In: nothing. Out: plain data. Must not: hold values that may be secret.

use std::collections::BTreeMap;
use std::fmt;

use crate::host::mounts::Family;

/// `Kind namespace/name`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct ObjectId {
    pub kind: String,
    /// Empty for objects of the cluster.
    pub namespace: String,
    pub name: String,
}

impl fmt::Display for ObjectId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.namespace.as_str() {
            "" => write!(formatter, "{} {}", self.kind, self.name),
            namespace => write!(formatter, "{} {namespace}/{}", self.kind, self.name),
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Container {
    pub name: String,
    pub image: String,
    /// `command` and `args`, in this order.
    pub arguments: Vec<String>,
    pub has_requests: bool,
    pub has_limits: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Object {
    /// A pod or what makes pods.
    Workload {
        id: ObjectId,
        containers: Vec<Container>,
    },
    TridentBackendConfig {
        id: ObjectId,
        driver: Option<String>,
        limit_volume_size: Option<String>,
    },
    /// What tells Trident's operator how to install it, with the keys below `spec`.
    TridentOrchestrator {
        id: ObjectId,
        /// `trident.qnap.io/v1`, `trident.netapp.io/v1`.
        api_version: String,
        keys: Vec<String>,
    },
    PersistentVolume(PersistentVolume),
    /// Cilium's ConfigMap.
    CiliumConfig {
        id: ObjectId,
        data: BTreeMap<String, String>,
    },
    /// Values for Cilium's chart, flattened: `bpf.ctTcpMax` to its text.
    CiliumValues {
        id: ObjectId,
        values: BTreeMap<String, String>,
    },
    /// A document or a patch of Talos.
    Machine(Box<MachineConfig>),
}

/// What one document or patch of a Talos machine configuration sets; what it leaves alone is empty or `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MachineConfig {
    pub id: ObjectId,
    /// The machine's whole configuration: what it does not set is Talos's default.
    pub whole: bool,
    pub sysctls: Vec<KernelParam>,
    pub sysfs: Vec<KernelParam>,
    /// Modules with their parameters.
    pub modules: Vec<(String, Vec<String>)>,
    pub kubelet: Kubelet,
    pub proxy: Proxy,
    /// The name of the network plugin that Talos installs.
    pub cni: Option<String>,
    /// What is let in where the ingress firewall blocks.
    pub rule: Option<IngressRule>,
    /// `accept` or `block`.
    pub default_ingress: Option<String>,
}

/// A value for a file below `/proc/sys` or `/sys`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KernelParam {
    pub name: String,
    pub value: Written,
}

/// How a value stands in the file: Talos wants text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Written {
    Text(String),
    /// A whole number without quotes.
    Whole(String),
    /// `true`, or a number that is not written as the kernel reads it.
    Other(String),
    Nothing,
    /// A list or a mapping.
    Compound,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kubelet {
    pub extra_args: Vec<String>,
    /// Keys of `extraConfig`.
    pub extra_config: Vec<String>,
    pub extra_mounts: Vec<ExtraMount>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExtraMount {
    pub destination: String,
    pub options: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proxy {
    pub disabled: Option<bool>,
    pub extra_args: Vec<String>,
}

/// A rule of Talos's ingress firewall.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IngressRule {
    /// First and last of each range.
    pub ports: Vec<(u16, u16)>,
    pub protocol: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PersistentVolume {
    pub id: ObjectId,
    /// `None`: neither SMB nor NFS, or unknown.
    pub family: Option<Family>,
    pub mount_options: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Manifest {
    pub objects: Vec<Object>,
    /// Objects that concern neither.
    pub other: usize,
}
