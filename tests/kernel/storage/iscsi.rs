//! An iSCSI target whose cable is cut: logged in, failed, given up, logged in again.
//!
//! In: the kernel's initiator and open-iscsi. Out: pass or fail. Must not: wait as long as an operator's time-outs.

use std::process::Command;

use anyhow::{Result, ensure};
use support::daemon::Daemon;
use support::fixture::{self, Lifetimes};
use support::node::Node;
use support::page::Page;

use super::servers::{Initiator, Server, disk};
use super::{CONFIG, TARGET, found, has_servers, is_active, must_find, plug};
use crate::daemon::{END, start};

const DOWN: &str = "CtmonIscsiSessionDown";

fn sessions(page: &Page, state: &str) -> f64 {
    page.value("ctmon_iscsi_sessions", &[("target", TARGET), ("state", state)]).unwrap_or(0.0)
}

#[test]
fn an_iscsi_session_is_told_while_it_is_down_and_until_it_is_back() -> Result<()> {
    if !has_servers() {
        return Ok(());
    }
    let plugged = plug()?;
    let _server = Server::iscsi(&plugged.network)?;
    let node = Node::new(CONFIG)?;
    let _maps = fixture::replay(&node.bpffs, Lifetimes::ShiftedToNow)?;
    let mut running = start(&node)?;
    let _initiator = Initiator::login()?;
    let disk = disk()?;
    let page = running.page(|page| sessions(page, "logged_in") > 0.0)?;
    let established = [("target", TARGET), ("target_service", "iscsi"), ("tcp_state", "established")];
    assert_eq!(page.sum("ctmon_target_sockets", &established), Some(1.0));
    assert!(!is_active(&page, DOWN));
    assert_eq!(found(&node, DOWN)?, None);

    plugged.cut()?;
    let mut reader = Daemon::start_command(Command::new("dd").args([
        &format!("if={disk}"),
        "of=/dev/null",
        "bs=4096",
        "count=1",
        "iflag=direct",
    ]))?;
    let page = running.page(|page| sessions(page, "failed") + sessions(page, "free") > 0.0)?;
    assert!(is_active(&page, DOWN));
    must_find(&node, DOWN, &["1 iSCSI sessions are not logged in: session", "through 192.168.100.180:3260"])?;
    running.page(|page| sessions(page, "free") > 0.0)?;
    must_find(&node, DOWN, &["is free", "the recovery time-out is over: requests fail"])?;
    ensure!(!reader.wait(support::node::PATIENCE)?.success(), "a read without a server succeeded");

    plugged.mend()?;
    let page = running.page(|page| sessions(page, "logged_in") > 0.0)?;
    assert!(!is_active(&page, DOWN));
    assert_eq!(found(&node, DOWN)?, None);
    assert_eq!(running.daemon.stop(END)?.code(), Some(0));
    Ok(())
}
