//! A layout: what several tools read and push without an engine.
//!
//! In: blobs, and which of them a tag names. Out: the bytes of a tar.
//! Must not: differ between two calls of the same.
//!
//! <https://github.com/opencontainers/image-spec/blob/v1.1.0/image-layout.md>

use std::collections::{BTreeMap, HashMap};

use anyhow::{Context as _, Result};
use oci_spec::image::{
    ANNOTATION_REF_NAME, Descriptor, ImageIndexBuilder, MediaType, OciLayoutBuilder, SCHEMA_VERSION,
};

use super::blob::{Blob, json};
use super::pack::{Entry, tar};

/// What containerd's import takes as the name; others have none but the tag.
const CONTAINERD_NAME: &str = "io.containerd.image.name";

#[derive(Debug, Default)]
pub(crate) struct Layout {
    blobs: BTreeMap<String, Vec<u8>>,
    named: Vec<Descriptor>,
}

impl Layout {
    /// Keeps the blob; how others refer to it is the answer.
    pub(crate) fn add(&mut self, blob: Blob) -> Result<Descriptor> {
        let descriptor = blob.descriptor()?;
        self.blobs.insert(blob.path(), blob.bytes);
        Ok(descriptor)
    }

    /// What a tool finds under the tag; `name` is for engines that keep images by their whole name.
    pub(crate) fn name(&mut self, mut descriptor: Descriptor, tag: &str, name: Option<&str>) {
        let mut annotations = HashMap::from([(ANNOTATION_REF_NAME.to_owned(), tag.to_owned())]);
        if let Some(name) = name {
            annotations.insert(CONTAINERD_NAME.to_owned(), format!("{name}:{tag}"));
        }
        descriptor.set_annotations(Some(annotations));
        self.named.push(descriptor);
    }

    pub(crate) fn archive(&self) -> Result<Vec<u8>> {
        let index = json(
            &ImageIndexBuilder::default()
                .schema_version(SCHEMA_VERSION)
                .media_type(MediaType::ImageIndex)
                .manifests(self.named.clone())
                .build()
                .context("failed to make the layout's index")?,
        )?;
        let mark = json(
            &OciLayoutBuilder::default()
                .image_layout_version("1.0.0")
                .build()
                .context("failed to make the layout's mark")?,
        )?;
        let mut entries = vec![Entry::folder("blobs"), Entry::folder("blobs/sha256")];
        entries.extend(self.blobs.iter().map(|(path, bytes)| Entry::file(path, bytes)));
        entries.extend([Entry::file("index.json", &index), Entry::file("oci-layout", &mark)]);
        // No digest covers the time.
        tar(&entries, 0)
    }
}
