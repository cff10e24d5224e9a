//! The node itself: sysctls, mounts, sessions, sockets, logs, and the servers they point at.
//!
//! In: files below the roots of one [`Host`]. Out: plain data per source, `Ok(None)` when the node has no such
//! thing (the source is off) and [`HostError`] with its reason when it has but cannot be read (the source is
//! down). Must not: turn either of the two into a zero, or read a path that does not start at a root of `Host`.

use std::fs::OpenOptions;
use std::io;
use std::io::Read as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use monitor_decode::error::ParseError;

pub(crate) mod addresses;
pub mod cifs;
pub mod collect;
mod endpoint;
pub mod iscsi;
pub mod logs;
pub mod mounts;
pub mod net_scope;
pub mod netstat;
pub mod sockets;
pub mod storage;
pub mod sysctl;
pub mod targets;

/// Where the node's files are, as seen from here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// procfs of the node: with its pid 1, not the container's.
    pub procfs: PathBuf,
    pub sysfs: PathBuf,
    /// The kubelet's folder of pod logs.
    pub pod_logs: PathBuf,
    /// A mounted Cilium ConfigMap (a folder, one file per key) or a YAML file, if the user named one.
    pub cilium_config: Option<PathBuf>,
}

impl Default for Host {
    fn default() -> Self {
        Self {
            procfs: PathBuf::from("/proc"),
            sysfs: PathBuf::from("/sys"),
            pod_logs: PathBuf::from("/var/log/pods"),
            cilium_config: None,
        }
    }
}

impl Host {
    #[must_use]
    pub fn proc(&self, path: impl AsRef<Path>) -> PathBuf {
        self.procfs.join(path)
    }

    #[must_use]
    pub fn sys(&self, path: impl AsRef<Path>) -> PathBuf {
        self.sysfs.join(path)
    }
}

/// There is no procfs where it was looked for: everything read of the node would be absent, and look like nothing.
#[derive(Debug, thiserror::Error)]
#[error("{path} is not a procfs: mount the node's /proc there, or name its place with --procfs")]
pub struct NoProcfs {
    path: PathBuf,
}

/// Makes sure that the path is a procfs: by its kind, or by what every one has, the first process and the one that looks.
pub fn check_procfs(path: &Path) -> Result<(), NoProcfs> {
    const PROC_SUPER_MAGIC: i128 = 0x9fa0;
    let by_kind = rustix::fs::statfs(path).is_ok_and(|found| i128::from(found.f_type) == PROC_SUPER_MAGIC);
    let is_one = by_kind || ["1", "self"].iter().any(|name| path.join(name).symlink_metadata().is_ok());
    is_one.then_some(()).ok_or_else(|| NoProcfs { path: path.to_owned() })
}

/// One reading of one source: `Ok(None)` is off, an error is down.
pub type Sample<T> = Result<Option<T>, HostError>;

#[derive(Debug, thiserror::Error)]
pub enum HostError {
    #[error("failed to read {path}: {source}")]
    Read { path: PathBuf, source: io::Error },
    #[error("failed to read {path}: larger than {limit} bytes")]
    TooLarge { path: PathBuf, limit: u64 },
    #[error("failed to parse {path}: {source}")]
    Parse { path: PathBuf, source: ParseError },
    #[error(transparent)]
    Sockets(#[from] sockets::SocketsError),
    #[error(
        "the node's sockets cannot be seen from a network namespace of our own: set hostNetwork: true, or run ctmon on \
         the node"
    )]
    OwnNetwork,
}

/// What its parser refused, of this file.
pub(crate) fn in_file(path: &Path) -> impl FnOnce(ParseError) -> HostError + '_ {
    move |source| HostError::Parse { path: path.to_owned(), source }
}

/// No file read here is near this size on a healthy node; a bound keeps a strange one from filling memory.
const READ_LIMIT: u64 = 4 << 20;

/// The bytes of a file, `None` when it does not exist.
pub(crate) fn read_optional(path: &Path) -> Sample<Vec<u8>> {
    let fail = |source: io::Error| HostError::Read { path: path.to_owned(), source };
    // Not blocking: a FIFO in the place of a file must not hold whoever collects.
    let file = match OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path) {
        Ok(file) => file,
        Err(error) if is_absent(&error) => return Ok(None),
        Err(error) => return Err(fail(error)),
    };
    let mut bytes = Vec::new();
    match file.take(READ_LIMIT + 1).read_to_end(&mut bytes) {
        Ok(_) if bytes.len() as u64 > READ_LIMIT => {
            Err(HostError::TooLarge { path: path.to_owned(), limit: READ_LIMIT })
        }
        Ok(_) => Ok(Some(bytes)),
        // A process or a session that went away between open and read is absent, not broken.
        Err(error) if is_absent(&error) => Ok(None),
        Err(error) => Err(fail(error)),
    }
}

fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
        || error.raw_os_error() == Some(libc::ESRCH)
        || error.raw_os_error() == Some(libc::ENODEV)
}

/// The names in a folder, sorted; `None` when it does not exist.
fn list_optional(path: &Path) -> Sample<Vec<String>> {
    let fail = |source: io::Error| HostError::Read { path: path.to_owned(), source };
    let entries = match path.read_dir() {
        Ok(entries) => entries,
        Err(error) if is_absent(&error) => return Ok(None),
        Err(error) => return Err(fail(error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(fail)?;
        names.extend(entry.file_name().into_string());
    }
    names.sort_unstable();
    Ok(Some(names))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::testing::TempDir;

    #[test]
    fn an_absent_file_is_off_and_an_unreadable_one_is_down_with_its_path() {
        let dir = TempDir::new();
        assert!(read_optional(&dir.path().join("absent")).unwrap().is_none());
        dir.write("file", b"x");
        assert!(read_optional(&dir.path().join("file/below")).unwrap().is_none());
        let error = read_optional(dir.path()).unwrap_err().to_string();
        assert!(error.starts_with("failed to read /") && error.contains("directory"), "{error}");
    }

    #[test]
    fn a_folder_that_is_no_procfs_is_refused() {
        let dir = TempDir::new();
        let error = check_procfs(dir.path()).unwrap_err().to_string();
        assert!(error.contains("is not a procfs") && error.contains("--procfs"), "{error}");
        std::os::unix::fs::symlink("/proc/self", dir.path().join("self")).unwrap();
        check_procfs(dir.path()).unwrap();
        check_procfs(Path::new("/proc")).unwrap();
        check_procfs(Path::new("/nowhere")).unwrap_err();
    }

    #[test]
    fn a_file_beyond_the_bound_is_refused_rather_than_cut() {
        let dir = TempDir::new();
        let len = usize::try_from(READ_LIMIT).unwrap();
        dir.write("fits", &vec![b'x'; len]);
        dir.write("large", &vec![b'x'; len + 1]);
        assert_eq!(read_optional(&dir.path().join("fits")).unwrap().unwrap().len(), len);
        let error = read_optional(&dir.path().join("large")).unwrap_err();
        assert!(matches!(error, HostError::TooLarge { .. }), "{error}");
    }

    #[test]
    fn a_parse_error_is_one_short_line() {
        let text = in_file(Path::new("p"))(ParseError::new(3, "a number", &"x\n".repeat(500))).to_string();
        assert!(text.starts_with("failed to parse p: line 3: expected a number, found \"x\\n"), "{text}");
        assert!(!text.contains('\n') && text.len() < 250, "{text}");
    }
}

#[cfg(any(test, feature = "testing"))]
#[expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::must_use_candidate,
    clippy::missing_panics_doc,
    clippy::new_without_default,
    reason = "for tests"
)]
pub mod testing {
    //! What the tests of this folder share: fixtures, and a folder that is removed again.

    use std::fs;
    use std::path::{Path, PathBuf};
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::Host;

    pub fn fixture_path(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/host").join(name)
    }

    pub fn fixture(name: &str) -> Vec<u8> {
        let path = fixture_path(name);
        fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    pub struct TempDir(PathBuf);

    impl TempDir {
        pub fn new() -> Self {
            static NEXT: AtomicU32 = AtomicU32::new(0);
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let path = std::env::temp_dir().join(format!("ctmon-host-{}-{number}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        pub fn path(&self) -> &Path {
            &self.0
        }

        pub fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
            let path = self.0.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, bytes).unwrap();
            path
        }

        /// A host whose every root is this folder's.
        pub fn host(&self) -> Host {
            Host {
                procfs: self.0.join("proc"),
                sysfs: self.0.join("sys"),
                pod_logs: self.0.join("pods"),
                cilium_config: None,
            }
        }
    }

    impl Drop for TempDir {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }
}
