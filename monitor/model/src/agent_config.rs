//! The configuration of Cilium's agent, as far as it concerns conntrack and NAT.
//!
//! In: nothing; the decoder fills it. Out: [`AgentConfig`], with the values the agent would not understand.
//! Must not: fill in a default: they differ between versions, and the maps tell what is in force.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::timeouts::TimeoutClass;

#[derive(Clone, Debug, Default, PartialEq)]
pub struct AgentConfig {
    /// Those that are set.
    pub ct_timeouts: BTreeMap<TimeoutClass, Duration>,
    /// Zero: adaptive, from 5 minutes up to 12 hours.
    pub gc_interval: Option<Duration>,
    /// Zero: no cap.
    pub gc_max_interval: Option<Duration>,
    pub ct_tcp_max: Option<u64>,
    pub ct_any_max: Option<u64>,
    pub nat_max: Option<u64>,
    /// Sizes follow the node's memory, except those set explicitly.
    pub map_dynamic_size_ratio: Option<f64>,
    pub distributed_lru: Option<bool>,
    /// Conntrack times may be jiffies instead of seconds.
    pub clock_probe: Option<bool>,
    pub bpf_masquerade: Option<bool>,
    pub conntrack_accounting: Option<bool>,
    pub monitor_aggregation_interval: Option<Duration>,
    pub enable_ipv4: Option<bool>,
    pub enable_ipv6: Option<bool>,
    /// Keys whose value is not what the agent expects there; it refuses to start with some, ignores others.
    pub invalid: Vec<InvalidValue>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidValue {
    pub key: &'static str,
    pub value: String,
    pub expected: &'static str,
}
