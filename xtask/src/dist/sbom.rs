//! The bill of materials of a binary.
//!
//! In: the crates linked, the C library and the compiler's own. Out: `CycloneDX` 1.5 as JSON.
//! Must not: have a time or a random number in it: the same release is the same bytes.
//!
//! <https://cyclonedx.org/docs/1.5/json/>

use std::process::Command;

use anyhow::{Context as _, Result};
use serde_json::{Map, Value, json};

use super::linked::{Crate, Crates, Key};
use crate::image::{Arch, Identity, LICENSES, VERSION};
use crate::oci::digest;
use crate::shell::Run as _;

/// What is linked and is no crate.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Toolchain {
    /// Of rustc, whose standard library is in the binary.
    pub(super) rust: Option<String>,
    /// Name and version of the Debian package of the static C library.
    pub(super) libc: Option<(String, String)>,
}

impl Toolchain {
    pub(super) fn of(arch: Arch) -> Result<Self> {
        let package = if Arch::of_this_machine()? == arch {
            "libc6-dev".to_owned()
        } else {
            format!("libc6-dev-{}-cross", arch.name())
        };
        // Elsewhere than in Debian nothing is known of it.
        let version = Command::new("dpkg-query")
            .args(["--show", "--showformat", "${Version}", &package])
            .read_if_works()
            .filter(|version| !version.is_empty());
        let rust = Command::new("rustc").arg("--version").read_if_works();
        let rust = rust.as_deref().and_then(|line| line.split_whitespace().nth(1)).map(str::to_owned);
        Ok(Self { rust, libc: version.map(|version| (package, version)) })
    }
}

pub(super) fn cyclonedx(
    crates: &Crates,
    toolchain: &Toolchain,
    arch: Arch,
    binary: &[u8],
    identity: &Identity,
) -> Result<Vec<u8>> {
    let (root, mut components, mut dependencies) = ("ctmon", Vec::new(), Vec::new());
    for (key, described) in crates {
        components.push(component(key, described));
        let uses: Vec<String> = described.uses.iter().map(purl).collect();
        dependencies.push(json!({"ref": purl(key), "dependsOn": uses}));
    }
    let mut below: Vec<String> =
        crates.keys().filter(|(name, _)| name.starts_with("monitor")).map(purl).collect();
    for (name, version, purl, licence) in of_toolchain(toolchain) {
        components.push(json!({
            "type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl,
            "licenses": [{"expression": licence}],
        }));
        below.push(purl);
    }
    dependencies.insert(0, json!({"ref": root, "dependsOn": below}));
    let mut subject = json!({
        "type": "application", "bom-ref": root, "name": root, "version": VERSION,
        "licenses": [{"expression": LICENSES}],
        "hashes": [sha256(digest(binary).trim_start_matches("sha256:"))],
        "properties": [{"name": "ctmon:architecture", "value": arch.name()}],
    });
    if let Some(page) = identity.home.page() {
        put(&mut subject, "externalReferences", json!([{"type": "vcs", "url": page}]));
    }
    let mut metadata = json!({"component": subject});
    if let Some(created) = &identity.created {
        put(&mut metadata, "timestamp", json!(created));
    }
    let bom = json!({
        "bomFormat": "CycloneDX", "specVersion": "1.5", "version": 1,
        "metadata": metadata, "components": components, "dependencies": dependencies,
    });
    let mut text = serde_json::to_vec_pretty(&bom).context("failed to write the bill of materials")?;
    text.push(b'\n');
    Ok(text)
}

fn component(key: &Key, described: &Crate) -> Value {
    let (name, version) = key;
    let mut component = json!({
        "type": "library", "bom-ref": purl(key), "name": name, "version": version, "purl": purl(key),
    });
    if let Some(licence) = &described.licence {
        put(&mut component, "licenses", json!([{"expression": licence}]));
    }
    if let Some(checksum) = &described.checksum {
        put(&mut component, "hashes", json!([sha256(checksum)]));
    }
    if let Some(repository) = &described.repository {
        put(&mut component, "externalReferences", json!([{"type": "vcs", "url": repository}]));
    }
    component
}

fn of_toolchain(toolchain: &Toolchain) -> Vec<(&'static str, String, String, &'static str)> {
    let Toolchain { rust, libc } = toolchain;
    let mut known = Vec::new();
    if let Some(version) = rust {
        let purl = format!("pkg:generic/rust-std@{version}");
        known.push(("rust-std", version.clone(), purl, "MIT OR Apache-2.0"));
    }
    if let Some((package, version)) = libc {
        let purl = format!("pkg:deb/debian/{package}@{}", version.replace('+', "%2B").replace(':', "%3A"));
        known.push(("glibc", version.clone(), purl, "LGPL-2.1-or-later"));
    }
    known
}

/// <https://github.com/package-url/purl-spec>
fn purl((name, version): &Key) -> String {
    format!("pkg:cargo/{name}@{}", version.replace('+', "%2B"))
}

fn sha256(content: &str) -> Value {
    json!({"alg": "SHA-256", "content": content})
}

fn put(object: &mut Value, key: &str, value: Value) {
    if let Some(object) = object.as_object_mut() {
        let object: &mut Map<String, Value> = object;
        object.insert(key.to_owned(), value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::paths::Paths;

    #[test]
    fn everything_linked_is_named_with_its_licence_and_what_is_published_with_its_checksum() {
        let paths = Paths::of_workspace().unwrap();
        let crates = super::super::linked::crates(&paths, "x86_64-unknown-linux-gnu").unwrap();
        let toolchain = Toolchain { rust: Some("1.2.3".to_owned()), libc: None };
        let bytes = cyclonedx(&crates, &toolchain, Arch::Amd64, b"ELF", &Identity::default()).unwrap();
        let again = cyclonedx(&crates, &toolchain, Arch::Amd64, b"ELF", &Identity::default()).unwrap();
        assert_eq!(bytes, again);
        let bom: Value = serde_json::from_slice(&bytes).unwrap();
        let components = bom["components"].as_array().unwrap();
        let named = |name: &str| components.iter().find(|component| component["name"] == name);
        for linked in ["tokio", "aya", "aya-ebpf", "monitor", "monitor-ebpf", "rust-std"] {
            assert!(named(linked).is_some(), "{linked}");
        }
        for not_linked in ["clap_derive", "proptest", "oci-spec", "cc", "serde_derive", "xtask"] {
            assert!(named(not_linked).is_none(), "{not_linked}");
        }
        let refs: Vec<&str> =
            components.iter().map(|component| component["bom-ref"].as_str().unwrap()).collect();
        for component in components {
            let ours = component["name"].as_str().unwrap().starts_with("monitor");
            assert!(component["licenses"][0]["expression"].is_string(), "{component}");
            if component["purl"].as_str().unwrap().starts_with("pkg:cargo/") {
                assert_eq!(component["hashes"].is_null(), ours, "{component}");
            }
        }
        for dependency in bom["dependencies"].as_array().unwrap() {
            for used in dependency["dependsOn"].as_array().unwrap() {
                assert!(refs.contains(&used.as_str().unwrap()), "{used}");
            }
        }
    }
}
