//! Reloading the configuration: on SIGHUP, or when the file's content changes.
//!
//! In: the path, signals. Out: orders to the scan thread.
//! Must not: replace good settings by a file that does not validate, or by half of one; read or parse a file on the async
//! thread, which answers probes and signals.
//!
//! The content is compared every few seconds instead of watched: a `ConfigMap` is swapped by a symbolic link two
//! directories up, which file notifications miss or report several times.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

use anyhow::Context as _;
use anyhow::bail;
use monitor_check::Catalog;
use monitor_config::{ConfigError, DEFAULT_PATH, Settings};
use monitor_model::one_line::one_line;
use tokio::task::spawn_blocking;

use super::super::global::GlobalArgs;
use super::super::node;
use super::scanner::{Order, reloaded_now};
use super::signals::Hangups;
use crate::command::config_file::read_text;

/// How often the file is read.
const POLL: Duration = Duration::from_secs(2);
/// How long a new content must stay as it is before it is believed: nobody pauses that long while writing a small file.
const SETTLE: Duration = Duration::from_millis(300);
/// How many times in a row the content may differ from one reading to the next.
const MOST_UNSETTLED: u32 = 15;
/// How much of a refusal is kept: an error repeats what it found, which may be long.
const MOST_OF_A_REFUSAL: usize = 400;

/// Watches the configuration.
pub(super) struct Reloader {
    global: GlobalArgs,
    /// Where the daemon listens, until it is restarted.
    listen: Vec<SocketAddr>,
    /// Whether the command line said so, which goes before any configuration.
    listen_ordered: bool,
    path: PathBuf,
    watch: Watch,
    /// Whether a file is in force: it may be replaced, and not go away.
    from_file: bool,
    pace: Pace,
}

/// How often the file is read, and how long apart two readings of a new content are.
#[derive(Clone, Copy, Debug)]
struct Pace {
    poll: Duration,
    settle: Duration,
}

/// What is at the path.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Content {
    Text(String),
    Absent,
    Unreadable(String),
}

impl Reloader {
    /// `text` is what the settings in force came from.
    pub(super) fn new(
        global: GlobalArgs,
        listen: Vec<SocketAddr>,
        listen_ordered: bool,
        text: Option<String>,
    ) -> Self {
        let path = global.config.clone().unwrap_or_else(|| DEFAULT_PATH.into());
        let from_file = text.is_some();
        let watch = Watch::new(text.map_or(Content::Absent, Content::Text));
        let pace = Pace { poll: POLL, settle: SETTLE };
        Self { global, listen, listen_ordered, path, watch, from_file, pace }
    }

    /// Runs until the scan thread is gone.
    pub(super) async fn run(
        &mut self,
        hangups: &mut Hangups,
        orders: &mpsc::Sender<Order>,
    ) -> anyhow::Result<()> {
        loop {
            tokio::select! {
                () = hangups.next() => self.watch.asked = true,
                () = tokio::time::sleep(self.pace.poll) => {}
            }
            let first = self.read().await?;
            if !self.watch.is_news(&first) {
                continue;
            }
            tokio::time::sleep(self.pace.settle).await;
            let again = self.read().await?;
            let order = match self.watch.settle(&first, again) {
                Settled::NotYet => continue,
                Settled::Never => Err(anyhow::anyhow!(
                    "{} changes all the time: replace it in one step",
                    self.path.display()
                )),
                Settled::As(seen) => self.reload(seen).await,
            };
            let order = order.unwrap_or_else(|error| {
                let why = one_line(error.as_ref());
                tracing::error!("failed to reload the configuration, the old one stays in force: {why}");
                Order::ReloadFailed(why.chars().take(MOST_OF_A_REFUSAL).collect())
            });
            orders.send(order).ok().context("the scan thread has ended")?;
        }
    }

    /// Reads the file on another thread: a volume may hang, and a file may be anything.
    async fn read(&self) -> anyhow::Result<Content> {
        let path = self.path.clone();
        spawn_blocking(move || Content::at(&path)).await.context("failed to look at the configuration")
    }

    async fn reload(&mut self, seen: Content) -> anyhow::Result<Order> {
        let mut settings = match seen {
            Content::Text(text) => {
                let path = self.path.clone();
                let parse = move || monitor_config::parse_whole::<Catalog>(&path, &text);
                let settings = spawn_blocking(parse).await.context("failed to parse the configuration")??;
                self.from_file = true;
                settings
            }
            // There was none before either: SIGHUP asked to read a file that is not there.
            Content::Absent if !self.from_file => Settings::defaults::<Catalog>(),
            Content::Absent => {
                bail!("{} is gone: put it back, or restart for the defaults", self.path.display())
            }
            Content::Unreadable(why) => bail!(why),
        };
        if !self.listen_ordered && settings.listen != self.listen {
            tracing::warn!(
                "`listen` needs a restart: the configured address is served from the next start on"
            );
        }
        settings.listen.clone_from(&self.listen);
        let collect = node::collect_settings(&self.global, &settings)?;
        tracing::info!(path = %self.path.display(), "configuration reloaded");
        Ok(Order::Settings(Box::new((settings, collect, reloaded_now()))))
    }
}

impl Content {
    fn at(path: &Path) -> Self {
        match read_text(path) {
            Ok(text) => Self::Text(text),
            Err(error) if ConfigError::is_absent(&error) => Self::Absent,
            Err(error) => Self::Unreadable(error.to_string()),
        }
    }
}

/// The content seen last, and whether a new one has stayed the same for long enough.
struct Watch {
    seen: Content,
    /// SIGHUP came: what is there is taken, also if it is the same.
    asked: bool,
    unsettled: u32,
}

#[derive(Debug, PartialEq, Eq)]
enum Settled {
    As(Content),
    /// The second reading differs: the file is being written.
    NotYet,
    /// The file has been changing for long; reported once.
    Never,
}

impl Watch {
    const fn new(seen: Content) -> Self {
        Self { seen, asked: false, unsettled: 0 }
    }

    /// Whether this is worth a second reading.
    fn is_news(&mut self, now: &Content) -> bool {
        let news = self.asked || *now != self.seen;
        if !news {
            self.unsettled = 0;
        }
        news
    }

    /// Compares two readings, [`SETTLE`] apart.
    fn settle(&mut self, first: &Content, again: Content) -> Settled {
        if *first != again {
            self.unsettled = self.unsettled.saturating_add(1);
            return if self.unsettled == MOST_UNSETTLED { Settled::Never } else { Settled::NotYet };
        }
        (self.asked, self.unsettled) = (false, 0);
        self.seen = again.clone();
        Settled::As(again)
    }
}

#[cfg(test)]
mod tests;
