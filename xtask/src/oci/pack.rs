//! Archives whose bytes depend on nothing but what is in them.
//!
//! In: paths, modes and bytes. Out: a tar, and compressed bytes.
//! Must not: read owners, modes or times of this machine's files.

use std::borrow::Cow;
use std::io::Write as _;

use anyhow::{Context as _, Result};
use flate2::{Compression, GzBuilder};
use tar::{EntryType, Header};

/// One line of an archive.
#[derive(Debug, Clone)]
pub(crate) struct Entry<'a> {
    path: Cow<'a, str>,
    kind: EntryType,
    mode: u32,
    bytes: &'a [u8],
}

impl<'a> Entry<'a> {
    pub(crate) fn folder(path: impl Into<Cow<'a, str>>) -> Self {
        Self { path: path.into(), kind: EntryType::Directory, mode: 0o755, bytes: &[] }
    }

    pub(crate) fn file(path: impl Into<Cow<'a, str>>, bytes: &'a [u8]) -> Self {
        Self { path: path.into(), kind: EntryType::Regular, mode: 0o644, bytes }
    }

    pub(crate) fn program(path: impl Into<Cow<'a, str>>, bytes: &'a [u8]) -> Self {
        Self { mode: 0o755, ..Self::file(path, bytes) }
    }
}

/// Root's, read by everybody, all of this time, in the order given.
pub(crate) fn tar(entries: &[Entry<'_>], time: u64) -> Result<Vec<u8>> {
    let mut builder = tar::Builder::new(Vec::new());
    for Entry { path, kind, mode, bytes } in entries {
        let mut header = Header::new_ustar();
        header.set_entry_type(*kind);
        header.set_mode(*mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(time);
        header.set_size(bytes.len() as u64);
        let slash = if *kind == EntryType::Directory { "/" } else { "" };
        builder
            .append_data(&mut header, format!("{path}{slash}"), *bytes)
            .with_context(|| format!("failed to pack {path}"))?;
    }
    builder.into_inner().context("failed to end an archive")
}

/// No name and no time in the header: the same bytes whenever they are packed.
pub(crate) fn gzip(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut encoder = GzBuilder::new().mtime(0).write(Vec::new(), Compression::best());
    encoder.write_all(bytes).context("failed to compress an archive")?;
    encoder.finish().context("failed to compress an archive")
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::read::GzDecoder;

    #[test]
    fn an_archive_holds_what_it_was_given_and_nothing_of_this_machine() {
        let entries = [Entry::folder("usr"), Entry::program("usr/ctmon", b"ELF"), Entry::file("a", b"")];
        let packed = gzip(&tar(&entries, 7).unwrap()).unwrap();
        let mut archive = tar::Archive::new(GzDecoder::new(packed.as_slice()));
        let mut seen = Vec::new();
        for entry in archive.entries().unwrap() {
            let entry = entry.unwrap();
            let header = entry.header();
            assert_eq!((header.uid().unwrap(), header.gid().unwrap()), (0, 0));
            assert_eq!(header.mtime().unwrap(), 7);
            let path = entry.path().unwrap().display().to_string();
            seen.push((path, header.entry_type(), header.mode().unwrap(), header.size().unwrap()));
        }
        let expected = [
            ("usr/".to_owned(), EntryType::Directory, 0o755, 0),
            ("usr/ctmon".to_owned(), EntryType::Regular, 0o755, 3),
            ("a".to_owned(), EntryType::Regular, 0o644, 0),
        ];
        assert_eq!(seen, expected);
    }
}
