//! The DaemonSet's container as the kubelet would ask a runtime for it.
//!
//! In: `deploy/kustomize/base/daemonset.yaml`, a node. Out: flags of containerd's client.
//! Must not: be laxer than the manifest, or leave out a mount of it. The memory limit is not asked for: where the
//! tests run in a container themselves, nobody may hand out memory.

use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use support::node::Node;
use support::objects::at;

use crate::runtime::Containerd;

const DAEMONSET: &str = include_str!("../../deploy/kustomize/base/daemonset.yaml");

/// What the downward API says of the node.
pub(crate) const NODE_IP: &str = "127.0.0.2";

pub(crate) struct Mount {
    source: PathBuf,
    pub(crate) target: String,
    propagation: &'static str,
}

pub(crate) struct Container {
    pub(crate) arguments: Vec<String>,
    environment: Vec<String>,
    pub(crate) capabilities: Vec<String>,
    dropped: Vec<String>,
    pub(crate) mounts: Vec<Mount>,
    pub(crate) port: u16,
}

impl Container {
    /// Fails where the manifest asks for something that is not handed on here.
    pub(crate) fn of_the_manifest(node: &Node, containerd: &Containerd) -> Result<Self> {
        let set: Value = yaml_serde::from_str(DAEMONSET).context("failed to read the DaemonSet")?;
        let pod = at(&set, "/spec/template/spec");
        let own = at(pod, "/containers/0");
        let security = &own["securityContext"];
        for (what, is, should) in [
            ("hostNetwork", &pod["hostNetwork"], Value::from(true)),
            ("hostPID", &pod["hostPID"], false.into()),
            ("seccompProfile", at(pod, "/securityContext/seccompProfile/type"), "RuntimeDefault".into()),
            ("privileged", &security["privileged"], false.into()),
            ("allowPrivilegeEscalation", &security["allowPrivilegeEscalation"], false.into()),
            ("readOnlyRootFilesystem", &security["readOnlyRootFilesystem"], true.into()),
            ("runAsUser", &security["runAsUser"], 0.into()),
            ("runAsGroup", &security["runAsGroup"], 0.into()),
            ("drop", at(security, "/capabilities/drop"), serde_json::json!(["ALL"])),
        ] {
            ensure!(*is == should, "{what} is {is}, handed on is {should}");
        }
        let volumes = pod["volumes"].as_array().context("no volumes")?;
        let mounts = list(own, "volumeMounts")?.iter().map(|mount| {
            ensure!(mount["readOnly"] == true, "not read-only: {mount}");
            let name = mount["name"].as_str().context("a mount has a name")?;
            let volume = volumes.iter().find(|volume| volume["name"] == name);
            ensure!(volume.is_some(), "no volume {name}");
            let propagation = match mount["mountPropagation"].as_str() {
                None | Some("None") => "rprivate",
                Some("HostToContainer") => "rslave",
                Some(other) => bail!("{name} asks for {other}"),
            };
            let target = mount["mountPath"].as_str().context("a mount has a path")?.to_owned();
            Ok(Mount { source: source(name, node, containerd)?, target, propagation })
        });
        let environment = list(own, "env")?.iter().map(|variable| {
            let name = variable["name"].as_str().context("a variable has a name")?;
            let value = match (&variable["value"], at(variable, "/valueFrom/fieldRef/fieldPath")) {
                (Value::String(value), Value::Null) => value.replace("$(NODE_IP)", NODE_IP),
                (Value::Null, Value::String(path)) if path == "status.hostIP" => NODE_IP.to_owned(),
                _ => bail!("the tests do not know where {name} comes from"),
            };
            Ok(format!("{name}={value}"))
        });
        let added = list(&security["capabilities"], "add")?;
        let texts = |values: &[Value]| -> Vec<String> {
            values.iter().filter_map(Value::as_str).map(str::to_owned).collect()
        };
        let port = at(own, "/ports/0/containerPort").as_u64().context("no port")?;
        Ok(Self {
            arguments: texts(list(own, "args")?),
            environment: environment.collect::<Result<_>>()?,
            capabilities: texts(added).iter().map(|name| format!("CAP_{name}")).collect(),
            dropped: containerd.default_capabilities()?,
            mounts: mounts.collect::<Result<_>>()?,
            port: u16::try_from(port)?,
        })
    }

    pub(crate) fn flags(&self) -> Vec<String> {
        let mut flags: Vec<String> = ["--read-only", "--net-host", "--seccomp"].map(str::to_owned).to_vec();
        let mut pair = |flag: &str, value: String| flags.extend([flag.to_owned(), value]);
        for name in &self.dropped {
            pair("--cap-drop", name.clone());
        }
        for name in &self.capabilities {
            pair("--cap-add", name.clone());
        }
        for variable in &self.environment {
            pair("--env", variable.clone());
        }
        for Mount { source, target, propagation } in &self.mounts {
            let source = source.display();
            pair("--mount", format!("type=bind,src={source},dst={target},options=rbind:{propagation}:ro"));
        }
        flags
    }
}

fn list<'a>(of: &'a Value, name: &str) -> Result<&'a [Value]> {
    of[name].as_array().map(Vec::as_slice).with_context(|| format!("no list {name}"))
}

/// Where a volume comes from: this machine, less its bpffs, configuration and logs.
fn source(volume: &str, node: &Node, containerd: &Containerd) -> Result<PathBuf> {
    Ok(match volume {
        // The folder: only a folder follows a changed file.
        "config" => node.config().parent().context("a file has a folder")?.to_owned(),
        "bpffs" => node.bpffs.root().to_owned(),
        "proc" => containerd.proc(),
        "sys" => PathBuf::from("/sys"),
        "pod-logs" => containerd.empty("pod-logs")?,
        other => bail!("the tests know no volume {other}"),
    })
}
