//! The file with the configuration, read so that no file can harm the reader.
//!
//! In: a path. Out: text of a bounded size, or one error. Must not: wait for a FIFO, or read a device.

use std::fs::{self, OpenOptions};
use std::io;
use std::io::Read as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use monitor_config::ConfigError;
use monitor_config::file::MAX_BYTES;

/// The text of a regular file.
pub(super) fn read_text(path: &Path) -> Result<String, ConfigError> {
    let failed = |source| ConfigError::Read { path: path.to_owned(), source };
    // Looked at before it is opened: opening a device may set it to work.
    regular(path, &fs::metadata(path).map_err(failed)?)?;
    // Not blocking: a FIFO may have come in its place since.
    let flags = libc::O_NONBLOCK | libc::O_CLOEXEC | libc::O_NOCTTY;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(failed)?;
    regular(path, &file.metadata().map_err(failed)?)?;
    let mut bytes = Vec::new();
    // A regular file may still have no end, below /proc.
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(ConfigError::TooLong { path: path.to_owned() });
    }
    String::from_utf8(bytes)
        .map_err(|_| failed(io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8")))
}

/// A regular file, or `/dev/null`, by which many say that there is nothing to read.
fn regular(path: &Path, metadata: &fs::Metadata) -> Result<(), ConfigError> {
    let is_null = metadata.file_type().is_char_device() && metadata.rdev() == libc::makedev(1, 3);
    if metadata.is_file() || is_null { Ok(()) } else { Err(ConfigError::NotAFile { path: path.to_owned() }) }
}

#[cfg(test)]
mod tests {
    use monitor_check::Catalog;
    use monitor_config::{Settings, load};

    use super::super::folder::Folder;
    use super::*;

    #[test]
    fn a_file_that_is_not_there_says_so_with_its_path() {
        let error = load::<Catalog>(Some(Path::new("/nonexistent/ctmon.yaml")), read_text)
            .expect_err("no file")
            .to_string();
        assert!(error.starts_with("failed to read configuration /nonexistent/ctmon.yaml: "), "{error}");
    }

    #[test]
    fn only_regular_files_of_a_bounded_size_are_read() {
        let check = |path: &Path, expected: &str| {
            let error = load::<Catalog>(Some(path), read_text).expect_err("not to be read").to_string();
            assert!(error.contains(expected), "{error}");
        };
        check(Path::new("/dev/zero"), "/dev/zero is not a regular file");
        check(Path::new("/"), "/ is not a regular file");
        let folder = Folder::new().expect("a folder");
        let fifo = folder.path().join("fifo");
        let made = std::process::Command::new("mkfifo").arg(&fifo).status().expect("mkfifo");
        assert!(made.success());
        // Nobody writes to it: whoever opens it as a file waits for ever.
        check(&fifo, "fifo is not a regular file");
        let link = folder.path().join("link");
        std::os::unix::fs::symlink("/dev/zero", &link).expect("a link");
        check(&link, "link is not a regular file");
        let large = folder.path().join("large");
        fs::write(&large, vec![b'#'; usize::try_from(MAX_BYTES).expect("small") + 1]).expect("a file");
        check(&large, "is longer than 262144 bytes");
        fs::write(&large, b"interval: \xff").expect("a file");
        check(&large, "it is not UTF-8");
    }

    #[test]
    fn dev_null_is_no_configuration_and_no_complaint() {
        assert_eq!(
            load::<Catalog>(Some(Path::new("/dev/null")), read_text).unwrap().settings,
            Settings::defaults::<Catalog>()
        );
    }
}
