//! A containerd of one test's own.
//!
//! In: Debian's containerd, runc and ctr. Out: containers. Must not: share anything with a containerd of this machine: its
//! state, its sockets and its mounts are in namespaces that end with it, however the test ends.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{self, Command};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use support::daemon::{self, Daemon, Finished};
use support::folder::Folder;
use support::node::PATIENCE;
use support::objects::at;
use support::released;
use support::sys::{self, Signal};

use crate::container::Container;

/// Where the kubelet keeps its images.
const NAMESPACE: &str = "k8s.io";

/// Needs nothing of the machine that is not there: neither a file system with layers nor the kubelet's plug-in.
const SNAPSHOTTER: &str = "native";

/// The processes and mounts of what starts here are its own. The machine's /proc is kept for the container's volume:
/// runc needs that of these processes.
const INSIDE: &str = "
set -e
mount --rbind /proc \"$1/proc\"
mount -t proc proc /proc
mount -t tmpfs tmpfs /run
exec \"$2\" --config \"$1/config.toml\"
";

pub(crate) struct Containerd {
    // In this order they end.
    server: Daemon,
    folder: Folder,
}

impl Drop for Containerd {
    fn drop(&mut self) {
        // Asked, so that whoever started it sees its end; with the first process of their namespace all others end.
        let asked = self.first_process().and_then(|process| sys::kill(process, Signal::Terminate));
        if let Err(error) = asked.and_then(|()| self.server.wait(PATIENCE)) {
            eprintln!("containerd is killed: {error:#}");
        }
        // Of a container that did not end by itself.
        let groups = fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten().map(|entry| entry.path());
        for parent in groups.chain([PathBuf::from("/sys/fs/cgroup")]) {
            for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
                if entry.file_name().to_string_lossy().starts_with(&group("")) {
                    let _ = fs::remove_dir(entry.path());
                }
            }
        }
    }
}

/// The control group of a container: one level, since runc takes away the last one only.
fn group(id: &str) -> String {
    format!("ctmon-{}-{id}", process::id())
}

impl Containerd {
    pub(crate) fn start() -> Result<Self> {
        let folder = Folder::new("containerd")?;
        let proc = folder.join("proc");
        fs::create_dir(&proc).with_context(|| format!("failed to create {}", proc.display()))?;
        let text = format!(
            "version = 2\nroot = '{0}/root'\nstate = '{0}/state'\ndisabled_plugins = ['io.containerd.grpc.v1.cri', \
             'io.containerd.internal.v1.opt']\n[grpc]\naddress = '{0}/socket'\n[ttrpc]\naddress = '{0}/ttrpc'\n",
            folder.path().display()
        );
        fs::write(folder.join("config.toml"), text).context("failed to write containerd's configuration")?;
        released::program("runc", "runc")?;
        let program = released::program("containerd", "containerd")?;
        let mut command = Command::new("setpriv");
        command.args([
            "--pdeathsig",
            "KILL",
            "unshare",
            "--mount",
            "--propagation",
            "slave",
            "--pid",
            "--fork",
        ]);
        command.args(["--kill-child=KILL", "sh", "-c", INSIDE, "sh"]).arg(folder.path()).arg(program);
        command.env("PATH", released::search_path()?);
        let mut server = Daemon::start_command(&mut command)?;
        server.wait_for_output("containerd successfully booted", PATIENCE)?;
        Ok(Self { server, folder })
    }

    /// Where the machine's /proc is seen from inside.
    pub(crate) fn proc(&self) -> PathBuf {
        self.folder.join("proc")
    }

    /// A folder that ends with it.
    pub(crate) fn empty(&self, name: &str) -> Result<PathBuf> {
        let path = self.folder.join(name);
        fs::create_dir_all(&path).with_context(|| format!("failed to create {}", path.display()))?;
        Ok(path)
    }

