//! Runs the binary under test as a user does: arguments in, output, exit status and HTTP out.
//!
//! In: `CTMON_BIN`, or a `ctmon` built beside the tests. Out: a process that dies with the value, and what it said.
//! Must not: link the agent.

use std::env;
use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::http::{self, Response};
use crate::page::Page;
use crate::sys::{self, Signal};

/// How often a condition is looked at while waiting for it.
const POLL: Duration = Duration::from_millis(20);

/// A running process whose output is collected.
#[derive(Debug)]
pub struct Daemon {
    child: Child,
    output: Arc<Mutex<String>>,
    readers: Vec<thread::JoinHandle<()>>,
}

/// What a process that ended left.
#[derive(Clone, Debug)]
pub struct Finished {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

/// The binary under test: `CTMON_BIN`, else `ctmon` in a target directory above the test executable, else in the
/// workspace's own; the newer of release and debug.
pub fn ctmon() -> Result<PathBuf> {
    binary("ctmon", "CTMON_BIN")
}

/// Any binary of the workspace, found likewise.
pub fn binary(name: &str, variable: &str) -> Result<PathBuf> {
    if let Some(path) = env::var_os(variable) {
        return Ok(path.into());
    }
    let executable = env::current_exe().context("failed to find the test executable")?;
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target");
    let built = executable
        .ancestors()
        .skip(1)
        .take(3)
        .flat_map(|dir| [dir.join(name), dir.join("release").join(name), dir.join("debug").join(name)])
        .chain([target.join("release").join(name), target.join("debug").join(name)])
        .filter_map(|path| {
            Some((path.metadata().ok().filter(std::fs::Metadata::is_file)?.modified().ok()?, path))
        })
        .max();
    let (_, path) = built.with_context(|| format!("no {name} was built: build it, or set {variable}"))?;
    Ok(path)
}

/// Runs a program to its end and collects what it says; one that takes longer than `patience` is killed.
pub fn run<S: AsRef<OsStr>>(program: &Path, arguments: &[S], patience: Duration) -> Result<Finished> {
    run_command(Command::new(program).args(arguments), patience)
}

/// Runs any command likewise.
pub fn run_command(command: &mut Command, patience: Duration) -> Result<Finished> {
    let mut child = spawn(command)?;
    let stdout = collect_all(child.stdout.take().context("no standard output")?);
    let stderr = collect_all(child.stderr.take().context("no standard error")?);
    let mut daemon = Daemon { child, output: Arc::default(), readers: Vec::new() };
    let status = daemon.wait(patience)?;
    let joined = |reader: thread::JoinHandle<String>| {
        reader.join().map_err(|_| anyhow::anyhow!("the thread that reads output died"))
    };
    Ok(Finished { status, stdout: joined(stdout)?, stderr: joined(stderr)? })
}

impl Daemon {
    /// Starts `ctmon` with these arguments.
    pub fn start<S: AsRef<OsStr>>(arguments: &[S]) -> Result<Self> {
        Self::start_command(Command::new(ctmon()?).args(arguments))
    }

