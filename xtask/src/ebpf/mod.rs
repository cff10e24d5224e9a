//! `build-ebpf`: the programs that run in the kernel.
//!
//! In: the package monitor-ebpf. Out: `target/bpf/ARCH/ctmon-bpf.o`, touched only when its content changes.
//! Must not: need a compiler that the plan did not choose.
//!
//! The compiler has to know the target `bpfel-unknown-none`, which stable rustup does not: probe the facts,
//! decide in a pure function, then act.

mod linker;
mod plan;
mod probe;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use self::plan::{Plan, decide};
use crate::need::Need;
use crate::paths::{ARCH, Paths};
use crate::shell::{Run as _, say};
use crate::{apt, cargo, install};

const BPF_TARGET: &str = "bpfel-unknown-none";

#[derive(clap::Args, Default)]
pub(crate) struct Args {
    /// Architectures whose nodes will load the object; registers differ between them [default: this machine's]
    #[arg(long, value_name = "ARCH", value_parser = ["x86_64", "aarch64"])]
    arch: Vec<String>,
}

impl Args {
    pub(crate) fn for_arch(arch: &str) -> Self {
        Self { arch: vec![arch.to_owned()] }
    }
}

/// What building the object needs.
pub(crate) const NEEDS: &[Need] = &[Need::EbpfCompiler, Need::EbpfLinker];

pub(crate) fn ensure_compiler() -> Result<()> {
    prepare().map(drop)
}

pub(crate) fn ensure_linker(paths: &Paths) -> Result<()> {
    linker::ensure(paths).map(drop)
}

/// Builds the object for each architecture asked for.
pub(crate) fn run(paths: &Paths, args: &Args) -> Result<Vec<PathBuf>> {
    let parts: [&dyn Fn() -> Result<()>; 2] = [&ensure_compiler, &|| ensure_linker(paths)];
    install::all(parts.iter().map(|part| part()), "compiling eBPF")?;
    let plan = prepare()?;
    let linker = linker::ensure(paths)?;
    let own = [ARCH.to_owned()];
    let archs = if args.arch.is_empty() { own.as_slice() } else { args.arch.as_slice() };
    archs.iter().map(|arch| build(paths, &plan, &linker, arch)).collect()
}

/// A plan that needs no further installation.
fn prepare() -> Result<Plan> {
    match decide(&probe::facts()) {
        Plan::InstallDebian => apt::ensure(plan::DEBIAN_PACKAGES, "compiling eBPF")?,
        Plan::Missing(advice) => bail!("{advice}"),
        ready => return Ok(ready),
    }
    match decide(&probe::facts()) {
        Plan::InstallDebian => {
            bail!("{} are installed and still cannot compile eBPF", plan::DEBIAN_PACKAGES.join(" "))
        }
        Plan::Missing(advice) => bail!("{advice}"),
        ready => Ok(ready),
    }
}

fn build(paths: &Paths, plan: &Plan, linker: &Path, arch: &str) -> Result<PathBuf> {
    let build_dir = paths.target().join("bpf-build").join(arch);
    compiler(plan)?
        .args(["build", "--release", "--package", "monitor-ebpf", "--target", BPF_TARGET])
        .arg("--target-dir")
        .arg(&build_dir)
        .current_dir(paths.root())
        .env("RUSTFLAGS", rustflags(paths, arch))
        .env("PATH", linker::search_path(linker)?)
        .run("build the eBPF object")?;
    let built = build_dir.join(BPF_TARGET).join("release").join("ctmon-bpf");
    let object = paths.bpf_object(arch);
    let verb = if replace_if_different(&built, &object)? { "wrote" } else { "kept (same content)" };
    let name = object.strip_prefix(paths.root()).unwrap_or(&object);
    say(&format!("{verb} {} with {plan}", name.display()));
    Ok(object)
}

fn compiler(plan: &Plan) -> Result<Command> {
    let mut command;
    match plan {
        Plan::Debian { libraries } => {
            command = cargo::for_other_compiler(cargo::program());
            // aya-ebpf enables an unstable feature on the BPF target; the linker looks for libLLVM at run time.
            command
                .env("RUSTC", plan::DEBIAN_RUSTC)
                .env("RUSTC_BOOTSTRAP", "1")
                .env("LD_LIBRARY_PATH", libraries);
        }
        Plan::Nightly { toolchain, libraries } => {
            command = cargo::for_other_compiler("rustup");
            command
                .args(["run", toolchain, "cargo", "-Z", "build-std=core"])
                .env("LD_LIBRARY_PATH", libraries);
        }
        Plan::InstallDebian | Plan::Missing(_) => bail!("there is no compiler for eBPF: {plan}"),
    }
    Ok(command)
}

fn rustflags(paths: &Paths, arch: &str) -> String {
    let home = std::env::var("CARGO_HOME")
        .or_else(|_| std::env::var("HOME").map(|home| format!("{home}/.cargo")))
        .unwrap_or_else(|_| "/nonexistent".into());
    // Paths of this machine in the line information would make the object differ from one checkout to the next.
    format!(
        "-C linker=bpf-linker -C debuginfo=2 -C link-arg=--btf --cfg bpf_target_arch=\"{arch}\" \
         --remap-path-prefix={root}=. --remap-path-prefix={home}=cargo",
        root = paths.root().display(),
    )
}

/// Leaves the date alone when nothing changed, so that what embeds the object is not rebuilt.
fn replace_if_different(built: &Path, object: &Path) -> Result<bool> {
    let new = fs::read(built).with_context(|| format!("failed to read {}", built.display()))?;
    if fs::read(object).is_ok_and(|old| old == new) {
        return Ok(false);
    }
    let dir = object.parent().context("the object has no directory")?;
    fs::create_dir_all(dir).with_context(|| format!("failed to create {}", dir.display()))?;
    let draft = object.with_extension("new");
    fs::write(&draft, new).with_context(|| format!("failed to write {}", draft.display()))?;
    fs::rename(&draft, object).with_context(|| format!("failed to replace {}", object.display()))?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;

    #[test]
    fn an_unchanged_object_keeps_its_date() {
        let dir = std::env::temp_dir().join(format!("ctmon-xtask-object-{}", std::process::id()));
        let (built, object) = (dir.join("built"), dir.join("x86_64").join("ctmon-bpf.o"));
        fs::create_dir_all(&dir).unwrap();
        fs::write(&built, "one").unwrap();
        assert!(replace_if_different(&built, &object).unwrap());

        let long_ago = SystemTime::now() - Duration::from_secs(3600);
        fs::File::options().append(true).open(&object).unwrap().set_modified(long_ago).unwrap();
        assert!(!replace_if_different(&built, &object).unwrap());
        assert_eq!(fs::metadata(&object).unwrap().modified().unwrap(), long_ago);

        fs::write(&built, "two").unwrap();
        assert!(replace_if_different(&built, &object).unwrap());
        assert_eq!(fs::read(&object).unwrap(), b"two");
        fs::remove_dir_all(&dir).unwrap();
    }
}
