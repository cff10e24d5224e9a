//! Content that is called by its digest.
//!
//! In: bytes, or a document. Out: its digest, and bytes that are the same for the same document.
//! Must not: know what the content means.

use anyhow::{Context as _, Result};
use oci_spec::image::{Descriptor, Digest, MediaType};
use serde::Serialize;
use sha2::{Digest as _, Sha256};

/// One file below `blobs/sha256`.
#[derive(Debug)]
pub(crate) struct Blob {
    pub(crate) media_type: MediaType,
    pub(crate) digest: String,
    pub(crate) bytes: Vec<u8>,
}

impl Blob {
    pub(crate) fn new(media_type: MediaType, bytes: Vec<u8>) -> Self {
        Self { media_type, digest: digest(&bytes), bytes }
    }

    pub(crate) fn of_document(media_type: MediaType, document: &impl Serialize) -> Result<Self> {
        Ok(Self::new(media_type, json(document)?))
    }

    /// How other documents refer to it.
    pub(crate) fn descriptor(&self) -> Result<Descriptor> {
        let digest = Digest::try_from(self.digest.as_str()).context("failed to read our own digest")?;
        Ok(Descriptor::new(self.media_type.clone(), self.bytes.len() as u64, digest))
    }

    pub(crate) fn path(&self) -> String {
        format!("blobs/{}", self.digest.replace(':', "/"))
    }
}

/// `sha256:` and 64 digits.
pub(crate) fn digest(bytes: &[u8]) -> String {
    format!("sha256:{:x}", Sha256::digest(bytes))
}

/// With sorted keys: the documents hold hash maps, whose order differs from run to run.
pub(crate) fn json(document: &impl Serialize) -> Result<Vec<u8>> {
    let sorted = serde_json::to_value(document).context("failed to write a document of the image")?;
    serde_json::to_vec(&sorted).context("failed to write a document of the image")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    #[test]
    fn a_digest_is_that_of_the_standard() {
        let expected = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(digest(b"abc"), expected);
        assert_eq!(
            Blob::new(MediaType::ImageConfig, b"abc".to_vec()).path(),
            format!("blobs/{}", expected.replace(':', "/"))
        );
    }

    #[test]
    fn documents_are_the_same_bytes_whatever_the_order_of_a_hash_map() {
        let names = ["e", "d", "c", "b", "a"];
        // Every map has its own seed.
        let map = || names.iter().map(|&name| (name, 1)).collect::<HashMap<_, _>>();
        assert_eq!(json(&map()).unwrap(), br#"{"a":1,"b":1,"c":1,"d":1,"e":1}"#);
        assert_eq!(json(&map()).unwrap(), json(&map()).unwrap());
    }
}
