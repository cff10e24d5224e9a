//! What was counted in the logs of pods, and what is looked for.
//!
//! In: nothing. Out: patterns and sums. Must not: hold a message.

/// Sums since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    pub messages: u64,
    pub bytes: u64,
    /// Passed over because a file wrote faster than its bound.
    pub skipped_bytes: u64,
    /// Messages longer than the bound, of which only the beginning was matched.
    pub cut_messages: u64,
    /// Lines that are not in the CRI format.
    pub malformed_lines: u64,
    /// Files that became shorter than what was read of them.
    pub truncations: u64,
    /// Files that could not be opened or read.
    pub failures: u64,
    /// Times the logs were not read to their end, because their bytes or their time were used up.
    pub short_readings: u64,
}

/// State after the logs were read once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogCounts {
    /// Messages that matched, by pattern, since the start; every pattern is there, also at 0.
    pub matches: Vec<(String, u64)>,
    pub totals: Totals,
    /// Files that are followed now.
    pub files: usize,
    /// Files that are not followed, beyond the limit of files.
    pub skipped_files: usize,
}

/// One counter: lines of the selected containers that match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogPattern {
    /// The label value.
    pub name: String,
    /// A regular expression, searched anywhere in the line.
    pub pattern: String,
    /// Which logs are read; an empty list selects all. `*` stands for any characters.
    pub namespaces: Vec<String>,
    pub pods: Vec<String>,
    pub containers: Vec<String>,
}

impl LogPattern {
    /// Whether this container's log is to be read.
    #[must_use]
    pub fn selects(&self, namespace: &str, pod: &str, container: &str) -> bool {
        let any =
            |globs: &[String], name| globs.is_empty() || globs.iter().any(|glob| matches_glob(glob, name));
        any(&self.namespaces, namespace) && any(&self.pods, pod) && any(&self.containers, container)
    }
}

/// Whether the name matches, `*` standing for any characters.
fn matches_glob(glob: &str, name: &str) -> bool {
    let Some((head, rest)) = glob.split_once('*') else { return glob == name };
    let Some(mut left) = name.strip_prefix(head) else { return false };
    let mut parts: Vec<_> = rest.split('*').collect();
    let tail = parts.pop().unwrap_or_default();
    for part in parts {
        // The earliest place leaves most for the parts that follow.
        let Some(at) = left.find(part) else { return false };
        left = left.get(at + part.len()..).unwrap_or_default();
    }
    left.ends_with(tail)
}
