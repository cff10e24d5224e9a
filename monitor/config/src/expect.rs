//! What the user believes to be in force: expectations that checks compare with what is.
//!
//! In: the `expect` key and its preset. Out: validated [`Expect`].
//! Must not: know the current values: comparing is for `check`.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::time::Duration;

use monitor_model::duration;
use monitor_model::host::mounts::Family;
use monitor_model::host::sysctl::dotted;
use monitor_model::map_name::Table;
use monitor_model::timeouts::TimeoutClass;
use serde::Deserialize;

use super::field::{Choice, Field, List, Pairs, Time, Word, choice, read_as};

/// Expectations; empty by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expect {
    /// Time between two passes of Cilium's gc.
    pub gc_interval: Option<Bound<Duration>>,
    /// Of the maps of both address families.
    pub map_capacity: BTreeMap<Table, Bound<u64>>,
    pub ct_timeouts: BTreeMap<TimeoutClass, Bound<Duration>>,
    /// By dotted name: `net.ipv4.conf.eth0/100.rp_filter` is of the interface `eth0.100`.
    pub sysctls: BTreeMap<String, Bound<SysctlValue>>,
    /// Options every mount of that kind must carry.
    pub mount_options: BTreeMap<Family, Vec<String>>,
}

/// One comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound<T> {
    AtLeast(T),
    AtMost(T),
    Equals(T),
}

/// A sysctl holds a number or words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SysctlValue {
    Number(i64),
    /// Several numbers or words, separated by single spaces. Only `equals` makes sense.
    Text(String),
}

choice!(TimeoutClass, Family);

impl Choice for Table {
    const ALL: &'static [Self] = Self::ALL;

    fn word(self) -> &'static str {
        self.name()
    }

    fn alias(self) -> Option<String> {
        Some(self.aliases())
    }
}

impl<T> Bound<T> {
    /// The value on the right-hand side.
    pub const fn value(&self) -> &T {
        match self {
            Self::AtLeast(value) | Self::AtMost(value) | Self::Equals(value) => value,
        }
    }

    /// The key in the configuration.
    pub const fn key(&self) -> &'static str {
        match self {
            Self::AtLeast(_) => "at_least",
            Self::AtMost(_) => "at_most",
            Self::Equals(_) => "equals",
        }
    }

    /// For findings: `at least 524288`.
    pub fn describe(&self, show: impl Fn(&T) -> String) -> String {
        let value = show(self.value());
        match self {
            Self::AtLeast(_) => format!("at least {value}"),
            Self::AtMost(_) => format!("at most {value}"),
            Self::Equals(_) => value,
        }
    }

    fn map<U>(self, convert: impl FnOnce(T) -> U) -> Bound<U> {
        match self {
            Self::AtLeast(value) => Bound::AtLeast(convert(value)),
            Self::AtMost(value) => Bound::AtMost(convert(value)),
            Self::Equals(value) => Bound::Equals(convert(value)),
        }
    }
}

impl<T: PartialOrd> Bound<T> {
    /// Whether what was found is as expected.
    pub fn holds(&self, found: &T) -> bool {
        match self {
            Self::AtLeast(value) => found >= value,
            Self::AtMost(value) => found <= value,
            Self::Equals(value) => found == value,
        }
    }
}

impl Bound<SysctlValue> {
    /// Whether the text of the sysctl's file is as expected; white space between words does not matter.
    #[must_use]
    pub fn holds_text(&self, found: &str) -> bool {
        match (self.value(), SysctlValue::read(found)) {
            (SysctlValue::Number(value), SysctlValue::Number(found)) => {
                self.clone().map(|_| *value).holds(&found)
            }
            (SysctlValue::Text(value), SysctlValue::Text(found)) => *value == found,
            _ => false,
        }
    }
}

impl SysctlValue {
    /// Reads a file's or the configuration's text.
    #[must_use]
    pub fn read(text: &str) -> Self {
        let words: Vec<_> = text.split_whitespace().collect();
        let text = words.join(" ");
        text.parse().map_or(Self::Text(text), Self::Number)
    }
}

