//! What a release is made of, as the tests that play a client find it, and programs that are unpacked and not installed.
//!
//! In: `target/suite-artefacts` of `cargo xtask dist --for-tests` (or `CTMON_ARTEFACTS`), `target/tools/debian`, PATH.
//! Out: paths. Must not: read an artefact with the code that wrote it, or install anything.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

/// The owner that these artefacts are made for: one that does not exist.
pub const HOME: &str = "https://forge.example/owner/ctmon";
pub const REGISTRY: &str = "registry.example.org/owner";

/// One line of the list of what is pushed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The archive of an OCI layout.
    pub archive: PathBuf,
    /// Its place below the registry.
    pub place: String,
    pub tag: String,
    pub digest: String,
}

/// The folder of the artefacts.
pub fn artefacts() -> Result<PathBuf> {
    let folder =
        env::var_os("CTMON_ARTEFACTS").map_or_else(|| target().join("suite-artefacts"), PathBuf::from);
    folder
        .canonicalize()
        .with_context(|| format!("no artefacts at {}: `cargo xtask dist --for-tests`", folder.display()))
}

/// Everything that is pushed.
pub fn listed() -> Result<Vec<Listed>> {
    let folder = artefacts()?;
    let text = fs::read_to_string(folder.join("oci.txt")).context("failed to read oci.txt")?;
    let lines = text.lines().map(|line| {
        let words: Vec<&str> = line.split(' ').collect();
        let [archive, place, tag, digest] = words.as_slice() else {
            anyhow::bail!("oci.txt says {line:?}");
        };
        let text = |word: &&str| (*word).to_owned();
        Ok(Listed { archive: folder.join(archive), place: text(place), tag: text(tag), digest: text(digest) })
    });
    let listed = lines.collect::<Result<Vec<_>>>()?;
    ensure!(!listed.is_empty(), "oci.txt is empty");
    Ok(listed)
}

/// What is pushed to this place.
pub fn at(place: &str) -> Result<Listed> {
    listed()?.into_iter().find(|one| one.place == place).with_context(|| format!("nothing for {place}"))
}

/// The search path with unpacked packages last: the machine's own programs come first.
pub fn search_path() -> Result<OsString> {
    let path = env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = env::split_paths(&path).collect();
    if let Ok(packages) = fs::read_dir(target().join("tools/debian")) {
        for package in packages {
            let package = package.context("failed to list the unpacked packages")?.path();
            folders.extend(["usr/bin", "usr/sbin"].map(|folder| package.join(folder)));
        }
    }
    env::join_paths(folders).context("failed to make a search path")
}

/// A program of a Debian package.
pub fn program(name: &str, package: &str) -> Result<PathBuf> {
    let path = search_path()?;
    let mut places = env::split_paths(&path).map(|folder| folder.join(name));
    places.find(|place| place.is_file()).with_context(|| {
        format!("no {name}: it is in Debian's package {package}, which the suite unpacks under target/tools/debian")
    })
}

fn target() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../target")
}
