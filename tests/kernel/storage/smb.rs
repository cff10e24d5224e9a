//! A Samba server that two mounts of the node hang on, from the mount to the fourth restart of the server.
//!
//! In: the kernel's SMB client. Out: pass or fail. Must not: believe a number that did not move.

use std::fs::{self, File};
use std::io::Write as _;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use support::daemon::Daemon;
use support::fixture::{self, Lifetimes};
use support::node::{Node, PATIENCE};
use support::page::Page;
use support::wait::wait_for;

use super::servers::{Mounted, SHARES, Server, served};
use super::{CONFIG, TARGET, found, has_servers, is_active, must_find, of_target, plug, write};
use crate::daemon::{END, Running, start};

const STALLED: &str = "CtmonStoragePathStalled";
const FILES: u8 = 5;

fn operations(page: &Page, op: &str) -> f64 {
    page.value("ctmon_cifs_operations_total", &[("target", TARGET), ("op", op)]).unwrap_or(0.0)
}

fn reconnects(page: &Page) -> f64 {
    of_target(page, "ctmon_cifs_reconnects_total").unwrap_or(0.0)
}

fn stalled(page: &Page) -> Option<f64> {
    of_target(page, "ctmon_target_stalled_sockets")
}

/// Without any configuration of a target: the two mounts make one, with what they lack and share.
fn mounts_are_told(node: &Node, running: &mut Running) -> Result<Page> {
    let page = running.page(|page| of_target(page, "ctmon_target_mounts") == Some(2.0))?;
    assert_eq!(of_target(&page, "ctmon_cifs_sessions"), Some(1.0));
    assert_eq!(of_target(&page, "ctmon_target_mount_option_mismatches"), Some(2.0));
    let words = ["//192.168.100.180/downloads on /mnt/downloads lacks cache=loose (in force: cache=strict)"];
    must_find(node, "TuningNotInForce", &words)?;
    let told = node.ctmon(&["check"])?.stdout;
    let shared = "2 mounts of 192.168.100.180 share one connection: //192.168.100.180/media, \
                  //192.168.100.180/downloads";
    ensure!(told.contains(shared), "{told}");
    Ok(page)
}

/// The sysctl is in force, the server has a connection, and it makes no use of it.
fn the_keepalive_question_is_answered(node: &Node, running: &mut Running) -> Result<()> {
    let sysctl = "/proc/sys/net/ipv4/tcp_keepalive_time";
    let before = fs::read_to_string(sysctl)?;
    write(sysctl, "600")?;
    let established = [("target", TARGET), ("target_service", "smb"), ("tcp_state", "established")];
    let page = running.page(|page| page.sum("ctmon_target_sockets", &established) == Some(1.0))?;
    assert_eq!(of_target(&page, "ctmon_target_keepalive_sockets"), Some(0.0));
    // While something is unacknowledged another timer hides the answer.
    let told = wait_for("answer to the keepalive question", || {
        let told = node.ctmon(&["check"])?.stdout;
        Ok(told.contains("sockets to 192-168-100-180 use keepalive").then_some(told))
    })?;
    ensure!(told.contains("net.ipv4.tcp_keepalive_time is in force, but 0 of 1 sockets"), "{told}");
    write(sysctl, before.trim())
}

/// Each file written here and each read there is asked of the server.
fn operations_are_counted(running: &mut Running, mount: &Mounted, share: &str) -> Result<()> {
    let before = running.page(|page| operations(page, "create") > 0.0)?;
    for number in 0..FILES {
        let mut file = File::create(mount.file(&format!("written-{number}")))?;
        file.write_all(b"hello")?;
        file.sync_all()?;
        // The server's own side: the node has nothing of it in its cache.
        write(&format!("{}/served-{number}", served(share)), "hello")?;
        assert_eq!(fs::read(mount.file(&format!("served-{number}")))?, b"hello");
    }
    let files = f64::from(FILES);
    running.page(|page| {
        ["write", "read", "flush"].iter().all(|op| operations(page, op) >= operations(&before, op) + files)
    })?;
    Ok(())
}

