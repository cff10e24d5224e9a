//! The files of a node whose mounts and session point at the captured server, as its kernel wrote them.
//!
//! In: `tests/fixtures/host`, embedded. Out: a folder that stands for procfs, sysfs and pod logs.
//! Must not: hold a line that no kernel wrote.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::node::Node;

macro_rules! captured {
    ($file:literal) => {
        include_bytes!(concat!("../fixtures/host/", $file))
    };
}

const FILES: [(&str, &[u8]); 12] = [
    ("proc/1/mountinfo", captured!("mounts/mountinfo-6.12")),
    ("proc/fs/cifs/Stats", captured!("cifs/6.12-used/Stats")),
    ("proc/fs/cifs/DebugData", captured!("cifs/6.12-used/DebugData")),
    ("proc/1/net/snmp", captured!("netstat/snmp-6.12")),
    ("proc/1/net/netstat", captured!("netstat/netstat-6.12")),
    ("proc/1/net/softnet_stat", captured!("netstat/softnet_stat-6.12")),
    ("proc/sys/fs/file-nr", captured!("sysctl/file-nr")),
    ("proc/sys/fs/file-max", captured!("sysctl/file-max")),
    ("proc/sys/net/ipv4/tcp_keepalive_time", captured!("sysctl/tcp_keepalive_time")),
    (
        "sys/class/iscsi_session/session1/state",
        captured!("iscsi/6.12-failed/sys/class/iscsi_session/session1/state"),
    ),
    (
        "sys/class/iscsi_connection/connection1:0/persistent_address",
        captured!("iscsi/6.12-failed/sys/class/iscsi_connection/connection1:0/persistent_address"),
    ),
    (
        "sys/class/iscsi_connection/connection1:0/persistent_port",
        captured!("iscsi/6.12-failed/sys/class/iscsi_connection/connection1:0/persistent_port"),
    ),
];

/// Writes the captured files below the folder of `node`, gone with it: [`on`] names them to a verb.
pub fn captured(node: &Node) -> Result<PathBuf> {
    let root = node.config().with_file_name("host");
    for (name, bytes) in FILES {
        write(&root.join(name), bytes)?;
    }
    fs::create_dir_all(root.join("pods")).with_context(|| format!("failed to create {}", root.display()))?;
    Ok(root)
}

/// Writes a file and the folders above it.
pub fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let folder = path.parent().context("a file has a folder")?;
    fs::create_dir_all(folder).with_context(|| format!("failed to create {}", folder.display()))?;
    fs::write(path, bytes).with_context(|| format!("failed to write {}", path.display()))
}

/// The verb on the node of these files.
pub fn on(root: &Path, verb: &[&str]) -> Result<Vec<String>> {
    let text = |name: &str| root.join(name).to_str().map(str::to_owned).context("a path that is not UTF-8");
    let mut words: Vec<String> = verb.iter().map(|word| (*word).to_owned()).collect();
    for (flag, folder) in [("--procfs", "proc"), ("--sysfs", "sys"), ("--pod-logs", "pods")] {
        words.extend([flag.to_owned(), text(folder)?]);
    }
    Ok(words)
}
