//! The DaemonSet's container, as its manifest says and a kernel enforces it, without a cluster.
//!
//! In: `deploy/kustomize/base/daemonset.yaml`, a node, a root file system. Out: ctmon's verbs, confined.
//! Must not: give the program anything that the manifest does not.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::host;
use crate::node::Node;
use crate::seccomp;
use crate::sys::{Capability, Container};

const DAEMONSET: &str = include_str!("../../deploy/kustomize/base/daemonset.yaml");

/// Where the image has the binary.
const BINARY: &str = "/usr/bin/ctmon";

/// Where the volumes of a pod come from on a test's node.
#[derive(Debug)]
pub struct Host<'a> {
    node: &'a Node,
    proc: PathBuf,
    sys: PathBuf,
    pod_logs: PathBuf,
}

impl<'a> Host<'a> {
    /// This machine, less its bpffs, configuration and logs.
    pub fn of(node: &'a Node) -> Result<Self> {
        let pod_logs = node.config().with_file_name("pod-logs");
        fs::create_dir_all(&pod_logs).with_context(|| format!("failed to create {}", pod_logs.display()))?;
        Ok(Self { node, proc: PathBuf::from("/proc"), sys: PathBuf::from("/sys"), pod_logs })
    }

    /// Likewise, with the files of a captured node in place of this machine's.
    pub fn captured(node: &'a Node) -> Result<Self> {
        let root = host::captured(node)?;
        Ok(Self { proc: root.join("proc"), sys: root.join("sys"), pod_logs: root.join("pods"), node })
    }

    fn volume(&self, name: &str) -> Result<PathBuf> {
        Ok(match name {
            // The folder: only a folder follows a changed file.
            "config" => self.node.config().parent().context("a file has a folder")?.to_owned(),
            "bpffs" => self.node.bpffs.root().to_owned(),
            "proc" => self.proc.clone(),
            "sys" => self.sys.clone(),
            "pod-logs" => self.pod_logs.clone(),
            other => bail!("the tests know no volume {other}"),
        })
    }
}

/// What the manifest asks for.
#[derive(Debug)]
pub struct Pod {
    pub arguments: Vec<String>,
    /// Less what depends on the node's address.
    pub environment: Vec<(String, String)>,
    pub capabilities: Vec<Capability>,
    /// Names of volumes, and where they are mounted.
    pub mounts: Vec<(String, String)>,
}

impl Pod {
    /// Fails where the manifest is laxer than what is enforced here.
    pub fn of_the_manifest() -> Result<Self> {
        let object: Value = yaml_serde::from_str(DAEMONSET).context("failed to read the DaemonSet")?;
        let at =
            |pointer: &str| object.pointer(pointer).with_context(|| format!("the DaemonSet lacks {pointer}"));
        let spec = "/spec/template/spec";
        let own = format!("{spec}/containers/0");
        for (pointer, value) in [
            (format!("{spec}/securityContext/seccompProfile/type"), Value::from("RuntimeDefault")),
            (format!("{own}/securityContext/privileged"), false.into()),
            (format!("{own}/securityContext/allowPrivilegeEscalation"), false.into()),
            (format!("{own}/securityContext/readOnlyRootFilesystem"), true.into()),
            (format!("{own}/securityContext/runAsUser"), 0.into()),
            (format!("{own}/securityContext/capabilities/drop/0"), "ALL".into()),
            (format!("{spec}/hostNetwork"), true.into()),
            (format!("{spec}/hostPID"), false.into()),
        ] {
            ensure!(*at(&pointer)? == value, "{pointer} is {}, enforced is {value}", at(&pointer)?);
        }
        let list = |name: &str| -> Result<Vec<Value>> {
            Ok(at(&format!("{own}/{name}"))?.as_array().context("not a list")?.clone())
        };
        let text =
            |value: &Value, key: &str| -> Option<String> { Some(value.get(key)?.as_str()?.to_owned()) };
        let capabilities = list("securityContext/capabilities/add")?;
        let capabilities = capabilities.iter().map(|name| {
            let name = name.as_str().context("a capability is a name")?;
            Capability::named(name).with_context(|| format!("the tests know no capability {name}"))
        });
        let mounts = list("volumeMounts")?;
        let mounts = mounts.iter().map(|mount| {
            ensure!(mount.get("readOnly") == Some(&true.into()), "not read-only: {mount}");
            let parts = text(mount, "name").zip(text(mount, "mountPath"));
            parts.with_context(|| format!("a mount has a name and a path: {mount}"))
        });
        let environment = list("env")?;
        let environment =
            environment.iter().filter_map(|variable| text(variable, "name").zip(text(variable, "value")));
        let arguments = list("args")?;
        Ok(Self {
            arguments: arguments.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
            environment: environment.filter(|(_, value)| !value.contains("$(NODE_IP)")).collect(),
            capabilities: capabilities.collect::<Result<_>>()?,
            mounts: mounts.collect::<Result<_>>()?,
        })
    }

    /// The program, confined on this node; nothing is named by a flag that the manifest does not name.
    pub fn command(&self, host: &Host<'_>, root: &Path) -> Result<Command> {
        self.command_under(host, root, seccomp::runtime_default(&self.capabilities)?)
    }

    /// Likewise under other filters.
    pub fn command_under(
        &self,
        host: &Host<'_>,
        root: &Path,
        filters: Vec<seccompiler::BpfProgram>,
    ) -> Result<Command> {
        // The runtime's own part; a pod's /proc shows its own processes only, which here are the node's.
        let mut container =
            Container::new(root).mount(Path::new("/proc"), "/proc")?.mount(Path::new("/sys"), "/sys")?;
        for (volume, target) in &self.mounts {
            container = container.mount(&host.volume(volume)?, target)?;
        }
        let mut command = container.capabilities(&self.capabilities).seccomp(filters).command(BINARY)?;
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        // The address of a test's node, and a port that is free.
        command.env("CTMON_LISTEN", "127.0.0.1:0");
        Ok(command)
    }
}
