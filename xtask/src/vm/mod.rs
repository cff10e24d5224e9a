//! `vm`: the kernel tests on every kernel supported.
//!
//! In: the test targets `kernel*` of the package `tests`, the binary under test, which tests a machine runs. Out: a tally of
//! all boots; console logs.
//! Must not: install a kernel, or leave a virtual machine running.

mod archive;
mod console;
mod folders;
mod initramfs;
mod kernels;
mod modules;
mod qemu;
mod storage;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use self::archive::Archive;
use self::console::Verdict;
use self::kernels::{Kernel, LOCKDOWN, Machine};
use self::modules::Modules;
use self::qemu::{Boot, Ending, Qemu};
use crate::cargo::Executable;
use crate::install::install;
use crate::need::Need;
use crate::paths::{ARCH, Paths};
use crate::programs::Programs;
use crate::shell::say;
use crate::tally::Tally;
use crate::{apt, ebpf, programs};

/// Debian packages that pack the initramfs.
pub(crate) const PACKAGES: &[&str] = &["busybox-static", "cpio", "xz-utils"];

/// Everything that booting calls.
pub(crate) const NEEDS: &[Need] = &[Need::Packages(PACKAGES), Need::Machines];

/// Machines that compute, at a time: as many as the smallest host has processors. The one that mostly waits, for storage
/// servers, runs beside them.
const AT_A_TIME: usize = 2;

/// Emulation on a busy machine is slow; a hang is none the worse for being found later.
const TIMEOUT_S: u64 = 2_400;

#[derive(clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub(crate) struct Args {
    /// Kernels to boot, by name or series [default: all of `--list`]
    series: Vec<String>,
    /// Boot them with lockdown=confidentiality
    #[arg(long)]
    lockdown: bool,
    /// Keep the unpacked initramfs under target/vm/initramfs
    #[arg(long)]
    keep: bool,
    /// Run only tests whose name contains this
    #[arg(long, value_name = "NAME")]
    filter: Option<String>,
    /// Seconds after which a boot counts as hung
    #[arg(long, value_name = "SECONDS", default_value_t = TIMEOUT_S)]
    timeout: u64,
    /// Look for newer kernels of each series
    #[arg(long)]
    refresh: bool,
    /// Print the kernels and what each proves, and exit
    #[arg(long)]
    list: bool,
}

impl Args {
    /// What has to be there before [`run`] with these.
    pub(crate) fn needs(&self) -> Vec<Need> {
        if self.list || ARCH != "x86_64" { Vec::new() } else { [ebpf::NEEDS, NEEDS].concat() }
    }
}

impl Default for Args {
    fn default() -> Self {
        Self {
            series: Vec::new(),
            lockdown: false,
            keep: false,
            filter: None,
            timeout: TIMEOUT_S,
            refresh: false,
            list: false,
        }
    }
}

/// Which tests run on a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    /// Those that its kernel can change, see [`kernels::MACHINES`]: the rest runs on the kernel at hand.
    Suite,
    All,
}

/// The verb: fails unless every boot passed.
pub(crate) fn run(paths: &Paths, args: &Args) -> Result<()> {
    if args.list {
        for Machine { name, series: _, command_line: _, storage: _, proves, suite: _ } in kernels::MACHINES {
            println!("{name:<15} {proves}");
        }
        return Ok(());
    }
    ebpf::run(paths, &ebpf::Args::default())?;
    let programs = programs::build(paths)?;
    let tally = boot_all(paths, args, Scope::All, programs.ctmon()?, &programs)?;
    println!("{tally}");
    if tally.failed > 0 {
        bail!("not every kernel passed: the console logs are under target/vm/logs");
    }
    Ok(())
}

/// Boots the kernels asked for. What went wrong besides a failed test counts as one failure.
pub(crate) fn boot_all(
    paths: &Paths,
    args: &Args,
    scope: Scope,
    ctmon: &Path,
    programs: &Programs,
) -> Result<Tally> {
    if ARCH != "x86_64" {
        bail!(
            "the virtual machines are x86_64 and this machine is {ARCH}: run the kernel tests on it directly"
        );
    }
    let mut machines = kernels::select(&args.series)?;
    if args.lockdown {
        machines.retain(|machine| !machine.storage);
        for machine in &mut machines {
            machine.command_line = LOCKDOWN;
        }
        machines.dedup_by_key(|machine| machine.series);
    }
    apt::ensure(PACKAGES, "booting kernels")?;
    let dir = paths.target().join("vm");
    let Downloads { qemu, machines, storage } = prepare(&dir, &machines, args.refresh)?;
    let tests = programs.tests(&["kernel*"])?;
    let helpers: Vec<_> = programs.helpers().collect();
    let mut lab = Lab::pack(paths, args, qemu, &Payload { ctmon, tests, helpers }, &machines)?;
    lab.scope = scope;
    if let Some(packages) = storage {
        lab.add_storage(&packages, &dir, &machines)?;
    }
    Ok(lab.boot(&machines).into_iter().sum())
}