    /// containerd itself, as this machine numbers it.
    fn first_process(&self) -> Result<u32> {
        let parent = self.server.pid();
        let children = format!("/proc/{parent}/task/{parent}/children");
        let children = fs::read_to_string(&children).with_context(|| format!("failed to read {children}"))?;
        let first = children.split_whitespace().next().context("containerd has no process")?;
        Ok(first.parse()?)
    }

    /// Its client, beside it: what that mounts and leaves behind goes with it.
    fn ctr(&self) -> Result<Command> {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.first_process()?.to_string(), "--mount", "--pid", "--"]);
        command.arg(released::program("ctr", "containerd")?);
        command.arg("--address").arg(self.folder.join("socket")).args(["--namespace", NAMESPACE]);
        Ok(command)
    }

    fn said(&self, arguments: &[&str]) -> Result<String> {
        let Finished { status, stdout, stderr } = daemon::run_command(self.ctr()?.args(arguments), PATIENCE)?;
        ensure!(status.success(), "ctr {arguments:?} ended with {status}: {stderr}");
        Ok(stdout)
    }

    /// The one image of an archive; its name is what the archive says.
    pub(crate) fn import(&self, archive: &Path) -> Result<String> {
        let archive = archive.to_str().context("a path that is not UTF-8")?;
        self.said(&["images", "import", "--snapshotter", SNAPSHOTTER, archive])?;
        let names = self.said(&["images", "list", "--quiet"])?;
        let expected = format!("{}/ctmon:{}", released::REGISTRY, env!("CARGO_PKG_VERSION"));
        assert_eq!(names.trim(), expected);
        Ok(expected)
    }

    /// The capabilities that a container has when nobody says otherwise.
    pub(crate) fn default_capabilities(&self) -> Result<Vec<String>> {
        let spec: Value = serde_json::from_str(&self.said(&["oci", "spec"])?)?;
        let all = at(&spec, "/process/capabilities/bounding").as_array().context("no capabilities")?;
        Ok(all.iter().filter_map(Value::as_str).map(str::to_owned).collect())
    }

    /// Starts the image's program with these arguments; its output and its end are the client's.
    pub(crate) fn run(
        &self,
        container: &Container,
        image: &str,
        id: &str,
        arguments: &[String],
    ) -> Result<Daemon> {
        let mut command = self.ctr()?;
        command.args(["run", "--rm", "--snapshotter", SNAPSHOTTER]);
        command.args(["--cgroup", &format!("/{}", group(id))]);
        command.args(container.flags()).args([image, id, "/usr/bin/ctmon"]).args(arguments);
        Daemon::start_command(&mut command)
    }

    /// Runs another program in the container to its end.
    pub(crate) fn exec(&self, id: &str, program: &[&str]) -> Result<Finished> {
        let mut command = self.ctr()?;
        command.args(["tasks", "exec", "--exec-id", "another", id]).args(program);
        daemon::run_command(&mut command, PATIENCE)
    }

    pub(crate) fn kill(&self, id: &str, signal: &str) -> Result<()> {
        self.said(&["tasks", "kill", "--signal", signal, id]).map(drop)
    }

    /// The folder in /proc of a container's first process.
    pub(crate) fn process(&self, id: &str) -> Result<PathBuf> {
        let tasks = self.said(&["tasks", "list"])?;
        let line = tasks.lines().find(|line| line.split_whitespace().next() == Some(id));
        let pid = line.and_then(|line| line.split_whitespace().nth(1)).with_context(|| format!("no {id}"))?;
        for entry in fs::read_dir("/proc")? {
            let path = entry?.path();
            // Ours, containerd's, the container's: a process may also end while we look.
            let status = fs::read_to_string(path.join("status")).unwrap_or_default();
            let numbers = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
            let numbers: Vec<&str> = numbers.unwrap_or_default().split_whitespace().collect();
            if numbers.len() >= 3 && numbers.ends_with(&[pid, "1"]) {
                return Ok(path);
            }
        }
        anyhow::bail!("{id} has no process {pid} of its own")
    }
}