/// The cable is cut while the server is asked for something: seen before anything gives up, and gone again after.
fn a_silent_server_is_seen(
    node: &Node,
    running: &mut Running,
    plugged: &support::network::Plugged,
    file: &str,
) -> Result<()> {
    plugged.cut()?;
    let mut reader = Daemon::start_command(Command::new("cat").arg(file))?;
    let page = running.page(|page| stalled(page).is_some_and(|sockets| sockets >= 1.0))?;
    assert!(is_active(&page, STALLED));
    assert_eq!(of_target(&page, "ctmon_target_mounts"), Some(2.0), "a hanging mount is still told");
    // Where the machine is slow, the client has opened another connection by now.
    let words = [" sockets repeat data and hear nothing: 192.168.100.10:", ":445 (smb, established)"];
    must_find(node, STALLED, &words)?;
    plugged.mend()?;
    ensure!(reader.wait(PATIENCE)?.success(), "the file was not read: {}", reader.output());
    ensure!(reader.output().contains("outstanding"), "{}", reader.output());
    let page = running.page(|page| stalled(page) == Some(0.0))?;
    assert!(!is_active(&page, STALLED));
    assert_eq!(found(node, STALLED)?, None);
    Ok(())
}

#[test]
fn a_samba_server_that_falls_silent_and_is_killed_is_told_and_all_is_well_again() -> Result<()> {
    if !has_servers() {
        return Ok(());
    }
    let plugged = plug()?;
    let mut server = Server::samba(&plugged.network)?;
    let node = Node::new(CONFIG)?;
    let _maps = fixture::replay(&node.bpffs, Lifetimes::ShiftedToNow)?;
    let mut running = start(&node)?;
    let page = running.page(|page| page.sum("ctmon_ct_entries", &[]).is_some())?;
    assert_eq!(page.sum("ctmon_target_mounts", &[]), None, "nothing is mounted yet");

    let [media, downloads] = SHARES;
    let tuned = Mounted::new(media, "guest,vers=3.1.1,cache=loose,actimeo=60,noatime")?;
    let plain = Mounted::new(downloads, "guest,vers=3.1.1")?;
    mounts_are_told(&node, &mut running)?;
    the_keepalive_question_is_answered(&node, &mut running)?;
    operations_are_counted(&mut running, &plain, downloads)?;
    write(&format!("{}/last", served(downloads)), "outstanding")?;
    a_silent_server_is_seen(&node, &mut running, &plugged, &plain.file("last"))?;

    // Killed and brought back until the reconnects are more than the rule accepts in its window.
    let page = running.page(|page| of_target(page, "ctmon_cifs_reconnects_total").is_some())?;
    let threshold = page.value("ctmon_threshold", &[("alert", "CtmonCifsReconnecting")]);
    let (before, threshold) = (reconnects(&page), threshold.context("the rule has no threshold")?);
    let mut now = before;
    while now - before <= threshold {
        drop(server);
        let lost = |told: &str| told.contains("SMB client to 192.168.100.180: need");
        wait_for("lost session", || Ok(lost(&node.ctmon(&["check"])?.stdout).then_some(())))?;
        server = Server::samba(&plugged.network)?;
        // Errors until the session is back.
        wait_for("mount that answers", || Ok(fs::read_dir(tuned.file("")).ok()))?;
        wait_for("file that is read", || Ok(fs::read(plain.file("last")).ok()))?;
        now = reconnects(&running.page(|page| reconnects(page) > now)?);
    }

    let page = running.next_page()?;
    assert_eq!(of_target(&page, "ctmon_cifs_sessions"), Some(1.0));
    assert!(!is_active(&page, STALLED));
    drop((tuned, plain));
    running.page(|page| of_target(page, "ctmon_target_mounts").is_none())?;
    assert_eq!(running.daemon.stop(END)?.code(), Some(0));
    drop(server);
    Ok(())
}
