//! Clocks, mounts and signals.
//!
//! In: paths, process numbers. Out: plain values. Must not: know what a map is.

use std::ffi::CString;
use std::io;
use std::mem::zeroed;
use std::net::TcpStream;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

/// `BPF_FS_MAGIC`.
const BPFFS_MAGIC: i64 = 0xcafe_4a11;

/// Time on `CLOCK_MONOTONIC`, the clock of Cilium's lifetimes.
pub fn monotonic() -> Result<Duration> {
    // SAFETY: a `timespec` is two integers, for which zero is a value.
    let mut time: libc::timespec = unsafe { zeroed() };
    // SAFETY: `time` is a live, writable `timespec`.
    let answer = unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    ensure!(answer == 0, "failed to read CLOCK_MONOTONIC: {}", io::Error::last_os_error());
    Ok(Duration::new(time.tv_sec.try_into()?, time.tv_nsec.try_into()?))
}

/// Whether `path` lies on a bpffs.
pub fn is_bpffs(path: &Path) -> Result<bool> {
    let name = c_path(path)?;
    // SAFETY: a `statfs` is integers only, for which zero is a value.
    let mut stat: libc::statfs = unsafe { zeroed() };
    // SAFETY: `name` ends with a zero byte and `stat` is a live, writable `statfs`.
    let answer = unsafe { libc::statfs(name.as_ptr(), &raw mut stat) };
    ensure!(answer == 0, "failed to stat {}: {}", path.display(), io::Error::last_os_error());
    #[expect(clippy::useless_conversion, reason = "the field's width depends on the architecture")]
    Ok(i64::from(stat.f_type) == BPFFS_MAGIC)
}

/// Mounts a new bpffs.
pub fn mount_bpffs(path: &Path) -> Result<()> {
    let name = c_path(path)?;
    // SAFETY: all strings end with a zero byte; bpffs takes no data.
    let answer = unsafe { libc::mount(c"bpf".as_ptr(), name.as_ptr(), c"bpf".as_ptr(), 0, ptr::null()) };
    ensure!(
        answer == 0,
        "failed to mount a bpffs at {}: {}: run as root",
        path.display(),
        io::Error::last_os_error()
    );
    Ok(())
}

/// Gives the calling thread a network namespace of its own; it goes with the thread and what was started from it.
pub fn unshare_network() -> Result<()> {
    // SAFETY: takes no pointer; only the calling thread's namespace changes.
    let answer = unsafe { libc::unshare(libc::CLONE_NEWNET) };
    ensure!(answer == 0, "failed to make a network namespace: {}: run as root", io::Error::last_os_error());
    Ok(())
}

/// Makes the next process that the calling thread starts the first one of a namespace of its own, which goes with it. The
/// thread itself can start no thread any more.
pub fn unshare_processes() -> Result<()> {
    // SAFETY: takes no pointer; only what the calling thread starts is concerned.
    let answer = unsafe { libc::unshare(libc::CLONE_NEWPID) };
    ensure!(answer == 0, "failed to make a process namespace: {}: run as root", io::Error::last_os_error());
    Ok(())
}

/// Asks for keepalive on a connection.
pub fn keep_alive(socket: &TcpStream) -> Result<()> {
    let on: libc::c_int = 1;
    let size = libc::socklen_t::try_from(size_of_val(&on))?;
    // SAFETY: the descriptor is open, `on` is a live integer of the size that is told.
    let answer = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_KEEPALIVE,
            (&raw const on).cast(),
            size,
        )
    };
    ensure!(answer == 0, "failed to set SO_KEEPALIVE: {}", io::Error::last_os_error());
    Ok(())
}

/// Takes a mount away, at once for new users and for the others when they are done.
pub fn unmount(path: &Path) -> Result<()> {
    let name = c_path(path)?;
    // SAFETY: `name` ends with a zero byte.
    let answer = unsafe { libc::umount2(name.as_ptr(), libc::MNT_DETACH) };
    ensure!(answer == 0, "failed to unmount {}: {}", path.display(), io::Error::last_os_error());
    Ok(())
}

/// Signals a test sends or a program waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum Signal {
    Hangup = libc::SIGHUP,
    Interrupt = libc::SIGINT,
    Terminate = libc::SIGTERM,
}

/// Sends a signal to one process.
pub fn kill(pid: u32, signal: Signal) -> Result<()> {
    let pid = libc::pid_t::try_from(pid)?;
    ensure!(pid > 0, "0 is not one process");
    // SAFETY: takes two integers; a positive number addresses one process.
    let answer = unsafe { libc::kill(pid, signal as i32) };
    ensure!(answer == 0, "failed to send {signal:?} to {pid}: {}", io::Error::last_os_error());
    Ok(())
}

/// SIGINT and SIGTERM, held back from killing the process and waited for instead.
#[derive(Debug)]
pub struct Termination(libc::sigset_t);

impl Termination {
    /// Blocks both signals; call it before any thread is started, since threads inherit the mask.
    pub fn block() -> Result<Self> {
        // SAFETY: a `sigset_t` is plain bits, for which zero is a value.
        let mut set: libc::sigset_t = unsafe { zeroed() };
        for signal in [Signal::Interrupt, Signal::Terminate] {
            // SAFETY: `set` is a live, writable signal set and the number is a valid one.
            let answer = unsafe { libc::sigaddset(&raw mut set, signal as i32) };
            ensure!(answer == 0, "failed to add {signal:?}: {}", io::Error::last_os_error());
        }
        // SAFETY: `set` is a live signal set; the old mask is not asked for.
        let answer = unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, ptr::null_mut()) };
        ensure!(answer == 0, "failed to block signals: {}", io::Error::from_raw_os_error(answer));
        Ok(Self(set))
    }

    /// Sleeps; `true` as soon as one of them came.
    #[must_use]
    pub fn wait(&self, patience: Duration) -> bool {
        let time = libc::timespec {
            tv_sec: patience.as_secs().try_into().unwrap_or(libc::time_t::MAX),
            tv_nsec: patience.subsec_nanos().into(),
        };
        // SAFETY: `self.0` and `time` are live; what else is known of the signal is not asked for.
        let signal = unsafe { libc::sigtimedwait(&raw const self.0, ptr::null_mut(), &raw const time) };
        signal > 0
    }
}

pub(super) fn c_path(path: &Path) -> Result<CString> {
    CString::new(path.as_os_str().as_bytes())
        .with_context(|| format!("path {} contains a zero byte", path.display()))
}
