//! Counts configured patterns in the logs of pods.
//!
//! In: `NAMESPACE_POD_UID/CONTAINER/N.log` below the kubelet's folder of pod logs, and configured [`LogPattern`]s. Out: how
//! many messages matched each pattern since the start. Must not: keep, show or pass on a message; read what was
//! written before the start; or read without a bound.
//!
//! **Window.** Files that are there at the first reading are followed from their end, files that appear later
//! from their beginning: after a restart nothing is counted twice, and what was written in between is not counted.
//! **Bounds.** [`Limits`]: bytes per file and per reading, length of a message, unfinished text of all files together,
//! number of files; and the processor's time per reading. What is passed over is counted in [`Totals`].

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::{Path, PathBuf};
use std::time::Duration;

use monitor_decode::host::cri::Room;
use monitor_decode::host::pod_logs::{PodFolder, is_current_log};
use monitor_model::host::logs::{LogCounts, LogPattern, Totals};
use regex::bytes::{Regex, RegexBuilder, RegexSet, RegexSetBuilder};

use super::{Host, Sample, list_optional};
use crate::bpf::sys;

mod follow;

use crate::host::logs::follow::{Budget, Follower};

/// How much one reading may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// All files together.
    pub bytes_per_reading: u64,
    /// One file; a file that is further behind is passed over up to this distance from its end.
    pub bytes_per_file: u64,
    /// A message's first bytes are matched, the rest is not.
    pub message_bytes: usize,
    /// Lines and messages whose end has not been read yet, of all files together.
    pub unfinished_bytes: usize,
    pub files: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            bytes_per_reading: 8 << 20,
            bytes_per_file: 1 << 20,
            message_bytes: 32 << 10,
            unfinished_bytes: 4 << 20,
            files: 512,
        }
    }
}

/// Descriptors that are not for logs: of maps, programs, events, listeners, connections, and files read for a moment.
const OTHER_DESCRIPTORS: u64 = 512;
/// A file that was rotated is read to its end beside the one that took its place.
const DESCRIPTORS_PER_FILE: u64 = 2;

impl Limits {
    /// With no more files than a process of so many descriptors has room for, all of them rotated at once.
    #[must_use]
    pub fn within(descriptors: u64) -> Self {
        let limits = Self::default();
        let files = descriptors.saturating_sub(OTHER_DESCRIPTORS) / DESCRIPTORS_PER_FILE;
        Self { files: usize::try_from(files).unwrap_or(usize::MAX).min(limits.files), ..limits }
    }
}

/// The processor's time that one reading may take.
pub struct Meter {
    /// What was used since some beginning.
    now: Box<dyn FnMut() -> Duration>,
    begun: Duration,
    most: Duration,
}

impl Meter {
    /// The time of the thread that reads, from now on.
    #[must_use]
    pub fn of_this_thread(most: Duration) -> Self {
        Self::new(most, sys::thread_cpu_time)
    }

    fn new(most: Duration, mut now: impl FnMut() -> Duration + 'static) -> Self {
        let begun = now();
        Self { now: Box::new(now), begun, most }
    }

    /// What was used since the beginning.
    pub fn used(&mut self) -> Duration {
        (self.now)().saturating_sub(self.begun)
    }

    fn is_used_up(&mut self) -> bool {
        self.used() >= self.most
    }
}

#[derive(Debug, thiserror::Error)]
#[error("log pattern {name:?}: invalid regular expression {regex:?}: {source}")]
pub struct PatternError {
    pub name: String,
    pub regex: String,
    pub source: Box<regex::Error>,
}

/// One pattern, ready to be used.
#[derive(Debug)]
struct Pattern {
    spec: LogPattern,
    regex: Regex,
    matches: u64,
}

impl Pattern {
    fn new(spec: &LogPattern) -> Result<Self, PatternError> {
        let regex = RegexBuilder::new(&spec.pattern).size_limit(1 << 20).dfa_size_limit(1 << 20).build();
        let regex = regex.map_err(|source| PatternError {
            name: spec.name.clone(),
            regex: spec.pattern.clone(),
            source: Box::new(source),
        })?;
        Ok(Self { spec: spec.clone(), regex, matches: 0 })
    }
}

/// All patterns as one, which tells in one pass that a message matches none: most do not. `None`: together they are too
/// large, and each is asked.
fn combine(patterns: &[Pattern]) -> Option<RegexSet> {
    let all = RegexSetBuilder::new(patterns.iter().map(|pattern| &pattern.spec.pattern));
    let mut all = Some(all).filter(|_| patterns.len() > 1)?;
    all.size_limit(8 << 20).dfa_size_limit(2 << 20).build().ok()
}

/// Follows the logs. One value lives as long as the daemon: the counters start with it.
#[derive(Debug)]
pub struct LogCounter {
    patterns: Vec<Pattern>,
    any: Option<RegexSet>,
    limits: Limits,
    followers: BTreeMap<PathBuf, Follower>,
    totals: Totals,
    /// `None` before the first reading, then the file after which the next reading goes on.
    next: Option<PathBuf>,
    started: bool,
}

