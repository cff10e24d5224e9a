//! Tells what is printed which commit this is, and where its documents are; embeds the runbooks.
//!
//! In: `CTMON_REVISION` and `CTMON_HOME`, where whoever builds a release sets them; the pages of deploy/runbooks. Out: the same for
//! the crate.
//! Must not: ask git: an image is built from files alone.

#![expect(clippy::disallowed_methods, reason = "environment and files are what it is for")]

use std::fmt::Write as _;
use std::path::PathBuf;
use std::{env, fs, io};

fn main() -> io::Result<()> {
    revision();
    home();
    runbooks()
}

/// Lists the pages with what reads each of them into the binary: whoever adds one need not say so twice.
fn runbooks() -> io::Result<()> {
    let variable = |name| env::var_os(name).map(PathBuf::from).ok_or_else(|| io::Error::other(name));
    let folder = variable("CARGO_MANIFEST_DIR")?.join("../../deploy/runbooks");
    println!("cargo::rerun-if-changed={}", folder.display());
    let mut pages: Vec<PathBuf> =
        fs::read_dir(&folder)?.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>()?;
    pages.retain(|page| page.extension().is_some_and(|kind| kind == "md") && !page.ends_with("README.md"));
    pages.sort_unstable();
    let mut list = "&[\n".to_owned();
    for page in pages {
        let (name, path) = (page.file_stem().unwrap_or_default().to_string_lossy(), page.to_string_lossy());
        // Writing to a String cannot fail.
        let _ = writeln!(list, "({name:?}, include_str!({path:?})),");
    }
    fs::write(variable("OUT_DIR")?.join("runbooks.rs"), list + "]")
}

/// The commit, where there is one: an image is built from a clean tree and says which.
fn revision() {
    println!("cargo::rerun-if-env-changed=CTMON_REVISION");
    let revision = env::var("CTMON_REVISION").unwrap_or_else(|_| "unknown".to_owned());
    println!("cargo::rustc-env=CTMON_REVISION={revision}");
}

/// Where the repository is, for links: without it there are none, rather than dead ones.
fn home() {
    println!("cargo::rerun-if-env-changed=CTMON_HOME");
    if let Ok(home) = env::var("CTMON_HOME") {
        println!("cargo::rustc-env=CTMON_HOME={home}");
    }
}
