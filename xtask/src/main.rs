//! `cargo xtask`: what cargo cannot do alone.
//!
//! In: a verb and its flags. Out: progress in short lines on standard error, artefacts under `target/`.
//! Must not: hold anything that a plain `cargo build` or `cargo test` of one package already does.

mod apt;
mod bench;
mod build;
mod cargo;
mod dist;
mod ebpf;
mod home;
mod image;
mod install;
#[cfg(test)]
mod layers;
mod need;
mod needs;
mod npm;
mod oci;
mod paths;
mod programs;
mod python;
mod revision;
mod run;
mod shell;
mod tally;
mod test;
mod unpacked;
mod vm;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::paths::Paths;

/// What cargo cannot do alone: set-up, the eBPF object, the whole suite, real kernels.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", disable_help_subcommand = true)]
struct Cli {
    /// Install nothing: print what would be installed, and stop if that is anything
    #[arg(long, global = true)]
    no_install: bool,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Compile the eBPF programs to target/bpf/ARCH/ctmon-bpf.o, installing the compiler and linker if missing
    BuildEbpf(ebpf::Args),
    /// Build the release binary: static, stripped, at target/dist/ctmon
    Build,
    /// Build the container image: an OCI archive at target/image, of the release binary and nothing else
    Image(image::Args),
    /// Build all that a release is made of, with nothing uploaded: binaries, image, chart, manifests, SBOM, notes
    Dist(dist::Args),
    /// Build, then run ctmon on this node, or on a simulated one where there is no Cilium
    Run(run::Args),
    /// The whole suite, as a continuous integration server runs it
    Test(test::TestArgs),
    /// What is too long for each commit: the binary that ships, on all kernels, twice, and for arm64
    ReleaseCheck(test::ReleaseArgs),
    #[command(hide = true)]
    Step(test::StepArgs),
    /// Boot real kernels under QEMU and run every kernel test on each
    Vm(vm::Args),
    /// Measure what reading the maps costs
    #[command(subcommand)]
    Bench(bench::What),
}

fn main() -> ExitCode {
    // Not returned from `main`: where RUST_BACKTRACE is set, the way here would hide what went wrong.
    match run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> anyhow::Result<()> {
    let paths = Paths::of_workspace()?;
    if cli.no_install {
        install::forbid();
    }
    match cli.verb {
        Verb::BuildEbpf(args) => ebpf::run(&paths, &args).map(drop),
        Verb::Build => build::run(&paths).map(drop),
        Verb::Image(args) => image::run(&paths, &args),
        Verb::Dist(args) => dist::run(&paths, &args),
        Verb::Run(args) => run::run(&paths, &args),
        Verb::Test(args) => test::run(&paths, &args),
        Verb::ReleaseCheck(args) => test::run_release(&paths, &args),
        Verb::Step(args) => test::run_step(&paths, &args),
        Verb::Vm(args) => {
            needs::ensure(&paths, &args.needs(), "booting kernels")?;
            vm::run(&paths, &args)
        }
        Verb::Bench(what) => bench::run(&paths, &what),
    }
}
