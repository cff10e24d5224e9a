//! The formats that verbs print in.
//!
//! In: the word after `-o`. Out: one format, and which maps it shows.
//! Must not: write anything.

use clap::ValueEnum;
use clap::builder::PossibleValue;
use monitor_model::map_name::MapName;
use monitor_output::cilium::Dialect;

/// A format for entries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EntryFormat {
    #[default]
    Table,
    Json,
    Cilium(Dialect),
}

impl ValueEnum for EntryFormat {
    fn value_variants<'a>() -> &'a [Self] {
        &[Self::Table, Self::Json, Self::Cilium(Dialect::V1_18), Self::Cilium(Dialect::V1_16)]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        let (name, help) = match self {
            Self::Table => ("table", "Aligned columns"),
            Self::Json => ("json", "One object per line"),
            Self::Cilium(Dialect::V1_18) => (
                "cilium",
                "Byte for byte what the command line of Cilium 1.18 prints: the node's own maps, not per-cluster ones",
            ),
            Self::Cilium(Dialect::V1_16) => (
                "cilium-1.16",
                "The same as 1.16 and 1.17 print it, with IfIndex; there is no form for 1.14 and 1.15",
            ),
        };
        Some(PossibleValue::new(name).help(help))
    }
}

impl EntryFormat {
    /// Whether these are lines of Cilium's own command line, of whatever version.
    pub(crate) const fn is_cilium(self) -> bool {
        matches!(self, Self::Cilium(_))
    }

    /// Whether a map is listed: Cilium's `global` means the node's own ones; others only where they are named.
    pub(crate) fn lists(self, map: &MapName, named: bool) -> bool {
        !self.is_cilium() || named || map.is_global()
    }
}

/// A format for reports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ReportFormat {
    /// Aligned columns
    #[default]
    Table,
    /// One object per line
    Json,
}
