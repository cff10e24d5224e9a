//! The pages for commands on the same host: the last victims for `ctmon evictions`, the lookback windows for `ctmon check`.
//!
//! In: evictions of a snapshot, windows of the scan thread, and whether victims may be served. Out: routes that answer at once.
//! Must not: render while a client waits.

use std::sync::Arc;

use hyper::StatusCode;
use monitor_check::history::History;
use monitor_config::Settings;
use monitor_model::snapshot::Evictions;
use monitor_output::{evictions as victims, history};
use monitor_serve::{LocalReply, LocalRoute};
use serde::Serialize;
use tokio::sync::watch;

use super::super::local_pages::{EVICTIONS, HISTORY};

/// Before the first snapshot.
pub(super) fn waiting() -> LocalReply {
    plain(StatusCode::SERVICE_UNAVAILABLE, "no snapshot yet: the first scan is under way\n")
}

/// The victims until the next snapshot.
pub(super) fn of_victims(evictions: &Evictions, settings: &Settings) -> LocalReply {
    if !settings.evictions_api {
        return plain(
            StatusCode::NOT_FOUND,
            "victims are not served: the configuration says `evictions_api: false`\n",
        );
    }
    json(&victims::Document::new(evictions))
}

/// The lookback windows until the next snapshot. No address of traffic is in them.
pub(super) fn of_history(history: &History) -> LocalReply {
    json(&history::Document::from(history))
}

/// The route that hands out the last victims.
pub(super) fn victims_route(last: watch::Receiver<LocalReply>) -> LocalRoute {
    route(EVICTIONS, last)
}

/// The route that hands out the lookback windows.
pub(super) fn history_route(last: watch::Receiver<LocalReply>) -> LocalRoute {
    route(HISTORY, last)
}

fn route(path: &'static str, last: watch::Receiver<LocalReply>) -> LocalRoute {
    LocalRoute { path, answer: Arc::new(move |_| last.borrow().clone()) }
}

fn json(document: &impl Serialize) -> LocalReply {
    match serde_json::to_vec(document) {
        Ok(body) => {
            LocalReply { status: StatusCode::OK, content_type: "application/json", body: body.into() }
        }
        Err(error) => {
            tracing::error!(%error, "failed to render a page for this host");
            plain(StatusCode::INTERNAL_SERVER_ERROR, "failed to render: see the log\n")
        }
    }
}

fn plain(status: StatusCode, text: &'static str) -> LocalReply {
    LocalReply { status, content_type: "text/plain; charset=utf-8", body: text.into() }
}
