//! Which crates a released binary is made of.
//!
//! In: cargo's resolution for a target, the lock file. Out: each crate with its licence, checksum and what it uses.
//! Must not: list what only builds or tests it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;

use crate::cargo;
use crate::paths::Paths;
use crate::shell::Run as _;

/// The programs for the kernel are linked for this, into an object that the binary embeds.
const BPF_TARGET: &str = "bpfel-unknown-none";

/// A name and a version: there may be several versions.
pub(super) type Key = (String, String);

/// One crate.
#[derive(Debug, Clone)]
pub(super) struct Crate {
    pub(super) licence: Option<String>,
    pub(super) repository: Option<String>,
    /// Where its files are; those of the workspace are in the repository.
    pub(super) folder: PathBuf,
    /// SHA-256 of the published archive; the workspace's own crates have none.
    pub(super) checksum: Option<String>,
    pub(super) uses: BTreeSet<Key>,
}

pub(super) type Crates = BTreeMap<Key, Crate>;

/// Those of the binary for this target, and of the object in it.
pub(super) fn crates(paths: &Paths, triple: &str) -> Result<Crates> {
    let mut linked = tree(paths, "monitor", triple)?;
    linked.extend(tree(paths, "monitor-ebpf", BPF_TARGET)?);
    let metadata = cargo::cargo()
        // Without a filter cargo downloads the crates of every other system too.
        .args(["metadata", "--format-version", "1", "--locked", "--filter-platform", triple])
        .current_dir(paths.root())
        .read("read what the workspace is made of")?;
    let lock = paths.root().join("Cargo.lock");
    let lock = fs::read_to_string(&lock).with_context(|| format!("failed to read {}", lock.display()))?;
    describe(&linked, &metadata, &lock)
}

/// Normal dependencies with the features that this package asks for; macros leave nothing in the binary.
fn tree(paths: &Paths, package: &str, target: &str) -> Result<BTreeSet<Key>> {
    let tree = cargo::cargo()
        .args(["tree", "--locked", "--package", package, "--target", target])
        .args(["--edges", "normal,no-proc-macro", "--prefix", "none", "--format", "{p}"])
        .current_dir(paths.root())
        .read("list what is linked")?;
    parse_tree(&tree)
}

fn parse_tree(tree: &str) -> Result<BTreeSet<Key>> {
    let lines = tree.lines().filter(|line| !line.is_empty());
    let keys = lines.map(|line| {
        let mut words = line.split(' ');
        let name = words.next().zip(words.next().and_then(|version| version.strip_prefix('v')));
        let (name, version) = name.with_context(|| format!("cargo tree printed {line:?}"))?;
        Ok((name.to_owned(), version.to_owned()))
    });
    keys.collect()
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    resolve: Resolve,
}

#[derive(Deserialize)]
struct Package {
    id: String,
    name: String,
    version: String,
    license: Option<String>,
    repository: Option<String>,
    manifest_path: PathBuf,
}

#[derive(Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
struct Node {
    id: String,
    dependencies: Vec<String>,
}

#[derive(Deserialize)]
struct Lock {
    package: Vec<Locked>,
}

#[derive(Deserialize)]
struct Locked {
    name: String,
    version: String,
    checksum: Option<String>,
}