/// Downloads what every boot needs.
pub(crate) fn ensure_machines(paths: &Paths) -> Result<()> {
    if ARCH != "x86_64" {
        return Ok(());
    }
    prepare(&paths.target().join("vm"), kernels::MACHINES, false).map(drop)
}

/// What is packed for every boot.
struct Payload<'a> {
    ctmon: &'a Path,
    tests: Vec<&'a Executable>,
    helpers: Vec<&'a Executable>,
}

/// What comes from Debian's archive.
struct Downloads {
    qemu: Qemu,
    machines: Vec<(Machine, Kernel)>,
    /// The packages of the storage scenes, where a machine plays them.
    storage: Option<PathBuf>,
}

/// The emulator, the kernels and the packages, downloaded only when missing.
fn prepare(dir: &Path, machines: &[Machine], refresh: bool) -> Result<Downloads> {
    let missing = missing(dir, machines);
    if missing.is_empty() && !refresh {
        return download(dir, machines, false);
    }
    let what =
        if missing.is_empty() { "what is newer of the kernels".to_owned() } else { missing.join(", ") };
    install(&format!("{what}, under target/vm and not on this machine"), || download(dir, machines, refresh))
}

/// What these machines need and was not downloaded yet.
fn missing(dir: &Path, machines: &[Machine]) -> Vec<String> {
    let mut missing: Vec<String> = Vec::new();
    for machine in machines {
        let name = format!("kernel {}", machine.series);
        if kernels::unpacked(&dir.join("kernels"), machine.series).is_none() && !missing.contains(&name) {
            missing.push(name);
        }
    }
    if Qemu::find(&dir.join("qemu")).is_none() {
        missing.push("qemu-system-x86".to_owned());
    }
    if machines.iter().any(|machine| machine.storage) && storage::unpacked(dir).is_none() {
        missing.push("servers and clients of SMB and iSCSI".to_owned());
    }
    missing
}

fn download(dir: &Path, machines: &[Machine], refresh: bool) -> Result<Downloads> {
    let (qemu_dir, kernels_dir) = (dir.join("qemu"), dir.join("kernels"));
    let open = || Archive::open(dir.join("apt"), kernels::SUITES, refresh);
    let mut archive = if refresh { Some(open()?) } else { None };
    let mut fetched: Vec<(Machine, Kernel)> = Vec::new();
    for &machine in machines {
        let same = fetched
            .iter()
            .find(|(other, _)| other.series == machine.series)
            .map(|(_, kernel)| kernel.clone());
        let known = if refresh { same } else { kernels::unpacked(&kernels_dir, machine.series) };
        let kernel = match known {
            Some(kernel) => kernel,
            None => kernels::fetch(opened(&mut archive, open)?, &kernels_dir, machine.series)?,
        };
        fetched.push((machine, kernel));
    }
    let qemu = match Qemu::find(&qemu_dir) {
        Some(qemu) => qemu,
        None => Qemu::fetch(opened(&mut archive, open)?, &qemu_dir)?,
    };
    let known = if refresh { None } else { storage::unpacked(dir) };
    let storage = match known {
        _ if !machines.iter().any(|machine| machine.storage) => None,
        None => Some(storage::fetch(opened(&mut archive, open)?, dir)?),
        known => known,
    };
    Ok(Downloads { qemu, machines: fetched, storage })
}

fn opened(archive: &mut Option<Archive>, open: impl FnOnce() -> Result<Archive>) -> Result<&Archive> {
    if archive.is_none() {
        *archive = Some(open()?);
    }
    archive.as_ref().context("the archive was not opened")
}

fn modules_of(dir: &Path, machine: &Machine, kernel: &Kernel) -> Result<Modules> {
    Modules::of(kernel, &dir.join("kernels").join(machine.series))
}

/// Everything that the boots share.
struct Lab {
    qemu: Qemu,
    initramfs: PathBuf,
    /// The same with what the storage scenes need, for the machine that plays them.
    with_storage: Option<PathBuf>,
    logs: PathBuf,
    binaries: Vec<String>,
    timeout: Duration,
    filter: Option<String>,
    scope: Scope,
}

