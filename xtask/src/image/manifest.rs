//! The image as engines exchange it.
//!
//! In: a layer for each architecture and what the image says of itself. Out: a layout, and what a pull of it costs.
//! Must not: touch files, or differ between two calls of the same.

use std::collections::HashMap;

use anyhow::{Context as _, Result};
use oci_spec::image::{
    Arch, ConfigBuilder, Descriptor, ImageConfigurationBuilder, ImageIndexBuilder, ImageManifestBuilder,
    MediaType, Os, Platform, PlatformBuilder, RootFsBuilder, SCHEMA_VERSION,
};

use super::identity::{ENTRYPOINT, Identity, USER};
use super::layer::Layer;
use crate::oci::{Blob, Layout};

/// The image of one architecture, in a layout and without a name yet.
#[derive(Debug)]
pub(super) struct Image {
    /// Its manifest, with the platform.
    pub(super) manifest: Descriptor,
    /// What a node downloads.
    pub(super) pulled_bytes: u64,
    /// What it then has on disk.
    pub(super) unpacked_bytes: u64,
}

/// Puts the image of one architecture into the layout.
pub(super) fn add(layout: &mut Layout, arch: &Arch, layer: Layer, identity: &Identity) -> Result<Image> {
    let Layer { compressed, diff_id, unpacked_bytes } = layer;
    let labels: HashMap<_, _> = identity.labels().into_iter().collect();
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
    let (config, layer) =
        (layout.add(config)?, layout.add(Blob::new(MediaType::ImageLayerGzip, compressed))?);
    let below = config.size() + layer.size();
    let manifest = Blob::of_document(
        MediaType::ImageManifest,
        &ImageManifestBuilder::default()
            .schema_version(SCHEMA_VERSION)
            .media_type(MediaType::ImageManifest)
            .config(config)
            .layers([layer])
            .annotations(labels)
            .build()
            .context("failed to make the image's manifest")?,
    )?;
    let mut manifest = layout.add(manifest)?;
    manifest.set_platform(Some(platform(arch)?));
    Ok(Image { pulled_bytes: below + manifest.size(), unpacked_bytes, manifest })
}

/// The one document behind a tag that serves every architecture.
pub(super) fn add_index(
    layout: &mut Layout,
    manifests: Vec<Descriptor>,
    identity: &Identity,
) -> Result<Descriptor> {
    let index = ImageIndexBuilder::default()
        .schema_version(SCHEMA_VERSION)
        .media_type(MediaType::ImageIndex)
        .manifests(manifests)
        .annotations(identity.labels().into_iter().collect::<HashMap<_, _>>())
        .build()
        .context("failed to make the image's index")?;
    layout.add(Blob::of_document(MediaType::ImageIndex, &index)?)
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
