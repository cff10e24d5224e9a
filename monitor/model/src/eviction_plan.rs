//! How evictions are watched: the decision, with its reason.
//!
//! In: probed facts, what the configuration asks for. Out: a mode and why it is this one.
//! Must not: probe, or know an errno or a kernel version.

/// What the configuration asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Choice {
    /// The most that works.
    #[default]
    Auto,
    /// Victims with state and target.
    Full,
    /// Their number only.
    Count,
    Off,
}

/// What was probed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EvictionFacts {
    /// Whether the kernel's type information has the function that evicts.
    pub function: bool,
    /// Bytes from an element's LRU node to its key, by the same information.
    pub key_offset: Option<u32>,
    /// Whether the program that reads victims loads and attaches.
    pub full: Trial,
    /// Whether the one that only counts does.
    pub count: Trial,
}

/// How trying a program went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Trial {
    #[default]
    Untried,
    Works,
    /// With the kernel's message.
    Refused(String),
}

/// How evictions are watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Victims by map, state, expiry and target.
    Full,
    /// Their number by map.
    Count,
    Off,
}

/// Why this mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Nothing is missing.
    Works,
    /// The configuration says so.
    Config,
    /// The program that reads kernel memory is refused: the kernel is locked down.
    MemoryRefused,
    /// The kernel's type information lacks the offset of an element's key.
    NoOffsets,
    /// The kernel's type information lacks the function, or the compiler inlined it.
    NoFunction,
    /// Tracing programs are refused.
    TracingRefused,
}

/// The decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    pub mode: Mode,
    pub reason: Reason,
    /// The kernel's message, where it refused; empty elsewhere.
    pub detail: String,
}

impl Default for Plan {
    /// Off until something else is decided.
    fn default() -> Self {
        Self { mode: Mode::Off, reason: Reason::Config, detail: String::new() }
    }
}

/// The most that works, at most what is asked for.
#[must_use]
pub fn decide(facts: &EvictionFacts, choice: Choice) -> Plan {
    let EvictionFacts { function, key_offset, full, count } = facts;
    let plan = |mode, reason| Plan { mode, reason, detail: String::new() };
    let refused = |mode, reason, trial: &Trial| Plan { mode, reason, detail: trial.words() };
    if choice == Choice::Off {
        return plan(Mode::Off, Reason::Config);
    }
    if !function {
        return plan(Mode::Off, Reason::NoFunction);
    }
    let wants_full = matches!(choice, Choice::Auto | Choice::Full);
    if wants_full && key_offset.is_some() && *full == Trial::Works {
        return plan(Mode::Full, if choice == Choice::Auto { Reason::Works } else { Reason::Config });
    }
    match (count, choice, key_offset) {
        (Trial::Works, Choice::Count, _) => plan(Mode::Count, Reason::Config),
        (Trial::Works, _, None) => plan(Mode::Count, Reason::NoOffsets),
        (Trial::Works, _, Some(_)) => refused(Mode::Count, Reason::MemoryRefused, full),
        (Trial::Untried | Trial::Refused(_), ..) => refused(Mode::Off, Reason::TracingRefused, count),
    }
}

impl Trial {
    fn words(&self) -> String {
        match self {
            Self::Refused(words) => words.clone(),
            Self::Untried | Self::Works => String::new(),
        }
    }
}

impl Choice {
    /// Every choice, in display order.
    pub const ALL: &[Self] = &[Self::Auto, Self::Full, Self::Count, Self::Off];

    /// The word in the configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Full => "full",
            Self::Count => "count",
            Self::Off => "off",
        }
    }
}

impl Mode {
    /// The label value.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Count => "count",
            Self::Off => "off",
        }
    }
}

impl Reason {
    /// The label value.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Works => "works",
            Self::Config => "config",
            Self::MemoryRefused => "memory_refused",
            Self::NoOffsets => "no_offsets",
            Self::NoFunction => "no_function",
            Self::TracingRefused => "tracing_refused",
        }
    }

    /// What it means, for people.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Works => "every program that is needed loads",
            Self::Config => "the configuration says so (`evictions`)",
            Self::MemoryRefused => {
                "the kernel refuses programs that read its memory (lockdown=confidentiality)"
            }
            Self::NoOffsets => "the kernel's type information does not tell where the key of an element lies",
            Self::NoFunction => "the kernel's type information lacks htab_lru_map_delete_node",
            Self::TracingRefused => "the kernel refuses tracing programs",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all_works() -> EvictionFacts {
        EvictionFacts { function: true, key_offset: Some(32), full: Trial::Works, count: Trial::Works }
    }

    fn check(facts: &EvictionFacts, choice: Choice, mode: Mode, reason: Reason) {
        let plan = decide(facts, choice);
        assert_eq!((plan.mode, plan.reason), (mode, reason), "{facts:?} {choice:?}");
    }

    #[test]
    fn the_most_that_works_is_taken() {
        let refused = |words: &str| Trial::Refused(words.to_owned());
        check(&all_works(), Choice::Auto, Mode::Full, Reason::Works);
        let locked =
            EvictionFacts { full: refused("EINVAL: unknown func bpf_probe_read_kernel"), ..all_works() };
        check(&locked, Choice::Auto, Mode::Count, Reason::MemoryRefused);
        assert!(decide(&locked, Choice::Auto).detail.contains("bpf_probe_read_kernel"));
        let blind = EvictionFacts { key_offset: None, full: Trial::Untried, ..all_works() };
        check(&blind, Choice::Auto, Mode::Count, Reason::NoOffsets);
        let nothing = EvictionFacts { full: refused("EPERM"), count: refused("EPERM"), ..all_works() };
        check(&nothing, Choice::Auto, Mode::Off, Reason::TracingRefused);
        assert_eq!(decide(&nothing, Choice::Auto).detail, "EPERM");
    }

    #[test]
    fn without_the_function_nothing_is_tried_to_be_seen() {
        let facts = EvictionFacts { function: false, ..all_works() };
        for choice in [Choice::Auto, Choice::Full, Choice::Count] {
            check(&facts, choice, Mode::Off, Reason::NoFunction);
        }
        check(&EvictionFacts::default(), Choice::Auto, Mode::Off, Reason::NoFunction);
    }

    #[test]
    fn the_configuration_asks_for_less_and_never_gets_more() {
        check(&all_works(), Choice::Full, Mode::Full, Reason::Config);
        check(&all_works(), Choice::Count, Mode::Count, Reason::Config);
        check(&all_works(), Choice::Off, Mode::Off, Reason::Config);
        check(&EvictionFacts::default(), Choice::Off, Mode::Off, Reason::Config);
        let locked = EvictionFacts { full: Trial::Refused("no".to_owned()), ..all_works() };
        check(&locked, Choice::Full, Mode::Count, Reason::MemoryRefused);
        let nothing = EvictionFacts { count: Trial::Refused("no".to_owned()), ..locked };
        check(&nothing, Choice::Full, Mode::Off, Reason::TracingRefused);
        check(&nothing, Choice::Count, Mode::Off, Reason::TracingRefused);
    }
}
