//! `image`: what a cluster pulls.
//!
//! In: the release binary. Out: `target/image/ctmon-ARCH.oci.tar`, an OCI image layout in a tar, of that one file.
//! Must not: need a container engine, put anything else in, or give other bytes for the same binary and commit.

mod identity;
mod layer;
mod manifest;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use clap::ValueEnum;
use oci_spec::image;

use self::identity::ENTRYPOINT;
pub(crate) use self::identity::{Identity, LICENSES, VERSION};
use self::manifest::Image;
use crate::build;
use crate::oci::Layout;
use crate::paths::{ARCH, Paths};
use crate::shell::say;

/// Nodes under pressure must be able to pull it in a moment; the binary is most of it.
const LIMIT_BYTES: u64 = 15_000_000;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Architecture of the nodes, as container engines call it [default: this machine's]
    #[arg(long, value_name = "ARCH")]
    arch: Option<Arch>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Arch {
    Amd64,
    Arm64,
}

impl Arch {
    pub(crate) fn of_this_machine() -> Result<Self> {
        let known = Self::value_variants().iter().copied().find(|arch| arch.of_compiler() == ARCH);
        known.with_context(|| format!("there is no image for {ARCH}"))
    }

    /// As compilers call it.
    pub(crate) fn of_compiler(self) -> &'static str {
        match self {
            Self::Amd64 => "x86_64",
            Self::Arm64 => "aarch64",
        }
    }

    fn of_engines(self) -> image::Arch {
        match self {
            Self::Amd64 => image::Arch::Amd64,
            Self::Arm64 => image::Arch::ARM64,
        }
    }

    /// As container engines and file names call it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Amd64 => "amd64",
            Self::Arm64 => "arm64",
        }
    }
}

/// An image on disk.
#[derive(Debug, PartialEq, Eq)]
struct Built {
    path: PathBuf,
    digest: String,
}

/// The verb: the digest is the answer.
pub(crate) fn run(paths: &Paths, args: &Args) -> Result<()> {
    let arch = match args.arch {
        Some(arch) => arch,
        None => Arch::of_this_machine()?,
    };
    let identity = Identity::of(paths)?;
    let binary = build::run_for(paths, arch.of_compiler(), identity.revision.as_deref())?;
    println!("{}", pack(paths, arch, arch.name(), &binary, &identity)?.digest);
    Ok(())
}

/// That of this machine, from a binary, twice: fails unless both are the same bytes. Another `name` leaves the image
/// alone that a cluster would get. Its binary does not know its commit, as that of `cargo xtask image` does.
pub(crate) fn pack_twice(paths: &Paths, binary: &Path, name: Option<&str>) -> Result<PathBuf> {
    let arch = Arch::of_this_machine()?;
    let name = name.unwrap_or(arch.name());
    let read = |built: &Built| {
        fs::read(&built.path).with_context(|| format!("failed to read {}", built.path.display()))
    };
    let first = pack(paths, arch, name, binary, &Identity::of(paths)?)?;
    let bytes = read(&first)?;
    let second = pack(paths, arch, name, binary, &Identity::of(paths)?)?;
    ensure!(first == second, "two images of one binary differ: {} and {}", first.digest, second.digest);
    ensure!(bytes == read(&second)?, "two archives of the image {} differ", first.digest);
    Ok(first.path)
}

fn pack(paths: &Paths, arch: Arch, name: &str, binary: &Path, identity: &Identity) -> Result<Built> {
    let bytes = fs::read(binary)
        .with_context(|| format!("failed to read {}: `cargo xtask build` makes it", binary.display()))?;
    let mut layout = Layout::default();
    let Image { manifest, pulled_bytes, unpacked_bytes } = add(&mut layout, arch, &bytes, identity)?;
    let digest = manifest.digest().to_string();
    layout.name(manifest, VERSION, Some(&identity.home.image()));
    let path = paths.image(name);
    let dir = path.parent().context("the image has no directory")?;
    fs::create_dir_all(dir).with_context(|| format!("failed to create {}", dir.display()))?;
    // Under its name only when whole: another process may be reading the last one.
    let draft = path.with_extension("new");
    fs::write(&draft, layout.archive()?).with_context(|| format!("failed to write {}", draft.display()))?;
    fs::rename(&draft, &path).with_context(|| format!("failed to replace {}", path.display()))?;
    let name = path.strip_prefix(paths.root()).unwrap_or(&path);
    let (pulled, unpacked) = (pulled_bytes / 1024, unpacked_bytes / 1024);
    say(&format!("wrote {}, {pulled} KiB to pull, {unpacked} KiB unpacked, {digest}", name.display()));
    Ok(Built { path, digest })
}

/// One image for several architectures, under one tag. Out: the layout, and the digest of the index in it.
pub(crate) fn for_all(binaries: &[(Arch, Vec<u8>)], identity: &Identity) -> Result<(Layout, String)> {
    let mut layout = Layout::default();
    let mut manifests = Vec::new();
    for (arch, bytes) in binaries {
        manifests.push(add(&mut layout, *arch, bytes, identity)?.manifest);
    }
    let index = manifest::add_index(&mut layout, manifests, identity)?;
    let digest = index.digest().to_string();
    layout.name(index, VERSION, Some(&identity.home.image()));
    Ok((layout, digest))
}

fn add(layout: &mut Layout, arch: Arch, binary: &[u8], identity: &Identity) -> Result<Image> {
    let layer = layer::pack(ENTRYPOINT, binary, identity.time.unwrap_or_default())?;
    let image = manifest::add(layout, &arch.of_engines(), layer, identity)?;
    let bytes = image.pulled_bytes.max(image.unpacked_bytes);
    if bytes > LIMIT_BYTES {
        bail!("the image has {bytes} bytes, {LIMIT_BYTES} are allowed: look at what made the binary larger");
    }
    Ok(image)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(binary: &[u8]) -> Result<Vec<u8>> {
        let mut layout = Layout::default();
        let image = add(&mut layout, Arch::Amd64, binary, &Identity::default())?;
        layout.name(image.manifest, VERSION, None);
        layout.archive()
    }

    #[test]
    fn the_same_binary_is_the_same_image_and_another_is_not() {
        let one = image(b"one").unwrap();
        assert_eq!(one, image(b"one").unwrap());
        assert_ne!(one, image(b"other").unwrap());
    }

    #[test]
    fn an_image_over_the_limit_is_refused() {
        let limit = usize::try_from(LIMIT_BYTES).unwrap();
        assert!(image(&vec![0; limit / 2]).is_ok());
        // Zeros shrink to nothing on the way and are all there on the node.
        let error = image(&vec![0; limit]).unwrap_err().to_string();
        assert!(error.contains("15000000 are allowed"), "{error}");
    }

    #[test]
    fn this_machine_has_an_image() {
        assert_eq!(Arch::of_this_machine().unwrap().of_compiler(), ARCH);
    }

    #[test]
    fn an_architecture_has_one_name() {
        for arch in Arch::value_variants() {
            assert_eq!(arch.to_possible_value().unwrap().get_name(), arch.name());
            assert_eq!(arch.of_engines().to_string(), arch.name());
        }
    }
}
