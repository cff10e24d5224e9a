//! Patterns that are counted in pod logs.
//!
//! In: the `logs` key and its preset. Out: validated [`LogPattern`]s.
//! Must not: read logs, or keep what matched: a pattern's name is all that leaves.

use monitor_model::host::logs::LogPattern;
use regex::Regex;
use serde::Deserialize;

use super::field::{Choice, Field, List, Word, check_name, read_as};
use super::log_preset::{Selection, TRIDENT_QNAP};

/// A named set of patterns.
#[derive(Clone, Copy)]
pub(super) enum Preset {
    TridentQnap,
}

impl Choice for Preset {
    const ALL: &'static [Self] = &[Self::TridentQnap];

    fn word(self) -> &'static str {
        let Self::TridentQnap = self;
        "trident-qnap"
    }
}

impl Preset {
    fn patterns(self, named: &Selection) -> Vec<LogPattern> {
        let Self::TridentQnap = self;
        TRIDENT_QNAP.iter().map(|pattern| pattern.pattern(named)).collect()
    }
}

/// As in the file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawLog {
    preset: Option<Word<Preset>>,
    name: Option<PatternName>,
    pattern: Option<Pattern>,
    #[serde(default)]
    namespaces: List<Glob>,
    #[serde(default)]
    pods: List<Glob>,
    #[serde(default)]
    containers: List<Glob>,
}

/// One element of the list: a preset is several patterns.
pub(super) struct Entry(Vec<LogPattern>);
/// The validated list.
pub(super) struct Logs(pub(super) Vec<LogPattern>);
struct PatternName(String);
struct Pattern(String);
struct Glob(String);

/// Most patterns: each is a series, and a pass over every line.
pub(super) const MAX_PATTERNS: usize = 32;
/// Longest pattern: its compiled form is held for as long as the daemon runs.
pub(super) const MAX_PATTERN_BYTES: usize = 512;

impl Field for PatternName {
    type Raw = String;
    const EXPECTED: &'static str = "a name";

    fn check(raw: String) -> Result<Self, String> {
        check_name(&raw, "none").map(|()| Self(raw))
    }
}

impl Field for Pattern {
    type Raw = String;
    const EXPECTED: &'static str = "a regular expression";

    fn check(raw: String) -> Result<Self, String> {
        if raw.is_empty() || raw.len() > MAX_PATTERN_BYTES || raw.contains(char::is_control) {
            return Err(format!("a pattern is 1 to {MAX_PATTERN_BYTES} characters in one line"));
        }
        match Regex::new(&raw) {
            Ok(regex) if regex.is_match("") => Err(format!("`{raw}` matches every line: make it say more")),
            Ok(_) => Ok(Self(raw)),
            Err(error) => Err(format!("`{raw}` is not a regular expression: {error}")),
        }
    }
}

impl Field for Glob {
    type Raw = String;
    const EXPECTED: &'static str = "a name, in which * stands for any characters";

    fn check(raw: String) -> Result<Self, String> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_' | '*');
        if raw.is_empty() || raw.len() > 253 || !raw.chars().all(allowed) {
            return Err(format!("`{raw}` is not a Kubernetes name, in which * may stand for any characters"));
        }
        Ok(Self(raw))
    }
}

impl Field for Entry {
    type Raw = RawLog;
    const EXPECTED: &'static str = "a pattern {name: .., pattern: ..} or {preset: trident-qnap}";

    fn check(raw: RawLog) -> Result<Self, String> {
        let RawLog { preset, name, pattern, namespaces, pods, containers } = raw;
        let globs = |list: List<Glob>| list.0.into_iter().map(|glob| glob.0).collect::<Vec<_>>();
        let (namespaces, pods, containers) = (globs(namespaces), globs(pods), globs(containers));
        match (preset, name, pattern) {
            (Some(preset), None, None) => {
                Ok(Self(preset.0.patterns(&Selection { namespaces, pods, containers })))
            }
            (None, Some(name), Some(pattern)) => {
                Ok(Self(vec![LogPattern { name: name.0, pattern: pattern.0, namespaces, pods, containers }]))
            }
            _ => Err("give a name and a pattern, or a preset alone".to_owned()),
        }
    }
}

impl Field for Logs {
    type Raw = Vec<Entry>;
    const EXPECTED: &'static str = "a list of patterns";

    fn check(raw: Vec<Entry>) -> Result<Self, String> {
        let patterns: Vec<_> = raw.into_iter().flat_map(|entry| entry.0).collect();
        for (index, pattern) in patterns.iter().enumerate() {
            if patterns.iter().take(index).any(|earlier| earlier.name == pattern.name) {
                return Err(format!("two patterns are called `{}`: rename one", pattern.name));
            }
        }
        if patterns.len() > MAX_PATTERNS {
            return Err(format!(
                "{} patterns, at most {MAX_PATTERNS} are counted: remove some",
                patterns.len()
            ));
        }
        Ok(Self(patterns))
    }
}

read_as!(text: PatternName, Pattern, Glob);
read_as!(map: Entry);
read_as!(seq: Logs);
