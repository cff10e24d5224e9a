//! Recording rules: what a whole cluster, or several, look like in one series each.
//!
//! In: nothing. Out: [`RECORDS`].
//! Must not: name the labels that stay: whoever adds `cluster` to the scrape or as an external label finds it on the result.

/// A series computed from others.
#[derive(Debug)]
pub(super) struct Record {
    /// `level:metric:operations`, as Prometheus recommends.
    pub(super) name: &'static str,
    /// `PromQL`; `$NODE` stands for the labels that tell one node's series from another's, `$POD` for those that tell an
    /// agent's from its predecessor's on the same node: of the two, one counts.
    pub(super) expr: &'static str,
}

/// What a scrape says of the node, and below of the pod, and nothing else: everything that is in neither stays, `job` too.
/// Two jobs that scrape the same agents are two results, each of them right.
const NODE_LABELS: &str = "instance, node";
const POD_LABELS: &str = "pod, container, endpoint";

impl Record {
    pub(super) fn expression(&self) -> String {
        self.expr.replace("$NODE", NODE_LABELS).replace("$POD", POD_LABELS)
    }
}

/// Every recording rule, in display order.
pub(super) const RECORDS: &[Record] = &[
    Record {
        name: "cluster:ctmon_nodes:count",
        expr: "count without($NODE)(max without($POD, version, revision)(ctmon_build_info))",
    },
    Record {
        name: "cluster:ctmon_conntrack_entries:sum",
        expr: r#"sum without($NODE, map_name)(max without($POD)(ctmon_map_entries{map_name=~"(per_cluster_)?ct.*"}))"#,
    },
    Record {
        name: "cluster:ctmon_conntrack_expired_entries:sum",
        expr: r#"sum without($NODE, map_name, direction, state, expired)(max without($POD)(ctmon_ct_entries{expired="true"}))"#,
    },
    // Of the fullest node: an average hides the one that evicts.
    Record {
        name: "cluster:ctmon_map_fill_ratio:max",
        expr: "max without($NODE, $POD)(ctmon_map_entries / ctmon_map_capacity)",
    },
    Record {
        name: "cluster:ctmon_target_stale_entries:sum",
        expr: "sum without($NODE, target_service)(max without($POD)(ctmon_target_stale_entries))",
    },
    // Rates before sums: a restarted agent's counter must not look like a jump of the whole cluster.
    Record {
        name: "cluster:ctmon_live_evictions:rate5m",
        expr: r#"sum without($NODE, $POD, map_name, state, expired)(rate(ctmon_evictions_total{expired="false"}[5m]))"#,
    },
    Record {
        name: "cluster:ctmon_target_live_evictions:rate5m",
        expr: r#"sum without($NODE, $POD, target_service, state, expired)(rate(ctmon_target_evictions_total{expired="false"}[5m]))"#,
    },
];
