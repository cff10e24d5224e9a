//! What the running daemon remembers, for commands beside it.
//!
//! In: the daemon's address, the maps a command reads. Out: a history of the same maps.
//! Must not: take anything from a daemon that follows others.

use anyhow::ensure;

use super::cli::GlobalArgs;
use crate::check::history::History;
use crate::output::history::Document;
use crate::source::daemon;

/// The path the daemon serves it at, to processes on the same host only.
pub(super) const PATH: &str = "/history";

/// What the daemon remembers of these maps, given by name and id.
pub(super) fn ask<'m>(
    global: &GlobalArgs,
    maps: impl IntoIterator<Item = (&'m str, u32)>,
) -> anyhow::Result<History> {
    let history = History::from(daemon::get::<Document>(&global.daemon, PATH)?);
    ensure!(history.is_of(maps), "the daemon at {} follows other maps", global.daemon);
    Ok(history)
}