impl LogCounter {
    pub fn new(patterns: &[LogPattern], limits: Limits) -> Result<Self, PatternError> {
        let patterns = patterns.iter().map(Pattern::new).collect::<Result<Vec<_>, _>>()?;
        let any = combine(&patterns);
        let (followers, totals) = (BTreeMap::new(), Totals::default());
        Ok(Self { patterns, any, limits, followers, totals, next: None, started: false })
    }

    /// Counts other patterns from now on: one that stays keeps its count, and what selects new files begins at
    /// their end, as at the start. If one of them is no expression, nothing changes.
    pub fn follow(&mut self, patterns: &[LogPattern]) -> Result<(), PatternError> {
        let mut next = patterns.iter().map(Pattern::new).collect::<Result<Vec<_>, _>>()?;
        for pattern in &mut next {
            let same = self.patterns.iter().find(|known| known.spec == pattern.spec);
            pattern.matches = same.map_or(0, |known| known.matches);
        }
        self.any = combine(&next);
        self.patterns = next;
        self.followers.values_mut().for_each(|follower| follower.select(Vec::new()));
        self.started = false;
        Ok(())
    }

    /// Reads what was written since the last time, as far as the time goes; `Ok(None)`: there are no pod logs here, or no
    /// patterns.
    pub fn read(&mut self, host: &Host, meter: &mut Meter) -> Sample<LogCounts> {
        if self.patterns.is_empty() {
            return Ok(None);
        }
        let Some(found) = self.find(&host.pod_logs)? else { return Ok(None) };
        let mut reading = LogCounts { skipped_files: found.skipped, ..LogCounts::default() };
        let totals = &mut self.totals;
        self.followers.retain(|path, follower| {
            let kept = found.files.contains_key(path) || follower.outlives_its_path();
            if !kept {
                totals.skipped_bytes += follower.unread();
            }
            kept
        });
        for (path, patterns) in found.files {
            // What is there at the start is followed from its end.
            let from_end = !self.started;
            match self.followers.entry(path) {
                Entry::Occupied(mut known) => known.get_mut().select(patterns),
                Entry::Vacant(place) => {
                    place.insert(Follower::new(patterns, from_end));
                }
            }
        }
        self.started = true;
        self.read_followers(meter);
        reading.files = self.followers.len();
        reading.totals = self.totals;
        reading.matches =
            self.patterns.iter().map(|pattern| (pattern.spec.name.clone(), pattern.matches)).collect();
        Ok(Some(reading))
    }

    /// Every follower once, starting behind the one at which the last reading ran out of its budget, so that a
    /// busy file cannot starve those behind it.
    fn read_followers(&mut self, meter: &mut Meter) {
        let Self { patterns, any, limits, followers, totals, next, .. } = self;
        let unfinished = followers.values().flat_map(Follower::assemblers);
        let room = Room::new(limits.unfinished_bytes, 2 * limits.files, unfinished);
        let mut budget = Budget { left: limits.bytes_per_reading, room, meter, limits };
        let mut stopped_at = None;
        let start = next.take().unwrap_or_default();
        let behind: Vec<PathBuf> = followers
            .range(start.clone()..)
            .chain(followers.range(..start))
            .map(|(path, _)| path.clone())
            .collect();
        for path in behind {
            if budget.left == 0 {
                stopped_at = Some(path);
                totals.short_readings += 1;
                break;
            }
            let Some(follower) = followers.get_mut(&path) else { continue };
            follower.read(&path, &mut budget, totals, &mut |indices, message| {
                if any.as_ref().is_some_and(|any| !any.is_match(message)) {
                    return;
                }
                for index in indices {
                    if let Some(pattern) = patterns.get_mut(*index) {
                        pattern.matches += u64::from(pattern.regex.is_match(message));
                    }
                }
            });
        }
        *next = stopped_at;
    }

    /// The files that patterns select, each with the patterns that do.
    fn find(&self, root: &Path) -> Sample<Found> {
        let Some(folders) = list_optional(root)? else { return Ok(None) };
        let mut found = Found::default();
        for folder in &folders {
            let Some(pod) = PodFolder::parse(folder) else { continue };
            // A pod that is deleted while we look has no containers.
            for container in list_optional(&root.join(folder)).ok().flatten().unwrap_or_default() {
                let selects = |pattern: &Pattern| pattern.spec.selects(pod.namespace, pod.name, &container);
                let indexed = self.patterns.iter().enumerate();
                let selected: Vec<usize> =
                    indexed.filter(|(_, pattern)| selects(pattern)).map(|(index, _)| index).collect();
                if !selected.is_empty() {
                    let folder = root.join(folder).join(&container);
                    self.find_in_container(&folder, &selected, &mut found);
                }
            }
        }
        Ok(Some(found))
    }

    fn find_in_container(&self, folder: &Path, patterns: &[usize], found: &mut Found) {
        for name in list_optional(folder).ok().flatten().unwrap_or_default() {
            if !is_current_log(&name) {
                continue;
            }
            let path = folder.join(name);
            // Those already followed have their place; a new one must find one.
            if self.followers.contains_key(&path) || found.files.len() < self.limits.files {
                found.files.insert(path, patterns.to_vec());
            } else {
                found.skipped += 1;
            }
        }
    }
}

#[derive(Debug, Default)]
struct Found {
    files: BTreeMap<PathBuf, Vec<usize>>,
    skipped: usize,
}

#[cfg(test)]
mod tests;
