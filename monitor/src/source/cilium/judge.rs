//! What the clock and the targets say of an entry.
//!
//! In: rows, the reading of their map's clock, the targets and the lingering rule. Out: rows with what follows.
//! Must not: turn unknown into a value: `None` stays `None`.

use super::clock::Reading;
use super::ct::CtRow;
use super::linger::{LingerBounds, LingerRule};
use super::nat::NatRow;
use super::target::TargetIndex;

/// What entries are judged by, whatever their map.
#[derive(Clone, Debug)]
pub struct Judge {
    pub targets: TargetIndex,
    pub rule: LingerRule,
}

/// What the entries of one map are judged by, in one scan.
#[derive(Clone, Debug)]
pub struct MapJudge<'j> {
    targets: &'j TargetIndex,
    map: String,
    clock: Option<Reading>,
    bounds: LingerBounds,
}

/// A conntrack entry and what follows from it.
#[derive(Clone, Copy, Debug)]
pub struct CtFacts<'a> {
    pub map: &'a str,
    pub row: CtRow,
    pub clock: Option<Reading>,
    /// Seconds left, negative when overdue.
    pub remaining: Option<i64>,
    pub expired: Option<bool>,
    pub lingering: Option<bool>,
    /// A target's name, or `none`.
    pub target: &'a str,
    /// The name of the target's service, or `other`.
    pub target_service: &'a str,
}

/// A NAT entry and what follows from it.
#[derive(Clone, Copy, Debug)]
pub struct NatFacts<'a> {
    pub map: &'a str,
    pub row: NatRow,
    pub clock: Option<Reading>,
    /// Seconds since it was created.
    pub age: Option<i64>,
    pub target: &'a str,
    pub target_service: &'a str,
}

impl Judge {
    /// The judge of one map's entries.
    #[must_use]
    pub fn of_map(&self, map: &str, clock: Option<Reading>) -> MapJudge<'_> {
        MapJudge { targets: &self.targets, map: map.to_owned(), clock, bounds: self.rule.bounds(clock) }
    }
}

impl MapJudge<'_> {
    /// The name of the map.
    #[must_use]
    pub fn map(&self) -> &str {
        &self.map
    }

    #[must_use]
    pub fn ct(&self, row: CtRow) -> CtFacts<'_> {
        let (target, target_service) = self.targets.names(self.targets.classify(&row));
        CtFacts {
            map: &self.map,
            row,
            clock: self.clock,
            remaining: row.remaining(self.clock),
            expired: row.expired(self.clock),
            lingering: self.bounds.lingers(&row, self.clock),
            target,
            target_service,
        }
    }

    #[must_use]
    pub fn nat(&self, row: NatRow) -> NatFacts<'_> {
        let (target, target_service) = self.targets.names(self.targets.classify_nat(&row));
        NatFacts { map: &self.map, row, clock: self.clock, age: row.age(self.clock), target, target_service }
    }
}
