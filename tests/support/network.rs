//! A network namespace of one's own, and a cable to it that can be cut.
//!
//! In: what shall run inside. Out: its answer. Gone with the value, whatever happened to it: nothing is named in
//! the file system. Must not: change the namespace of the calling thread, except by plugging the cable in.

use std::any::Any;
use std::env;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc::{self, Sender};
use std::thread::{self, JoinHandle};

use anyhow::{Context, Result, anyhow, ensure};

use crate::sys;

type Job = Box<dyn FnOnce() + Send>;

/// A namespace that lives as long as the thread that made it.
pub struct Network {
    jobs: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
    /// `ip link ... netns` takes it.
    path: PathBuf,
}

/// Runs `ip` in the calling thread's network namespace.
pub fn ip(arguments: &str) -> Result<()> {
    let done = Command::new("ip").args(arguments.split(' ')).output().context("failed to run ip")?;
    let said = String::from_utf8_lossy(&done.stderr);
    ensure!(done.status.success(), "ip {arguments} ended with {}: {said}", done.status);
    Ok(())
}

/// Runs a test on a thread of its own in an empty namespace of its own, in which only `lo` is up.
pub fn alone(test: impl FnOnce() -> Result<()> + Send) -> Result<()> {
    let inside = || {
        enter()?;
        test()
    };
    thread::scope(|scope| match scope.spawn(inside).join() {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic),
    })
}

impl Network {
    /// An empty one, in which only `lo` is up.
    pub fn new() -> Result<Self> {
        let (jobs, received) = mpsc::channel::<Job>();
        let (ready, made) = mpsc::channel();
        let inside = move || {
            let path = enter();
            let failed = path.is_err();
            if ready.send(path).is_ok() && !failed {
                for job in received {
                    job();
                }
            }
        };
        let thread = thread::Builder::new().name("network".to_owned()).spawn(inside)?;
        let path = made.recv().context("the thread of a network namespace died")??;
        Ok(Self { jobs: Some(jobs), thread: Some(thread), path })
    }

    /// Runs something inside; a process that it starts is inside too.
    pub fn run<T: Send + 'static>(&self, job: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
        let (done, result) = mpsc::channel();
        let jobs = self.jobs.as_ref().context("the network namespace has ended")?;
        let job = move || {
            let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(job));
            // Nobody listens only when the asking thread is gone.
            let _ = done.send(caught.unwrap_or_else(|panic| Err(anyhow!("it panicked: {}", words(&*panic)))));
        };
        jobs.send(Box::new(job)).map_err(|_| anyhow!("the network namespace has ended"))?;
        result.recv().context("the network namespace has ended")?
    }

    /// Runs `ip` inside.
    pub fn ip(&self, arguments: &str) -> Result<()> {
        let arguments = arguments.to_owned();
        self.run(move || ip(&arguments))
    }

    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl fmt::Debug for Network {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.debug_struct("Network").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        // Without a sender the thread ends, and the namespace with it and with what was started from it.
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn enter() -> Result<PathBuf> {
    sys::unshare_network()?;
    ip("link set lo up")?;
    let thread = fs::read_link("/proc/thread-self").context("failed to find this thread in /proc")?;
    Ok(Path::new("/proc").join(thread).join("ns/net"))
}

fn words(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("without a word")
}

/// Whether a cable can be plugged in here; says so when not. Any machine can, but most of the virtual ones.
#[must_use]
pub fn has_cables() -> bool {
    let here = env::var_os("CTMON_VM").is_none() || env::var_os("CTMON_VM_STORAGE").is_some();
    if !here {
        println!(
            "ctmon-skip: a cable needs module veth and iproute2, which only the machine 6.12-storage has"
        );
    }
    here
}

/// A server's network with a cable from the calling thread's namespace to it; unplugged when dropped.
#[derive(Debug)]
pub struct Plugged {
    pub network: Network,
}

/// The two ends of the cable.
const HERE: &str = "ctmon-node";
const THERE: &str = "ctmon-server";

impl Plugged {
    /// Plugs it in between `here` and `there`, both addresses with their length.
    pub fn new(here: &str, there: &str) -> Result<Self> {
        let network = Network::new()?;
        ip(&format!("link add {HERE} type veth peer name {THERE} netns {}", network.path().display()))?;
        let plugged = Self { network };
        ip(&format!("address add {here} dev {HERE}"))?;
        ip(&format!("link set {HERE} up"))?;
        plugged.network.ip(&format!("address add {there} dev {THERE}"))?;
        plugged.mend()?;
        Ok(plugged)
    }

    /// From now on nothing arrives at either end, and nobody is told.
    pub fn cut(&self) -> Result<()> {
        self.network.ip(&format!("link set {THERE} down"))
    }

    pub fn mend(&self) -> Result<()> {
        self.network.ip(&format!("link set {THERE} up"))
    }
}

impl Drop for Plugged {
    fn drop(&mut self) {
        // The other end goes with it, at once: the next one may take the same names.
        if let Err(error) = ip(&format!("link delete {HERE}")) {
            eprintln!("{error:#}");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn what_runs_inside_is_alone_there_and_its_failures_are_told() {
        let address = "127.79.0.2:4790";
        let (first, second) = (Network::new().unwrap(), Network::new().unwrap());
        let bind = move || Ok(TcpListener::bind(address)?);
        let held = first.run(bind).unwrap();
        assert!(first.run(bind).is_err(), "taken");
        second.run(bind).unwrap();
        drop(held);
        let error = first.run(|| -> Result<()> { panic!("as {}", "expected") }).unwrap_err();
        assert!(error.to_string().contains("as expected"), "{error}");
        first.run(bind).unwrap();
    }
}
