//! What the agent was told: timeouts, the collector's interval, map sizes, the clock.
//!
//! In: a mounted ConfigMap `cilium-config` (a folder, one file per key) or a YAML file (the ConfigMap, or its
//! data). Out: [`AgentConfig`]: every field `None` when its key is not set, and the values that could not be
//! understood. Must not: fill in a default: they differ between versions, and the maps tell what is in force.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use monitor_model::agent_config::{AgentConfig, KEYS, parse_data};
use monitor_model::yaml_cost::check_cost;
use yaml_serde::Value;

use crate::host::{Host, HostError, ParseError, Sample, read_optional};

/// The configuration the user pointed at; `Ok(None)`: none was named, or nothing is there.
pub fn read_agent_config(host: &Host) -> Sample<AgentConfig> {
    let Some(path) = &host.cilium_config else { return Ok(None) };
    if path.is_dir() {
        return read_folder(path).map(Some);
    }
    let Some(bytes) = read_optional(path)? else { return Ok(None) };
    let data = parse_yaml(&bytes).map_err(|error| error.at(path))?;
    Ok(Some(parse_data(&data)))
}

/// Only keys that are understood are opened: the kubelet keeps its own links beside them.
fn read_folder(folder: &Path) -> Result<AgentConfig, HostError> {
    let mut data = BTreeMap::new();
    for key in KEYS {
        let path: PathBuf = folder.join(key);
        if let Some(bytes) = read_optional(&path)? {
            data.insert((*key).to_owned(), String::from_utf8_lossy(&bytes).trim().to_owned());
        }
    }
    Ok(parse_data(&data))
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

/// The text of a plain value; lists and mappings have none.
pub(crate) fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(word) => Some(word.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use monitor_model::agent_config::parse_go_duration;
    use monitor_model::timeouts::TimeoutClass;
    use proptest::prelude::*;

    use super::*;
    use crate::host::testing::TempDir;

    const CONFIG_MAP: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: cilium-config}\ndata:\n  \
        bpf-ct-timeout-regular-tcp: 2h13m20s\n  bpf-ct-timeout-service-tcp-grace: \"60s\"\n  \
        conntrack-gc-interval: \"0s\"\n  bpf-ct-global-tcp-max: \"524288\"\n  bpf-map-dynamic-size-ratio: \"0.0025\"\n  \
        enable-bpf-clock-probe: \"true\"\n  enable-ipv6: \"false\"\n  bpf-nat-global-max: \"\"\n  cluster-name: home\n";

    fn check_config(config: &AgentConfig) {
        let expected = AgentConfig {
            ct_timeouts: [(TimeoutClass::Tcp, 8000), (TimeoutClass::ServiceTcpGrace, 60)]
                .map(|(class, seconds)| (class, Duration::from_secs(seconds)))
                .into(),
            gc_interval: Some(Duration::ZERO),
            ct_tcp_max: Some(524_288),
            map_dynamic_size_ratio: Some(0.0025),
            clock_probe: Some(true),
            enable_ipv6: Some(false),
            ..AgentConfig::default()
        };
        assert_eq!(*config, expected);
    }

    #[test]
    fn a_config_map_its_data_and_a_mounted_folder_say_the_same() {
        let dir = TempDir::new();
        let read = |path: PathBuf| {
            read_agent_config(&Host { cilium_config: Some(path), ..dir.host() }).unwrap().unwrap()
        };
        check_config(&read(dir.write("cm.yaml", CONFIG_MAP.as_bytes())));
        let (_, data) = CONFIG_MAP.split_once("data:\n").unwrap();
        check_config(&read(dir.write("data.yaml", data.as_bytes())));
        for line in data.lines() {
            let (key, value) = line.trim().split_once(": ").unwrap();
            dir.write(&format!("mounted/{key}"), value.trim_matches('"').as_bytes());
        }
        // The kubelet's own folder, whose name no key can have.
        dir.write("mounted/..data/x", b"");
        check_config(&read(dir.path().join("mounted")));
    }

    #[test]
    fn without_a_configuration_the_source_is_off() {
        let dir = TempDir::new();
        assert_eq!(read_agent_config(&dir.host()).unwrap(), None);
        let gone = Host { cilium_config: Some(dir.path().join("gone")), ..dir.host() };
        assert_eq!(read_agent_config(&gone).unwrap(), None);
        let broken = Host { cilium_config: Some(dir.write("list", b"- a\n- b\n")), ..dir.host() };
        assert!(read_agent_config(&broken).unwrap_err().to_string().contains("a mapping of keys"));
    }

    #[test]
    fn what_stands_in_its_place_and_is_none_harms_nobody() {
        let dir = TempDir::new();
        let check = |path: PathBuf, expected: &str| {
            let host = Host { cilium_config: Some(path), ..dir.host() };
            let error = read_agent_config(&host).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        };
        // Nobody writes to it: whoever waits for that waits for ever.
        let fifo = dir.path().join("fifo");
        assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
        check(fifo, "a mapping of keys");
        check(PathBuf::from("/dev/zero"), "larger than");
        check(dir.write("bomb", &vec![b'['; 200_000]), "nested too deeply");
    }

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
            if let Ok(data) = parse_yaml(&bytes) {
                let _ = parse_data(&data);
            }
            let _ = parse_go_duration(&text);
        }

        #[test]
        fn whole_seconds_come_back(seconds in 0_u64..1_000_000_000) {
            prop_assert_eq!(parse_go_duration(&format!("{seconds}s")), Some(Duration::from_secs(seconds)));
        }
    }
}