fn describe(linked: &BTreeSet<Key>, metadata: &str, lock: &str) -> Result<Crates> {
    let metadata: Metadata = serde_json::from_str(metadata).context("failed to read cargo's metadata")?;
    let lock: Lock = toml::from_str(lock).context("failed to read Cargo.lock")?;
    let checksums: BTreeMap<Key, String> = lock
        .package
        .into_iter()
        .filter_map(|Locked { name, version, checksum }| Some(((name, version), checksum?)))
        .collect();
    let by_id: BTreeMap<&str, Key> = metadata
        .packages
        .iter()
        .map(|package| (package.id.as_str(), (package.name.clone(), package.version.clone())))
        .collect();
    let mut uses: BTreeMap<&Key, BTreeSet<Key>> = BTreeMap::new();
    for node in &metadata.resolve.nodes {
        let key = by_id.get(node.id.as_str()).with_context(|| format!("no package {}", node.id))?;
        let below = node.dependencies.iter().filter_map(|id| by_id.get(id.as_str()));
        uses.entry(key).or_default().extend(below.filter(|key| linked.contains(key)).cloned());
    }
    let mut crates = Crates::new();
    for package in &metadata.packages {
        let key = (package.name.clone(), package.version.clone());
        if !linked.contains(&key) {
            continue;
        }
        let folder = package.manifest_path.parent().context("a manifest has a folder")?.to_owned();
        let described = Crate {
            licence: package.license.as_deref().map(expression),
            repository: package.repository.clone(),
            folder,
            checksum: checksums.get(&key).cloned(),
            uses: uses.get(&key).cloned().unwrap_or_default(),
        };
        crates.insert(key, described);
    }
    for key in linked {
        ensure!(crates.contains_key(key), "cargo does not know {} {} that it links", key.0, key.1);
    }
    Ok(crates)
}

/// Old manifests write `MIT/Apache-2.0`, which is no expression of SPDX.
fn expression(licence: &str) -> String {
    if licence.contains('/') {
        licence.split('/').map(str::trim).collect::<Vec<_>>().join(" OR ")
    } else {
        licence.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const METADATA: &str = r#"{
        "packages": [
            {"id": "a#1", "name": "a", "version": "1.0.0", "license": "MIT/Apache-2.0", "repository": null,
             "manifest_path": "/crates/a/Cargo.toml"},
            {"id": "b#1", "name": "b", "version": "1.0.0", "license": null, "repository": "https://b.example",
             "manifest_path": "/crates/b/Cargo.toml"},
            {"id": "b#2", "name": "b", "version": "2.0.0", "license": "MIT", "repository": null,
             "manifest_path": "/crates/b2/Cargo.toml"}
        ],
        "resolve": {"nodes": [
            {"id": "a#1", "dependencies": ["b#1", "b#2"]},
            {"id": "b#1", "dependencies": []},
            {"id": "b#2", "dependencies": []}
        ]}
    }"#;
    const LOCK: &str = "version = 4\n[[package]]\nname = \"a\"\nversion = \"1.0.0\"\n\
        [[package]]\nname = \"b\"\nversion = \"1.0.0\"\nchecksum = \"c0ffee\"\n";

    fn key(name: &str, version: &str) -> Key {
        (name.to_owned(), version.to_owned())
    }

    #[test]
    fn what_is_not_linked_is_not_listed() {
        let linked = parse_tree("a v1.0.0 (/work)\nb v1.0.0\nb v1.0.0 (*)\n\n").unwrap();
        let crates = describe(&linked, METADATA, LOCK).unwrap();
        assert_eq!(crates.keys().cloned().collect::<Vec<_>>(), [key("a", "1.0.0"), key("b", "1.0.0")]);
        let (a, b) = (&crates[&key("a", "1.0.0")], &crates[&key("b", "1.0.0")]);
        assert_eq!((a.licence.as_deref(), a.checksum.as_deref()), (Some("MIT OR Apache-2.0"), None));
        assert_eq!(a.uses.iter().cloned().collect::<Vec<_>>(), [key("b", "1.0.0")]);
        assert_eq!((b.licence.as_deref(), b.checksum.as_deref()), (None, Some("c0ffee")));
    }

    #[test]
    fn a_crate_that_cargo_does_not_describe_is_an_error() {
        let linked = parse_tree("c v3.0.0").unwrap();
        let error = describe(&linked, METADATA, LOCK).unwrap_err().to_string();
        assert!(error.contains("c 3.0.0"), "{error}");
        assert!(parse_tree("warning").is_err());
    }
}
