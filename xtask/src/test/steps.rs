//! The steps of the suite, and those of a release.
//!
//! In: the workspace. Out: how many tests each step executed.
//! Must not: hold state between steps; each is a process of its own, and finds what another built where that one puts it.
//!
//! To add one: a line in `STEPS` and, mostly, a call of `run_tests`.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};

use crate::cargo::Executable;
use crate::need::Need;
use crate::paths::{ARCH, Paths};
use crate::programs::{self, Programs};
use crate::shell::{Run as _, say};
use crate::tally::Tally;
use crate::{build, cargo, dist, ebpf, image, needs, python, vm};

/// One line of the suite.
pub(super) struct Step {
    pub(super) name: &'static str,
    pub(super) proves: &'static str,
    pub(super) kind: Kind,
    pub(super) lane: Lane,
    /// Names of the builds it cannot do without.
    pub(super) needs: &'static [&'static str],
    /// What it calls that comes from outside: the first step installs it.
    pub(super) wants: &'static [Need],
    pub(super) run: fn(&Context<'_>) -> Result<Tally>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Others need it: if it fails they do not run. Counts as no test.
    Build,
    Check,
}

/// Steps of one lane run one after the other, lanes side by side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lane {
    /// What computes.
    Main,
    /// What mostly waits: servers that scrape, rules that hold, daemons that follow maps.
    Waiting,
    /// Virtual machines.
    Machines,
}

impl Lane {
    pub(super) const ALL: [Self; 3] = [Self::Main, Self::Waiting, Self::Machines];
}

/// What a step may look at.
pub(super) struct Context<'a> {
    pub(super) paths: &'a Paths,
    /// All that were chosen, so that set-up installs what they need and no more.
    pub(super) chosen: &'a [&'a Step],
    pub(super) list: List,
}

/// Which steps, and with them which binary is under test.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum List {
    /// For each commit.
    Suite,
    /// For each release.
    Release,
}

impl List {
    pub(super) const fn steps(self) -> &'static [Step] {
        match self {
            Self::Suite => STEPS,
            Self::Release => RELEASE,
        }
    }
}

impl Context<'_> {
    /// The binary under test.
    fn ctmon(&self, programs: &Programs) -> Result<PathBuf> {
        match self.list {
            List::Suite => programs.ctmon().map(ToOwned::to_owned),
            List::Release => Ok(self.paths.dist_binary()),
        }
    }
}

const SET_UP: &[&str] = &["set-up"];
const OBJECT: &[&str] = &["set-up", "build-ebpf"];
const PROGRAMS: &[&str] = &["set-up", "build-ebpf", "programs"];
const DIST: &[&str] = &["set-up", "build-ebpf", "programs", "dist"];
const RELEASED: &[&str] = &["set-up", "build-ebpf", "programs", "build"];

/// Debian's prometheus brings promtool too, which reads the rules as a server would.
const PROMETHEUS: &[Need] = &[Need::Packages(&["prometheus"])];
const IMAGE_TOOLS: &[Need] = &[Need::Packages(&["skopeo", "umoci"])];
const CHROMIUM: &[Need] = &[Need::Packages(&["chromium"])];
const CHART_TOOLS: &[Need] = &[Need::Packages(&["git", "prometheus"]), Need::Python];

