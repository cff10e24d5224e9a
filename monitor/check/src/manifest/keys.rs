//! Keys of Cilium's chart and ConfigMap, and names of sysctls: those that exist, and those people write instead.
//!
//! In: a key. Out: what it should have been. Must not: list what only some versions know as wrong.
//!
//! The chart's `values.schema.json` allows further keys below `bpf`, so Helm accepts every one of these and the
//! templates ignore them: nothing is said anywhere. Keys as in Cilium 1.14 to 1.18, Documentation/helm-values.rst.

/// What somebody wrote, what does that, and which value of the ConfigMap it ends up in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WrongKey {
    /// A dotted path; a last part `*` stands for everything below.
    pub wrong: &'static str,
    pub right: &'static str,
}

const fn wrong(wrong: &'static str, right: &'static str) -> WrongKey {
    WrongKey { wrong, right }
}

/// Values of the chart that do nothing, and the ones that do; more exact ones come first.
pub const WRONG_VALUES: &[WrongKey] = &[
    wrong("bpf.mapMax.ct.tcp", "bpf.ctTcpMax"),
    wrong("bpf.mapMax.ct.any", "bpf.ctAnyMax"),
    wrong("bpf.mapMax.ctTcp", "bpf.ctTcpMax"),
    wrong("bpf.mapMax.ctAny", "bpf.ctAnyMax"),
    wrong("bpf.mapMax.nat", "bpf.natMax"),
    wrong("bpf.mapMax.neigh", "bpf.neighMax"),
    wrong("bpf.mapMax.policy", "bpf.policyMapMax"),
    wrong("bpf.mapMax.lb", "bpf.lbMapMax"),
    wrong("bpf.mapMax.*", "bpf.ctTcpMax, bpf.ctAnyMax, bpf.natMax"),
    wrong("bpf.ctGlobalTCPMax", "bpf.ctTcpMax"),
    wrong("bpf.ctGlobalTcpMax", "bpf.ctTcpMax"),
    wrong("bpf.ctGlobalAnyMax", "bpf.ctAnyMax"),
    wrong("bpf.natGlobalMax", "bpf.natMax"),
    wrong("bpf.ctTcpTimeout", "extraConfig.bpf-ct-timeout-regular-tcp"),
    wrong("bpf.ctTcpTimeoutSyn", "extraConfig.bpf-ct-timeout-regular-tcp-syn"),
    wrong("bpf.ctTcpTimeoutFin", "extraConfig.bpf-ct-timeout-regular-tcp-fin"),
    wrong("bpf.ctTcpTimeoutClose", "extraConfig.bpf-ct-timeout-regular-tcp-fin"),
    wrong("bpf.ctTcpTimeout.*", "extraConfig.bpf-ct-timeout-regular-tcp"),
    wrong("bpf.ctAnyTimeout", "extraConfig.bpf-ct-timeout-regular-any"),
    wrong("bpf.ctTimeout.*", "extraConfig.bpf-ct-timeout-regular-tcp and its friends"),
    wrong("bpf.ctServiceTcpTimeout", "extraConfig.bpf-ct-timeout-service-tcp"),
    wrong("bpf.ctServiceTimeout", "extraConfig.bpf-ct-timeout-service-tcp"),
    wrong("bpf.ctServiceAnyTimeout", "extraConfig.bpf-ct-timeout-service-any"),
    wrong("bpf.conntrackGCInterval", "conntrackGCInterval"),
    wrong("bpf.ctGCInterval", "conntrackGCInterval"),
    wrong("bpf.clockProbe", "bpfClockProbe"),
    wrong("bpf.bpfClockProbe", "bpfClockProbe"),
    wrong("conntrackGcInterval", "conntrackGCInterval"),
    wrong("conntrackGcMaxInterval", "conntrackGCMaxInterval"),
    wrong("ctTcpMax", "bpf.ctTcpMax"),
    wrong("ctAnyMax", "bpf.ctAnyMax"),
    wrong("natMax", "bpf.natMax"),
];

/// What the chart knows below `bpf`.
pub const BPF_VALUES: &[&str] = &[
    "authMapMax",
    "autoMount",
    "ctAccounting",
    "ctAnyMax",
    "ctTcpMax",
    "datapathMode",
    "disableExternalIPMitigation",
    "distributedLRU",
    "enableTCX",
    "events",
    "hostLegacyRouting",
    "lbAlgorithmAnnotation",
    "lbExternalClusterIP",
    "lbMapMax",
    "lbModeAnnotation",
    "lbSourceRangeAllTypes",
    "mapDynamicSizeRatio",
    "masquerade",
    "monitorAggregation",
    "monitorFlags",
    "monitorInterval",
    "monitorTraceIPOption",
    "natMax",
    "neighMax",
    "nodeMapMax",
    "policyMapMax",
    "policyMapPressureMetricsThreshold",
    "policyStatsMapMax",
    "preallocateMaps",
    "root",
    "tproxy",
    "vlanBypass",
];