    /// Starts any command; its output is read in the background.
    pub fn start_command(command: &mut Command) -> Result<Self> {
        let mut child = spawn(command)?;
        let output = Arc::<Mutex<String>>::default();
        let readers = vec![
            collect_lines(child.stdout.take().context("no standard output")?, &output),
            collect_lines(child.stderr.take().context("no standard error")?, &output),
        ];
        Ok(Self { child, output, readers })
    }

    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Everything said so far, both streams, line by line as they came.
    #[must_use]
    pub fn output(&self) -> String {
        self.output.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until the output contains `text`.
    pub fn wait_for_output(&mut self, text: &str, patience: Duration) -> Result<()> {
        let said = format!("{text:?} in its output");
        self.wait_until(&said, patience, |daemon| Ok(daemon.output().contains(text)))
    }

    /// Where a `ctmon run` with `--log-format json` says it listens.
    pub fn wait_for_address(&mut self, patience: Duration) -> Result<SocketAddr> {
        const SERVING: &str = "serving /metrics";
        self.wait_for_output(SERVING, patience)?;
        let output = self.output();
        let line = output.lines().find(|line| line.contains(SERVING)).context("no such line")?;
        let line: Value = serde_json::from_str(line).with_context(|| format!("not JSON: {line}"))?;
        Ok(line.get("address").and_then(Value::as_str).context("no address")?.parse()?)
    }

    /// Waits until `path` answers with status 200 and gives the answer.
    pub fn wait_for_http(&mut self, address: SocketAddr, path: &str, patience: Duration) -> Result<Response> {
        let mut answer = None;
        self.wait_until(&format!("200 from {path}"), patience, |_| {
            // Not listening yet is why we wait.
            answer = http::get(address, path).ok().filter(|response| response.status == 200);
            Ok(answer.is_some())
        })?;
        answer.context("no answer")
    }

    /// Waits until the metrics page satisfies `wanted`, and gives it.
    pub fn wait_for_page(
        &mut self,
        address: SocketAddr,
        patience: Duration,
        mut wanted: impl FnMut(&Page) -> bool,
    ) -> Result<Page> {
        let mut found = None;
        self.wait_until("the page asked for", patience, |_| {
            // Not listening yet, or without a snapshot (503): that is why we wait.
            let response = http::get(address, "/metrics").ok().filter(|response| response.status == 200);
            let Some(response) = response else { return Ok(false) };
            let page = Page::parse(response.text()?)?;
            found = wanted(&page).then_some(page);
            Ok(found.is_some())
        })?;
        found.context("no page")
    }

    /// Waits for something that the process does elsewhere.
    pub fn wait_for(
        &mut self,
        what: &str,
        patience: Duration,
        mut condition: impl FnMut() -> Result<bool>,
    ) -> Result<()> {
        self.wait_until(what, patience, |_| condition())
    }

    fn wait_until(
        &mut self,
        what: &str,
        patience: Duration,
        mut condition: impl FnMut(&Self) -> Result<bool>,
    ) -> Result<()> {
        let end = Instant::now() + patience;
        loop {
            let ended = self.child.try_wait().context("failed to look after the process")?;
            if ended.is_some() {
                self.finish_reading();
            }
            if condition(self)? {
                return Ok(());
            }
            if let Some(status) = ended {
                bail!("the process ended ({status}) before {what}; it said:\n{}", self.output());
            }
            if Instant::now() > end {
                bail!("no {what} within {patience:?}; the process said:\n{}", self.output());
            }
            thread::sleep(POLL);
        }
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        sys::kill(self.pid(), signal)
    }

    /// Waits for the end; kills the process and fails when it takes longer than `patience`.
    pub fn wait(&mut self, patience: Duration) -> Result<ExitStatus> {
        let end = Instant::now() + patience;
        loop {
            if let Some(status) = self.child.try_wait().context("failed to wait for the process")? {
                self.finish_reading();
                return Ok(status);
            }
            if Instant::now() > end {
                self.kill();
                bail!("the process did not end within {patience:?}; it said:\n{}", self.output());
            }
            thread::sleep(POLL);
        }
    }

    /// Sends SIGTERM and waits for the end.
    pub fn stop(&mut self, patience: Duration) -> Result<ExitStatus> {
        self.signal(Signal::Terminate)?;
        self.wait(patience)
    }

    /// After the end: gives the readers a moment for what is still in the pipes (which a grandchild may hold open).
    fn finish_reading(&self) {
        let end = Instant::now() + Duration::from_secs(1);
        while !self.readers.iter().all(thread::JoinHandle::is_finished) && Instant::now() < end {
            thread::sleep(POLL);
        }
    }

    fn kill(&mut self) {
        // Fails only when it ended already; waiting then takes its status so that no zombie stays.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.kill();
    }
}

fn spawn(command: &mut Command) -> Result<Child> {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("failed to start {}", command.get_program().display()))
}

fn collect_lines(from: impl Read + Send + 'static, to: &Arc<Mutex<String>>) -> thread::JoinHandle<()> {
    let to = Arc::clone(to);
    thread::spawn(move || {
        let mut from = BufReader::new(from);
        let mut line = Vec::new();
        while from.read_until(b'\n', &mut line).is_ok_and(|length| length > 0) {
            to.lock().unwrap_or_else(PoisonError::into_inner).push_str(&String::from_utf8_lossy(&line));
            line.clear();
        }
    })
}

fn collect_all(mut from: impl Read + Send + 'static) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        // What came before an error is still worth showing.
        let _ = from.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt;

    /// A test that would hang ends; nothing is measured by it.
    const SOON: Duration = Duration::from_secs(60);

    fn shell(script: &str) -> Daemon {
        Daemon::start_command(Command::new("sh").args(["-c", script])).unwrap()
    }

    #[test]
    fn both_streams_and_the_status_of_a_finished_command_are_kept() {
        let script = "echo out; echo err >&2; exit 3";
        let finished = run(Path::new("sh"), &["-c", script], SOON).unwrap();
        assert_eq!(finished.status.code(), Some(3));
        assert_eq!((finished.stdout.as_str(), finished.stderr.as_str()), ("out\n", "err\n"));
    }

    #[test]
    fn output_is_waited_for_and_a_signal_reaches_the_process() {
        let mut daemon = shell("trap 'echo bye; exit 7' TERM; echo ready; while :; do sleep 0.05; done");
        daemon.wait_for_output("ready", SOON).unwrap();
        assert_eq!(daemon.stop(SOON).unwrap().code(), Some(7));
        // A suite that runs in the background ignores this signal, and so would what it starts. That the word is out
        // proves that `env` has restored the signal; no child stands between it and us.
        let mut command = Command::new("env");
        command.args(["--default-signal=INT", "sh", "-c", "echo ready; exec sleep 600"]);
        let mut daemon = Daemon::start_command(&mut command).unwrap();
        daemon.wait_for_output("ready", SOON).unwrap();
        daemon.signal(Signal::Interrupt).unwrap();
        assert_eq!(daemon.wait(SOON).unwrap().signal(), Some(libc::SIGINT));
    }

    #[test]
    fn waiting_ends_with_what_the_process_said() {
        let error = shell("echo oh; exit 1").wait_for_output("ready", SOON).unwrap_err();
        assert!(error.to_string().contains("oh\n"), "{error}");
        let mut slow = shell("sleep 60");
        assert!(slow.wait_for_output("ready", Duration::from_millis(50)).is_err());
        assert!(slow.wait(Duration::from_millis(50)).is_err());
    }

    #[test]
    fn a_dropped_process_is_gone() {
        let daemon = shell("sleep 60");
        let proc = format!("/proc/{}", daemon.pid());
        assert!(Path::new(&proc).exists());
        drop(daemon);
        assert!(!Path::new(&proc).exists());
    }
}
