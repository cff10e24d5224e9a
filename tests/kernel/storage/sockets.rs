//! Sockets in a network namespace: which use keepalive, and what a cut cable does to one that sends.
//!
//! In: two namespaces and the cable between them, two connections. Out: pass or fail.
//! Must not: touch the machine's own network.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};

use anyhow::{Result, ensure};
use support::fixture::{self, Lifetimes};
use support::network::{self, Plugged};
use support::node::Node;
use support::page::Page;
use support::sys;
use support::wait::wait_for;

use super::{found, must_find};

const ALERT: &str = "CtmonStoragePathStalled";
const CONFIG: &str = "{targets_from_host: false, targets: [{name: own, addresses: [192.168.100.180], \
                      services: [{name: smb, ports: [445]}]}]}";

fn of_own(page: &Page, name: &str) -> Option<f64> {
    page.value(name, &[("target", "own")])
}

#[test]
fn a_connection_over_a_cut_cable_is_stalled_until_it_is_mended() -> Result<()> {
    if !network::has_cables() {
        return Ok(());
    }
    network::alone(|| {
        let plugged = Plugged::new("192.168.100.10/24", "192.168.100.180/24")?;
        let server = ("192.168.100.180", 445);
        let listener = plugged.network.run(move || Ok(TcpListener::bind(server)?))?;
        let node = Node::with_our_network(CONFIG)?;
        let _maps = fixture::replay(&node.bpffs, Lifetimes::ShiftedToNow)?;
        let (kept, mut sender) = (TcpStream::connect(server)?, TcpStream::connect(server)?);
        sys::keep_alive(&kept)?;
        let (_idle, (mut receiver, _)) = (listener.accept()?, listener.accept()?);

        // While an acknowledgement is awaited, its timer hides the other.
        let page = wait_for("answer to the keepalive question", || {
            Ok(Some(node.scrape()?)
                .filter(|page| of_own(page, "ctmon_target_keepalive_sockets") == Some(1.0)))
        })?;
        let established = [("target", "own"), ("target_service", "smb"), ("tcp_state", "established")];
        assert_eq!(page.value("ctmon_target_sockets", &established), Some(2.0));
        assert_eq!(of_own(&page, "ctmon_target_stalled_sockets"), Some(0.0));
        assert_eq!(found(&node, ALERT)?, None);

        plugged.cut()?;
        sender.write_all(b"is anybody there")?;
        let page = wait_for("stalled socket", || {
            Ok(Some(node.scrape()?).filter(|page| of_own(page, "ctmon_target_stalled_sockets") != Some(0.0)))
        })?;
        assert_eq!(of_own(&page, "ctmon_target_stalled_sockets"), Some(1.0), "an idle one is not stalled");
        assert_eq!(page.value("ctmon_target_sockets", &established), Some(2.0));
        let ends = format!("{} to 192.168.100.180:445 (smb, established), silent for ", sender.local_addr()?);
        let words = ["1 of 2 sockets repeat data and hear nothing: ", &ends, "16 bytes unacknowledged"];
        must_find(&node, ALERT, &words)?;

        plugged.mend()?;
        let mut heard = [0; 16];
        receiver.read_exact(&mut heard)?;
        ensure!(&heard == b"is anybody there", "{heard:?}");
        let stalled =
            || Ok(of_own(&node.scrape()?, "ctmon_target_stalled_sockets").filter(|count| *count == 0.0));
        wait_for("end of the stall", stalled)?;
        assert_eq!(found(&node, ALERT)?, None);
        Ok(())
    })
}