/// Keys of the ConfigMap (and of `extraConfig`) that do nothing, and the ones that do.
pub const WRONG_CONFIG: &[WrongKey] = &[
    wrong("bpf-ct-tcp-max", "bpf-ct-global-tcp-max"),
    wrong("bpf-ct-any-max", "bpf-ct-global-any-max"),
    wrong("bpf-nat-max", "bpf-nat-global-max"),
    wrong("bpf-ct-timeout-tcp", "bpf-ct-timeout-regular-tcp"),
    wrong("bpf-ct-timeout-any", "bpf-ct-timeout-regular-any"),
    wrong("bpf-ct-timeout-tcp-syn", "bpf-ct-timeout-regular-tcp-syn"),
    wrong("bpf-ct-timeout-tcp-fin", "bpf-ct-timeout-regular-tcp-fin"),
    wrong("bpf-ct-timeout-regular-syn", "bpf-ct-timeout-regular-tcp-syn"),
    wrong("bpf-ct-timeout-regular-fin", "bpf-ct-timeout-regular-tcp-fin"),
    wrong("ct-gc-interval", "conntrack-gc-interval"),
    wrong("bpf-conntrack-gc-interval", "conntrack-gc-interval"),
    wrong("bpf-clock-probe", "enable-bpf-clock-probe"),
];

/// Sysctls that no kernel from 6.1 on has, and the ones that do what was meant.
pub const WRONG_SYSCTLS: &[WrongKey] = &[
    wrong("fs.file_max", "write fs.file-max"),
    wrong("fs.max-file", "write fs.file-max"),
    wrong("net.core.max_backlog", "write net.core.netdev_max_backlog"),
    wrong("net.core.tcp_max_syn_backlog", "write net.ipv4.tcp_max_syn_backlog"),
    wrong("net.ipv4.ip_conntrack_max", "remove it: it left the kernel with ip_conntrack"),
    wrong("net.ipv4.netdev_max_backlog", "write net.core.netdev_max_backlog"),
    wrong("net.ipv4.netfilter.ip_conntrack_max", "remove it: it left the kernel with ip_conntrack"),
    wrong("net.ipv4.somaxconn", "write net.core.somaxconn"),
    wrong("net.ipv4.tcp_keepalive_interval", "write net.ipv4.tcp_keepalive_intvl"),
    wrong("net.ipv4.tcp_keepalive_probe", "write net.ipv4.tcp_keepalive_probes"),
    wrong("net.ipv4.tcp_keepalive_timeout", "write net.ipv4.tcp_keepalive_time"),
    wrong("net.ipv4.tcp_max_backlog", "write net.ipv4.tcp_max_syn_backlog"),
    wrong("net.ipv4.tcp_tw_recycle", "remove it: it left the kernel with 4.12"),
    wrong("net.ipv6.tcp_*", "write it below net.ipv4: those of TCP are for both families"),
];

/// The value of the chart that sets this key of the ConfigMap; timeouts have none.
pub const VALUE_OF: &[(&str, &str)] = &[
    ("bpf-ct-global-tcp-max", "bpf.ctTcpMax"),
    ("bpf-ct-global-any-max", "bpf.ctAnyMax"),
    ("bpf-nat-global-max", "bpf.natMax"),
    ("bpf-map-dynamic-size-ratio", "bpf.mapDynamicSizeRatio"),
    ("bpf-distributed-lru", "bpf.distributedLRU.enabled"),
    ("bpf-conntrack-accounting", "bpf.ctAccounting"),
    ("enable-bpf-clock-probe", "bpfClockProbe"),
    ("enable-bpf-masquerade", "bpf.masquerade"),
    ("conntrack-gc-interval", "conntrackGCInterval"),
    ("conntrack-gc-max-interval", "conntrackGCMaxInterval"),
    ("monitor-aggregation-interval", "bpf.monitorInterval"),
];

/// The value of the chart beside the key of the ConfigMap: whoever wrote the one may not know the other.
#[must_use]
pub fn with_value(key: &str) -> String {
    match VALUE_OF.iter().find(|(known, _)| *known == key) {
        Some((_, value)) => format!("{key} (the chart's {value})"),
        None => key.to_owned(),
    }
}

/// What should have been written instead of this value of the chart.
#[must_use]
pub fn instead_of_value(path: &str) -> Option<&'static str> {
    find(WRONG_VALUES, path)
}

/// What should have been written instead of this key of the ConfigMap. A value of the chart is no key.
#[must_use]
pub fn instead_of_config(key: &str) -> Option<&'static str> {
    let misplaced = VALUE_OF.iter().find(|(_, value)| *value == key).map(|(right, _)| *right);
    misplaced.or_else(|| find(WRONG_CONFIG, key)).or_else(|| find(WRONG_VALUES, key))
}

/// What to do about a sysctl that no kernel has.
#[must_use]
pub fn instead_of_sysctl(name: &str) -> Option<&'static str> {
    find(WRONG_SYSCTLS, name)
}

fn find(table: &'static [WrongKey], path: &str) -> Option<&'static str> {
    let matches = |wrong: &str| match wrong.strip_suffix('*') {
        Some(above) => path.starts_with(above),
        None => path.eq_ignore_ascii_case(wrong) && !is_right(path),
    };
    table.iter().find(|entry| matches(entry.wrong)).map(|entry| entry.right)
}

/// Spellings that differ from a wrong one in case only.
fn is_right(path: &str) -> bool {
    VALUE_OF.iter().any(|(_, value)| *value == path)
}
