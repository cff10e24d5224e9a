//! The image as a node runs it: Debian's containerd and runc, the DaemonSet's container, a simulated node.
//!
//! In: the artefacts of `cargo xtask dist --for-tests`, the manifest, containerd, runc, `ctmon-sim`. Out: pass or fail; a
//! program that is missing is a failure that says what to install. Must not: give the container anything that the
//! manifest does not, or leave a process or a mount behind, even when it is killed.

mod runtime;

mod container;

use std::fs;
use std::net::SocketAddr;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use support::config::{QUICK, TARGETS};
use support::daemon::Daemon;
use support::http;
use support::network;
use support::node::{Node, PATIENCE, whole};
use support::page::Page;
use support::released;

use crate::container::Container;
use crate::runtime::Containerd;

/// What a node's own configuration would say; the manifest says where it listens.
fn config() -> String {
    format!("{QUICK}{TARGETS}")
}

/// A node on which nothing is wrong, until the value is gone.
fn simulated(node: &Node) -> Result<Daemon> {
    let ready = node.config().with_file_name("ready");
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "TERM", env!("CARGO_BIN_EXE_ctmon-sim")]);
    command.args(["--scenario", "healthy", "--capacity", "65536", "--bpffs"]).arg(node.bpffs.root());
    command.arg("--ready-file").arg(&ready);
    let mut simulator = Daemon::start_command(&mut command)?;
    simulator.wait_for("its maps", PATIENCE, || Ok(ready.exists()))?;
    Ok(simulator)
}

#[test]
fn a_runtime_runs_it_as_the_daemonset_asks() -> Result<()> {
    // A network of its own: the manifest's port is free there.
    network::alone(|| {
        let node = Node::new(&config())?;
        let _simulator = simulated(&node)?;
        let containerd = Containerd::start()?;
        let image = containerd.import(&released::at("ctmon")?.archive)?;
        let container = Container::of_the_manifest(&node, &containerd)?;
        let mut agent = containerd.run(&container, &image, "agent", &container.arguments)?;

        let address: SocketAddr = format!("{}:{}", container::NODE_IP, container.port).parse()?;
        agent.wait_for_http(address, "/readyz", PATIENCE)?;
        confined(&containerd, &container)?;
        let loaded = |page: &Page| page.sum("ctmon_ct_entries", &[]).is_some_and(|entries| entries > 0.0);
        let page = agent.wait_for_page(address, PATIENCE, loaded)?;
        whole_node_is_seen(&page)?;
        // On the node's own address and on loopback, as the manifest says.
        let loopback: SocketAddr = format!("127.0.0.1:{}", container.port).parse()?;
        assert_eq!(http::get(loopback, "/healthz")?.status, 200);

        let checked = containerd.exec("agent", &["/usr/bin/ctmon", "check"])?;
        assert_eq!(checked.status.code(), Some(0), "{}{}", checked.stdout, checked.stderr);
        ensure!(!checked.stdout.is_empty(), "check says nothing");

        containerd.kill("agent", "SIGTERM")?;
        let status = agent.wait(PATIENCE)?;
        assert_eq!(status.code(), Some(0), "{}", agent.output());
        Ok(())
    })
}

/// What is taken away is away, by the kernel's own account.
fn confined(containerd: &Containerd, container: &Container) -> Result<()> {
    let process = containerd.process("agent")?;
    let status = fs::read_to_string(process.join("status"))?;
    let field = |name: &str| -> Result<&str> {
        let value = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        value.map(str::trim).with_context(|| format!("no {name}"))
    };
    let kept = format!("{:016x}", 1_u64 << 38 | 1_u64 << 39);
    for set in ["CapPrm", "CapEff", "CapBnd"] {
        assert_eq!(field(set)?, kept, "{set}");
    }
    assert_eq!((field("NoNewPrivs")?, field("Seccomp")?), ("1", "2"));
    for ids in ["Uid", "Gid"] {
        assert!(field(ids)?.split_whitespace().all(|id| id == "0"), "{ids}");
    }
    let mounts = fs::read_to_string(process.join("mounts"))?;
    let targets = container.mounts.iter().map(|mount| mount.target.as_str());
    for target in targets.chain(["/", "/sys"]) {
        let line = mounts.lines().rfind(|line| line.split(' ').nth(1) == Some(target));
        let options = line.and_then(|line| line.split(' ').nth(3)).with_context(|| format!("no {target}"))?;
        assert!(options.split(',').any(|option| option == "ro"), "{target} is {options}");
    }
    Ok(())
}

fn whole_node_is_seen(page: &Page) -> Result<()> {
    for map in [
        "ct4_global",
        "ct_any4_global",
        "ct6_global",
        "ct_any6_global",
        "snat_v4_external",
        "snat_v6_external",
    ] {
        assert_eq!(page.value("ctmon_map_present", &[("map_name", map)]), Some(1.0), "{map}");
    }
    assert_eq!(whole(page.sum("ctmon_map_problem", &[]))?, 0);
    // The host's network is the test's own here, and not that of the machine's first process: it is told from the node's.
    for (source, up) in [("conntrack", 1.0), ("nat", 1.0), ("sockets", 0.0)] {
        assert_eq!(page.value("ctmon_source_up", &[("source", source)]), Some(up), "{source}");
    }
    for name in ["ctmon_file_handles_used", "ctmon_tcp_retransmits_total", "ctmon_softnet_dropped_total"] {
        assert!(page.value(name, &[]).is_some(), "{name}");
    }
    Ok(())
}

#[test]
fn without_its_capabilities_the_runtime_refuses_what_it_needs() -> Result<()> {
    network::alone(|| {
        let node = Node::new(&config())?;
        let _simulator = simulated(&node)?;
        let containerd = Containerd::start()?;
        let image = containerd.import(&released::at("ctmon")?.archive)?;
        let scrape = ["scrape".to_owned()];
        let mut container = Container::of_the_manifest(&node, &containerd)?;
        let mut with = containerd.run(&container, &image, "with", &scrape)?;
        assert_eq!(with.wait(PATIENCE)?.code(), Some(0), "{}", with.output());
        container.capabilities.clear();
        let mut without = containerd.run(&container, &image, "without", &scrape)?;
        assert_eq!(without.wait(PATIENCE)?.code(), Some(2), "{}", without.output());
        ensure!(without.output().contains("seccomp"), "it says nothing of seccomp: {}", without.output());
        Ok(())
    })
}
