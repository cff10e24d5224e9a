//! Booting one kernel.
//!
//! In: a kernel, an initramfs, a command line. Out: its console in a file, and whether it ended by itself.
//! Must not: install the emulator over the machine's own packages.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use super::archive::Archive;
use crate::shell::{Run as _, ends_with_us, say};

const PROGRAM: &str = "qemu-system-x86_64";
const PACKAGE: &str = "qemu-system-x86";

/// An emulator that starts.
#[derive(Debug, Clone)]
pub(super) struct Qemu {
    /// `None`: the machine's own; else where it was unpacked.
    tree: Option<PathBuf>,
}

/// How a boot came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    PoweredOff,
    /// Killed, after this long.
    Hung(Duration),
}

impl Qemu {
    /// The machine's own emulator, or the one unpacked before.
    pub(super) fn find(dir: &Path) -> Option<Self> {
        [None, Some(dir.to_owned())]
            .into_iter()
            .map(|tree| Self { tree })
            .find(|qemu| qemu.command().arg("--version").read_if_works().is_some())
    }

    /// Downloads it and its libraries and unpacks them in `dir`.
    pub(super) fn fetch(archive: &Archive, dir: &Path) -> Result<Self> {
        say(&format!("downloading {PACKAGE}, unpacked under target/vm, not installed"));
        archive.unpack(&archive.closure(PACKAGE)?, dir)?;
        Self::find(dir)
            .with_context(|| format!("{PACKAGE} was unpacked in {} and does not start", dir.display()))
    }

    pub(super) fn boot(&self, boot: &Boot<'_>) -> Result<Ending> {
        let Boot { kernel, initramfs, command_line, console, timeout } = *boot;
        let mut serial = std::ffi::OsString::from("file:");
        serial.push(console);
        let child = self
            .command()
            // Software only: a /dev/kvm inside a virtual machine may be there and never run a guest.
            .args(["-machine", "q35", "-accel", "tcg,thread=multi", "-cpu", "max"])
            .args(["-smp", "2", "-m", "2G", "-nodefaults", "-nic", "none", "-display", "none", "-no-reboot"])
            .arg("-serial")
            .arg(serial)
            .arg("-kernel")
            .arg(kernel)
            .arg("-initrd")
            .arg(initramfs)
            .arg("-append")
            // Only what is critical, so that the kernel does not talk into a line of the tests. The check of the timer waits
            // for so many ticks of an emulated clock: on a busy host they come late, and the kernel would give up.
            .arg(format!("console=ttyS0 loglevel=3 panic=-1 oops=panic no_timer_check {command_line}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .with_context(|| format!("failed to start {PROGRAM}"))?;
        wait(child, timeout)
    }

    fn command(&self) -> Command {
        let Some(tree) = &self.tree else { return ends_with_us("KILL", PROGRAM) };
        let libraries = |dir: &str| tree.join(dir).join("x86_64-linux-gnu").display().to_string();
        let mut command = ends_with_us("KILL", tree.join("usr/bin").join(PROGRAM));
        for firmware in ["usr/share/qemu", "usr/share/seabios"] {
            command.arg("-L").arg(tree.join(firmware));
        }
        command.env("LD_LIBRARY_PATH", format!("{}:{}", libraries("usr/lib"), libraries("lib")));
        command
    }
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Boot<'a> {
    pub(super) kernel: &'a Path,
    pub(super) initramfs: &'a Path,
    pub(super) command_line: &'a str,
    pub(super) console: &'a Path,
    pub(super) timeout: Duration,
}

fn wait(mut child: Child, timeout: Duration) -> Result<Ending> {
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait().context("failed to wait for the emulator")? {
            anyhow::ensure!(status.success(), "the emulator failed: {status}");
            return Ok(Ending::PoweredOff);
        }
        if start.elapsed() > timeout {
            child.kill().context("failed to stop the emulator")?;
            child.wait().context("failed to wait for the emulator")?;
            return Ok(Ending::Hung(timeout));
        }
        thread::sleep(Duration::from_millis(50));
    }
}

/// The console as text, whatever bytes it holds.
pub(super) fn read_console(path: &Path) -> Result<String> {
    let bytes =
        fs::read(path).with_context(|| format!("failed to read the console log {}", path.display()))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_end_is_killed_in_time() {
        let child = Command::new("sleep").arg("60").spawn().unwrap();
        let timeout = Duration::from_millis(100);
        assert_eq!(wait(child, timeout).unwrap(), Ending::Hung(timeout));
    }

    #[test]
    fn an_emulator_that_fails_is_an_error() {
        let child = Command::new("false").spawn().unwrap();
        assert!(wait(child, Duration::from_secs(10)).is_err());
    }
}
