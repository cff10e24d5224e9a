//! The steps of the suite.
//!
//! In: the workspace. Out: how many tests each step executed.
//! Must not: hold state between steps; a step finds what another built where that one puts it.
//!
//! To add one: a line in `STEPS` and, mostly, a call of `cargo_test`.

use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::paths::Paths;
use crate::shell::{Run as _, say};
use crate::tally::Tally;
use crate::{apt, build, cargo, dist, ebpf, image, npm, python, unpacked, vm};

/// One line of the suite.
pub(super) struct Step {
    pub(super) name: &'static str,
    pub(super) proves: &'static str,
    pub(super) kind: Kind,
    /// Names of the builds it cannot do without.
    pub(super) needs: &'static [&'static str],
    /// Debian packages it calls programs of.
    pub(super) packages: &'static [&'static str],
    pub(super) run: fn(&Context<'_>) -> Result<Tally>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Others need it: if it fails they do not run. Counts as no test.
    Build,
    Check,
}

/// What a step may look at.
pub(super) struct Context<'a> {
    pub(super) paths: &'a Paths,
    /// All that were chosen, so that set-up installs what they need and no more.
    pub(super) steps: &'a [&'a Step],
}

const SET_UP: &[&str] = &["set-up"];
const OBJECT: &[&str] = &["set-up", "build-ebpf"];
const BINARY: &[&str] = &["set-up", "build-ebpf", "build"];

/// Debian's prometheus brings promtool too, which reads the rules as a server would.
const PROMETHEUS: &[&str] = &["prometheus"];

/// Cheap steps first, so that the usual mistakes are found in the first minute.
pub(super) const STEPS: &[Step] = &[
    Step {
        name: "set-up",
        proves: "the programs that the other steps call are installed, or installs them",
        kind: Kind::Build,
        needs: &[],
        packages: &[],
        run: set_up,
    },
    Step {
        name: "build-ebpf",
        proves: "the programs for the kernel compile and link",
        kind: Kind::Build,
        needs: SET_UP,
        packages: &[],
        run: |context| ebpf::run(context.paths, &ebpf::Args::default()).map(|_| Tally::default()),
    },
    Step {
        name: "fmt",
        proves: "the code is formatted",
        kind: Kind::Check,
        needs: SET_UP,
        packages: &[],
        run: |context| check(cargo_in(context).args(["fmt", "--all", "--check"]), "check the format"),
    },
    Step {
        name: "clippy",
        proves: "no lint fires, in the agent, its tests and the kernel's programs",
        kind: Kind::Check,
        needs: OBJECT,
        packages: &[],
        run: clippy,
    },
    Step {
        name: "docs",
        proves: "the documentation builds and its links lead somewhere",
        kind: Kind::Check,
        needs: OBJECT,
        packages: &[],
        run: docs,
    },
    Step {
        name: "unit",
        proves: "every module by itself: layouts, decoding, classes, checks, outputs, and the tests' own tools",
        kind: Kind::Check,
        needs: OBJECT,
        packages: PROMETHEUS,
        run: unit,
    },
    Step {
        name: "build",
        proves: "the static release binary links",
        kind: Kind::Build,
        needs: OBJECT,
        packages: &[],
        run: |context| build::run(context.paths).map(|_| Tally::default()),
    },
    Step {
        name: "image",
        proves: "the image is the same twice, other engines' tools read it, and its file system alone runs ctmon",
        kind: Kind::Check,
        needs: BINARY,
        packages: &["skopeo", "umoci"],
        run: image,
    },
    Step {
        name: "kernel",
        proves: "captures and generated maps, read by the running kernel, give the numbers of independent readers",
        kind: Kind::Check,
        needs: BINARY,
        packages: &[],
        run: |context| {
            cargo_test(context, &["--package", "tests", "--test", "kernel*", "--", "--test-threads=1"])
        },
    },
    Step {
        name: "golden",
        proves: "the pages are those on file, Prometheus reads them, and a simulated collector's passes are recovered",
        kind: Kind::Check,
        needs: BINARY,
        packages: PROMETHEUS,
        run: |context| {
            let targets = ["--test", "golden", "--test", "promtool", "--test", "model"];
            cargo_test(context, &[&["--package", "tests"], &targets[..]].concat())
        },
    },
    Step {
        name: "e2e",
        proves: "a real Prometheus on a simulated node: the incident fires its alerts and nothing else, its repair \
                 clears them, a healthy node fires none, and every expression of the dashboard returns data",
        kind: Kind::Check,
        needs: BINARY,
        packages: PROMETHEUS,
        run: |context| cargo_test(context, &["--package", "tests", "--test", "e2e"]),
    },
    Step {
        name: "browser",
        proves: "the page at / in a real browser: whole, without a complaint, a script or another host",
        kind: Kind::Check,
        needs: BINARY,
        packages: &["chromium"],
        run: |context| cargo_test(context, &["--package", "tests", "--test", "browser"]),
    },
    Step {
        name: "python",
        proves: "helm and the schemas of Kubernetes objects are there",
        kind: Kind::Build,
        needs: SET_UP,
        packages: &[],
        run: |context| python::ensure(context.paths).map(|()| Tally::default()),
    },
    Step {
        name: "manifests",
        proves: "base, overlays and chart render, agree with each other, and ask for no more than they say",
        kind: Kind::Check,
        needs: &["set-up", "build-ebpf", "build", "python"],
        packages: PROMETHEUS,
        run: |context| cargo_test(context, &["--package", "tests", "--test", "manifests"]),
    },
    Step {
        name: "dist",
        proves: "what a release is made of is made, the same twice",
        kind: Kind::Build,
        needs: BINARY,
        packages: &[],
        run: |context| {
            dist::of_the_suite(context.paths, &context.paths.dist_binary()).map(|()| Tally::default())
        },
    },
    Step {
        name: "registry",
        proves: "a registry takes image, chart and manifests, and clients find in it what was pushed",
        kind: Kind::Check,
        needs: &["set-up", "build-ebpf", "build", "python", "dist"],
        packages: &["skopeo", "umoci"],
        run: |context| {
            unpacked::ensure(context.paths, &["docker-registry"], "a registry to push to")?;
            cargo_test(context, &["--package", "tests", "--test", "registry", "--", "--test-threads=1"])
        },
    },
    Step {
        name: "containerd",
        proves: "containerd and runc run the image as the DaemonSet asks, on a simulated node",
        kind: Kind::Check,
        needs: &["set-up", "build-ebpf", "build", "dist"],
        packages: &[],
        run: |context| {
            unpacked::ensure(context.paths, &["containerd", "runc"], "running the image")?;
            cargo_test(context, &["--package", "tests", "--test", "containerd", "--", "--test-threads=1"])
        },
    },
    Step {
        name: "workflows",
        proves: "the workflows say what their forge understands, and name no owner",
        kind: Kind::Check,
        needs: SET_UP,
        packages: &[],
        run: |context| {
            npm::ensure(context.paths)?;
            cargo_test(context, &["--package", "tests", "--test", "workflows"])
        },
    },
    Step {
        name: "vm",
        proves: "the same on every kernel supported, booted for it",
        kind: Kind::Check,
        needs: BINARY,
        packages: vm::PACKAGES,
        run: |context| vm::boot_all(context.paths, &vm::Args::of_the_suite()),
    },
];

