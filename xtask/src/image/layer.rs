//! The one layer: the file system of a container.
//!
//! In: the binary's bytes. Out: a compressed tar whose bytes depend on nothing else.
//! Must not: read owners, modes or times of this machine's files.

use std::io::Write as _;

use anyhow::{Context as _, Result};
use flate2::{Compression, GzBuilder};
use tar::{EntryType, Header};

use super::blob::digest;

/// How the layer is stored, and what it is when unpacked.
#[derive(Debug)]
pub(super) struct Layer {
    pub(super) compressed: Vec<u8>,
    /// `sha256:` and the digest of the tar.
    pub(super) diff_id: String,
    pub(super) unpacked_bytes: u64,
}

/// `path` with the folders above it, root's, read by everybody, all of this time.
pub(super) fn pack(path: &str, binary: &[u8], time: u64) -> Result<Layer> {
    let mut builder = tar::Builder::new(Vec::new());
    let path = path.trim_start_matches('/');
    for (end, _) in path.match_indices('/') {
        let folder = path.get(..=end).with_context(|| format!("{path} is not a path"))?;
        append(&mut builder, folder, EntryType::Directory, &[], time)?;
    }
    append(&mut builder, path, EntryType::Regular, binary, time)?;
    let tar = builder.into_inner().context("failed to end the layer's archive")?;
    // No name and no time in the header: the same bytes whenever they are packed.
    let mut encoder = GzBuilder::new().mtime(0).write(Vec::new(), Compression::best());
    encoder.write_all(&tar).context("failed to compress the layer")?;
    let compressed = encoder.finish().context("failed to compress the layer")?;
    Ok(Layer { compressed, diff_id: digest(&tar), unpacked_bytes: tar.len() as u64 })
}

fn append(
    to: &mut tar::Builder<Vec<u8>>,
    path: &str,
    kind: EntryType,
    bytes: &[u8],
    time: u64,
) -> Result<()> {
    let mut header = Header::new_ustar();
    header.set_entry_type(kind);
    header.set_mode(0o755);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(time);
    header.set_size(bytes.len() as u64);
    to.append_data(&mut header, path, bytes).with_context(|| format!("failed to pack {path}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::read::GzDecoder;

    #[test]
    fn a_layer_holds_the_binary_and_the_folders_above_it() {
        let layer = pack("/usr/bin/ctmon", b"ELF", 7).unwrap();
        let mut archive = tar::Archive::new(GzDecoder::new(layer.compressed.as_slice()));
        let mut seen = Vec::new();
        for entry in archive.entries().unwrap() {
            let entry = entry.unwrap();
            let header = entry.header();
            assert_eq!((header.uid().unwrap(), header.gid().unwrap()), (0, 0));
            assert_eq!((header.mode().unwrap(), header.mtime().unwrap()), (0o755, 7));
            let path = entry.path().unwrap().display().to_string();
            seen.push((path, header.entry_type(), header.size().unwrap()));
        }
        let expected = [
            ("usr/".to_owned(), EntryType::Directory, 0),
            ("usr/bin/".to_owned(), EntryType::Directory, 0),
            ("usr/bin/ctmon".to_owned(), EntryType::Regular, 3),
        ];
        assert_eq!(seen, expected);
    }
}