const fn step(name: &'static str, proves: &'static str, run: fn(&Context<'_>) -> Result<Tally>) -> Step {
    Step { name, proves, kind: Kind::Check, lane: Lane::Main, needs: PROGRAMS, wants: &[], run }
}

const fn builds(name: &'static str, proves: &'static str, run: fn(&Context<'_>) -> Result<Tally>) -> Step {
    Step { kind: Kind::Build, ..step(name, proves, run) }
}

const KERNEL: Step = Step {
    lane: Lane::Waiting,
    ..step(
        "kernel",
        "captures and generated maps, read by the running kernel, give the numbers of independent readers",
        |context| run_tests(context, &["kernel*"], &["--test-threads=1"]),
    )
};
const GOLDEN: Step = Step {
    wants: PROMETHEUS,
    ..step(
        "golden",
        "the pages are those on file, Prometheus reads them, and the passes of a simulated gc are recovered",
        |context| run_tests(context, &["golden", "promtool", "model"], &[]),
    )
};
const E2E: Step = Step {
    lane: Lane::Waiting,
    wants: PROMETHEUS,
    ..step(
        "e2e",
        "a real Prometheus on a simulated node: the incident fires its alerts and nothing else, its repair clears them, \
         a healthy node fires none, and every expression of the dashboard returns data",
        |context| run_tests(context, &["e2e"], &[]),
    )
};
const BROWSER: Step = Step {
    wants: CHROMIUM,
    ..step(
        "browser",
        "the page at / in a real browser: whole, without a complaint, a script or another host",
        |context| run_tests(context, &["browser"], &[]),
    )
};
const MANIFESTS: Step = Step {
    wants: CHART_TOOLS,
    ..step(
        "manifests",
        "base, overlays and chart render, agree with each other, and ask for no more than they say",
        |context| run_tests(context, &["manifests"], &[]),
    )
};
const REGISTRY: Step = Step {
    needs: DIST,
    wants: &[Need::Packages(&["skopeo", "umoci"]), Need::Python, Need::Unpacked(&["docker-registry"])],
    ..step(
        "registry",
        "a registry takes image, chart and manifests, and clients find in it what was pushed",
        |context| run_tests(context, &["registry"], &["--test-threads=1"]),
    )
};
const CONTAINERD: Step = Step {
    needs: DIST,
    wants: &[Need::Unpacked(&["containerd", "runc"])],
    ..step(
        "containerd",
        "containerd and runc run the image as the DaemonSet asks, on a simulated node",
        |context| run_tests(context, &["containerd"], &["--test-threads=1"]),
    )
};
const SET_UP_STEP: Step =
    Step { needs: &[], ..builds("set-up", "what the other steps call is installed, or installs it", set_up) };
const OBJECT_STEP: Step = Step {
    needs: SET_UP,
    wants: ebpf::NEEDS,
    ..builds("build-ebpf", "the programs for the kernel compile and link", |context| {
        ebpf::run(context.paths, &ebpf::Args::default()).map(|_| Tally::default())
    })
};
const PROGRAMS_STEP: Step = Step {
    needs: OBJECT,
    ..builds("programs", "ctmon and all tests compile, once, static", |context| {
        programs::build(context.paths).map(|_| Tally::default())
    })
};

/// For each commit. In a lane the cheap steps come first, so that the usual mistakes are found early.
pub(super) const STEPS: &[Step] = &[
    SET_UP_STEP,
    OBJECT_STEP,
    Step {
        needs: SET_UP,
        ..step("fmt", "the code is formatted", |context| {
            check(cargo_in(context).args(["fmt", "--all", "--check"]), "check the format")
        })
    },
    PROGRAMS_STEP,
    Step {
        lane: Lane::Machines,
        wants: vm::NEEDS,
        ..step("vm", "what a kernel can change, on every kernel supported, booted for it", |context| {
            boot(context, vm::Scope::Suite)
        })
    },
    E2E,
    Step {
        wants: PROMETHEUS,
        ..step(
            "unit",
            "every module by itself: layouts, decoding, classes, checks, outputs, and the tests' own tools",
            unit,
        )
    },
    KERNEL,
    GOLDEN,
    MANIFESTS,
    BROWSER,
    Step {
        wants: IMAGE_TOOLS,
        ..step(
            "image",
            "an image is the same twice, other engines' tools read it, and its file system alone runs ctmon",
            image,
        )
    },
    builds("dist", "what a release is made of is made, the same twice", |context| {
        let programs = programs::built(context.paths)?;
        dist::of_the_suite(context.paths, &stripped(context, &programs)?).map(|()| Tally::default())
    }),
    REGISTRY,
    CONTAINERD,
    Step {
        wants: &[Need::Npm],
        ..step("workflows", "the workflows say what their forge understands, and name no owner", |context| {
            run_tests(context, &["workflows"], &[])
        })
    },
    Step {
        needs: OBJECT,
        ..step("clippy", "no lint fires, in the agent, its tests and the kernel's programs", clippy)
    },
    Step { needs: OBJECT, ..step("docs", "the documentation builds and its links lead somewhere", docs) },
];

/// For each release: what takes too long for each commit. The binary under test is the one that ships.
pub(super) const RELEASE: &[Step] = &[
    SET_UP_STEP,
    OBJECT_STEP,
    PROGRAMS_STEP,
    Step {
        needs: OBJECT,
        ..builds("build", "the static release binary links", |context| {
            build::run(context.paths).map(|_| Tally::default())
        })
    },
    Step {
        lane: Lane::Machines,
        needs: RELEASED,
        wants: vm::NEEDS,
        ..step("vm", "every kernel test on every kernel supported", |context| boot(context, vm::Scope::All))
    },
    Step { needs: RELEASED, ..E2E },
    Step { needs: RELEASED, ..KERNEL },
    Step { needs: RELEASED, ..GOLDEN },
    Step { needs: RELEASED, ..MANIFESTS },
    Step { needs: RELEASED, ..BROWSER },
    Step {
        needs: RELEASED,
        wants: IMAGE_TOOLS,
        ..step(
            "image",
            "the image is small enough and the same twice, other engines' tools read it, and its file system alone runs ctmon",
            image,
        )
    },
    Step {
        needs: RELEASED,
        ..step("two-builds", "the release binary is the same from two builds in two places", two_builds)
    },
    Step {
        needs: RELEASED,
        wants: &[Need::Arm64],
        ..builds("dist", "what a release is made of, arm64 with it, is made, the same twice", |context| {
            dist::run(context.paths, &dist::Args::for_tests()).map(|()| Tally::default())
        })
    },
    REGISTRY,
    CONTAINERD,
    Step {
        needs: SET_UP,
        ..step("bare", "a build without the BPF toolchain works, and says which command makes the rest", bare)
    },
];

fn set_up(context: &Context<'_>) -> Result<Tally> {
    needs::ensure(context.paths, &wants(context.chosen), "the suite")?;
    Ok(Tally::default())
}

/// Everything from outside that these steps call.
pub(super) fn wants(steps: &[&Step]) -> Vec<Need> {
    let mut wants = vec![Need::Components, Need::Crates];
    wants.extend(steps.iter().flat_map(|step| step.wants));
    wants
}

fn clippy(context: &Context<'_>) -> Result<Tally> {
    let deny = ["--", "-D", "warnings"];
    let workspace = ["clippy", "--workspace", "--exclude", "monitor-ebpf", "--all-targets"];
    let mut tally = check(with_flags(context, &workspace).args(deny), "lint the workspace")?;
    // For this machine instead of the BPF target, which the stable compiler does not know: the code is the same.
    tally += check(
        cargo_in(context).args(["clippy", "--package", "monitor-ebpf"]).args(deny),
        "lint the kernel's programs",
    )?;
    Ok(tally)
}

fn docs(context: &Context<'_>) -> Result<Tally> {
    let workspace = ["doc", "--workspace", "--exclude", "monitor-ebpf", "--no-deps"];
    check(with_flags(context, &workspace).env("RUSTDOCFLAGS", "-D warnings"), "build the documentation")
}

/// Other targets of the package `tests` are steps of their own.
fn unit(context: &Context<'_>) -> Result<Tally> {
    let programs = programs::built(context.paths)?;
    let mut tally = run_programs(context, &programs, &programs.unit(), &[])?;
    tally += cargo_test(with_flags(context, &["test", "--doc"]).args(programs::packages()))?;
    // For this machine, as it runs: the profile is the one that compiled it.
    tally += cargo_test(cargo_in(context).args(["test", "--profile", "suite", "--package", "xtask"]))?;
    Ok(tally)
}

fn boot(context: &Context<'_>, scope: vm::Scope) -> Result<Tally> {
    let programs = programs::built(context.paths)?;
    vm::boot_all(context.paths, &vm::Args::default(), scope, &context.ctmon(&programs)?, &programs)
}

fn image(context: &Context<'_>) -> Result<Tally> {
    let programs = programs::built(context.paths)?;
    let packed = match context.list {
        List::Release => image::pack_twice(context.paths, &context.paths.dist_binary(), None)?,
        List::Suite => image::pack_twice(context.paths, &stripped(context, &programs)?, Some("suite"))?,
    };
    let mut tally = Tally::ONE_PASSED;
    for program in programs.tests(&["image"])? {
        let mut command = test_command(context, &programs, program)?;
        tally += run_test(command.arg("--test-threads=1").env("CTMON_IMAGE", &packed), program)?;
    }
    Ok(tally)
}

/// The binary under test as it would ship: without symbols.
fn stripped(context: &Context<'_>, programs: &Programs) -> Result<PathBuf> {
    let stripped = context.paths.suite().join("ctmon");
    let mut strip = Command::new("strip");
    strip.arg("--strip-all").arg("-o").arg(&stripped).arg(programs.ctmon()?);
    strip.run_quietly("strip the binary under test")?;
    Ok(stripped)
}

fn two_builds(context: &Context<'_>) -> Result<Tally> {
    let elsewhere = context.paths.suite().join("second-build");
    let second = build::compile(context.paths, ARCH, None, Some(&elsewhere))?;
    let read = |path: &PathBuf| fs::read(path).with_context(|| format!("failed to read {}", path.display()));
    let same = read(&context.paths.dist_binary())? == read(&second)?;
    ensure!(same, "{} is another binary than the first", second.display());
    fs::remove_dir_all(&elsewhere).with_context(|| format!("failed to remove {}", elsewhere.display()))?;
    Ok(Tally::ONE_PASSED)
}

fn bare(context: &Context<'_>) -> Result<Tally> {
    let dir = context.paths.suite().join("bare");
    fs::create_dir_all(&dir).with_context(|| format!("failed to create {}", dir.display()))?;
    let object = dir.join("no-object");
    fs::write(&object, "").with_context(|| format!("failed to write {}", object.display()))?;
    let messages = cargo_in(context)
        .args(["build", "--package", "monitor", "--bin", "ctmon"])
        .args(["--message-format", "json-render-diagnostics"])
        .env("CTMON_BPF_OBJECT", &object)
        .env("CARGO_TARGET_DIR", &dir)
        .read("build ctmon without its eBPF programs")?;
    let ctmon = cargo::executable(&messages, "ctmon")?;
    let said = Command::new(&ctmon).arg("scrape").output().context("failed to start ctmon")?;
    let complaint = String::from_utf8_lossy(&said.stderr).into_owned();
    ensure!(
        said.status.code() == Some(2)
            && complaint.lines().count() == 1
            && complaint.contains("cargo xtask build"),
        "without its programs ctmon ended with {} and said: {complaint}",
        said.status
    );
    fs::remove_dir_all(&dir).with_context(|| format!("failed to remove {}", dir.display()))?;
    Ok(Tally::ONE_PASSED)
}

/// Test targets of the package `tests`, every one to its end.
fn run_tests(context: &Context<'_>, names: &[&str], arguments: &[&str]) -> Result<Tally> {
    let programs = programs::built(context.paths)?;
    run_programs(context, &programs, &programs.tests(names)?, arguments)
}

fn run_programs(
    context: &Context<'_>,
    programs: &Programs,
    chosen: &[&Executable],
    arguments: &[&str],
) -> Result<Tally> {
    let mut tally = Tally::default();
    for program in chosen {
        tally += run_test(test_command(context, programs, program)?.args(arguments), program)?;
    }
    Ok(tally)
}

/// As cargo would start it, with the binary under test named.
fn test_command(context: &Context<'_>, programs: &Programs, program: &Executable) -> Result<Command> {
    let mut command = Command::new(&program.path);
    command
        .current_dir(&program.package)
        .env("CARGO_MANIFEST_DIR", &program.package)
        .env("CTMON_BIN", context.ctmon(programs)?)
        .env("PATH", python::search_path(context.paths)?);
    Ok(command)
}

fn run_test(command: &mut Command, program: &Executable) -> Result<Tally> {
    let package = program.package.file_name().unwrap_or_default().display();
    say(&format!("running the tests {} of {package}", program.target));
    counted(command)
}

fn cargo_test(command: &mut Command) -> Result<Tally> {
    counted(command.arg("--no-fail-fast"))
}

fn counted(command: &mut Command) -> Result<Tally> {
    let (status, output) = command.run_and_copy("run the tests")?;
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

/// A call of cargo that shares what it compiles with the programs of the suite.
fn with_flags(context: &Context<'_>, arguments: &[&str]) -> Command {
    let mut command = cargo_in(context);
    command.args(arguments).args(programs::flags()).env("RUSTFLAGS", build::static_rustflags());
    command
}

/// One test: the command succeeds.
fn check(command: &mut Command, what: &str) -> Result<Tally> {
    command.run(what).map(|()| Tally::ONE_PASSED)
}
