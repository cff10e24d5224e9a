//! `ctmon run`: the daemon.
//!
//! In: global flags, settings, signals, a changing configuration file. Out: pages for the server.
//! Must not: scan on the async thread, or let a scrape start a scan.

mod index;
mod local;
mod reload;
mod scanner;
pub(super) mod signals;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use monitor_config::{Loaded, parse_listen};
use monitor_model::served::Stats;
use monitor_serve::{Limits, Listener, Rendered, Server, Web, serve};
use monitor_source::descriptors;
use tokio::sync::watch;

use super::global::GlobalArgs;
use super::node;

/// Arguments of `ctmon run`.
#[derive(Args, Clone, Debug)]
pub struct RunArgs {
    /// Where to serve /metrics; may be given more than once and goes before the configuration's `listen`
    #[arg(long, value_name = "ADDRESS", value_delimiter = ',', value_parser = listen_address, env = "CTMON_LISTEN")]
    pub listen: Vec<SocketAddr>,
    /// TLS and basic authentication, in the format of Prometheus's exporter-toolkit; processes on the same host may ask
    /// without TLS, not without credentials
    #[arg(long = "web.config.file", value_name = "FILE", env = "CTMON_WEB_CONFIG_FILE")]
    pub web_config: Option<PathBuf>,
}

fn listen_address(text: &str) -> Result<SocketAddr, String> {
    parse_listen(text)
}

/// Runs until SIGTERM or SIGINT.
pub(super) fn run(
    global: &GlobalArgs,
    args: &RunArgs,
    loaded: Loaded,
    signals: Option<signals::Signals>,
) -> anyhow::Result<()> {
    let signals = signals.map_or_else(signals::Signals::catch, Ok)?;
    let signals::Signals { runtime, mut stop, mut hangups } = signals;
    let Loaded { mut settings, text } = loaded;
    if !args.listen.is_empty() {
        settings.listen.clone_from(&args.listen);
    }
    // Before anything is opened: maps, logs and connections are many descriptors.
    let descriptors = descriptors::lift_limit();
    tracing::debug!(descriptors, "limit of open files lifted");
    let stats = Arc::new(Stats::default());
    // First: where protection is asked for and cannot be had, the daemon must not start.
    let web = Arc::new(match &args.web_config {
        Some(path) => Web::load(path)?,
        None => Web::open(),
    });
    let collector = node::collector(global, &settings)?;
    let waiting = Rendered::waiting(index::index(None), "the first scan is under way");
    let (pages, receiver) = watch::channel(Arc::new(waiting));
    let (victims, last_victims) = watch::channel(local::waiting());
    let (history, last_history) = watch::channel(local::waiting());
    let publish = scanner::Publish { pages, victims, history };
    let scanner = scanner::start(collector, settings.clone(), publish, Arc::clone(&web), Arc::clone(&stats))?;
    runtime.block_on(async {
        let listeners = settings.listen.iter().map(|address| Listener::bind(*address));
        let listeners = listeners.collect::<Result<Vec<_>, _>>()?;
        for listener in &listeners {
            tracing::info!(address = %listener.address(), "serving /metrics");
        }
        let ordered = !args.listen.is_empty();
        let mut reloader = reload::Reloader::new(global.clone(), settings.listen, ordered, text);
        let shutdown = async move {
            tokio::select! {
                () = stop.wait() => Ok(()),
                result = reloader.run(&mut hangups, &scanner) => result,
            }
        };
        let (ended, result) = tokio::sync::oneshot::channel();
        let shutdown = async move {
            let _ = ended.send(shutdown.await);
        };
        let server = Server {
            pages: receiver,
            local: vec![local::victims_route(last_victims), local::history_route(last_history)],
            web,
            limits: Limits::default(),
            stats,
        };
        serve(listeners, server, shutdown).await;
        // The sender is dropped only after it has sent.
        result.await.unwrap_or(Ok(()))
    })?;
    tracing::info!("ended");
    // The scan thread may be inside a walk; the process need not wait for it.
    runtime.shutdown_timeout(Duration::ZERO);
    Ok(())
}
