//! What the server has done so far, as plain counters.
//!
//! In: events of connections and requests. Out: numbers for the metrics page.
//! Must not: have a counter whose label a client chooses.

use std::sync::atomic::{AtomicU64, Ordering};

/// What a request asked for. Paths outside the list are one route: clients must not make series.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    Metrics,
    Healthz,
    Readyz,
    Index,
    /// A route for loopback peers.
    Local,
    Other,
}

/// The status codes the server answers with.
const CODES: [u16; 9] = [200, 401, 403, 404, 405, 413, 429, 500, 503];

/// The server's counters; cheap to share, they only grow, except `connections_open`.
#[derive(Debug, Default)]
pub struct Stats {
    requests: [[AtomicU64; CODES.len()]; Route::ALL.len()],
    pub(super) accepted: AtomicU64,
    pub(super) displaced: AtomicU64,
    pub(super) timed_out: AtomicU64,
    pub(super) broken: AtomicU64,
    pub(super) handshakes_failed: AtomicU64,
    pub(super) accept_errors: AtomicU64,
    pub(super) open: AtomicU64,
}

impl Route {
    /// Every route, in display order.
    pub const ALL: [Self; 6] =
        [Self::Metrics, Self::Healthz, Self::Readyz, Self::Index, Self::Local, Self::Other];

    /// The label value.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Metrics => "/metrics",
            Self::Healthz => "/healthz",
            Self::Readyz => "/readyz",
            Self::Index => "/",
            Self::Local => "local",
            Self::Other => "other",
        }
    }
}

impl Stats {
    /// Requests by route and status code, every combination from the start.
    pub fn requests(&self) -> impl Iterator<Item = (Route, u16, u64)> + '_ {
        Route::ALL.into_iter().zip(&self.requests).flat_map(|(route, by_code)| {
            CODES.into_iter().zip(by_code).map(move |(code, count)| (route, code, read(count)))
        })
    }

    /// Connections accepted.
    #[must_use]
    pub fn connections_accepted(&self) -> u64 {
        read(&self.accepted)
    }

    /// Connections closed to make room for others.
    #[must_use]
    pub fn connections_displaced(&self) -> u64 {
        read(&self.displaced)
    }

    /// Connections closed because a client was too slow, or idle for too long.
    #[must_use]
    pub fn connections_timed_out(&self) -> u64 {
        read(&self.timed_out)
    }

    /// Connections that ended in an error: not HTTP, a head too large, a reset.
    #[must_use]
    pub fn connections_broken(&self) -> u64 {
        read(&self.broken)
    }

    /// TLS handshakes that failed or took too long.
    #[must_use]
    pub fn handshakes_failed(&self) -> u64 {
        read(&self.handshakes_failed)
    }

    /// Failures to accept, for example because no file descriptor is left.
    #[must_use]
    pub fn accept_errors(&self) -> u64 {
        read(&self.accept_errors)
    }

    /// Connections open now.
    #[must_use]
    pub fn connections_open(&self) -> u64 {
        read(&self.open)
    }

    pub(super) fn count_request(&self, route: Route, code: u16) {
        let counter = Route::ALL
            .into_iter()
            .zip(&self.requests)
            .find(|(known, _)| *known == route)
            .and_then(|(_, by_code)| CODES.into_iter().zip(by_code).find(|(known, _)| *known == code));
        if let Some((_, counter)) = counter {
            add(counter);
        } else {
            // Only a local route could answer with a code of its own.
            tracing::debug!(code, "an answer's status code is not among the counted ones");
        }
    }
}

pub(super) fn add(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

pub(super) fn subtract(counter: &AtomicU64) {
    counter.fetch_sub(1, Ordering::Relaxed);
}

fn read(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}
