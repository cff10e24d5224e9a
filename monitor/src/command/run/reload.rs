//! Reloading the configuration: on SIGHUP, or when the file's content changes.
//!
//! In: the path, signals. Out: orders to the scan thread.
//! Must not: replace good settings by a file that does not validate.
//!
//! The content is compared every few seconds instead of watched: a `ConfigMap` is swapped by a symbolic link two
//! directories up, which file notifications miss or report several times.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::mpsc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};

use super::super::cli::GlobalArgs;
use super::super::node;
use super::scanner::Order;
use crate::config::{self, DEFAULT_PATH};
use crate::output::prometheus::Reload;

/// How often the file is read.
const POLL: Duration = Duration::from_secs(2);

/// Watches the configuration.
pub(super) struct Reloader {
    global: GlobalArgs,
    /// Where the daemon listens, until it is restarted.
    listen: Vec<SocketAddr>,
    /// Whether the command line said so, which goes before any configuration.
    listen_ordered: bool,
    path: PathBuf,
    content: Option<Vec<u8>>,
}

impl Reloader {
    pub(super) fn new(global: GlobalArgs, listen: Vec<SocketAddr>, listen_ordered: bool) -> Self {
        let path = global.config.clone().unwrap_or_else(|| DEFAULT_PATH.into());
        let content = std::fs::read(&path).ok();
        Self { global, listen, listen_ordered, path, content }
    }

    /// Runs until the scan thread is gone.
    pub(super) async fn run(&mut self, orders: &mpsc::Sender<Order>) -> anyhow::Result<()> {
        let mut hangup = signal(SignalKind::hangup()).context("failed to listen for SIGHUP")?;
        loop {
            let asked = tokio::select! {
                _ = hangup.recv() => true,
                () = tokio::time::sleep(POLL) => false,
            };
            let content = std::fs::read(&self.path).ok();
            if !asked && content == self.content {
                continue;
            }
            self.content = content;
            let order = match self.reload() {
                Ok(order) => order,
                Err(error) => {
                    tracing::error!(
                        "failed to reload the configuration, the old one stays in force: {error:#}"
                    );
                    Order::ReloadFailed
                }
            };
            orders.send(order).ok().context("the scan thread has ended")?;
        }
    }

    fn reload(&mut self) -> anyhow::Result<Order> {
        let mut settings = config::load(self.global.config.as_deref())?;
        if !self.listen_ordered && settings.listen != self.listen {
            tracing::warn!(
                "`listen` needs a restart: the configured address is served from the next start on"
            );
        }
        settings.listen.clone_from(&self.listen);
        let collect = node::collect_settings(&self.global, &settings)?;
        tracing::info!(path = %self.path.display(), "configuration reloaded");
        Ok(Order::Settings(Box::new((settings, collect, Reload::now()))))
    }
}
