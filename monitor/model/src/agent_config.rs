//! The configuration of Cilium's agent, as far as it concerns conntrack and NAT.
//!
//! In: keys and values of its configuration. Out: [`AgentConfig`], and the values the agent would not accept.
//! Must not: read a file.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::timeouts::TimeoutClass;

#[derive(Clone, Debug, Default, PartialEq)]
pub struct AgentConfig {
    /// Those that are set.
    pub ct_timeouts: BTreeMap<TimeoutClass, Duration>,
    /// Zero: adaptive, from 5 minutes up to 12 hours.
    pub gc_interval: Option<Duration>,
    /// Zero: no cap.
    pub gc_max_interval: Option<Duration>,
    pub ct_tcp_max: Option<u64>,
    pub ct_any_max: Option<u64>,
    pub nat_max: Option<u64>,
    /// Sizes follow the node's memory, except those set explicitly.
    pub map_dynamic_size_ratio: Option<f64>,
    pub distributed_lru: Option<bool>,
    /// Conntrack times may be jiffies instead of seconds.
    pub clock_probe: Option<bool>,
    pub bpf_masquerade: Option<bool>,
    pub conntrack_accounting: Option<bool>,
    pub monitor_aggregation_interval: Option<Duration>,
    pub enable_ipv4: Option<bool>,
    pub enable_ipv6: Option<bool>,
    /// Keys whose value is not what the agent expects there; it refuses to start with some, ignores others.
    pub invalid: Vec<InvalidValue>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidValue {
    pub key: &'static str,
    pub value: String,
    pub expected: &'static str,
}

/// Characters of an invalid value that are shown.
const MAX_SHOWN: usize = 80;

/// The keys that are read, in the order of [`AgentConfig`].
pub const KEYS: &[&str] = &[
    TimeoutClass::Tcp.cilium_key(),
    TimeoutClass::Any.cilium_key(),
    TimeoutClass::Syn.cilium_key(),
    TimeoutClass::Fin.cilium_key(),
    TimeoutClass::ServiceTcp.cilium_key(),
    TimeoutClass::ServiceAny.cilium_key(),
    TimeoutClass::ServiceTcpGrace.cilium_key(),
    "conntrack-gc-interval",
    "conntrack-gc-max-interval",
    "bpf-ct-global-tcp-max",
    "bpf-ct-global-any-max",
    "bpf-nat-global-max",
    "bpf-map-dynamic-size-ratio",
    "bpf-distributed-lru",
    "enable-bpf-clock-probe",
    "enable-bpf-masquerade",
    "bpf-conntrack-accounting",
    "monitor-aggregation-interval",
    "enable-ipv4",
    "enable-ipv6",
];

/// Reads the keys and values of the agent's configuration.
#[must_use]
pub fn parse_data(data: &BTreeMap<String, String>) -> AgentConfig {
    let mut reader = Reader { data, invalid: Vec::new() };
    let mut config = AgentConfig {
        ct_timeouts: TimeoutClass::ALL
            .iter()
            .filter_map(|class| Some((*class, reader.duration(class.cilium_key())?)))
            .collect(),
        gc_interval: reader.duration("conntrack-gc-interval"),
        gc_max_interval: reader.duration("conntrack-gc-max-interval"),
        ct_tcp_max: reader.number("bpf-ct-global-tcp-max"),
        ct_any_max: reader.number("bpf-ct-global-any-max"),
        nat_max: reader.number("bpf-nat-global-max"),
        map_dynamic_size_ratio: reader.ratio("bpf-map-dynamic-size-ratio"),
        distributed_lru: reader.flag("bpf-distributed-lru"),
        clock_probe: reader.flag("enable-bpf-clock-probe"),
        bpf_masquerade: reader.flag("enable-bpf-masquerade"),
        conntrack_accounting: reader.flag("bpf-conntrack-accounting"),
        monitor_aggregation_interval: reader.duration("monitor-aggregation-interval"),
        enable_ipv4: reader.flag("enable-ipv4"),
        enable_ipv6: reader.flag("enable-ipv6"),
        invalid: Vec::new(),
    };
    config.invalid = reader.invalid;
    config
}

struct Reader<'a> {
    data: &'a BTreeMap<String, String>,
    invalid: Vec<InvalidValue>,
}

impl Reader<'_> {
    fn read<T>(
        &mut self,
        key: &'static str,
        expected: &'static str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Option<T> {
        let value = self.data.get(key)?.trim();
        // An empty value is how the chart writes "not set".
        if value.is_empty() {
            return None;
        }
        let parsed = parse(value);
        if parsed.is_none() {
            self.invalid.push(InvalidValue { key, value: value.chars().take(MAX_SHOWN).collect(), expected });
        }
        parsed
    }

    fn duration(&mut self, key: &'static str) -> Option<Duration> {
        self.read(key, "a duration such as 2h13m20s", parse_go_duration)
    }

    fn number(&mut self, key: &'static str) -> Option<u64> {
        self.read(key, "a whole number", |value| value.parse().ok())
    }

    fn ratio(&mut self, key: &'static str) -> Option<f64> {
        self.read(key, "a number from 0 to 1", |value| {
            value.parse().ok().filter(|ratio| (0.0..=1.0).contains(ratio))
        })
    }

    fn flag(&mut self, key: &'static str) -> Option<bool> {
        // Go's strconv.ParseBool.
        self.read(key, "true or false", |value| match value {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
            "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
            _ => None,
        })
    }
}

/// A Go duration: `2h13m20s`, `1.5h`, `300ms`. A number without a unit is **nanoseconds** to the agent: a timeout
/// of `21600` is none. Negative ones are refused: the agent has no use for them.
#[must_use]
pub fn parse_go_duration(text: &str) -> Option<Duration> {
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest.bytes().all(|digit| digit.is_ascii_digit()) {
        return rest.parse().ok().map(Duration::from_nanos);
    }
    let mut nanos: u128 = 0;
    while !rest.is_empty() {
        let (number, behind) = split_where(rest, |symbol| !symbol.is_ascii_digit() && symbol != '.');
        let (unit, behind) = split_where(behind, |symbol| symbol.is_ascii_digit() || symbol == '.');
        nanos = nanos.checked_add(parse_part(number, unit)?)?;
        rest = behind;
    }
    // What the agent can hold: 2^63 nanoseconds, 292 years.
    u64::try_from(nanos).ok().filter(|nanos| i64::try_from(*nanos).is_ok()).map(Duration::from_nanos)
}

fn split_where(text: &str, ends: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(ends).unwrap_or(text.len()))
}

fn parse_part(number: &str, unit: &str) -> Option<u128> {
    let unit: u128 = match unit {
        "ns" => 1,
        "us" | "\u{b5}s" | "\u{3bc}s" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        _ => return None,
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    // Digits beyond a nanosecond of an hour do not count.
    let digits: String = fraction.chars().take(13).collect();
    let part: u64 = if digits.is_empty() { 0 } else { digits.parse().ok()? };
    let scale = 10_u128.checked_pow(u32::try_from(digits.len()).ok()?)?;
    u128::from(whole).checked_mul(unit)?.checked_add(u128::from(part).checked_mul(unit)? / scale)
}
