//! What the agent is configured with: timeouts, the gc's interval, map sizes, the clock.
//!
//! In: a ConfigMap `cilium-config` as YAML, or its keys and values. Out: [`AgentConfig`]: every field `None` when its key is
//! not set, and the values that could not be understood. Must not: fill in a default: they differ between versions, and
//! the maps tell what is in force.

use std::collections::BTreeMap;
use std::time::Duration;

use monitor_model::agent_config::{AgentConfig, InvalidValue};
use monitor_model::timeouts::TimeoutClass;
use monitor_model::yaml_cost::check_cost;
use yaml_serde::Value;

use crate::error::ParseError;
use crate::yaml::scalar;

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

/// A ConfigMap, or its data.
pub fn parse_config_map(bytes: &[u8]) -> Result<AgentConfig, ParseError> {
    parse_yaml(bytes).map(|data| parse_data(&data))
}

/// The data of a ConfigMap: from the object, or from a mapping of keys to values.
fn parse_yaml(bytes: &[u8]) -> Result<BTreeMap<String, String>, ParseError> {
    let bad = |expected, found: &str| ParseError::new(1, expected, found);
    check_cost(bytes).map_err(|problem| bad("a ConfigMap or its data", &problem))?;
    let value: Value =
        yaml_serde::from_slice(bytes).map_err(|error| bad("a ConfigMap or its data", &error.to_string()))?;
    let data = match value.get("data") {
        Some(data) => data,
        None => &value,
    };
    let Some(mapping) = data.as_mapping() else {
        return Err(bad("a mapping of keys to values", "something else"));
    };
    Ok(mapping.iter().filter_map(|(key, value)| Some((key.as_str()?.to_owned(), scalar(value)?))).collect())
}

/// What these keys and values say.
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
            self.invalid.push(InvalidValue { key, value: value.chars().take(80).collect(), expected });
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn values_the_agent_does_not_understand_are_told() {
        let data = [
            ("conntrack-gc-interval", "5 minutes"),
            ("enable-ipv4", "yes"),
            ("bpf-ct-global-tcp-max", "512k"),
            ("bpf-map-dynamic-size-ratio", "25"),
        ];
        let data = data.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let config = parse_data(&data);
        let keys: Vec<_> = config.invalid.iter().map(|invalid| invalid.key).collect();
        assert_eq!(
            keys,
            ["conntrack-gc-interval", "bpf-ct-global-tcp-max", "bpf-map-dynamic-size-ratio", "enable-ipv4"]
        );
        assert_eq!((config.gc_interval, config.enable_ipv4), (None, None));
    }

    #[test]
    fn go_durations_are_read_as_the_agent_reads_them() {
        let check = |text: &str, expected: Option<Duration>| {
            assert_eq!(parse_go_duration(text), expected, "{text}");
        };
        check("2h13m20s", Some(Duration::from_secs(8000)));
        check("1.5h", Some(Duration::from_secs(5400)));
        check("300ms", Some(Duration::from_millis(300)));
        check("1\u{b5}s", Some(Duration::from_micros(1)));
        check(".5s", Some(Duration::from_millis(500)));
        check("0", Some(Duration::ZERO));
        check("21600", Some(Duration::from_nanos(21_600)));
        for wrong in ["", "-5s", "h", "5x", "1h30", "1 h", ".s", "99999999999999999999h", "300000000h"] {
            check(wrong, None);
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_configuration_or_refused(bytes: Vec<u8>, text: String) {
            let _ = parse_config_map(&bytes);
            let _ = parse_go_duration(&text);
        }

        #[test]
        fn whole_seconds_come_back(seconds in 0_u64..1_000_000_000) {
            prop_assert_eq!(parse_go_duration(&format!("{seconds}s")), Some(Duration::from_secs(seconds)));
        }
    }
}