fn set_up(context: &Context<'_>) -> Result<Tally> {
    let mut packages: Vec<&str> = context.steps.iter().flat_map(|step| step.packages).copied().collect();
    packages.sort_unstable();
    packages.dedup();
    apt::ensure(&packages, "the suite")?;
    for (component, subcommand) in [("rustfmt", "fmt"), ("clippy", "clippy")] {
        let works = || cargo::cargo().args([subcommand, "--version"]).read_if_works().is_some();
        if works() {
            continue;
        }
        say(&format!("adding {component} to the toolchain"));
        let added =
            Command::new("rustup").args(["component", "add", component]).run_quietly("add a component");
        if added.is_err() || !works() {
            bail!("`cargo {subcommand}` does not work here: rustup component add {component}");
        }
    }
    Ok(Tally::default())
}

fn clippy(context: &Context<'_>) -> Result<Tally> {
    let deny = ["--", "-D", "warnings"];
    let mut tally = check(
        cargo_in(context)
            .args(["clippy", "--workspace", "--exclude", "monitor-ebpf", "--all-targets"])
            .args(deny),
        "lint the workspace",
    )?;
    // For this machine instead of the BPF target, which the stable compiler does not know: the code is the same.
    tally += check(
        cargo_in(context).args(["clippy", "--package", "monitor-ebpf"]).args(deny),
        "lint the kernel's programs",
    )?;
    Ok(tally)
}

fn docs(context: &Context<'_>) -> Result<Tally> {
    check(
        cargo_in(context)
            .args(["doc", "--workspace", "--exclude", "monitor-ebpf", "--no-deps"])
            .env("RUSTDOCFLAGS", "-D warnings"),
        "build the documentation",
    )
}

fn unit(context: &Context<'_>) -> Result<Tally> {
    let mut tally =
        cargo_test(context, &["--package", "monitor-abi", "--package", "monitor", "--package", "xtask"])?;
    // Its other targets are steps of their own.
    tally += cargo_test(context, &["--package", "tests", "--lib", "--bins"])?;
    Ok(tally)
}

fn image(context: &Context<'_>) -> Result<Tally> {
    image::pack_twice(context.paths)?;
    let mut tally = Tally::ONE_PASSED;
    tally += cargo_test(context, &["--package", "tests", "--test", "image", "--", "--test-threads=1"])?;
    Ok(tally)
}

/// `cargo test`, every target to its end, with the binary under test named.
fn cargo_test(context: &Context<'_>, arguments: &[&str]) -> Result<Tally> {
    let (status, output) = cargo_in(context)
        .args(["test", "--no-fail-fast"])
        .args(arguments)
        .env("CTMON_BIN", context.paths.dist_binary())
        .env("PATH", python::search_path(context.paths)?)
        .run_and_copy("run the tests")?;
    let tally = Tally::parse(&output).context("the tests did not build, or none printed a result")?;
    if !status.success() && tally.failed == 0 {
        bail!("a test runner ended badly without a failed test: {status}");
    }
    Ok(tally)
}

fn cargo_in(context: &Context<'_>) -> Command {
    let mut command = cargo::cargo();
    command.current_dir(context.paths.root());
    command
}

/// One test: the command succeeds.
fn check(command: &mut Command, what: &str) -> Result<Tally> {
    command.run(what).map(|()| Tally::ONE_PASSED)
}
