//! Which crate of ctmon may depend on which, and on what else.
//!
//! In: the manifests below `monitor/`. Out: a failing test where one names more than it may.
//! Must not: look at what only tests depend on.

use std::fs;
use std::path::Path;

/// Every crate below `monitor/` with all it may depend on. What is pure has nothing here that could do IO.
const LAYERS: [(&str, &[&str]); 7] = [
    ("model", &["monitor-abi", "thiserror"]),
    (
        "decode",
        &[
            "monitor-abi",
            "monitor-model",
            "netlink-packet-core",
            "netlink-packet-sock-diag",
            "serde",
            "thiserror",
            "yaml_serde",
        ],
    ),
    ("config", &["monitor-abi", "monitor-model", "regex", "serde", "thiserror", "yaml_serde"]),
    ("check", &["monitor-abi", "monitor-config", "monitor-decode", "monitor-model"]),
    (
        "output",
        &[
            "monitor-abi",
            "monitor-check",
            "monitor-config",
            "monitor-model",
            "prometheus",
            "serde",
            "serde_json",
            "thiserror",
        ],
    ),
    (
        "source",
        &[
            "aya",
            "aya-log",
            "base64",
            "libc",
            "log",
            "monitor-abi",
            "monitor-decode",
            "monitor-model",
            "netlink-packet-core",
            "netlink-packet-sock-diag",
            "netlink-sys",
            "prometheus",
            "regex",
            "rustix",
            "serde",
            "serde_json",
            "thiserror",
            "tracing",
        ],
    ),
    (
        "serve",
        &[
            "base64",
            "bcrypt",
            "flate2",
            "hyper",
            "hyper-util",
            "libc",
            "monitor-model",
            "ring",
            "rustls",
            "serde",
            "socket2",
            "thiserror",
            "tokio",
            "tokio-rustls",
            "tracing",
            "x509-parser",
            "yaml_serde",
        ],
    ),
];

/// Those that may do no IO, and say so to clippy.
const PURE: [&str; 5] = ["model", "decode", "config", "check", "output"];

fn monitor() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../monitor")
}

fn parsed(path: &Path) -> toml::Table {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display())).parse().unwrap()
}

#[test]
fn a_crate_depends_on_what_its_layer_may_and_on_nothing_else() {
    for (name, allowed) in LAYERS {
        let manifest = parsed(&monitor().join(name).join("Cargo.toml"));
        let mut named: Vec<&str> =
            manifest["dependencies"].as_table().unwrap().keys().map(String::as_str).collect();
        named.sort_unstable();
        assert_eq!(named, allowed, "{name}");
        for elsewhere in ["target", "build-dependencies"] {
            assert!(!manifest.contains_key(elsewhere), "{name} has dependencies below {elsewhere}");
        }
    }
}

#[test]
fn every_crate_has_a_layer() {
    let mut found: Vec<String> = fs::read_dir(monitor())
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.path().join("Cargo.toml").exists())
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    found.sort_unstable();
    let mut known = LAYERS.map(|(name, _)| name);
    known.sort_unstable();
    assert_eq!(found, known);
}

#[test]
fn what_is_pure_keeps_the_rules_of_all_and_may_not_read_or_write_on_its_own() {
    let common = parsed(&monitor().join("../clippy.toml"));
    let first = parsed(&monitor().join(PURE[0]).join("clippy.toml"));
    assert!(first["disallowed-methods"].as_array().unwrap().len() > 20);
    for name in PURE {
        let own = parsed(&monitor().join(name).join("clippy.toml"));
        assert_eq!(own, first, "{name}");
        for (key, value) in &common {
            assert_eq!(own.get(key), Some(value), "{name}: {key}");
        }
    }
}
