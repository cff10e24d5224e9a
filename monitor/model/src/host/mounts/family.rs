//! What there is to know of a network file system.
//!
//! In: nothing. Out: [`Family`], by which mounts, volumes and expectations say which one they are.
//! Must not: name any of them: each stands in its own file.

use std::cmp::Ordering;
use std::hash::{Hash, Hasher};
use std::ops::Deref;

/// A network file system: the types that one kernel client mounts.
#[derive(Clone, Copy, Debug)]
pub struct Family(pub(super) &'static FileSystem);

/// What of it concerns mounts, targets, volumes and advice.
#[derive(Debug)]
pub struct FileSystem {
    /// The word for it in the configuration.
    pub name: &'static str,
    /// The types it has in a list of mounts.
    pub types: &'static [&'static str],
    /// What a target calls the service that answers it.
    pub service: &'static str,
    pub default_port: u16,
    /// The server's name or address in the source of a mount.
    pub server: fn(&str) -> &str,
    /// Options that may name users or hold secrets: none of them is kept.
    pub private_options: &'static [&'static str],
    /// With one of these a mount does not share its connection with others of the same server.
    pub own_connection: &'static [&'static str],
    /// What to do about mounts that share one.
    pub sharing_advice: &'static str,
    pub volume: VolumeSigns,
}

/// By what a `PersistentVolume` shows its file system.
#[derive(Debug)]
pub struct VolumeSigns {
    /// A key of its `spec`.
    pub spec: Option<&'static str>,
    /// What the driver, its file system type or one of its attributes is, or begins with; in lower case.
    pub words: &'static [&'static str],
    pub prefixes: &'static [&'static str],
    /// What mount options begin with that no other file system has.
    pub mount_options: &'static [&'static str],
}

impl Family {
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.0.name
    }

    /// By the type in a list of mounts.
    #[must_use]
    pub fn of(fs_type: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|family| family.types.contains(&fs_type))
    }
}

impl VolumeSigns {
    /// Whether a driver, a type or an attribute, in lower case, is of this file system.
    #[must_use]
    pub fn has_word(&self, word: &str) -> bool {
        self.words.contains(&word) || self.prefixes.iter().any(|prefix| word.starts_with(prefix))
    }

    /// Whether a mount option can only be of this file system.
    #[must_use]
    pub fn has_option(&self, option: &str) -> bool {
        self.mount_options.iter().any(|prefix| option.starts_with(prefix))
    }
}

impl Deref for Family {
    type Target = FileSystem;

    fn deref(&self) -> &FileSystem {
        self.0
    }
}

impl PartialEq for Family {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name()
    }
}

impl Eq for Family {}

impl Ord for Family {
    fn cmp(&self, other: &Self) -> Ordering {
        self.name().cmp(other.name())
    }
}

impl PartialOrd for Family {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Hash for Family {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name().hash(state);
    }
}
