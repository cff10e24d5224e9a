//! The node beside the maps, by the built binary: targets without configuration, tuning, manifests.
//!
//! In: the capture, replayed; files captured on a node whose mounts and sessions point at the captured server.
//! Out: pass or fail. Must not: read this machine's own mounts or sessions.

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use monitor_model::snapshot::TargetState;
use monitor_source::collect::CollectSettings;
use monitor_source::host::Host;
use monitor_source::host::collect::Wanted;
use support::config;
use support::daemon::{self, Finished};
use support::fixture::{self, CT_LIST, Lifetimes};
use support::node::{Node, whole};
use support::page::Page;
use support::{cli_text, host, network};

use crate::collect::{collector_of, settings};
use crate::daemon::start_command;

/// The captured server's name, since the mounts name it by its address.
const NAS: &str = "192-168-100-180";
const TUNING: &str = "expect: {preset: nas-tuning}";

fn run(node: &Node, root: &Path, verb: &[&str]) -> Result<Finished> {
    node.ctmon(&host::on(root, verb)?.iter().map(String::as_str).collect::<Vec<_>>())
}

fn scrape(node: &Node, root: &Path) -> Result<Page> {
    let Finished { status, stdout, stderr } = run(node, root, &["scrape"])?;
    ensure!(status.success() && stderr.is_empty(), "scrape ended with {status}: {stderr}");
    Page::parse(&stdout)
}

#[test]
fn the_headline_works_without_any_configuration() -> Result<()> {
    let node = Node::new("{}")?;
    let root = host::captured(&node)?;
    let _maps = fixture::replay(&node.bpffs, Lifetimes::ShiftedToNow)?;
    let page = scrape(&node, &root)?;
    let stale = page.sum("ctmon_target_stale_entries", &[("target", NAS)]);
    assert_eq!(whole(stale)?, cli_text::grep_stale(CT_LIST, "192.168.100.180") as u64);
    for service in ["smb", "iscsi", "other"] {
        let labels = [("target", NAS), ("target_service", service)];
        assert!(page.value("ctmon_target_stale_entries", &labels).is_some(), "{service}");
    }
    assert_eq!(page.value("ctmon_target_mounts", &[("target", NAS)]), Some(2.0));
    assert_eq!(page.value("ctmon_cifs_sessions", &[("target", NAS)]), Some(1.0));
    assert_eq!(page.value("ctmon_iscsi_sessions", &[("target", NAS), ("state", "failed")]), Some(1.0));
    assert_eq!(page.value("ctmon_tcp_retransmits_total", &[]), Some(49.0));

    // The verbs know the same targets.
    let listed = run(&node, &root, &["list", "--count", "--stale", "--target", NAS])?;
    assert_eq!(listed.stdout.trim(), "183", "{}", listed.stderr);
    node.configure("targets_from_host: false")?;
    let page = scrape(&node, &root)?;
    assert_eq!(page.sum("ctmon_target_stale_entries", &[]), None);
    assert_eq!(page.sum("ctmon_target_mounts", &[]), None);
    Ok(())
}

#[test]
fn targets_follow_the_mounts_and_stay_while_these_cannot_be_read() -> Result<()> {
    let node = Node::new("{}")?;
    let root = node.config().with_file_name("host");
    let mountinfo = root.join("proc/1/mountinfo");
    let mount = |address: &str| format!("31 1 0:28 / /mnt rw - cifs //{address}/media rw,addr={address}\n");
    let (first, second) = ("192.168.100.180", "192.168.100.181");
    let _maps = fixture::replay(&node.bpffs, Lifetimes::ShiftedToNow)?;
    let mut collector = collector_of(CollectSettings {
        host: Host { procfs: root.join("proc"), sysfs: root.join("sys"), ..Host::default() },
        wanted: Wanted { targets: true, ..Wanted::default() },
        ..settings(&node, &[])?
    })?;
    let mut stale = || -> Vec<(String, u64)> {
        let snapshot = collector.collect();
        let of = |name: &str| -> u64 {
            let states = snapshot.targets.iter().filter(|state| state.target == name);
            states.map(TargetState::stale).sum()
        };
        snapshot.target_names().map(|name| (name.to_owned(), of(name))).collect()
    };
    // What an address has; what has both belongs to the target that comes first.
    let grep = |address: &str, but: &str| {
        let lines: Vec<&str> = CT_LIST.lines().filter(|line| but.is_empty() || !line.contains(but)).collect();
        cli_text::grep_stale(&lines.join("\n"), address) as u64
    };
    let name = |address: &str| address.replace('.', "-");
    let alone = vec![(name(second), grep(second, ""))];
    ensure!(alone.iter().all(|(_, count)| *count > 0), "nothing would be compared");

    assert_eq!(stale(), []);
    host::write(&mountinfo, mount(second).as_bytes())?;
    assert_eq!(stale(), alone);
    // The new server comes first, so every pair has another number.
    host::write(&mountinfo, (mount(second) + &mount(first)).as_bytes())?;
    let both = vec![(name(first), grep(first, "")), (name(second), grep(second, first))];
    assert_eq!(stale(), both);
    host::write(&mountinfo, b"no mount\n")?;
    assert_eq!(stale(), both, "what cannot be read takes no target away");
    host::write(&mountinfo, mount(second).as_bytes())?;
    assert_eq!(stale(), alone);
    Ok(())
}