impl Display for SysctlValue {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Number(number) => write!(formatter, "{number}"),
            Self::Text(text) => formatter.write_str(text),
        }
    }
}

/// A named set of expectations.
#[derive(Clone, Copy)]
pub(super) enum Preset {
    NasTuning,
}

impl Choice for Preset {
    const ALL: &'static [Self] = &[Self::NasTuning];

    fn word(self) -> &'static str {
        let Self::NasTuning = self;
        "nas-tuning"
    }
}

impl Preset {
    /// The values of `deploy/tuning`.
    fn expect(self) -> Expect {
        match self {
            Self::NasTuning => Expect {
                gc_interval: None,
                // No size: with Cilium's own gc interval a bigger map only holds more dead entries.
                map_capacity: BTreeMap::new(),
                ct_timeouts: BTreeMap::new(),
                sysctls: [
                    ("net.ipv4.tcp_keepalive_time", Bound::Equals(600)),
                    ("net.ipv4.tcp_keepalive_intvl", Bound::Equals(60)),
                    ("net.ipv4.tcp_keepalive_probes", Bound::Equals(3)),
                    ("net.ipv4.tcp_fin_timeout", Bound::Equals(30)),
                    ("net.core.netdev_max_backlog", Bound::AtLeast(5000)),
                    ("net.ipv4.tcp_max_syn_backlog", Bound::AtLeast(8192)),
                    ("fs.file-max", Bound::AtLeast(2_097_152)),
                ]
                .map(|(name, bound)| (name.to_owned(), bound.map(SysctlValue::Number)))
                .into(),
                mount_options: [(
                    Family::CIFS,
                    ["cache=loose", "actimeo=60", "noatime"].map(str::to_owned).to_vec(),
                )]
                .into(),
            },
        }
    }
}

/// As in the file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawExpect {
    preset: Option<Word<Preset>>,
    gc_interval: Option<Bound<Time>>,
    #[serde(default)]
    map_capacity: Pairs<Word<Table>, Bound<Entries>>,
    #[serde(default)]
    ct_timeouts: Pairs<Word<TimeoutClass>, Bound<Time>>,
    #[serde(default)]
    sysctls: Pairs<SysctlName, Bound<SysctlValue>>,
    #[serde(default)]
    mount_options: Pairs<Word<Family>, MountOptions>,
}

/// As in the file: exactly one of them.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawBound<T> {
    at_least: Option<T>,
    at_most: Option<T>,
    equals: Option<T>,
}

/// As in the file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawMountOptions {
    has: List<MountOption>,
}

struct MountOptions(Vec<MountOption>);

struct Entries(u64);
#[derive(PartialEq)]
struct SysctlName(String);
struct MountOption(String);

/// What a bound needs beyond one key.
trait Bounds {
    /// Whether it can be more or less than another.
    fn ordered(&self) -> bool {
        true
    }
}

impl Bounds for Time {}
impl Bounds for Entries {}
impl Bounds for SysctlValue {
    fn ordered(&self) -> bool {
        matches!(self, Self::Number(_))
    }
}

impl<T: Bounds + for<'de> Deserialize<'de>> Field for Bound<T> {
    type Raw = RawBound<T>;
    const EXPECTED: &'static str = "one of {at_least: ..}, {at_most: ..}, {equals: ..}";

    fn check(raw: RawBound<T>) -> Result<Self, String> {
        let bound = match (raw.at_least, raw.at_most, raw.equals) {
            (Some(value), None, None) => Self::AtLeast(value),
            (None, Some(value), None) => Self::AtMost(value),
            (None, None, Some(value)) => Self::Equals(value),
            _ => return Err("give exactly one of at_least, at_most, equals".to_owned()),
        };
        if matches!(bound, Self::Equals(_)) || bound.value().ordered() {
            Ok(bound)
        } else {
            Err("words have no order: use equals".to_owned())
        }
    }
}

impl<'de, T: Bounds + for<'any> Deserialize<'any>> Deserialize<'de> for Bound<T> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        super::field::map(deserializer)
    }
}

