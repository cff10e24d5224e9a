//! What all connections of the server share.
//!
//! In: pages as they are published, who may read, limits. Out: one value. Must not: do anything.

use std::sync::Arc;

use monitor_model::served::Stats;
use tokio::sync::watch;

use super::answer::LocalRoute;
use super::limits::Limits;
use super::rendered::Rendered;
use super::web::Web;

/// Everything the server needs besides its sockets.
#[derive(Clone)]
pub struct Server {
    /// The latest pages.
    pub pages: watch::Receiver<Arc<Rendered>>,
    /// Pages for processes on this host.
    pub local: Vec<LocalRoute>,
    /// Who may read.
    pub web: Arc<Web>,
    pub limits: Limits,
    pub stats: Arc<Stats>,
}