#[test]
fn what_is_not_in_force_is_told_with_the_difference() -> Result<()> {
    let node = Node::new(TUNING)?;
    let root = host::captured(&node)?;
    let _maps = fixture::replay(&node.bpffs, Lifetimes::ShiftedToNow)?;
    let Finished { status, stdout, .. } = run(&node, &root, &["check", "--only", "TuningNotInForce"])?;
    assert_eq!(status.code(), Some(1), "{stdout}");
    for told in [
        "net.ipv4.tcp_keepalive_time is 7200, expected 600",
        "//192.168.100.180/downloads on /mnt/downloads lacks cache=loose (in force: cache=strict)",
    ] {
        assert!(stdout.contains(told), "{told}: {stdout}");
    }
    let page = scrape(&node, &root)?;
    let sysctl = [("sysctl", "net.ipv4.tcp_keepalive_time")];
    assert_eq!(page.value("ctmon_sysctl_value", &sysctl), Some(7200.0));
    assert_eq!(page.value("ctmon_sysctl_in_force", &sysctl), Some(0.0));
    assert_eq!(page.value("ctmon_target_mount_option_mismatches", &[("target", NAS)]), Some(2.0));
    Ok(())
}

#[test]
fn real_sockets_are_counted_by_target_service_and_state() -> Result<()> {
    let address = Ipv4Addr::new(127, 79, 0, 1);
    let listener = TcpListener::bind((address, 0))?;
    let port = listener.local_addr()?.port();
    let node = Node::new(&format!(
        "{{targets_from_host: false, targets: [{{name: own, addresses: [{address}], \
         services: [{{name: smb, ports: [{port}]}}]}}]}}"
    ))?;
    let _maps = fixture::replay(&node.bpffs, Lifetimes::ShiftedToNow)?;
    let _clients = [TcpStream::connect((address, port))?, TcpStream::connect((address, port))?];
    let page = node.scrape()?;
    let sockets = |service, state| {
        let labels = [("target", "own"), ("target_service", service), ("tcp_state", state)];
        page.value("ctmon_target_sockets", &labels)
    };
    assert_eq!(sockets("smb", "established"), Some(2.0));
    assert_eq!((sockets("smb", "syn_sent"), sockets("other", "established")), (Some(0.0), Some(0.0)));
    assert_eq!(page.value("ctmon_target_stalled_sockets", &[("target", "own")]), Some(0.0));
    assert_eq!(page.value("ctmon_target_keepalive_sockets", &[("target", "own")]), Some(0.0));
    Ok(())
}

