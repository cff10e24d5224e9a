//! The image as engines exchange it.
//!
//! In: a layer and what the image says of itself. Out: the bytes of an OCI image layout in a tar, and its digest.
//! Must not: touch files, or differ between two calls of the same.
//!
//! <https://github.com/opencontainers/image-spec/blob/v1.1.0/image-layout.md>

use std::collections::HashMap;

use anyhow::{Context as _, Result};
use oci_spec::image::{
    ANNOTATION_REF_NAME, Arch, ConfigBuilder, ImageConfigurationBuilder, ImageIndexBuilder,
    ImageManifestBuilder, MediaType, OciLayoutBuilder, Os, Platform, PlatformBuilder, RootFsBuilder,
    SCHEMA_VERSION,
};
use tar::{EntryType, Header};

use super::blob::{Blob, json};
use super::identity::{ENTRYPOINT, Identity, REPOSITORY, USER};
use super::layer::Layer;

/// What containerd's import takes as the name; others have none but the tag.
const CONTAINERD_NAME: &str = "io.containerd.image.name";

/// A whole image.
#[derive(Debug)]
pub(super) struct Image {
    pub(super) archive: Vec<u8>,
    /// That of the manifest: what `image@sha256:...` pulls.
    pub(super) digest: String,
    /// What a node downloads.
    pub(super) pulled_bytes: u64,
    /// What it then has on disk.
    pub(super) unpacked_bytes: u64,
}

pub(super) fn assemble(arch: &Arch, layer: Layer, identity: &Identity) -> Result<Image> {
    let Layer { compressed, diff_id, unpacked_bytes } = layer;
    let labels: HashMap<_, _> = identity.labels().into_iter().collect();
    let layer = Blob::new(MediaType::ImageLayerGzip, compressed);
    let config = Blob::of_document(MediaType::ImageConfig, &{
        let start = ConfigBuilder::default()
            .user(USER)
            .entrypoint([ENTRYPOINT.to_owned()])
            .labels(labels.clone())
            .build()
            .context("failed to make the image's configuration")?;
        let rootfs = RootFsBuilder::default()
            .typ("layers")
            .diff_ids([diff_id])
            .build()
            .context("failed to make the image's list of layers")?;
        let mut config = ImageConfigurationBuilder::default()
            .architecture(arch.clone())
            .os(Os::Linux)
            .rootfs(rootfs)
            .config(start);
        if let Some(variant) = variant(arch) {
            config = config.variant(variant);
        }
        if let Some(created) = &identity.created {
            config = config.created(created.as_str());
        }
        config.build().context("failed to make the image's configuration")?
    })?;
    let manifest = Blob::of_document(
        MediaType::ImageManifest,
        &ImageManifestBuilder::default()
            .schema_version(SCHEMA_VERSION)
            .media_type(MediaType::ImageManifest)
            .config(config.descriptor()?)
            .layers([layer.descriptor()?])
            .annotations(labels)
            .build()
            .context("failed to make the image's manifest")?,
    )?;
    let index = json(
        &ImageIndexBuilder::default()
            .schema_version(SCHEMA_VERSION)
            .media_type(MediaType::ImageIndex)
            .manifests([{
                let mut descriptor = manifest.descriptor()?;
                let version = env!("CARGO_PKG_VERSION");
                descriptor.set_platform(Some(platform(arch)?));
                descriptor.set_annotations(Some(HashMap::from([
                    (ANNOTATION_REF_NAME.to_owned(), version.to_owned()),
                    (CONTAINERD_NAME.to_owned(), format!("{REPOSITORY}:{version}")),
                ])));
                descriptor
            }])
            .build()
            .context("failed to make the image's index")?,
    )?;
    let layout = json(
        &OciLayoutBuilder::default()
            .image_layout_version("1.0.0")
            .build()
            .context("failed to make the layout's mark")?,
    )?;
    let mut blobs = [config, layer, manifest];
    let digest = blobs.last().context("no manifest")?.digest.clone();
    let pulled_bytes = blobs.iter().map(|blob| blob.bytes.len() as u64).sum();
    blobs.sort_by(|one, other| one.digest.cmp(&other.digest));
    let archive = archive(&blobs, &index, &layout)?;
    Ok(Image { archive, digest, pulled_bytes, unpacked_bytes })
}

/// arm64 is version 8 of the architecture, and containerd looks for it by that name.
fn variant(arch: &Arch) -> Option<&'static str> {
    (*arch == Arch::ARM64).then_some("v8")
}

fn platform(arch: &Arch) -> Result<Platform> {
    let mut platform = PlatformBuilder::default().architecture(arch.clone()).os(Os::Linux);
    if let Some(variant) = variant(arch) {
        platform = platform.variant(variant);
    }
    platform.build().context("failed to name the image's platform")
}

fn archive(blobs: &[Blob], index: &[u8], layout: &[u8]) -> Result<Vec<u8>> {
    let mut builder = tar::Builder::new(Vec::new());
    for folder in ["blobs/", "blobs/sha256/"] {
        append(&mut builder, folder, EntryType::Directory, 0o755, &[])?;
    }
    for blob in blobs {
        append(&mut builder, &blob.path(), EntryType::Regular, 0o644, &blob.bytes)?;
    }
    append(&mut builder, "index.json", EntryType::Regular, 0o644, index)?;
    append(&mut builder, "oci-layout", EntryType::Regular, 0o644, layout)?;
    builder.into_inner().context("failed to end the image's archive")
}

fn append(
    to: &mut tar::Builder<Vec<u8>>,
    path: &str,
    kind: EntryType,
    mode: u32,
    bytes: &[u8],
) -> Result<()> {
    let mut header = Header::new_ustar();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    // Not part of any digest, but of the archive's bytes.
    header.set_mtime(0);
    header.set_size(bytes.len() as u64);
    to.append_data(&mut header, path, bytes).with_context(|| format!("failed to pack {path}"))
}
