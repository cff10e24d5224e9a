//! Looking for compilers that know BPF.
//!
//! In: this machine. Out: facts for the plan.
//! Must not: install or judge; nor ask rustup for a toolchain that is not there, which could download it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::BPF_TARGET;
use super::plan::{Compiler, DEBIAN_RUSTC, Facts};
use crate::shell::Run as _;
use crate::{apt, cargo};

pub(super) fn facts() -> Facts {
    Facts { debian: debian(), nightly: nightly(), apt: apt::probe() }
}

fn debian() -> Option<Compiler> {
    let rustc = || cargo::for_other_compiler(DEBIAN_RUSTC);
    let llvm = rustc().arg("-vV").read_if_works().as_deref().map(parse_llvm)?;
    let sysroot = sysroot(&mut rustc())?;
    let libraries = llvm.map(|major| PathBuf::from(format!("/usr/lib/llvm-{major}/lib")));
    Some(Compiler {
        llvm,
        has_core: any_file(&sysroot.join("lib/rustlib").join(BPF_TARGET).join("lib"), "libcore-"),
        libraries: libraries.filter(|dir| any_file(dir, "libLLVM")),
    })
}

fn nightly() -> Option<(String, Compiler)> {
    let toolchains = cargo::for_other_compiler("rustup").args(["toolchain", "list"]).read_if_works()?;
    let candidates: Vec<_> = nightlies(&toolchains)
        .into_iter()
        .filter_map(|toolchain| {
            let rustc = || {
                let mut command = cargo::for_other_compiler("rustup");
                command.args(["run", &toolchain, "rustc"]);
                command
            };
            let llvm = rustc().arg("-vV").read_if_works().as_deref().map(parse_llvm)?;
            let sysroot = sysroot(&mut rustc())?;
            let libraries = sysroot.join("lib");
            let compiler = Compiler {
                llvm,
                has_core: sysroot.join("lib/rustlib/src/rust/library/core/Cargo.toml").exists(),
                libraries: any_file(&libraries, "libLLVM").then_some(libraries),
            };
            Some((toolchain, compiler))
        })
        .collect();
    // With several, the one that comes closest; the plain `nightly` is listed before dated ones.
    let fitness = |compiler: &Compiler| (compiler.llvm == Some(super::plan::LLVM), compiler.has_core);
    let best = candidates.iter().map(|(_, compiler)| fitness(compiler)).max()?;
    candidates.into_iter().find(|(_, compiler)| fitness(compiler) == best)
}

fn nightlies(list: &str) -> Vec<String> {
    let mut names: Vec<String> = list
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| name.starts_with("nightly-"))
        .map(str::to_owned)
        .collect();
    names.sort_by_key(|name| name.chars().nth("nightly-".len()).is_some_and(|next| next.is_ascii_digit()));
    names
}

fn sysroot(rustc: &mut Command) -> Option<PathBuf> {
    rustc.args(["--print", "sysroot"]).read_if_works().map(|path| PathBuf::from(path.trim()))
}

fn parse_llvm(version: &str) -> Option<u32> {
    let version = version.lines().find_map(|line| line.strip_prefix("LLVM version: "))?;
    version.split('.').next()?.trim().parse().ok()
}

fn any_file(dir: &Path, prefix: &str) -> bool {
    fs::read_dir(dir).is_ok_and(|entries| {
        entries.flatten().any(|entry| entry.file_name().to_string_lossy().starts_with(prefix))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_compiler_tells_its_llvm() {
        assert_eq!(parse_llvm("rustc 1.96.0\nrelease: 1.96.0\nLLVM version: 22.1.8\n"), Some(22));
        assert_eq!(parse_llvm("rustc 1.96.0\n"), None);
    }

    #[test]
    fn the_plain_nightly_comes_before_dated_ones() {
        let list = "stable-x86_64-unknown-linux-gnu (active, default)\n\
                    nightly-2026-05-20-x86_64-unknown-linux-gnu\n\
                    nightly-x86_64-unknown-linux-gnu\n";
        let names = nightlies(list);
        assert_eq!(
            names,
            ["nightly-x86_64-unknown-linux-gnu", "nightly-2026-05-20-x86_64-unknown-linux-gnu"]
        );
        assert!(nightlies("no installed toolchains\n").is_empty());
    }
}
