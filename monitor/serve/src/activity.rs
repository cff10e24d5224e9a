//! What a connection's client is doing, and for how long it may.
//!
//! In: notice of each change. Out: the instant at which a limit is reached, or at which no request is coming in.
//! Must not: read or write the connection.
//!
//! hyper's own header timeout also runs between requests; a scraper that comes every minute would lose its
//! connection each time. So the phases are told apart here, and each has its own limit.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::limits::Limits;

/// What the connection is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// A request's head is awaited or coming in.
    Head,
    /// A request is being answered.
    Answer,
    /// Between requests.
    Idle,
}

/// The phase and its beginning, shared by those who see it change.
#[derive(Debug)]
pub(super) struct Activity(watch::Sender<(Phase, Instant)>);

impl Activity {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self(watch::Sender::new((Phase::Head, Instant::now()))))
    }

    /// A request's head is complete.
    pub(super) fn answering(&self) {
        self.enter(Phase::Answer);
    }

    /// A response was handed over.
    pub(super) fn idle(&self) {
        self.enter(Phase::Idle);
    }

    /// Returns while a request is being answered, or between two: not while one is coming in. On a new connection the
    /// first counts as coming in.
    pub(super) async fn no_head_awaited(&self) {
        // The sender lives as long as `self`, so an error cannot come.
        drop(self.0.subscribe().wait_for(|(phase, _)| *phase != Phase::Head).await);
    }

    pub(super) fn bytes_arrived(&self) {
        if self.0.borrow().0 == Phase::Idle {
            self.enter(Phase::Head);
        }
    }

    fn enter(&self, phase: Phase) {
        self.0.send_replace((phase, Instant::now()));
    }

    /// Returns when a phase has lasted longer than it may.
    pub(super) async fn overdue(&self, limits: &Limits) {
        let mut changes = self.0.subscribe();
        loop {
            let (phase, since) = *changes.borrow_and_update();
            let limit = phase.limit(limits);
            // The sender lives as long as `self`, so an error from `changed` cannot come.
            if tokio::time::timeout_at((since + limit).into(), changes.changed()).await.is_err() {
                return;
            }
        }
    }
}

impl Phase {
    const fn limit(self, limits: &Limits) -> Duration {
        match self {
            Self::Head => limits.head,
            Self::Answer => limits.answer,
            Self::Idle => limits.idle,
        }
    }
}
