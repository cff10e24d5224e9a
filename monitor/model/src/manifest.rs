//! Kubernetes objects, as far as they concern storage or conntrack.
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
