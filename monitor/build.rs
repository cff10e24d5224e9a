//! Hands the compiled eBPF object to the crate.
//!
//! In: `target/bpf/ARCH/ctmon-bpf.o`, made by `cargo xtask build-ebpf`, or the file `CTMON_BPF_OBJECT` names.
//! Out: the environment variables `CTMON_BPF_OBJECT_PATH` for `include_bytes!`, `CTMON_REVISION`, and
//! `CTMON_HOME` where it is known.
//! Must not: compile anything: the BPF target needs another compiler than this build.

use std::env;
use std::path::PathBuf;

fn main() {
    revision();
    home();
    println!("cargo::rerun-if-env-changed=CTMON_BPF_OBJECT");
    let arch = env::var("CARGO_CFG_TARGET_ARCH").unwrap_or_default();
    let object = env::var_os("CTMON_BPF_OBJECT").map_or_else(
        || {
            PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default())
                .join("../target/bpf")
                .join(&arch)
                .join("ctmon-bpf.o")
        },
        PathBuf::from,
    );
    println!("cargo::rerun-if-changed={}", object.display());
    match object.canonicalize() {
        Ok(path) => println!("cargo::rustc-env=CTMON_BPF_OBJECT_PATH={}", path.display()),
        Err(error) => println!(
            "cargo::error=no eBPF object at {}: {error}: run `cargo xtask build-ebpf` first",
            object.display()
        ),
    }
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
