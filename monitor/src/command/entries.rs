//! The one loop over entries that `list`, `nat` and `top` share.
//!
//! In: a walk over maps, and which maps are asked for. Out: their entries, each with the classifier of its map.
//! Must not: decode entries, select among them or print them.

use std::ops::ControlFlow;

use monitor_decode::cilium::tuple::LayoutError;
use monitor_model::classifier::{Classifier, MapClassifier};
use monitor_model::walk::{WalkEvent, WalkVisitor};

use super::filter::SelectArgs;

/// What the loop comes by.
pub(crate) enum Event<'a> {
    /// A map that is asked for begins.
    MapBegins,
    Entry {
        map: &'a MapClassifier<'a>,
        key: &'a [u8],
        value: &'a [u8],
    },
}

/// How many entries were selected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Selected {
    /// Entries that were selected.
    pub entries: u64,
    /// Entries that may have been, had their clock or a report of theirs been known.
    pub undecided: u64,
}

impl Selected {
    /// What to tell the user about entries that could not be judged.
    #[must_use]
    pub fn warning(&self) -> Option<String> {
        (self.undecided > 0).then(|| {
            format!(
                "{} entries could not be judged because their map's clock is unknown or nothing was ever reported of \
                 them: `clock` in the configuration sets the clock",
                self.undecided
            )
        })
    }
}

/// Walks the maps that are asked for; ends early, without error, when `handle` breaks.
pub(crate) fn for_each_entry(
    classifier: &Classifier,
    select: &SelectArgs,
    walk: impl FnOnce(&mut WalkVisitor<'_>) -> anyhow::Result<()>,
    mut handle: impl FnMut(Event<'_>) -> Result<ControlFlow<()>, LayoutError>,
) -> anyhow::Result<()> {
    let mut current: Option<MapClassifier<'_>> = None;
    let (mut came, mut ended_early) = (Vec::new(), false);
    let mut broken = None;
    let walked = walk(&mut |step| {
        let flow = match step {
            WalkEvent::Map { name, clock } => {
                came.push(name.to_owned());
                current = select.wants_map(name).then(|| classifier.of_map(name, clock));
                if current.is_none() {
                    return ControlFlow::Continue(());
                }
                handle(Event::MapBegins)
            }
            WalkEvent::Entry { key, value } => {
                let Some(map) = &current else { return ControlFlow::Continue(()) };
                handle(Event::Entry { map, key, value })
            }
        };
        let flow = flow.unwrap_or_else(|error| {
            let map = current.as_ref().map_or("?", MapClassifier::map);
            broken = Some(anyhow::Error::new(error).context(format!("failed to read map {map}")));
            ControlFlow::Break(())
        });
        ended_early |= flow.is_break();
        flow
    });
    if let Some(error) = broken {
        return Err(error);
    }
    walked?;
    if !ended_early {
        select.all_came(&came)?;
    }
    Ok(())
}
