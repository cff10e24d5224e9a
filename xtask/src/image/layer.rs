//! The one layer: the file system of a container.
//!
//! In: the binary's bytes. Out: a compressed tar whose bytes depend on nothing else.
//! Must not: put anything else in.

use anyhow::{Context as _, Result};

use crate::oci::{Entry, digest, gzip, tar};

/// How the layer is stored, and what it is when unpacked.
#[derive(Debug)]
pub(super) struct Layer {
    pub(super) compressed: Vec<u8>,
    /// `sha256:` and the digest of the tar.
    pub(super) diff_id: String,
    pub(super) unpacked_bytes: u64,
}

/// `path` with the folders above it, root's, run by everybody, all of this time.
pub(super) fn pack(path: &str, binary: &[u8], time: u64) -> Result<Layer> {
    let path = path.trim_start_matches('/');
    let mut entries = Vec::new();
    for (end, _) in path.match_indices('/') {
        entries.push(Entry::folder(path.get(..end).with_context(|| format!("{path} is not a path"))?));
    }
    entries.push(Entry::program(path, binary));
    let tar = tar(&entries, time)?;
    Ok(Layer { compressed: gzip(&tar)?, diff_id: digest(&tar), unpacked_bytes: tar.len() as u64 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::read::GzDecoder;

    #[test]
    fn a_layer_holds_the_binary_and_the_folders_above_it() {
        let layer = pack("/usr/bin/ctmon", b"ELF", 7).unwrap();
        let mut archive = tar::Archive::new(GzDecoder::new(layer.compressed.as_slice()));
        let entries = archive.entries().unwrap();
        let paths = entries.map(|entry| entry.unwrap().path().unwrap().display().to_string());
        assert_eq!(paths.collect::<Vec<_>>(), ["usr/", "usr/bin/", "usr/bin/ctmon"]);
    }
}
