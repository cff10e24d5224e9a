//! What the agent is configured with: timeouts, the gc's interval, map sizes, the clock.
//!
//! In: a mounted ConfigMap `cilium-config` (a folder, one file per key) or a YAML file (the ConfigMap, or its
//! data). Out: [`AgentConfig`]. Must not: open a file that is no key's: the kubelet keeps links of its own there.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use monitor_decode::cilium::agent_config::{KEYS, parse_config_map, parse_data};
use monitor_model::agent_config::AgentConfig;

use crate::host::{Host, HostError, Sample, in_file, read_optional};

/// The configuration the user pointed at; `Ok(None)`: none was named, or nothing is there.
pub fn read_agent_config(host: &Host) -> Sample<AgentConfig> {
    let Some(path) = &host.cilium_config else { return Ok(None) };
    if path.is_dir() {
        return read_folder(path).map(Some);
    }
    let Some(bytes) = read_optional(path)? else { return Ok(None) };
    parse_config_map(&bytes).map(Some).map_err(in_file(path))
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use monitor_model::timeouts::TimeoutClass;

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
}
