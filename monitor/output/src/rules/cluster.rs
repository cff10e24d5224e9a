//! Alerts on the storage driver and Cilium as Kubernetes sees them: series of kube-state-metrics and cAdvisor.
//!
//! The Trident of `NetApp` and the one QNAP made of it share the names that stand here: Deployment `trident-controller`,
//! container `trident-main`, node pods `trident-node-linux`. The label `app` of their pods and what else the controller runs
//! differ, so that nothing matches by those. Both charts go into any namespace; the one both manuals name is `trident`.
//!
//! In: nothing. Out: [`ALERTS`].
//! Must not: use a series of ctmon, which knows nodes and asks no Kubernetes API. Thresholds stand in the expressions
//! for that reason: no exporter of ours could send them.

use std::time::Duration;

use monitor_model::alert::Severity;

/// One alert about pods.
#[derive(Debug)]
pub struct ClusterAlert {
    /// Also the name of the runbook's page.
    pub name: &'static str,
    pub severity: Severity,
    pub hold: Duration,
    /// `PromQL`; `$cluster` is the label that tells clusters apart: whatever else the scrapes add, it stays.
    pub expr: &'static str,
    pub summary: &'static str,
    pub description: &'static str,
}

/// Every alert, in display order.
pub const ALERTS: &[ClusterAlert] = &[
    ClusterAlert {
        name: "CtmonTridentMemoryHigh",
        severity: Severity::Warning,
        hold: Duration::from_secs(15 * 60),
        expr: r#"max by($cluster, namespace, pod, container)(container_memory_working_set_bytes{namespace=~".*trident.*",pod=~"trident-controller-.+",container!="",container!="POD"})
/ on($cluster, namespace, pod, container) max by($cluster, namespace, pod, container)(kube_pod_container_resource_limits{resource="memory",namespace=~".*trident.*",pod=~"trident-controller-.+"})
> 0.9"#,
        summary: "the storage controller is close to its memory limit",
        description: "{{ $labels.container }} of {{ $labels.pod }} uses {{ $value | humanizePercentage }} of its memory limit. At the limit it is killed in the middle of an attach or a resize, which then waits for its time-out.",
    },
    ClusterAlert {
        name: "CtmonTridentMemoryUnlimited",
        severity: Severity::Info,
        hold: Duration::from_secs(60 * 60),
        expr: r#"max by($cluster, namespace, pod, container)(kube_pod_container_info{namespace=~".*trident.*",pod=~"trident-controller-.+"})
unless on($cluster, namespace, pod, container) kube_pod_container_resource_limits{resource="memory",namespace=~".*trident.*"}"#,
        summary: "the storage controller has no memory limit",
        description: "{{ $labels.container }} of {{ $labels.pod }} has no memory limit: a leak ends with the node under pressure instead of one restarted container. The operator undoes a patch of the Deployment: see the runbook for what survives.",
    },
    ClusterAlert {
        name: "CtmonTridentReplicaSets",
        severity: Severity::Warning,
        hold: Duration::from_secs(15 * 60),
        expr: r#"count by($cluster, namespace)(max by($cluster, namespace, replicaset)(kube_replicaset_spec_replicas{namespace=~".*trident.*",replicaset=~"trident-controller-.+"}) > 0) > 1"#,
        summary: "more than one storage controller is wanted",
        description: "{{ $value }} ReplicaSets of trident-controller in {{ $labels.namespace }} want pods, for longer than a rollout takes: two controllers attach and detach the same volumes.",
    },
    ClusterAlert {
        name: "CtmonPodNotReady",
        severity: Severity::Critical,
        hold: Duration::from_secs(10 * 60),
        expr: r#"(max by($cluster, namespace, pod)(kube_pod_status_ready{namespace=~".*trident.*|kube-system",pod=~"(trident|cilium)-.+",condition="true"}) == 0)
unless on($cluster, namespace, pod) kube_pod_status_phase{phase="Succeeded"} == 1"#,
        summary: "a pod of the network or the storage is not ready",
        description: "{{ $labels.namespace }}/{{ $labels.pod }} has not been ready for 10 minutes: its node has no working network agent, or volumes are neither attached nor mounted.",
    },
];