impl Field for Entries {
    type Raw = String;
    const EXPECTED: &'static str = "a number of entries";

    fn check(raw: String) -> Result<Self, String> {
        match raw.parse() {
            Ok(entries) if entries > 0 => Ok(Self(entries)),
            _ => Err(format!("`{raw}` is not a number of entries: give a whole number above 0")),
        }
    }
}

impl Field for SysctlName {
    type Raw = String;
    const EXPECTED: &'static str = "the name of a sysctl";

    fn check(raw: String) -> Result<Self, String> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '/');
        // The name becomes a path below /proc/sys: no part of it may lead elsewhere.
        match dotted(&raw) {
            Some(name) if raw.len() <= 128 && name.contains('.') && raw.chars().all(allowed) => {
                Ok(Self(name))
            }
            _ => Err(format!(
                "`{raw}` is not the name of a sysctl: write it like net.ipv4.tcp_keepalive_time, and a dot in the name of \
                 an interface as a slash: net.ipv4.conf.eth0/100.rp_filter"
            )),
        }
    }
}

impl Field for SysctlValue {
    type Raw = String;
    const EXPECTED: &'static str = "a number or words";

    fn check(raw: String) -> Result<Self, String> {
        if raw.trim().is_empty() || raw.len() > 256 || raw.contains(|c: char| c.is_control() && c != '\t') {
            return Err("a sysctl's value is 1 to 256 characters in one line".to_owned());
        }
        Ok(Self::read(&raw))
    }
}

impl Field for MountOptions {
    type Raw = RawMountOptions;
    const EXPECTED: &'static str = "mount options: {has: [noatime]}";

    fn check(raw: RawMountOptions) -> Result<Self, String> {
        Ok(Self(raw.has.0))
    }
}

impl Field for MountOption {
    type Raw = String;
    const EXPECTED: &'static str = "a mount option";

    fn check(raw: String) -> Result<Self, String> {
        let allowed = |c: char| c.is_ascii_graphic() && c != ',';
        if raw.is_empty() || raw.len() > 128 || !raw.chars().all(allowed) {
            return Err(format!("`{raw}` is not one mount option: write it as /proc/mounts does"));
        }
        Ok(Self(raw))
    }
}

/// Most sysctls: each is three series.
pub(super) const MAX_SYSCTLS: usize = 64;

impl Field for Expect {
    type Raw = RawExpect;
    const EXPECTED: &'static str = "expectations: {gc_interval: {at_most: 5m}}";

    fn check(raw: RawExpect) -> Result<Self, String> {
        let RawExpect { preset, gc_interval, map_capacity, ct_timeouts, sysctls, mount_options } = raw;
        let mut expect = preset.map(|preset| preset.0.expect()).unwrap_or_default();
        if let Some(bound) = gc_interval {
            expect.gc_interval = Some(bound.map(|time| time.0));
        }
        expect
            .map_capacity
            .extend(map_capacity.0.into_iter().map(|(table, bound)| (table.0, bound.map(|e| e.0))));
        expect
            .ct_timeouts
            .extend(ct_timeouts.0.into_iter().map(|(class, bound)| (class.0, bound.map(|t| t.0))));
        expect.sysctls.extend(sysctls.0.into_iter().map(|(name, bound)| (name.0, bound)));
        expect.mount_options.extend(
            mount_options
                .0
                .into_iter()
                .map(|(family, options)| (family.0, options.0.into_iter().map(|o| o.0).collect())),
        );
        if expect.sysctls.len() > MAX_SYSCTLS {
            return Err(format!(
                "{} sysctls, at most {MAX_SYSCTLS} are compared: remove some",
                expect.sysctls.len()
            ));
        }
        Ok(expect)
    }
}

read_as!(text: Entries, SysctlName, SysctlValue, MountOption);
read_as!(map: Expect, MountOptions);

/// For findings and for printing the configuration.
#[must_use]
pub fn show_duration(value: &Duration) -> String {
    duration::format(*value)
}
