//! YAML in, validated settings out.
//!
//! In: a file or its text. Out: [`Settings`], plain data that every other part trusts, or one error in one line.
//! Must not: read a file, or ask the host or the kernel anything: whether settings are possible here is for `source`.

pub mod expect;
mod field;
pub mod file;
pub mod keys;
pub mod log_preset;
pub mod logs;
mod range;
mod raw;
mod target;
#[cfg(test)]
mod tests;
pub mod threshold;
mod yaml;

use std::io;
use std::net::{Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use monitor_model::clock::Clock;
use monitor_model::eviction_plan;
use monitor_model::host::logs::LogPattern;
use monitor_model::target::TargetSpec;

pub use crate::expect::{Bound, Expect, SysctlValue};
use crate::field::Choice;
pub use crate::raw::parse_listen;
pub use crate::threshold::{AlertList, Threshold, Thresholds};

/// The file that is read when no path is given.
pub const DEFAULT_PATH: &str = "/etc/ctmon/config.yaml";
/// Port of the daemon unless configured.
pub const DEFAULT_PORT: u16 = 10469;

/// Everything that can be configured, validated.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Where `/metrics` is served; never empty.
    pub listen: Vec<SocketAddr>,
    /// Time between two scans, before stretching.
    pub interval: Duration,
    /// Time between two deep scans; zero is off.
    pub deep_interval: Duration,
    pub clock: ClockChoice,
    pub evictions: eviction_plan::Choice,
    /// Whether the last victims are served to `ctmon evictions` (loopback only).
    pub evictions_api: bool,
    /// Silence after which a stale entry lingers.
    pub stale_after: Duration,
    /// Ports Cilium may masquerade to.
    pub snat_port_range: RangeInclusive<u16>,
    /// Whether servers of the host's mounts and sessions become targets.
    pub targets_from_host: bool,
    pub targets: Vec<TargetSpec>,
    pub thresholds: Thresholds,
    pub expect: Expect,
    pub logs: Vec<LogPattern>,
}

/// The clock the lifetimes of entries are read on; `None`: found out from the entries.
pub type ClockChoice = Option<Clock>;

impl Choice for ClockChoice {
    const ALL: &'static [Self] = &[None, Some(Clock::Ktime), Some(Clock::Jiffies)];

    fn word(self) -> &'static str {
        match self {
            None | Some(Clock::Undecided) => "auto",
            Some(Clock::Ktime) => "ktime",
            Some(Clock::Jiffies) => "jiffies",
        }
    }
}

field::choice!(eviction_plan::Choice);

/// Why there are no settings.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("failed to read configuration {path}: {source}")]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("configuration {path} is not a regular file: give the right one")]
    NotAFile { path: PathBuf },
    #[error("configuration {path} is longer than {limit} bytes: give the right file", limit = file::MAX_BYTES)]
    TooLong { path: PathBuf },
    #[error("invalid configuration {path}: {problem}")]
    InFile { path: PathBuf, problem: String },
    #[error("invalid configuration: {problem}")]
    Invalid { problem: String },
}

impl Settings {
    /// Settings with these alerts, nothing configured.
    #[must_use]
    pub fn defaults<A: AlertList>() -> Self {
        Self {
            listen: vec![SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), DEFAULT_PORT)],
            interval: Duration::from_secs(15),
            deep_interval: Duration::from_secs(300),
            clock: None,
            evictions: eviction_plan::Choice::Auto,
            evictions_api: true,
            stale_after: Duration::from_secs(600),
            snat_port_range: 32_768..=65_535,
            targets_from_host: true,
            targets: Vec::new(),
            thresholds: Thresholds::defaults(A::alerts()),
            expect: Expect::default(),
            logs: Vec::new(),
        }
    }

    /// The effective configuration with every default spelled out; [`parse`] reads it back to the same settings.
    #[must_use]
    pub fn to_yaml(&self) -> String {
        yaml::write(self)
    }
}

/// What a process starts with.
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded {
    pub settings: Settings,
    /// The text they come from; `None`: there is no file.
    pub text: Option<String>,
}

/// Reads the file; without a path the default one if it exists, else the defaults.
pub fn load<A: AlertList>(
    path: Option<&Path>,
    read_text: impl Fn(&Path) -> Result<String, ConfigError>,
) -> Result<Loaded, ConfigError> {
    let read = |path: &Path| {
        let text = read_text(path)?;
        Ok(Loaded { settings: parse_file::<A>(path, &text)?, text: Some(text) })
    };
    match path {
        Some(path) => read(path),
        None => match read(Path::new(DEFAULT_PATH)) {
            Err(error) if error.is_absent() => Ok(Loaded { settings: Settings::defaults::<A>(), text: None }),
            other => other,
        },
    }
}

/// Reads the text of a file.
pub fn parse<A: AlertList>(text: &str) -> Result<Settings, ConfigError> {
    raw::read::<A>(text).map_err(|problem| ConfigError::Invalid { problem })
}

/// Reads the text of this file.
pub fn parse_file<A: AlertList>(path: &Path, text: &str) -> Result<Settings, ConfigError> {
    raw::read::<A>(text).map_err(|problem| ConfigError::InFile { path: path.to_owned(), problem })
}

/// Reads the text of this file, which is to replace settings that are in force: one in which something is missing was cut
/// off, or is being written, and the defaults of what is missing are not meant.
pub fn parse_whole<A: AlertList>(path: &Path, text: &str) -> Result<Settings, ConfigError> {
    let settings = parse_file::<A>(path, text)?;
    match file::hollow(text) {
        Some(problem) => Err(ConfigError::InFile { path: path.to_owned(), problem }),
        None => Ok(settings),
    }
}

impl ConfigError {
    /// Whether there is no such file.
    #[must_use]
    pub fn is_absent(&self) -> bool {
        matches!(self, Self::Read { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}
