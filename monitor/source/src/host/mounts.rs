//! Network file systems the node has mounted: from where, with which options, sharing what.
//!
//! In: `/proc/1/mountinfo` (the node's mounts), or our own when pid 1's cannot be read. Out: [`Mounts`], and whose they are.
//! Must not: take our own for the node's without saying so.

use monitor_decode::host::mounts::parse_mountinfo;
use monitor_model::host::mounts::{MountSource, Mounts};

use super::{Host, HostError, Sample, in_file, read_optional};

/// Every CIFS and NFS mount of the node.
pub fn read_mounts(host: &Host) -> Sample<Mounts> {
    let own = || (host.proc("self/mountinfo"), MountSource::Own);
    let (mut path, mut source) = (host.proc("1/mountinfo"), MountSource::Pid1);
    let bytes = match read_optional(&path) {
        Ok(Some(bytes)) => Some(bytes),
        Ok(None) | Err(HostError::Read { .. }) => {
            (path, source) = own();
            read_optional(&path)?
        }
        Err(error) => return Err(error),
    };
    let Some(bytes) = bytes else { return Ok(None) };
    parse_mountinfo(&bytes).map(|mounts| Some(Mounts { source, mounts })).map_err(in_file(&path))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{TempDir, fixture};
    use super::*;

    #[test]
    fn pid_1_comes_first_and_the_fall_back_is_told() {
        let dir = TempDir::new();
        assert_eq!(read_mounts(&dir.host()).unwrap(), None);
        dir.write("proc/self/mountinfo", b"");
        assert_eq!(read_mounts(&dir.host()).unwrap().unwrap().source, MountSource::Own);
        let path = dir.write("proc/1/mountinfo", &fixture("mounts/mountinfo-6.12"));
        let mounts = read_mounts(&dir.host()).unwrap().unwrap();
        assert_eq!((mounts.source, mounts.mounts.len()), (MountSource::Pid1, 2));
        std::fs::write(&path, b"1 1 0:9\n").unwrap();
        let error = read_mounts(&dir.host()).unwrap_err().to_string();
        assert!(error.contains("mountinfo: line 1: expected"), "{error}");
    }

    #[test]
    fn the_running_kernel_answers() {
        assert!(read_mounts(&Host::default()).unwrap().is_some());
    }
}
