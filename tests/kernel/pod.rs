//! ctmon under what the `DaemonSet` asks for, enforced by the kernel as on a node: user 0 with two capabilities and no
//! way to more, a read-only root with the manifest's mounts only, the runtime's default seccomp profile.
//!
//! In: the manifest, the profile, the capture, the binary in a root file system of its own. Out: pass or fail.
//! Must not: give it a flag, a mount or a call that it does not have in a cluster.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use support::config::{QUICK, SMB};
use support::daemon;
use support::fixture::{self, Lifetimes};
use support::node::{Node, PATIENCE, whole};
use support::page::Page;
use support::pod::{Host, Pod};
use support::seccomp;

use crate::daemon::{END, start_command};

fn config() -> String {
    format!("{QUICK}{SMB}")
}

/// The image's file system, in the node's folder and gone with it.
fn root(node: &Node) -> Result<PathBuf> {
    let root = node.config().with_file_name("root");
    let folder = root.join("usr/bin");
    fs::create_dir_all(&folder).with_context(|| format!("failed to create {}", folder.display()))?;
    fs::copy(daemon::ctmon()?, folder.join("ctmon")).context("failed to place the binary")?;
    Ok(root)
}

/// The value of a line of `/proc/PID/status`.
fn field<'a>(status: &'a str, name: &str) -> Result<&'a str> {
    let value = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    value.map(str::trim).with_context(|| format!("no {name}"))
}

#[test]
fn the_daemon_serves_right_numbers_from_its_pod() -> Result<()> {
    let node = Node::new(&config())?;
    let _maps = fixture::replay(&node.bpffs, Lifetimes::ShiftedToNow)?;
    let pod = Pod::of_the_manifest()?;
    let mut command = pod.command(&Host::of(&node)?, &root(&node)?)?;
    command.args(&pod.arguments).args(["--log-format", "json"]);
    let mut running = start_command(&mut command)?;

    // What is taken away is away, by the kernel's own account.
    let process = PathBuf::from(format!("/proc/{}", running.daemon.pid()));
    let status = fs::read_to_string(process.join("status"))?;
    let kept = format!("{:016x}", 1_u64 << 38 | 1_u64 << 39);
    for set in ["CapPrm", "CapEff", "CapBnd"] {
        assert_eq!(field(&status, set)?, kept, "{set}");
    }
    assert_eq!(
        (field(&status, "CapInh")?, field(&status, "CapAmb")?),
        ("0000000000000000", "0000000000000000")
    );
    assert_eq!((field(&status, "NoNewPrivs")?, field(&status, "Seccomp")?), ("1", "2"));
    assert!(field(&status, "Uid")?.split_whitespace().all(|uid| uid == "0"));
    let mounts = fs::read_to_string(process.join("mounts"))?;
    for target in pod.mounts.iter().map(|(_, target)| target.as_str()).chain(["/", "/proc", "/sys"]) {
        // The last one mounted there is the one that is seen.
        let mount = mounts.lines().rfind(|line| line.split(' ').nth(1) == Some(target));
        let options =
            mount.and_then(|line| line.split(' ').nth(3)).with_context(|| format!("no {target}"))?;
        assert!(options.split(',').any(|option| option == "ro"), "{target} is {options}");
    }

    running.daemon.wait_for_http(running.address, "/readyz", PATIENCE)?;
    let page = running.page(|page| page.sum("ctmon_ct_entries", &[]).is_some())?;
    check(&page)?;
    assert_eq!(running.daemon.stop(END)?.code(), Some(0));
    Ok(())
}

/// The numbers of the capture, and every source that this machine has at work.
fn check(page: &Page) -> Result<()> {
    assert_eq!(whole(page.sum("ctmon_ct_entries", &[]))?, 399);
    assert_eq!(whole(page.sum("ctmon_map_entries", &[]))?, 991);
    assert_eq!(whole(page.sum("ctmon_target_stale_entries", &[("target", "qnap")]))?, 183);
    assert_eq!(whole(page.sum("ctmon_map_problem", &[]))?, 0);
    for source in ["conntrack", "nat", "sockets"] {
        assert_eq!(page.value("ctmon_source_up", &[("source", source)]), Some(1.0), "{source}");
    }
    for name in ["ctmon_file_handles_used", "ctmon_tcp_retransmits_total", "ctmon_softnet_dropped_total"] {
        assert!(page.value(name, &[]).is_some(), "{name}");
    }
    Ok(())
}

