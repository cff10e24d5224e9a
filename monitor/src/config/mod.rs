//! YAML in, validated settings out.
//!
//! In: a file or its text. Out: [`Settings`], plain data that every other part trusts, or one error in one line.
//! Must not: ask the host or the kernel anything: whether settings are possible here is for `source`.

pub mod duration;
pub mod expect;
mod field;
pub mod log_preset;
pub mod logs;
mod raw;
pub mod target;
#[cfg(test)]
mod tests;
pub mod threshold;
mod yaml;

use std::io::{self, Read};
use std::net::{Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use expect::{Bound, Expect, MapKind, MountKind, SysctlValue, TimeoutClass};
pub use logs::LogPattern;
pub use raw::parse_listen;
pub use target::{Cidr, Service, Target, Transport};
pub use threshold::{Rule, Thresholds};

use crate::check::catalog::Severity;

/// Where the configuration is looked for when no path is given.
pub const DEFAULT_PATH: &str = "/etc/ctmon/config.yaml";
/// Port of the daemon unless configured.
pub const DEFAULT_PORT: u16 = 10469;
/// Longest file that is read: what fits a `ConfigMap`.
const MAX_BYTES: u64 = 1 << 20;

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
    pub evictions: EvictionMode,
    /// Whether the last victims are served to `ctmon evictions` (loopback only).
    pub evictions_api: bool,
    /// Silence after which a stale entry lingers.
    pub stale_after: Duration,
    /// Ports Cilium may masquerade to.
    pub snat_port_range: RangeInclusive<u16>,
    /// Whether servers of the host's mounts and sessions become targets.
    pub targets_from_host: bool,
    pub targets: Vec<Target>,
    pub thresholds: Thresholds,
    pub expect: Expect,
    pub logs: Vec<LogPattern>,
}

/// Which clock the lifetimes of entries are read on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClockChoice {
    /// Found out from the entries.
    Auto,
    Ktime,
    Jiffies,
}

/// How evictions are watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EvictionMode {
    /// Full where it loads, else count, else off.
    Auto,
    /// Victims with state and target.
    Full,
    /// Their number only.
    Count,
    Off,
}

field::choice!(pub ClockChoice { Auto => "auto", Ktime => "ktime", Jiffies => "jiffies" });
field::choice!(pub EvictionMode { Auto => "auto", Full => "full", Count => "count", Off => "off" });

/// Why there are no settings.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("failed to read configuration {path}: {source}")]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("configuration {path} is longer than {MAX_BYTES} bytes: give the right file")]
    TooLong { path: PathBuf },
    #[error("invalid configuration {path}: {problem}")]
    InFile { path: PathBuf, problem: String },
    #[error("invalid configuration: {problem}")]
    Invalid { problem: String },
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: vec![SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), DEFAULT_PORT)],
            interval: Duration::from_secs(15),
            deep_interval: Duration::from_secs(300),
            clock: ClockChoice::Auto,
            evictions: EvictionMode::Auto,
            evictions_api: true,
            stale_after: Duration::from_secs(600),
            snat_port_range: 32_768..=65_535,
            targets_from_host: true,
            targets: Vec::new(),
            thresholds: Thresholds::default(),
            expect: Expect::default(),
            logs: Vec::new(),
        }
    }
}

impl Settings {
    /// What an alert of that severity compares with; `None` when it is off or does not exist.
    #[must_use]
    pub fn threshold(&self, alert: &str, severity: Severity) -> Option<f64> {
        self.thresholds.get(alert, severity)?.value
    }

    /// How long an alert's condition holds before it fires.
    #[must_use]
    pub fn for_(&self, alert: &str, severity: Severity) -> Option<Duration> {
        self.thresholds.get(alert, severity).map(|rule| rule.hold)
    }

    /// The effective configuration with every default spelled out; [`parse`] reads it back to the same settings.
    #[must_use]
    pub fn to_yaml(&self) -> String {
        yaml::write(self)
    }
}

/// Reads the file; without a path the default one if it exists, else the defaults.
pub fn load(path: Option<&Path>) -> Result<Settings, ConfigError> {
    match path {
        Some(path) => read(path),
        None => match read(Path::new(DEFAULT_PATH)) {
            Err(ConfigError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                Ok(Settings::default())
            }
            other => other,
        },
    }
}

/// Reads the text of a file.
pub fn parse(text: &str) -> Result<Settings, ConfigError> {
    raw::read(text).map_err(|problem| ConfigError::Invalid { problem })
}

fn read(path: &Path) -> Result<Settings, ConfigError> {
    let failed = |source| ConfigError::Read { path: path.to_owned(), source };
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(failed)?;
    let length = file.take(MAX_BYTES + 1).read_to_string(&mut text).map_err(failed)?;
    if length as u64 > MAX_BYTES {
        return Err(ConfigError::TooLong { path: path.to_owned() });
    }
    raw::read(&text).map_err(|problem| ConfigError::InFile { path: path.to_owned(), problem })
}
