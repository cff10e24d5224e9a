//! Whether the kernel's own count of a map's entries is read: the decision, with its reason.
//!
//! In: probed facts. Out: yes or no, and why. Must not: probe, or know an errno or a kernel version.

use crate::eviction_plan::Trial;

/// What was probed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CountFacts {
    /// Whether the kernel's type information has the function that counts.
    pub function: bool,
    /// Whether it has the offset of a map's id.
    pub map_id: bool,
    /// Whether the program that asks loads and attaches.
    pub program: Trial,
}

/// Why the count is read or not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reason {
    Works,
    /// Not asked for: a command that shows entries needs no count.
    #[default]
    NotAsked,
    /// The kernel has no such function: it came with Linux 6.6.
    NoFunction,
    /// The kernel's type information lacks the offset of a map's id.
    NoOffsets,
    /// The program is refused.
    Refused,
}

/// The decision.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    pub reason: Reason,
    /// The kernel's message, where it refused; empty elsewhere.
    pub detail: String,
}

/// The count is read where everything it needs is there.
#[must_use]
pub fn decide(facts: &CountFacts) -> Plan {
    let CountFacts { function, map_id, program } = facts;
    let plan = |reason| Plan { reason, detail: String::new() };
    match program {
        _ if !function => plan(Reason::NoFunction),
        _ if !map_id => plan(Reason::NoOffsets),
        Trial::Works => plan(Reason::Works),
        Trial::Untried => plan(Reason::Refused),
        Trial::Refused(words) => Plan { reason: Reason::Refused, detail: words.clone() },
    }
}

impl Plan {
    #[must_use]
    pub fn works(&self) -> bool {
        self.reason == Reason::Works
    }

    /// Why there is no count, for people.
    #[must_use]
    pub fn words(&self) -> String {
        let text = self.reason.text();
        if self.detail.is_empty() { text.to_owned() } else { format!("{text}: {}", self.detail) }
    }
}

impl Reason {
    /// The word in a log.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Works => "works",
            Self::NotAsked => "not_asked",
            Self::NoFunction => "no_function",
            Self::NoOffsets => "no_offsets",
            Self::Refused => "refused",
        }
    }

    /// What it means, for people.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Works => "the kernel tells",
            Self::NotAsked => "nobody asked",
            Self::NoFunction => "this kernel has no bpf_map_sum_elem_count (Linux 6.6 and later do)",
            Self::NoOffsets => "the kernel's type information does not tell where the id of a map lies",
            Self::Refused => "the kernel refuses the program that asks",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_count_is_read_where_everything_it_needs_is_there() {
        let check = |function, map_id, program: Trial, expected: Reason, words: &str| {
            let plan = decide(&CountFacts { function, map_id, program });
            assert_eq!((plan.reason, plan.works()), (expected, expected == Reason::Works));
            assert!(plan.words().contains(words), "{plan:?}");
        };
        check(true, true, Trial::Works, Reason::Works, "tells");
        check(false, true, Trial::Untried, Reason::NoFunction, "6.6");
        check(true, false, Trial::Untried, Reason::NoOffsets, "id of a map");
        check(true, true, Trial::Refused("EPERM".to_owned()), Reason::Refused, "program that asks: EPERM");
        assert_eq!(Plan::default().words(), "nobody asked");
    }
}
