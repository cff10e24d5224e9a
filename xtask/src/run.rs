//! `run`: see it work.
//!
//! In: this node's pinned maps, or none. Out: the daemon on this node; without pins, beside a simulated node.
//! Must not: touch the machine's own bpffs, or leave a process or a mount behind.

use std::ffi::OsString;
use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use tokio::runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::sleep;

use crate::paths::Paths;
use crate::shell::{Run as _, ends_with_us, say};
use crate::{build, cargo};

/// The first map of every Cilium node, and where it is unless the node was set up otherwise.
const PIN: &str = "/sys/fs/bpf/tc/globals/cilium_ct4_global";
const CONFIG: &str = "deploy/simulated.yaml";
const URL: &str = "http://127.0.0.1:10469";
const READY_WITHIN: Duration = Duration::from_secs(60);
/// How long a child may take to end before it is killed.
const END_WITHIN: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(100);

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Simulate a node even where Cilium runs
    #[arg(long)]
    simulate: bool,
    /// Length of the simulated incident, like 90s or 10m [default: 10m, what its critical alert needs to fire]
    #[arg(long, value_name = "TIME")]
    duration: Option<String>,
    /// How many seconds of the simulated gc pass in a real one
    #[arg(long, value_name = "N")]
    speed: Option<String>,
    /// Play the simulated incident again and again
    #[arg(long = "loop")]
    repeat: bool,
    /// Handed to `ctmon run`
    #[arg(last = true)]
    arguments: Vec<OsString>,
}

pub(crate) fn run(paths: &Paths, args: &Args) -> Result<()> {
    let ctmon = build::run(paths)?;
    if Path::new(PIN).exists() && !args.simulate {
        say("Cilium's maps are pinned here: watching this node");
        let error = Command::new(&ctmon).arg("run").args(&args.arguments).exec();
        return Err(error).with_context(|| format!("failed to start {}", ctmon.display()));
    }
    let simulator = build_simulator(paths)?;
    runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("failed to start the runtime that waits for signals")?
        .block_on(simulate(paths, args, &ctmon, &simulator))
}

fn build_simulator(paths: &Paths) -> Result<PathBuf> {
    say("no Cilium here: building a simulated node");
    let messages = cargo::cargo()
        .args(["build", "--release", "--package", "tests", "--bin", "ctmon-sim"])
        .args(["--message-format", "json-render-diagnostics"])
        .current_dir(paths.root())
        .read("build the simulated node")?;
    cargo::executable(&messages, "ctmon-sim")
}

/// Both children until one ends or the user has seen enough.
async fn simulate(paths: &Paths, args: &Args, ctmon: &Path, simulator: &Path) -> Result<()> {
    let mut stop = Stop::listen()?;
    let scratch = Scratch::create()?;
    let (bpffs, ready) = (scratch.dir.join("bpffs"), scratch.dir.join("ready"));
    let mut simulation = ends_with_us("TERM", simulator);
    simulation.arg("--bpffs").arg(&bpffs).arg("--ready-file").arg(&ready);
    for (flag, value) in [("--duration", &args.duration), ("--speed", &args.speed)] {
        if let Some(value) = value {
            simulation.args([flag, value]);
        }
    }
    if args.repeat {
        simulation.arg("--loop");
    }
    let mut node = Running::start("the simulated node", &mut simulation)?;
    let started = Instant::now();
    while !ready.exists() {
        if let Some(end) = node.ended()? {
            bail!("the simulated node ended before it was ready: {end}");
        }
        if started.elapsed() > READY_WITHIN {
            bail!("the simulated node was not ready within {} s", READY_WITHIN.as_secs());
        }
        if stop.or_after(POLL).await {
            return Ok(());
        }
    }

    let log = paths.target().join("run.log");
    let file = fs::File::create(&log).with_context(|| format!("failed to create {}", log.display()))?;
    let mut daemon = ends_with_us("TERM", ctmon);
    daemon.arg("--config").arg(paths.root().join(CONFIG)).arg("--bpffs").arg(&bpffs).arg("run");
    // The terminal belongs to the summary of the simulated node.
    daemon.args(&args.arguments).stdout(Stdio::null()).stderr(file);
    let mut daemon = Running::start("ctmon", &mut daemon)?;
    introduce(paths, &bpffs, args);
    loop {
        if let Some(end) = daemon.ended()? {
            let said = fs::read_to_string(&log).unwrap_or_default();
            bail!("ctmon ended: {end}: {}", said.lines().last().unwrap_or("it said nothing"));
        }
        if let Some(end) = node.ended()? {
            bail!("the simulated node ended: {end}");
        }
        if stop.or_after(POLL).await {
            say("stopping");
            // The reader before the maps it reads.
            daemon.stop().await?;
            return node.stop().await;
        }
    }
}

