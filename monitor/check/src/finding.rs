//! A finding: what is wrong or worth knowing, with the node's own numbers and what to do.
//!
//! In: words. Out: [`Finding`], plain data. Must not: decide what is found.

use monitor_model::alert::Severity;

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The alert's name, or a name of its own in the same style.
    pub check: String,
    pub level: Level,
    /// Empty where it does not apply.
    pub map_name: String,
    /// Empty where it does not apply.
    pub target: String,
    /// The numbers behind it.
    pub evidence: String,
    /// What to do; empty where nothing needs to be done.
    pub advice: String,
}

/// How much a finding weighs; what is unknown weighs most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Level {
    Of(Severity),
    /// Something is unknown.
    Unknown,
}

impl Level {
    /// Worth knowing; no finding in the sense of the exit code.
    pub const INFO: Self = Self::Of(Severity::Info);
    pub const WARNING: Self = Self::Of(Severity::Warning);
    pub const CRITICAL: Self = Self::Of(Severity::Critical);

    /// The word users see.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Of(severity) => severity.name(),
            Self::Unknown => "unknown",
        }
    }
}

pub(crate) fn own(check: &str, level: Level, evidence: &str, advice: &str) -> Finding {
    Finding {
        check: check.to_owned(),
        level,
        map_name: String::new(),
        target: String::new(),
        evidence: evidence.to_owned(),
        advice: advice.to_owned(),
    }
}

pub(crate) fn format_number(value: f64) -> String {
    if value.fract() == 0.0 { format!("{value:.0}") } else { format!("{value:.2}") }
}
