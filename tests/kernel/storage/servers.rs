//! The real servers, each in the network behind the cable, and the programs of the node that use them.
//!
//! In: the network. Out: servers that answer, until they are killed. Must not: leave a process or a mount behind.

use std::fs;
use std::io::ErrorKind;
use std::net::TcpStream;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use support::daemon::{self, Daemon};
use support::network::Network;
use support::node::PATIENCE;
use support::wait::wait_for;

use super::{NAS, write};

/// What Samba serves; the server's side of every share.
pub(super) const SHARES: [&str; 2] = ["media", "downloads"];
const LUN: &str = "/srv/lun";
const IQN: &str = "iqn.2004-04.com.qnap:ts-453d:iscsi.media.0a1b2c";

/// A server in a process group of its own, all of which dies with the value.
pub(super) struct Server(Daemon);

impl Server {
    fn start(network: &Network, program: &'static str, arguments: &'static [&'static str]) -> Result<Self> {
        let start = move || Daemon::start_command(Command::new(program).args(arguments).process_group(0));
        Ok(Self(network.run(start)?))
    }

    /// smbd with two shares for guests, answering.
    pub(super) fn samba(network: &Network) -> Result<Self> {
        let global = "[global]\nserver role = standalone server\nmap to guest = Bad User\n\
            guest account = nobody\ndisable spoolss = yes\nload printers = no\nlog level = 0\n\
            smb ports = 445\npid directory = /run/samba\nlock directory = /run/samba\n\
            state directory = /run/samba\ncache directory = /run/samba\nprivate dir = /run/samba\n\
            ncalrpc dir = /run/samba/ncalrpc\nlog file = /run/samba/log\n";
        let mut config = vec![global.to_owned()];
        for share in SHARES {
            let path = served(share);
            fs::create_dir_all(&path).with_context(|| format!("failed to create {path}"))?;
            let options = "guest ok = yes\nread only = no\nforce user = root";
            config.push(format!("[{share}]\npath = {path}\n{options}\n"));
        }
        write("/run/samba/smb.conf", &config.concat())?;
        let arguments = &["--foreground", "--no-process-group", "--configfile", "/run/samba/smb.conf"];
        Self::start(network, "smbd", arguments)?.answering(445)
    }

    /// tgtd with one disk, answering.
    pub(super) fn iscsi(network: &Network) -> Result<Self> {
        fs::create_dir_all("/var/run/tgtd").context("failed to create tgtd's folder")?;
        write(LUN, &"\0".repeat(8 << 20))?;
        let server = Self::start(network, "tgtd", &["-f"])?;
        // Its control socket is there a moment after the process.
        wait_for("answer of tgtd", || Ok(tgtadm("--op show --mode target").ok()))?;
        tgtadm(&format!("--op new --mode target --tid 1 --targetname {IQN}"))?;
        tgtadm(&format!("--op new --mode logicalunit --tid 1 --lun 1 --backing-store {LUN}"))?;
        tgtadm("--op bind --mode target --tid 1 --initiator-address ALL")?;
        server.answering(3260)
    }

    fn answering(self, port: u16) -> Result<Self> {
        let mut said = String::new();
        wait_for("server", || {
            said = self.0.output();
            Ok(TcpStream::connect((NAS, port)).ok())
        })
        .with_context(|| format!("nobody answers on port {port}; the server said: {said}"))?;
        Ok(self)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // A server's children outlive it and go on serving: all of the group, at once.
        let group = format!("-{}", self.0.pid());
        if let Err(error) = run("kill", &["-KILL", &group]) {
            eprintln!("{error:#}");
        }
    }
}

fn tgtadm(arguments: &str) -> Result<String> {
    run("tgtadm", &["--lld", "iscsi"].into_iter().chain(arguments.split(' ')).collect::<Vec<_>>())
}

/// Where the server keeps a share.
pub(super) fn served(share: &str) -> String {
    format!("/srv/{share}")
}

/// A program that must succeed; what it printed.
pub(super) fn run(program: &str, arguments: &[&str]) -> Result<String> {
    let done = daemon::run_command(Command::new(program).args(arguments), PATIENCE)?;
    let said = [done.stdout.as_str(), done.stderr.as_str()].concat();
    ensure!(done.status.success(), "{program} {} ended with {}: {said}", arguments.join(" "), done.status);
    Ok(said)
}

/// A share, mounted by the kernel's client.
pub(super) struct Mounted {
    point: String,
}

impl Mounted {
    pub(super) fn new(share: &str, options: &str) -> Result<Self> {
        let point = format!("/mnt/{share}");
        fs::create_dir_all(&point).with_context(|| format!("failed to create {point}"))?;
        run("mount.cifs", &["-n", &format!("//{NAS}/{share}"), &point, "-o", options])?;
        Ok(Self { point })
    }

    pub(super) fn file(&self, name: &str) -> String {
        format!("{}/{name}", self.point)
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if let Err(error) = run("umount", &["-l", &self.point]) {
            eprintln!("{error:#}");
        }
    }
}

/// The node's iSCSI daemon; logs out of everything when dropped.
pub(super) struct Initiator {
    _daemon: Daemon,
}

impl Initiator {
    /// Logs in to all that the server offers; a session without answer is given up after seconds, not minutes.
    pub(super) fn login() -> Result<Self> {
        const SETTINGS: &str = "node.startup = manual\nnode.session.timeo.replacement_timeout = 20\n\
            node.conn[0].timeo.noop_out_interval = 2\nnode.conn[0].timeo.noop_out_timeout = 2\n\
            node.conn[0].timeo.login_timeout = 5\nnode.session.initial_login_retry_max = 4\n";
        write("/etc/iscsi/initiatorname.iscsi", "InitiatorName=iqn.2026-11.test:node\n")?;
        write("/etc/iscsi/iscsid.conf", SETTINGS)?;
        for folder in ["/run/lock/iscsi", "/var/lib/iscsi"] {
            fs::create_dir_all(folder).with_context(|| format!("failed to create {folder}"))?;
        }
        let initiator = Self { _daemon: Daemon::start_command(Command::new("iscsid").arg("-f"))? };
        wait_for("discovery", || Ok(iscsiadm("-m discovery -t st -p 192.168.100.180").ok()))?;
        iscsiadm("-m node --login")?;
        Ok(initiator)
    }
}

impl Drop for Initiator {
    fn drop(&mut self) {
        if let Err(error) = iscsiadm("-m node --logout") {
            eprintln!("{error:#}");
        }
    }
}

fn iscsiadm(arguments: &str) -> Result<String> {
    run("iscsiadm", &arguments.split(' ').collect::<Vec<_>>())
}

/// A disk of that server, once the kernel has found it.
pub(super) fn disk() -> Result<String> {
    wait_for("disk of the session", || match fs::read_dir("/sys/class/block") {
        Ok(entries) => {
            let names = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
            Ok(names.into_iter().find(|name| name.starts_with("sd")).map(|name| format!("/dev/{name}")))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).context("failed to list block devices"),
    })
}
