//! The one loop over entries that `list`, `nat` and `top` share.
//!
//! In: a walk over maps, and which maps are asked for. Out: their entries, each with the classifier of its map.
//! Must not: decode, select or print.

use std::ops::ControlFlow;

use monitor_decode::cilium::tuple::LayoutError;
use monitor_model::classifier::{Classifier, MapClassifier};
use monitor_model::walk::{WalkEvent, WalkVisitor};

use super::filter::SelectArgs;

/// What the loop tells.
pub(crate) enum Visit<'a> {
    /// A map that is asked for begins.
    Map,
    Entry {
        map: &'a MapClassifier<'a>,
        key: &'a [u8],
        value: &'a [u8],
    },
}

/// Walks the maps that are asked for; ends early, without error, when `visit` breaks.
pub(crate) fn visit_entries(
    classifier: &Classifier,
    select: &SelectArgs,
    walk: impl FnOnce(&mut WalkVisitor<'_>) -> anyhow::Result<()>,
    mut visit: impl FnMut(Visit<'_>) -> Result<ControlFlow<()>, LayoutError>,
) -> anyhow::Result<()> {
    let mut current: Option<MapClassifier<'_>> = None;
    let (mut came, mut ended_early) = (Vec::new(), false);
    let mut broken = None;
    let walked = walk(&mut |step| {
        let flow = match step {
            WalkEvent::Map { name, clock } => {
                current = select.wants_map(name).then(|| classifier.of_map(name, clock));
                if current.is_none() {
                    return ControlFlow::Continue(());
                }
                came.push(name.to_owned());
                visit(Visit::Map)
            }
            WalkEvent::Entry { key, value } => {
                let Some(map) = &current else { return ControlFlow::Continue(()) };
                visit(Visit::Entry { map, key, value })
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