#[test]
fn manifests_are_checked_with_a_node_beside_them_or_without() -> Result<()> {
    let node = Node::new("{}")?;
    let root = host::captured(&node)?;
    let manifest = node.config().with_file_name("cilium.yaml");
    let text = "kind: ConfigMap\nmetadata: {name: cilium-config, namespace: kube-system}\n\
                data: {bpf-ct-global-tcp-max: '1000', conntrack-gc-interval: 5m}\n";
    host::write(&manifest, text.as_bytes())?;
    let path = manifest.to_str().context("a path that is not UTF-8")?;
    let check = ["check", "-o", "json", "--manifest", path];

    // No pins: only the manifest, which alone gives no reason to complain.
    let alone = run(&node, &root, &check)?;
    assert_eq!((alone.status.code(), alone.stdout.as_str()), (Some(0), ""), "{}", alone.stderr);
    assert!(alone.stderr.contains("only the manifests are checked"), "{}", alone.stderr);

    let _maps = fixture::replay(&node.bpffs, Lifetimes::ShiftedToNow)?;
    let beside = run(&node, &root, &check)?;
    assert_eq!(beside.status.code(), Some(1), "{}{}", beside.stdout, beside.stderr);
    let told = "ConfigMap kube-system/cilium-config: bpf-ct-global-tcp-max is 1000 here, the kernel shows ";
    assert!(beside.stdout.contains(told), "{}", beside.stdout);
    assert!(beside.stdout.contains("CtmonIscsiSessionDown"), "the node's findings too: {}", beside.stdout);

    let missing = run(&node, &root, &["check", "--manifest", "/nonexistent.yaml"])?;
    assert_eq!(missing.status.code(), Some(2));
    assert!(missing.stderr.contains("failed to read manifest /nonexistent.yaml"), "{}", missing.stderr);
    Ok(())
}

#[test]
fn a_machine_configuration_is_compared_with_the_node() -> Result<()> {
    let node = Node::new("expect: {sysctls: {net.ipv4.tcp_keepalive_time: {equals: 600}}}")?;
    let root = host::captured(&node)?;
    let _maps = fixture::replay(&node.bpffs, Lifetimes::ShiftedToNow)?;
    let manifest = node.config().with_file_name("machine.yaml");
    let path = manifest.to_str().context("a path that is not UTF-8")?;
    let told = |text: &str| -> Result<String> {
        host::write(&manifest, text.as_bytes())?;
        Ok(run(&node, &root, &["check", "-o", "json", "--manifest", path])?.stdout)
    };
    // The patch that is shipped, on a node that has 7200 and not all of its sysctls.
    let shipped = told(include_str!("../../deploy/tuning/talos-sysctls.yaml"))?;
    for expected in [
        "MachineConfig patch: net.ipv4.tcp_keepalive_time is 600 here, this node has 7200",
        "MachineConfig patch: net.core.netdev_max_backlog: this node has no such sysctl",
    ] {
        assert!(shipped.contains(expected), "{expected}: {shipped}");
    }
    let own = told(
        "machine: {sysctls: {net.ipv4.tcp_keepalive_time: '7200'}, sysfs: {module.x: '1', class.iscsi_session: '1'}}",
    )?;
    assert!(own.contains("net.ipv4.tcp_keepalive_time is 7200 here, expected 600"), "{own}");
    assert!(!own.contains("this node has 7200"), "{own}");
    assert!(own.contains("module.x: this node has no such file below /sys"), "{own}");
    assert!(!own.contains("class.iscsi_session:"), "{own}");
    Ok(())
}

#[test]
fn a_sysctl_of_an_interface_with_a_dot_is_read_exported_and_told() -> Result<()> {
    if !network::has_cables() {
        return Ok(());
    }
    network::alone(|| {
        network::ip("link add lo.100 type veth peer name lo.101")?;
        std::fs::write("/proc/sys/net/ipv4/conf/lo.100/rp_filter", "1")?;
        std::fs::write("/proc/sys/net/ipv4/conf/lo.100/forwarding", "1")?;
        let node = Node::with_our_network(
            "expect: {sysctls: {net.ipv4.conf.lo/100.rp_filter: {equals: 2}, \
             net/ipv4/conf/lo.100/forwarding: {equals: 1}}}",
        )?;
        let _maps = fixture::replay(&node.bpffs, Lifetimes::ShiftedToNow)?;
        let page = Page::parse(&node.ctmon(&["scrape"])?.stdout)?;
        let rp_filter = [("sysctl", "net.ipv4.conf.lo/100.rp_filter")];
        assert_eq!(page.value("ctmon_sysctl_value", &rp_filter), Some(1.0));
        assert_eq!(page.value("ctmon_sysctl_expected", &rp_filter), Some(2.0));
        assert_eq!(page.value("ctmon_sysctl_in_force", &rp_filter), Some(0.0));
        let forwarding = [("sysctl", "net.ipv4.conf.lo/100.forwarding")];
        assert_eq!(page.value("ctmon_sysctl_in_force", &forwarding), Some(1.0));
        let said = node.ctmon(&["check", "--only", "TuningNotInForce"])?.stdout;
        let told = "net.ipv4.conf.lo/100.rp_filter is 1, expected 2";
        ensure!(said.contains(told) && !said.contains("forwarding"), "{said}");
        Ok(())
    })
}

