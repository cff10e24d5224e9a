//! What one map says of a suspected pass.
//!
//! In: the walks before and after, how the kernel's count fell between them, if it is known. Out: an opinion. Must not:
//! decide: maps that are cleaned in one pass are looked at together.
//!
//! A pass takes what is dead, all of it and nothing else. An agent that scrubs a deleted pod takes the living too, and
//! leaves the dead of others; a flush takes everything; an eviction takes a few of either. Connections that were closed
//! after the walk are dead 10 s later: what is taken by then is told from the living for certain, later it is not.

use std::time::Duration;

use super::SIGNIFICANT;
use super::falls::{Fall, Trace};
use super::sample::Sample;

/// What a map says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Opinion {
    /// It was no pass.
    Against,
    /// More went than was dead for all one knows, but connections may have been closed meanwhile.
    Doubtful,
    /// It shows nothing either way.
    Neutral,
    /// It may have been one, but so few went that traffic may have taken them.
    Perhaps,
    /// It was one, unless another map objects.
    For,
}

/// When a pass is suspected.
#[derive(Clone, Copy, Debug)]
pub(super) struct Suspicion {
    pub from: Duration,
    pub until: Duration,
    /// The pass before it, if that was after the walk before as well.
    pub follows: Option<Duration>,
}

/// By how the count fell at that time; `None`: it did not.
pub(super) fn by_count(
    before: &Sample,
    after: &Sample,
    fall: Option<&Fall>,
    trace: &Trace,
    when: Suspicion,
) -> Opinion {
    // Something that was dead when the fall began is still there.
    let since = seconds(after.at.saturating_sub(when.from)) + after.unit + 1;
    if after.dead > 0 && after.oldest > since {
        return Opinion::Against;
    }
    let [from, until] = [when.from, when.until].map(|at| seconds(at.saturating_sub(before.at)));
    let fresh = when.follows.is_none();
    let least = if fresh { before.surely_dead(from) } else { 0 };
    // How many were evicted meanwhile is not known.
    let least = if before.is_full() { least / 4 } else { least };
    // Traffic brings some of the dead back.
    let revived = before.dead.saturating_sub(before.dead_closed);
    let Some(fall) = fall else {
        let stays = before.has_aged() && least.saturating_sub(revived) > trace.hidden();
        return if stays { Opinion::Against } else { Opinion::Neutral };
    };
    let (removed, slack) = (fall.removed(), 2 + fall.blur());
    if removed + slack < least.saturating_sub(revived) / 10 * 9 {
        return Opinion::Against;
    }
    let most = before.perhaps_dead(until) + slack;
    // What came after the walk may be dead by now as well.
    let likely = most + before.closed_since(until).max(trace.came(until.saturating_sub(10)));
    if removed > likely {
        let unknown = before.closed_since_may_be_dead(until);
        return if unknown { Opinion::Doubtful } else { Opinion::Against };
    }
    // The dead are so young that they cannot be told from those that died since, and as many are there.
    let is_distinct = before.oldest + seconds(after.at.saturating_sub(before.at)) > since;
    if before.dead >= SIGNIFICANT && !is_distinct && after.dead * 2 > before.dead {
        return Opinion::Perhaps;
    }
    if least >= SIGNIFICANT || (fresh && before.is_significant()) {
        return Opinion::For;
    }
    // Nothing was dead at the walk: about as many as must have died since are enough to be sure of.
    let died_for = when.follows.map_or(from, |pass| seconds(when.from.saturating_sub(pass)));
    let alike =
        |expected: u64| expected >= SIGNIFICANT && removed >= expected / 3 && removed <= expected * 3 + slack;
    // Where as many close as come, as many die.
    let expected = [before.closing * died_for.min(10) / 10, trace.came(died_for)];
    if expected.into_iter().any(alike) { Opinion::For } else { Opinion::Perhaps }
}

/// By the two walks alone.
pub(super) fn by_walks(before: &Sample, after: &Sample) -> Opinion {
    let elapsed = seconds(after.at.saturating_sub(before.at));
    let gone = |least: u64| after.dead == 0 || after.oldest <= least;
    if before.has_aged() && !gone(elapsed + before.unit) {
        return Opinion::Against;
    }
    if after.is_full() {
        // The kernel makes room, of the dead first.
        return Opinion::Neutral;
    }
    // Closed entries that were to die since, and are gone as well.
    let dying = before.closing >= SIGNIFICANT
        && elapsed > 10 + 2 * before.unit
        && gone(elapsed.saturating_sub(11 + 2 * before.unit));
    // What had died just before the first walk has been dead for nearly all the time since.
    let taken = before.has_aged() || (before.dead > 0 && gone(elapsed.saturating_sub(before.unit + 1)));
    if !taken && !dying {
        return Opinion::Neutral;
    }
    let latest = after.last_chance().saturating_sub(before.at);
    let lost = before.alive(elapsed).saturating_sub(after.entries);
    let spare = 3 + before.alive(elapsed) / 20 + before.closed_since(seconds(latest));
    if lost > spare {
        let unknown = before.closed_since_may_be_dead(seconds(latest));
        return if unknown { Opinion::Doubtful } else { Opinion::Against };
    }
    if dying || before.is_significant() { Opinion::For } else { Opinion::Perhaps }
}

/// Whole seconds, rounded up: what may have happened by then.
pub(super) fn seconds(duration: Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0)
}
