//! Who may read: TLS and basic authentication, as an exporter-toolkit web configuration says.
//!
//! In: the file of `--web.config.file` and the files it names. Out: the policy in force for connections and
//! requests, replaced while the server runs.
//! Must not: weaken what is in force because of what becomes of the files: what asks for less than before needs a
//! restart.
//!
//! The files are read again every few seconds and compared by content. A Kubernetes secret changes by a
//! symbolic link that is swapped, which a file watch does not see; a check per connection would miss scrapers,
//! who keep theirs for days. A change counts once two readings in a row saw the same: a file that is being written
//! is not.

mod policy;

mod file;

mod tls;

mod users;

mod password_queue;

mod rate;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use monitor_model::served::WebStatus;
use tokio::sync::watch;

pub use crate::web::file::WebError;
use crate::web::file::WebFile;
pub(super) use crate::web::password_queue::Asker;
pub(super) use crate::web::policy::{Policy, Refusal};
use crate::web::users::PasswordChecks;

/// The web configuration, shared by all servers of the process.
pub struct Web {
    policy: watch::Sender<Arc<Policy>>,
    /// What outlives a change of the files; `None` without one.
    followed: Option<Followed>,
}

/// The files, and how their last reading went.
struct Followed {
    path: PathBuf,
    passwords: Arc<PasswordChecks>,
    state: Mutex<State>,
}

struct State {
    in_force: Box<WebFile>,
    since: SystemTime,
    /// What was read last.
    seen: Result<Box<WebFile>, String>,
    /// Whether that was put in force or refused.
    decided: bool,
    refused: Option<String>,
}

impl Web {
    /// Without a file: plain HTTP for everyone.
    #[must_use]
    pub fn open() -> Self {
        Self { policy: watch::Sender::new(Arc::new(Policy::open())), followed: None }
    }

    /// With a file, which must be good: the daemon does not start without the protection that was asked for.
    pub fn load(path: &Path) -> Result<Self, WebError> {
        let file = WebFile::read(path)?;
        let passwords = Arc::new(PasswordChecks::new().ok_or_else(|| WebError::Random)?);
        let policy = Policy::of(&file, &passwords, None)?;
        let file = Box::new(file);
        let state = State {
            seen: Ok(file.clone()),
            in_force: file,
            since: SystemTime::now(),
            decided: true,
            refused: None,
        };
        Ok(Self {
            policy: watch::Sender::new(Arc::new(policy)),
            followed: Some(Followed { path: path.to_owned(), passwords, state: Mutex::new(state) }),
        })
    }

    /// Since when the files are in force, and why later ones were refused; `None` without a file.
    #[must_use]
    pub fn status(&self) -> Option<WebStatus> {
        let state = self.followed.as_ref()?.state();
        let not_after = self.policy.borrow().not_after();
        Some(WebStatus { refused: state.refused.clone(), loaded: state.since, not_after })
    }

    /// How many passwords were compared with a hash, for tests.
    #[cfg(test)]
    pub(super) fn checks(&self) -> u64 {
        self.followed.as_ref().map_or(0, |followed| followed.passwords.checks())
    }

    /// Reads the files once more. `false` if they differ from the reading before: read them again soon. What is bad
    /// is logged once, and what was in force stays. Blocks for a few reads.
    pub(super) fn read_again(&self) -> bool {
        let Some(followed) = &self.followed else { return true };
        // Not under the lock: a volume may hang, and the page must not.
        let reading = WebFile::read(&followed.path).map(Box::new).map_err(|error| error.with_causes());
        let mut state = followed.state();
        if state.seen != reading {
            state.seen = reading;
            state.decided = false;
            return false;
        }
        if !state.decided {
            state.decided = true;
            match reading.and_then(|file| self.put_in_force(followed, &mut state, file)) {
                Ok(()) => state.refused = None,
                Err(why) => state.refuse(why),
            }
        }
        true
    }

    fn put_in_force(&self, followed: &Followed, state: &mut State, file: Box<WebFile>) -> Result<(), String> {
        let path = followed.path.display();
        if file == state.in_force {
            tracing::info!(%path, "web configuration is again the one in force");
            return Ok(());
        }
        let before = Arc::clone(&self.policy.borrow());
        let policy = Policy::of(&file, &followed.passwords, Some((&state.in_force, &before)))
            .map_err(|error| error.with_causes())?;
        if let Some(what) = policy.asks_less_than(&before) {
            return Err(WebError::Weaker { path: followed.path.clone(), what }.with_causes());
        }
        tracing::info!(%path, "web configuration read again: now in force");
        state.in_force = file;
        state.since = SystemTime::now();
        self.policy.send_replace(Arc::new(policy));
        Ok(())
    }

    /// Reads the files again and again; never returns.
    pub(super) async fn follow(self: &Arc<Self>, every: Duration, settle: Duration) {
        if self.followed.is_none() {
            return std::future::pending().await;
        }
        let mut pause = every;
        loop {
            tokio::time::sleep(pause).await;
            let web = Arc::clone(self);
            // A volume may hang; the server must not.
            let settled =
                tokio::task::spawn_blocking(move || web.read_again()).await.unwrap_or_else(|error| {
                    tracing::error!(%error, "failed to read the web configuration again");
                    true
                });
            pause = if settled { every } else { settle };
        }
    }

    pub(super) fn policy(&self) -> watch::Receiver<Arc<Policy>> {
        self.policy.subscribe()
    }
}

impl Followed {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn refuse(&mut self, why: String) {
        if self.refused.as_ref() != Some(&why) {
            tracing::error!(error = why, "web configuration refused: the one read before stays in force");
            self.refused = Some(why);
        }
    }
}
