//! Who may read: TLS and basic authentication, as an exporter-toolkit web configuration says.
//!
//! In: the file of `--web.config.file` and the files it names. Out: the terms in force for connections and
//! requests, replaced while the server runs.
//! Must not: weaken what is in force because a new file cannot be read, or let an old connection keep old terms.
//!
//! The files are read again every few seconds and compared by content. A Kubernetes secret changes by a
//! symbolic link that is swapped, which a file watch does not see; a check per connection would miss scrapers,
//! who keep theirs for days.

mod terms;

mod file;

mod tls;

mod users;

mod rate;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

pub use file::WebError;
pub(super) use terms::{Refusal, Terms};

use file::WebFile;

/// The web configuration, shared by all servers of the process.
pub struct Web {
    path: Option<PathBuf>,
    terms: watch::Sender<Arc<Terms>>,
    last: Mutex<Attempt>,
}

/// The outcome of the last reading: the same one again is not worth a line in the log.
#[derive(PartialEq, Eq)]
enum Attempt {
    Read(Box<WebFile>),
    Failed(String),
}

impl Web {
    /// Without a file: plain HTTP for everyone.
    #[must_use]
    pub fn open() -> Self {
        let terms = watch::Sender::new(Arc::new(Terms::open()));
        Self { path: None, terms, last: Mutex::new(Attempt::Failed(String::new())) }
    }

    /// With a file, which must be good: starting without the protection somebody asked for is no option.
    pub fn load(path: &Path) -> Result<Self, WebError> {
        let file = WebFile::read(path)?;
        let terms = Terms::of(&file)?;
        Ok(Self {
            path: Some(path.to_owned()),
            terms: watch::Sender::new(Arc::new(terms)),
            last: Mutex::new(Attempt::Read(Box::new(file))),
        })
    }

    /// Reads the files again. A bad one is logged once, and what was in force stays. Blocks for a few reads.
    pub fn reload(&self) {
        let Some(path) = &self.path else { return };
        let mut last = self.last();
        let outcome = WebFile::read(path).and_then(|file| {
            if matches!(&*last, Attempt::Read(before) if **before == file) {
                return Ok(None);
            }
            Terms::of(&file).map(|terms| Some((file, terms)))
        });
        match outcome {
            Ok(None) => {}
            Ok(Some((file, terms))) => {
                tracing::info!(path = %path.display(), "web configuration read again: now in force");
                *last = Attempt::Read(Box::new(file));
                self.terms.send_replace(Arc::new(terms));
            }
            Err(error) => {
                let why = error.with_causes();
                if *last != Attempt::Failed(why.clone()) {
                    tracing::error!(
                        error = why,
                        "web configuration refused: the one read before stays in force"
                    );
                    *last = Attempt::Failed(why);
                }
            }
        }
    }

    /// Why the files as they are now were refused; `None` while they are in force.
    #[must_use]
    pub fn refused(&self) -> Option<String> {
        match &*self.last() {
            Attempt::Failed(why) if self.path.is_some() => Some(why.clone()),
            _ => None,
        }
    }

    /// Reads the files again and again; never returns.
    pub(super) async fn follow(self: &Arc<Self>, every: Duration) {
        if self.path.is_none() {
            return std::future::pending().await;
        }
        loop {
            tokio::time::sleep(every).await;
            let web = Arc::clone(self);
            // A volume may hang; the server must not.
            if let Err(error) = tokio::task::spawn_blocking(move || web.reload()).await {
                tracing::error!(%error, "failed to read the web configuration again");
            }
        }
    }

    pub(super) fn terms(&self) -> watch::Receiver<Arc<Terms>> {
        self.terms.subscribe()
    }

    fn last(&self) -> MutexGuard<'_, Attempt> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
