//! Hands the compiled eBPF object to the crate.
//!
//! In: `target/bpf/ARCH/ctmon-bpf.o`, made by `cargo xtask build-ebpf`, or the file `CTMON_BPF_OBJECT` names.
//! Out: the environment variable `CTMON_BPF_OBJECT_PATH` for `include_bytes!`. Where there is no object yet, an empty file
//! takes its place: the crate builds all the same, and says at run time what it lacks.
//! Must not: compile anything: the BPF target needs another compiler than this build.

use std::path::{Path, PathBuf};
use std::{env, fs};

fn main() {
    println!("cargo::rerun-if-env-changed=CTMON_BPF_OBJECT");
    let arch = env::var("CARGO_CFG_TARGET_ARCH").unwrap_or_default();
    match env::var_os("CTMON_BPF_OBJECT").map(PathBuf::from) {
        Some(named) => match named.canonicalize() {
            Ok(path) => hand_over(&path),
            Err(error) => println!("cargo::error=no eBPF object at {}: {error}", named.display()),
        },
        None => hand_over(&usual_object(&arch)),
    }
}

fn hand_over(object: &Path) {
    println!("cargo::rerun-if-changed={}", object.display());
    println!("cargo::rustc-env=CTMON_BPF_OBJECT_PATH={}", object.display());
}

/// The object, or an empty file in its place: Cargo would run this again and again for a file that is not there.
fn usual_object(arch: &str) -> PathBuf {
    let target =
        PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default()).join("../../target/bpf");
    let object = target.join(arch).join("ctmon-bpf.o");
    let place = || {
        fs::create_dir_all(target.join(arch))?;
        fs::File::create_new(&object).map(drop)
    };
    if !object.exists() && place().is_err() && !object.exists() {
        // A tree that cannot be written to.
        let empty = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default()).join("ctmon-bpf.o");
        if fs::write(&empty, "").is_ok() {
            println!("cargo::rerun-if-changed={}", object.display());
            return empty;
        }
    }
    object.canonicalize().unwrap_or(object)
}
