//! The page of the last victims, for `ctmon evictions`.
//!
//! In: what a snapshot knows of evictions, and whether it may be served. Out: a route that answers at once.
//! Must not: render while a client waits.

use std::sync::Arc;

use hyper::StatusCode;
use tokio::sync::watch;

use super::super::evictions::PATH;
use crate::config::Settings;
use crate::output::evictions::Document;
use crate::output::http::{LocalReply, LocalRoute};
use crate::snapshot::Evictions;

/// Before the first snapshot.
pub(super) fn waiting() -> LocalReply {
    plain(StatusCode::SERVICE_UNAVAILABLE, "no snapshot yet: the first scan is under way\n")
}

/// The reply until the next snapshot.
pub(super) fn reply(evictions: &Evictions, settings: &Settings) -> LocalReply {
    if !settings.evictions_api {
        return plain(
            StatusCode::NOT_FOUND,
            "victims are not served: the configuration says `evictions_api: false`\n",
        );
    }
    match serde_json::to_vec(&Document::new(evictions)) {
        Ok(body) => {
            LocalReply { status: StatusCode::OK, content_type: "application/json", body: body.into() }
        }
        Err(error) => {
            tracing::error!(%error, "failed to render the page of victims");
            plain(StatusCode::INTERNAL_SERVER_ERROR, "failed to render: see the log\n")
        }
    }
}

/// The route that hands out the last reply.
pub(super) fn route(last: watch::Receiver<LocalReply>) -> LocalRoute {
    LocalRoute { path: PATH, answer: Arc::new(move |_| last.borrow().clone()) }
}

fn plain(status: StatusCode, text: &'static str) -> LocalReply {
    LocalReply { status, content_type: "text/plain; charset=utf-8", body: text.into() }
}