fn introduce(paths: &Paths, bpffs: &Path, args: &Args) {
    let relative = |path: PathBuf| path.strip_prefix(paths.root()).map(Path::to_owned).unwrap_or(path);
    let ctmon = relative(paths.dist_binary());
    say(&format!(
        "ctmon serves {URL}/ and {URL}/metrics, its log is target/run.log; Ctrl-C ends both and cleans up"
    ));
    let length = args.duration.as_deref().unwrap_or("10m");
    say(&if args.repeat {
        format!("the incident plays in {length}, again and again")
    } else {
        format!(
            "the incident plays once, in {length}, and the node stays healthy after it; --loop plays it again and again"
        )
    });
    say("watch it in the series");
    say("  ctmon_target_stale_entries      closed connections towards the NAS pile up");
    say("  ctmon_target_lingering_entries  those that nothing will collect in time");
    say("  ctmon_ct_oldest_expired_seconds the gc falls behind");
    say("  ctmon_target_unanswered_entries new connections are not answered any more");
    say("  ctmon_alert_active              what of it is worth waking somebody for");
    say(
        "or ask it from another terminal; `rules` are for a Prometheus that scrapes it, with times as short as the play",
    );
    for verb in ["check", "top", "list --target qnap --stale --limit 20", "rules"] {
        say(&format!(
            "  {} --config {CONFIG} --bpffs {} --daemon {URL} {verb}",
            ctmon.display(),
            bpffs.display()
        ));
    }
}

/// A child that ends when we do, however we do.
struct Running {
    what: &'static str,
    child: Child,
}

impl Running {
    fn start(what: &'static str, command: &mut Command) -> Result<Self> {
        let child =
            command.stdin(Stdio::null()).spawn().with_context(|| format!("failed to start {what}"))?;
        Ok(Self { what, child })
    }

    fn ended(&mut self) -> Result<Option<ExitStatus>> {
        self.child.try_wait().with_context(|| format!("failed to wait for {}", self.what))
    }

    /// Asks it to end, and insists after a while.
    async fn stop(&mut self) -> Result<()> {
        if self.ended()?.is_none() {
            // It may have ended by the terminal's own signal in between: then there is nobody to ask.
            let _ = Command::new("sh")
                .args(["-c", "kill -s TERM \"$1\"", "sh", &self.child.id().to_string()])
                .stderr(Stdio::null())
                .status();
        }
        let asked = Instant::now();
        while self.ended()?.is_none() {
            if asked.elapsed() > END_WITHIN {
                self.child.kill().with_context(|| format!("failed to kill {}", self.what))?;
                bail!("{} did not end within {} s and was killed", self.what, END_WITHIN.as_secs());
            }
            sleep(POLL).await;
        }
        Ok(())
    }
}

/// The wish to stop, from the terminal or from whoever started us.
struct Stop {
    interrupt: Signal,
    terminate: Signal,
}

impl Stop {
    fn listen() -> Result<Self> {
        let listen = |kind| signal(kind).context("failed to listen for signals");
        Ok(Self { interrupt: listen(SignalKind::interrupt())?, terminate: listen(SignalKind::terminate())? })
    }

    /// Whether it came before `pause` was over.
    async fn or_after(&mut self, pause: Duration) -> bool {
        tokio::select! {
            _ = self.interrupt.recv() => true,
            _ = self.terminate.recv() => true,
            () = sleep(pause) => false,
        }
    }
}

/// A directory for the private bpffs.
struct Scratch {
    dir: PathBuf,
}

impl Scratch {
    fn create() -> Result<Self> {
        let dir = std::env::temp_dir().join(format!("ctmon-run-{}", std::process::id()));
        let bpffs = dir.join("bpffs");
        fs::create_dir_all(&bpffs).with_context(|| format!("failed to create {}", bpffs.display()))?;
        Ok(Self { dir })
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // One by one and never recursively: what is still mounted here is not ours to delete.
        let _ = fs::remove_file(self.dir.join("ready"));
        let _ = fs::remove_dir(self.dir.join("bpffs"));
        if let Err(error) = fs::remove_dir(&self.dir) {
            say(&format!("failed to remove {}: {error}: look for a mount there", self.dir.display()));
        }
    }
}
