//! Counters of the server, and the state of the web configuration's files.
//!
//! In: events of connections and requests. Out: numbers for the metrics page.
//! Must not: have a counter whose label a client chooses.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

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
    pub accepted: AtomicU64,
    pub displaced: AtomicU64,
    pub timed_out: AtomicU64,
    pub broken: AtomicU64,
    pub handshakes_failed: AtomicU64,
    pub accept_errors: AtomicU64,
    pub open: AtomicU64,
}

/// The state of the web configuration's files.
#[derive(Clone, Debug)]
pub struct WebStatus {
    /// Why the files as they are now were refused; `None` while they are in force.
    pub refused: Option<String>,
    /// When they were last taken over.
    pub loaded: SystemTime,
    /// When the first certificate of the server's chain ends.
    pub not_after: Option<SystemTime>,
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

    /// Counts a request; `false` where its status code is none of the counted ones.
    pub fn count_request(&self, route: Route, code: u16) -> bool {
        let counter = Route::ALL
            .into_iter()
            .zip(&self.requests)
            .find(|(known, _)| *known == route)
            .and_then(|(_, by_code)| CODES.into_iter().zip(by_code).find(|(known, _)| *known == code));
        if let Some((_, counter)) = counter {
            add(counter);
        }
        counter.is_some()
    }
}

pub fn add(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

pub fn subtract(counter: &AtomicU64) {
    counter.fetch_sub(1, Ordering::Relaxed);
}

fn read(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}
