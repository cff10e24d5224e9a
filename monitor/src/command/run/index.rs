//! The page at `/`, as the server hands it out.
//!
//! In: a snapshot with its findings, or nothing yet. Out: the page in two pieces, between which the server says how old it is.
//! Must not: render while a client waits.

use monitor_output::page::{Facts, Page, View};
use monitor_serve::Index;

/// The version that the page carries.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Renders the page; without a view it says that there is no snapshot yet.
pub(super) fn index(view: Option<View<'_>>) -> Index {
    let Page { before, after } = Page::render(&Facts { version: VERSION, host: None, view });
    Index { before: before.into(), after: after.into(), status: Page::status }
}
