//! What Cilium's conntrack and NAT maps are called, and what they hold.
//!
//! In: nothing. Out: [`MapName`], and why a map that exists cannot be read. Must not: look whether there is such a map.
//!
//! Names and shapes: <https://github.com/cilium/cilium/blob/v1.18.0/pkg/maps/ctmap/ctmap.go>,
//! <https://github.com/cilium/cilium/blob/v1.18.0/pkg/maps/nat/nat.go>.

use std::fmt;
use std::path::{Path, PathBuf};

/// Where Cilium pins its maps, below the bpffs root.
pub const GLOBALS: &str = "tc/globals";

/// Per-cluster maps read at the most.
pub const MAX_PER_CLUSTER: usize = 32;

/// Which program fits a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Shape {
    Ct4,
    Ct6,
    Nat4,
    Nat6,
}

/// What a map holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Table {
    CtTcp,
    CtAny,
    Nat,
}

/// One map ctmon knows: its name as the label `map_name`, and what it should look like.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MapName {
    /// The pin's name without `cilium_`.
    pub name: String,
    pub table: Table,
    pub v6: bool,
}

/// Why a pin that exists cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MapProblem {
    pub reason: ProblemReason,
    /// One line with what was expected and found.
    pub detail: String,
}

/// The label `reason` of `ctmon_map_problem`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ProblemReason {
    /// Another map type than LRU hash.
    Type,
    /// Other key or value sizes.
    Layout,
    /// The kernel refused to open it.
    Refused,
    /// It opened, but could not be walked.
    Scan,
}

/// The six maps of a node, in display order.
#[must_use]
pub fn global_maps() -> Vec<MapName> {
    [
        ("ct4_global", Table::CtTcp, false),
        ("ct_any4_global", Table::CtAny, false),
        ("ct6_global", Table::CtTcp, true),
        ("ct_any6_global", Table::CtAny, true),
        ("snat_v4_external", Table::Nat, false),
        ("snat_v6_external", Table::Nat, true),
    ]
    .into_iter()
    .map(|(name, table, v6)| MapName { name: name.to_owned(), table, v6 })
    .collect()
}

/// A per-cluster inner map by its pin name; `None` for anything else, the outer maps included.
#[must_use]
pub fn per_cluster_map(pin: &str) -> Option<MapName> {
    const OUTER: [(&str, Table, bool); 6] = [
        ("per_cluster_ct_tcp4_", Table::CtTcp, false),
        ("per_cluster_ct_any4_", Table::CtAny, false),
        ("per_cluster_ct_tcp6_", Table::CtTcp, true),
        ("per_cluster_ct_any6_", Table::CtAny, true),
        ("per_cluster_snat_v4_external_", Table::Nat, false),
        ("per_cluster_snat_v6_external_", Table::Nat, true),
    ];
    let name = pin.strip_prefix("cilium_")?;
    OUTER.iter().find_map(|&(outer, table, v6)| {
        let cluster: u32 = name.strip_prefix(outer)?.parse().ok()?;
        // The canonical spelling only, so that two pins never share a name.
        (format!("{outer}{cluster}") == name).then(|| MapName { name: name.to_owned(), table, v6 })
    })
}

impl MapName {
    #[must_use]
    pub fn shape(&self) -> Shape {
        match (self.table, self.v6) {
            (Table::Nat, false) => Shape::Nat4,
            (Table::Nat, true) => Shape::Nat6,
            (_, false) => Shape::Ct4,
            (_, true) => Shape::Ct6,
        }
    }

    #[must_use]
    pub fn is_conntrack(&self) -> bool {
        self.table != Table::Nat
    }

    /// The map of this name; `None` for a name that no map of Cilium's has.
    #[must_use]
    pub fn of(name: &str) -> Option<Self> {
        let own = global_maps().into_iter().find(|map| map.name == name);
        own.or_else(|| per_cluster_map(&format!("cilium_{name}")))
    }

    /// For messages: the name with what the configuration and Cilium's Helm values call its size.
    #[must_use]
    pub fn with_aliases(&self) -> String {
        format!("{} ({}, {})", self.name, self.table.name(), self.table.helm_value())
    }

    /// Whether it is one of the node's own maps, not the inner map of another cluster.
    #[must_use]
    pub fn is_global(&self) -> bool {
        !self.name.starts_with("per_cluster_")
    }

    /// The pin's path.
    #[must_use]
    pub fn path(&self, bpffs: &Path) -> PathBuf {
        bpffs.join(GLOBALS).join(format!("cilium_{}", self.name))
    }
}

impl fmt::Display for MapName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.name)
    }
}

impl Table {
    /// Every table, in display order.
    pub const ALL: &[Self] = &[Self::CtTcp, Self::CtAny, Self::Nat];

    /// Cilium's Helm value for the size of these maps.
    #[must_use]
    pub const fn helm_value(self) -> &'static str {
        match self {
            Self::CtTcp => "bpf.ctTcpMax",
            Self::CtAny => "bpf.ctAnyMax",
            Self::Nat => "bpf.natMax",
        }
    }

    /// For messages: what these maps are called elsewhere, as pins and in Cilium's Helm values.
    #[must_use]
    pub fn aliases(self) -> String {
        let maps = global_maps().into_iter().filter(|map| map.table == self).map(|map| map.name);
        maps.chain([self.helm_value().to_owned()]).collect::<Vec<_>>().join(", ")
    }

    /// The word in the configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::CtTcp => "ct_tcp",
            Self::CtAny => "ct_any",
            Self::Nat => "nat",
        }
    }
}

impl Shape {
    /// Key and value size in bytes.
    #[must_use]
    pub const fn sizes(self) -> (usize, usize) {
        use monitor_abi::cilium::{CtEntry, NatEntryV4, NatEntryV6, TupleV4, TupleV6};
        match self {
            Self::Ct4 => (size_of::<TupleV4>(), size_of::<CtEntry>()),
            Self::Ct6 => (size_of::<TupleV6>(), size_of::<CtEntry>()),
            Self::Nat4 => (size_of::<TupleV4>(), size_of::<NatEntryV4>()),
            Self::Nat6 => (size_of::<TupleV6>(), size_of::<NatEntryV6>()),
        }
    }
}

/// For messages: the name of a map with its aliases; as it is where no map is called so.
#[must_use]
pub fn with_aliases(name: &str) -> String {
    MapName::of(name).map_or_else(|| name.to_owned(), |map| map.with_aliases())
}

impl ProblemReason {
    /// Every reason, in display order.
    pub const ALL: &[Self] = &[Self::Type, Self::Layout, Self::Refused, Self::Scan];

    /// The label value.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Type => "type",
            Self::Layout => "layout",
            Self::Refused => "refused",
            Self::Scan => "scan",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_is_told_by_all_its_names() {
        let check = |name: &str, expected: &str| assert_eq!(with_aliases(name), expected);
        check("ct4_global", "ct4_global (ct_tcp, bpf.ctTcpMax)");
        check("ct_any6_global", "ct_any6_global (ct_any, bpf.ctAnyMax)");
        check("per_cluster_snat_v4_external_3", "per_cluster_snat_v4_external_3 (nat, bpf.natMax)");
        check("ct9_global", "ct9_global");
        assert_eq!(Table::CtTcp.aliases(), "ct4_global, ct6_global, bpf.ctTcpMax");
    }
}