impl Lab {
    fn pack(
        paths: &Paths,
        args: &Args,
        qemu: Qemu,
        payload: &Payload<'_>,
        machines: &[(Machine, Kernel)],
    ) -> Result<Self> {
        let dir = paths.target().join("vm");
        let (tree, initramfs, logs) = (dir.join("initramfs"), dir.join("initramfs.cpio"), dir.join("logs"));
        fs::create_dir_all(&logs).with_context(|| format!("failed to create {}", logs.display()))?;
        let package = paths.root().join("tests");
        let modules = machines.iter().map(|(machine, kernel)| modules_of(&dir, machine, kernel));
        let modules: Vec<_> = modules.collect::<Result<_>>()?;
        let Payload { ctmon, tests, helpers } = payload;
        let contents = initramfs::Contents { ctmon, tests, helpers, package: &package, modules: &modules };
        initramfs::pack(&contents, &tree, &initramfs)?;
        if !args.keep {
            fs::remove_dir_all(&tree).with_context(|| format!("failed to remove {}", tree.display()))?;
        }
        let binaries = tests.iter().map(|executable| executable.target.clone()).collect();
        Ok(Self {
            qemu,
            initramfs,
            with_storage: None,
            logs,
            binaries,
            timeout: Duration::from_secs(args.timeout),
            filter: args.filter.clone(),
            scope: Scope::All,
        })
    }

    fn add_storage(&mut self, packages: &Path, dir: &Path, machines: &[(Machine, Kernel)]) -> Result<()> {
        // One kernel's modules go in, so there is one such machine.
        let playing = machines.iter().find(|(machine, _)| machine.storage);
        if let Some((machine, kernel)) = playing {
            let packed = storage::pack(packages, &modules_of(dir, machine, kernel)?, &self.initramfs)?;
            self.with_storage = Some(packed);
        }
        Ok(())
    }

    fn boot(&self, machines: &[(Machine, Kernel)]) -> Vec<Tally> {
        let names: Vec<_> = machines.iter().map(|(machine, _)| machine.name).collect();
        say(&format!("booting {}", names.join(", ")));
        let (storage, others): (Vec<_>, Vec<_>) = machines.iter().partition(|(machine, _)| machine.storage);
        let (storage, others) = (Mutex::new(storage.into_iter()), Mutex::new(others.into_iter()));
        let done = Mutex::new(Vec::new());
        thread::scope(|scope| {
            for queue in std::iter::once(&storage).chain([&others; AT_A_TIME]) {
                scope.spawn(|| self.boot_each(queue, &done));
            }
        });
        done.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    /// Boots what is left in the queue, which others may take from too.
    fn boot_each<'a>(
        &self,
        queue: &Mutex<impl Iterator<Item = &'a (Machine, Kernel)>>,
        done: &Mutex<Vec<Tally>>,
    ) {
        loop {
            // A statement of its own: the lock must not be held during the boot.
            let next = queue.lock().unwrap_or_else(PoisonError::into_inner).next();
            let Some((machine, kernel)) = next else { break };
            let tally = self.boot_one(machine, kernel);
            done.lock().unwrap_or_else(PoisonError::into_inner).push(tally);
        }
    }

    /// Boots, and reports the verdict.
    fn boot_one(&self, machine: &Machine, kernel: &Kernel) -> Tally {
        let start = Instant::now();
        let verdict = self
            .verdict(machine, kernel)
            .unwrap_or_else(|error| Verdict { problems: vec![format!("{error:#}")], ..Verdict::default() });
        let Verdict { mut tally, failed, problems, notes } = verdict;
        if !problems.is_empty() {
            tally += Tally::ONE_FAILED;
        }
        let mut report = format!(
            "{} ({}): {tally} in {:.1} s",
            machine.name,
            kernel.release,
            start.elapsed().as_secs_f32()
        );
        for line in failed.iter().chain(&problems).chain(&notes) {
            report.push_str("\n  ");
            report.push_str(line);
        }
        say(&report);
        tally
    }

    fn verdict(&self, machine: &Machine, kernel: &Kernel) -> Result<Verdict> {
        let console = self.logs.join(format!("{}.log", machine.name));
        // A log of an earlier boot must not be read as this one's.
        fs::write(&console, "").with_context(|| format!("failed to create {}", console.display()))?;
        let initramfs = self.with_storage.as_ref().filter(|_| machine.storage).unwrap_or(&self.initramfs);
        let filter = match (&self.filter, self.scope) {
            (Some(filter), _) => initramfs::filter(&[filter])?,
            (None, Scope::All) if !machine.storage => String::new(),
            (None, _) => initramfs::filter(machine.suite)?,
        };
        let ending = self.qemu.boot(&Boot {
            kernel: &kernel.image,
            initramfs,
            command_line: &format!("{} {filter}", machine.command_line),
            console: &console,
            timeout: self.timeout,
        })?;
        let mut verdict = console::verdict_on(&qemu::read_console(&console)?, &self.binaries);
        if let Ending::Hung(after) = ending {
            verdict.problems.insert(0, format!("it hung and was stopped after {} s", after.as_secs()));
        }
        Ok(verdict)
    }
}
