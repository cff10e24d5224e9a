//! A node to test against: a private bpffs, a configuration, and ctmon's verbs on both.
//!
//! In: YAML. Out: what the binary said.
//! Must not: read the machine's own configuration or bpffs.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::bpffs::Bpffs;
use crate::daemon::{self, Finished};
use crate::folder::Folder;
use crate::page::Page;
use crate::sys;

/// Longest wait for anything. Nothing is measured by it: it only ends a test that would hang. Emulated
/// processors on a busy machine are slow, hence so long.
pub const PATIENCE: Duration = Duration::from_secs(300);

/// A bpffs and a configuration file; gone with the value.
#[derive(Debug)]
pub struct Node {
    pub bpffs: Bpffs,
    folder: Folder,
    /// Of a node whose network is the test's own.
    procfs: Option<PathBuf>,
}

impl Node {
    /// A node without pins, and a configuration.
    pub fn new(config: &str) -> Result<Self> {
        let node = Self { bpffs: Bpffs::mount()?, folder: Folder::new("node")?, procfs: None };
        node.configure(config)?;
        Ok(node)
    }

    /// Likewise, on a node whose network namespace is that of the thread that reads, instead of the first process's.
    pub fn with_our_network(config: &str) -> Result<Self> {
        let mut node = Self::new(config)?;
        let procfs = node.folder.join("proc");
        fs::create_dir(&procfs).with_context(|| format!("failed to create {}", procfs.display()))?;
        for (name, shown) in [
            ("1", "/proc/thread-self"),
            ("thread-self", "/proc/thread-self"),
            ("self", "/proc/self"),
            ("sys", "/proc/sys"),
        ] {
            symlink(shown, procfs.join(name)).with_context(|| format!("failed to link {name} to {shown}"))?;
        }
        node.procfs = Some(procfs);
        Ok(node)
    }

    /// Where its procfs is mounted.
    #[must_use]
    pub fn procfs(&self) -> &Path {
        self.procfs.as_deref().unwrap_or(Path::new("/proc"))
    }

    /// Replaces the configuration file in one step, as a `ConfigMap` is.
    pub fn configure(&self, config: &str) -> Result<()> {
        let (path, new) = (self.config(), self.folder.join("new.yaml"));
        fs::write(&new, config).with_context(|| format!("failed to write {}", new.display()))?;
        fs::rename(&new, &path).with_context(|| format!("failed to replace {}", path.display()))
    }

    /// The path of the configuration.
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.folder.join("config.yaml")
    }

    /// The arguments of a verb on this node.
    pub fn arguments<'a>(&self, verb: &[&'a str]) -> Result<Vec<String>> {
        let text = |path: &Path| path.to_str().map(str::to_owned).context("a path that is not UTF-8");
        let mut arguments: Vec<String> = verb.iter().map(|&word: &&'a str| word.to_owned()).collect();
        arguments.extend(["--bpffs".to_owned(), text(self.bpffs.root())?]);
        arguments.extend(["--config".to_owned(), text(&self.config())?]);
        if self.procfs.is_some() {
            arguments.extend(["--procfs".to_owned(), text(self.procfs())?]);
        }
        // Nobody listens there: a daemon that happens to run on this machine is not this node's.
        if !verb.contains(&"--daemon") {
            arguments.extend(["--daemon", "http://127.0.0.1:1"].map(str::to_owned));
        }
        Ok(arguments)
    }

    /// Runs a verb to its end.
    pub fn ctmon(&self, verb: &[&str]) -> Result<Finished> {
        daemon::run(&daemon::ctmon()?, &self.arguments(verb)?, PATIENCE)
    }

    /// What a verb that must succeed, and must have nothing to complain about, printed.
    pub fn said(&self, verb: &[&str]) -> Result<String> {
        let Finished { status, stdout, stderr } = self.ctmon(verb)?;
        ensure!(status.success() && stderr.is_empty(), "{verb:?} ended with {status}: {stderr}");
        Ok(stdout)
    }

    /// The page that `ctmon scrape` prints.
    pub fn scrape(&self) -> Result<Page> {
        Page::parse(&self.said(&["scrape"])?)
    }

    /// The number a verb with `--count` prints.
    pub fn count(&self, verb: &[&str]) -> Result<u64> {
        let said = self.said(verb)?;
        said.trim().parse().with_context(|| format!("{verb:?} printed {said:?}"))
    }
}

/// A sample that must be there and must be a whole number.
pub fn whole(sample: Option<f64>) -> Result<u64> {
    let value = sample.context("no such sample, or several")?;
    ensure!(value >= 0.0 && value.fract() == 0.0 && value < 1e15, "{value} is no count");
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked just above")]
    Ok(value as u64)
}

/// This second of `CLOCK_MONOTONIC`.
pub fn second() -> Result<u32> {
    Ok(u32::try_from(sys::monotonic()?.as_secs())?)
}

/// The machine's memory in MiB, of which the size of large tests depends.
pub fn memory_mib() -> Result<u64> {
    let text = fs::read_to_string("/proc/meminfo").context("failed to read /proc/meminfo")?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:")).context("no MemTotal")?;
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().with_context(|| format!("bad size {line}"))?;
    Ok(kib / 1024)
}