#[test]
fn a_scrape_in_the_pod_prints_the_same_page() -> Result<()> {
    let node = Node::new(&config())?;
    let _maps = fixture::replay(&node.bpffs, Lifetimes::ShiftedToNow)?;
    let mut command = Pod::of_the_manifest()?.command(&Host::of(&node)?, &root(&node)?)?;
    let finished = daemon::run_command(command.arg("scrape"), PATIENCE)?;
    ensure!(finished.status.success(), "ended with {}: {}", finished.status, finished.stderr);
    assert_eq!(finished.stderr, "");
    check(&Page::parse(&finished.stdout)?)
}

#[test]
fn the_host_is_read_through_its_mounts() -> Result<()> {
    let node = Node::new("interval: 1s\n")?;
    let _maps = fixture::replay(&node.bpffs, Lifetimes::ShiftedToNow)?;
    let mut command = Pod::of_the_manifest()?.command(&Host::captured(&node)?, &root(&node)?)?;
    let finished = daemon::run_command(command.arg("scrape"), PATIENCE)?;
    ensure!(finished.status.success(), "ended with {}: {}", finished.status, finished.stderr);
    let page = Page::parse(&finished.stdout)?;
    // The captured node's mounts name the server; nothing else does.
    let target = ("target", "192-168-100-180");
    assert_eq!(whole(page.sum("ctmon_target_stale_entries", &[target]))?, 183);
    assert_eq!(page.value("ctmon_target_mounts", &[target]), Some(2.0));
    assert_eq!(page.value("ctmon_cifs_sessions", &[target]), Some(1.0));
    assert_eq!(page.value("ctmon_iscsi_sessions", &[target, ("state", "failed")]), Some(1.0));
    Ok(())
}

#[test]
fn sockets_of_the_node_are_seen_from_the_pod() -> Result<()> {
    // An address of our own: the other tests' servers are on 127.0.0.1.
    let listener = TcpListener::bind("127.78.0.1:0")?;
    let address = listener.local_addr()?;
    let _connected = TcpStream::connect(address)?;
    let (ip, port) = (address.ip(), address.port());
    let node = Node::new(&format!(
        "interval: 1s\ntargets: [{{name: own, addresses: [{ip}], services: [{{name: test, ports: [{port}]}}]}}]\n"
    ))?;
    let _maps = fixture::replay(&node.bpffs, Lifetimes::ShiftedToNow)?;
    let mut command = Pod::of_the_manifest()?.command(&Host::of(&node)?, &root(&node)?)?;
    let finished = daemon::run_command(command.arg("scrape"), PATIENCE)?;
    ensure!(finished.status.success(), "ended with {}: {}", finished.status, finished.stderr);
    let page = Page::parse(&finished.stdout)?;
    let labels = [("target", "own"), ("target_service", "test"), ("tcp_state", "established")];
    assert_eq!(page.value("ctmon_target_sockets", &labels), Some(1.0));
    Ok(())
}

#[test]
fn the_profile_is_in_force_and_needs_the_capabilities() -> Result<()> {
    let node = Node::new(&config())?;
    let _maps = fixture::replay(&node.bpffs, Lifetimes::ShiftedToNow)?;
    let pod = Pod::of_the_manifest()?;
    // The same pod under the profile of one without capabilities, where bpf(2) is refused.
    let mut command = pod.command_under(&Host::of(&node)?, &root(&node)?, seccomp::runtime_default(&[])?)?;
    let finished = daemon::run_command(command.arg("scrape"), PATIENCE)?;
    assert_eq!((finished.status.code(), finished.stdout.as_str()), (Some(2), ""), "{}", finished.stderr);
    assert!(finished.stderr.contains("seccomp"), "it says nothing of seccomp: {}", finished.stderr);
    Ok(())
}
