//! Storage servers that fail: real ones, behind a cable that is cut.
//!
//! In: Samba, an iSCSI target, the kernel's own clients of both, ctmon on the real /proc and /sys. Out: pass or
//! fail. Where these parts are not, one counted line says so; the virtual machine 6.12-storage has them.
//! Must not: mount or log in anywhere but in that virtual machine.

mod iscsi;
mod servers;
mod smb;
mod sockets;

use std::env;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use support::daemon::Finished;
use support::network::Plugged;
use support::node::Node;
use support::page::Page;

/// The node and the server, as in the captures.
const NODE: &str = "192.168.100.10";
const NAS: &str = "192.168.100.180";
/// What ctmon calls a server that is known by its address only.
const TARGET: &str = "192-168-100-180";
/// No target is configured: mounts and sessions are all that tells of the server.
const CONFIG: &str = "listen: '127.0.0.1:0'\ninterval: 1s\nexpect: {preset: nas-tuning}\n";

/// Whether servers and clients are here; says so when not.
fn has_servers() -> bool {
    let here = env::var_os("CTMON_VM_STORAGE").is_some();
    if !here {
        println!(
            "ctmon-skip: storage servers that fail need the virtual machine of `cargo xtask vm 6.12-storage`"
        );
    }
    here
}

/// The server's own network.
fn plug() -> Result<Plugged> {
    Plugged::new(&format!("{NODE}/24"), &format!("{NAS}/24"))
}

/// The findings of one alert on this node, as told; `None` if there are none.
fn found(node: &Node, alert: &str) -> Result<Option<String>> {
    let Finished { status, stdout, stderr } = node.ctmon(&["check", "--only", alert])?;
    match status.code() {
        Some(0) => Ok(None),
        Some(1) => Ok(Some(stdout)),
        _ => bail!("check ended with {status}: {stdout}{stderr}"),
    }
}

/// A gauge of the server.
fn of_target(page: &Page, name: &str) -> Option<f64> {
    page.sum(name, &[("target", TARGET)])
}

/// Whether the daemon holds an alert of the server for active.
fn is_active(page: &Page, alert: &str) -> bool {
    page.sum("ctmon_alert_active", &[("alert", alert), ("target", TARGET)]).is_some_and(|active| active > 0.0)
}

fn write(path: &str, text: &str) -> Result<()> {
    let folder = Path::new(path).parent().context("a file has a folder")?;
    fs::create_dir_all(folder).with_context(|| format!("failed to create {}", folder.display()))?;
    fs::write(path, text).with_context(|| format!("failed to write {path}"))
}

/// A verb's finding that must be there.
fn must_find(node: &Node, alert: &str, words: &[&str]) -> Result<()> {
    let told = found(node, alert)?.with_context(|| format!("{alert} was not found"))?;
    for word in words {
        ensure!(told.contains(word), "{word:?} is not in: {told}");
    }
    Ok(())
}
