//! What a reader of maps is given, step by step.
//!
//! In: nothing; the walkers (kernel stream, captured files) produce it. Out: [`WalkEvent`], and the walker's shape.
//! Must not: own entries: they are borrowed from the walker's buffer, so that memory stays flat.

use std::ops::ControlFlow;

use super::clock::ClockNow;

/// One step of a walk over maps. Every entry belongs to the latest map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WalkEvent<'a> {
    /// A map begins; `clock` is its reading for this scan, `None` while undecided.
    Map { name: &'a str, clock: Option<ClockNow> },
    /// An entry as the map holds it.
    Entry { key: &'a [u8], value: &'a [u8] },
}

/// Takes the steps of a walk; after `Break` the walker stops and reports success.
pub type WalkVisitor<'v> = dyn FnMut(WalkEvent<'_>) -> ControlFlow<()> + 'v;