#[test]
fn the_log_preset_counts_applications_only_where_they_are_named() -> Result<()> {
    const PODS: [&str; 2] = ["trident_trident-controller-7_a/trident-main", "media_sonarr-0_b/app"];
    const LINE: &[u8] = b"2026-11-22T00:17:09.669794202Z stderr F database is locked\n";
    // Who is counted, who is not: by default the driver, else who is named.
    for (beside, [counted, other]) in [("", PODS), (", pods: [sonarr-*]", [PODS[1], PODS[0]])] {
        let node = Node::new(&config::daemon(&format!("logs: [{{preset: trident-qnap{beside}}}]\n")))?;
        let root = host::captured(&node)?;
        let log = |pod: &str| root.join("pods").join(pod).join("0.log");
        for pod in PODS {
            host::write(&log(pod), b"")?;
        }
        let arguments = host::on(&root, &["run", "--log-format", "json"])?;
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let mut running = start_command(Command::new(daemon::ctmon()?).args(node.arguments(&arguments)?))?;
        running.next_page()?;
        host::write(&log(other), LINE)?;
        running.next_page()?;
        host::write(&log(counted), LINE)?;
        let locked = |page: &Page| page.value("ctmon_log_matches_total", &[("pattern", "lock_conflict")]);
        running.page(|page| locked(page) >= Some(1.0))?;
        assert_eq!(locked(&running.next_page()?), Some(1.0), "{beside}");
    }
    Ok(())
}

#[test]
fn what_ciliums_configuration_says_is_exported_and_compared() -> Result<()> {
    let node = Node::new("expect: {ct_timeouts: {tcp: {equals: 8000s}}, gc_interval: {at_most: 5m}}")?;
    let _maps = fixture::replay(&node.bpffs, Lifetimes::ShiftedToNow)?;
    let folder = node.config().with_file_name("cilium-config");
    for (key, value) in [("bpf-ct-timeout-regular-tcp", "2h13m20s"), ("conntrack-gc-interval", "10m")] {
        host::write(&folder.join(key), value.as_bytes())?;
    }
    let folder = folder.to_str().context("a path that is not UTF-8")?;
    let with = |verb: &[&str]| node.ctmon(&[verb, &["--cilium-config", folder]].concat());

    let page = Page::parse(&with(&["scrape"])?.stdout)?;
    let labels = [("class", "tcp"), ("source", "cilium_config")];
    assert_eq!(page.value("ctmon_ct_timeout_seconds", &labels), Some(8000.0));
    assert_eq!(page.value("ctmon_source_up", &[("source", "cilium_config")]), Some(1.0));

    let said = with(&["check"])?.stdout;
    ensure!(
        said.contains("the collector's interval is 10m (Cilium's configuration says), expected at most 5m"),
        "{said}"
    );
    // 8000 s are what is expected, and not what the captured entries show.
    let other = "the timeout bpf-ct-timeout-regular-tcp is 2h13m20s as Cilium's configuration says, and 6h as entries show";
    ensure!(said.contains(other) && !said.contains("expected 2h13m20s"), "{said}");
    node.configure("expect: {ct_timeouts: {tcp: {equals: 6h}}}")?;
    let said = with(&["check"])?.stdout;
    let other =
        "the timeout bpf-ct-timeout-regular-tcp is 2h13m20s (as Cilium's configuration says), expected 6h";
    ensure!(said.contains(other), "{said}");

    let page = Page::parse(&node.ctmon(&["scrape", "--cilium-config", "/nowhere"])?.stdout)?;
    assert_eq!(page.value("ctmon_source_up", &[("source", "cilium_config")]), None, "no such file: off");
    let list = node.config().with_file_name("list.yaml");
    host::write(&list, b"- a\n- b\n")?;
    let broken = node.ctmon(&["scrape", "--cilium-config", list.to_str().context("a path")?])?;
    let page = Page::parse(&broken.stdout)?;
    assert_eq!(page.value("ctmon_source_up", &[("source", "cilium_config")]), Some(0.0), "{}", broken.stderr);
    Ok(())
}
