//! The signals that end or reload the daemon.
//!
//! In: SIGTERM, SIGINT, SIGHUP. Out: what was asked, also if it was asked before anybody waited for it.
//! Must not: come late. The kernel throws away a signal to the first process of a pod that nobody catches yet: the kubelet
//! would wait for the whole grace period.

use anyhow::Context as _;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// What is caught from now on, and the runtime that catches it.
pub(crate) struct Signals {
    pub(super) runtime: Runtime,
    pub(super) stop: Stop,
    pub(super) hangups: Hangups,
}

/// SIGTERM and SIGINT.
pub(super) struct Stop {
    term: Signal,
    int: Signal,
}

/// SIGHUP; `None` never comes.
pub(super) struct Hangups(Option<Signal>);

impl Signals {
    /// Begins to catch, in a process that ends without it when it should.
    pub(crate) fn catch() -> anyhow::Result<Self> {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build()
            .context("failed to start the async runtime")?;
        let entered = runtime.enter();
        let listen = |kind, name| signal(kind).with_context(|| format!("failed to listen for {name}"));
        let stop = Stop {
            term: listen(SignalKind::terminate(), "SIGTERM")?,
            int: listen(SignalKind::interrupt(), "SIGINT")?,
        };
        let hangups = Hangups(Some(listen(SignalKind::hangup(), "SIGHUP")?));
        drop(entered);
        Ok(Self { runtime, stop, hangups })
    }

    /// Begins to catch before anything else is done, where nobody else would: as the first process of a pod. Any other
    /// process ends by itself until it catches.
    pub(crate) fn catch_if_first() -> Option<Self> {
        // Should it fail, the verb that needs it will say so.
        if std::process::id() == 1 { Self::catch().ok() } else { None }
    }
}

impl Stop {
    /// Waits until the process is to end.
    pub(super) async fn wait(&mut self) {
        tokio::select! {
            _ = self.term.recv() => tracing::info!("SIGTERM received, ending"),
            _ = self.int.recv() => tracing::info!("SIGINT received, ending"),
        }
    }
}

impl Hangups {
    /// For tests, which must not change how the whole process takes signals.
    #[cfg(test)]
    pub(super) const fn never() -> Self {
        Self(None)
    }

    pub(super) async fn next(&mut self) {
        let came = match &mut self.0 {
            Some(signal) => signal.recv().await,
            None => None,
        };
        if came.is_none() {
            // No more can come.
            std::future::pending::<()>().await;
        }
    }
}
