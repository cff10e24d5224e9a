//! Tells what is printed which commit this is, and where its documents are.
//!
//! In: `CTMON_REVISION` and `CTMON_HOME`, where whoever builds a release sets them. Out: the same for the crate.
//! Must not: ask git: an image is built from files alone.

#![expect(clippy::disallowed_methods, reason = "the environment is what it is for")]

use std::env;

fn main() {
    revision();
    home();
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
