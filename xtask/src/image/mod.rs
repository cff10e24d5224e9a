//! `image`: what a cluster pulls.
//!
//! In: the release binary. Out: `target/image/ctmon-ARCH.oci.tar`, an OCI image layout in a tar, of that one file.
//! Must not: need a container engine, put anything else in, or give other bytes for the same binary and commit.

mod blob;
mod identity;
mod layer;
mod layout;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use clap::ValueEnum;
use oci_spec::image;

use self::identity::{ENTRYPOINT, Identity};
use self::layout::Image;
use crate::build;
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

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Arch {
    Amd64,
    Arm64,
}

impl Arch {
    fn of_this_machine() -> Result<Self> {
        let known = Self::value_variants().iter().copied().find(|arch| arch.of_compiler() == ARCH);
        known.with_context(|| format!("there is no image for {ARCH}"))
    }

    /// As compilers call it.
    fn of_compiler(self) -> &'static str {
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
}

/// An image on disk.
#[derive(Debug, PartialEq, Eq)]
struct Built {
    path: PathBuf,
    digest: String,
}

impl Args {
    pub(crate) const fn for_arm64() -> Self {
        Self { arch: Some(Arch::Arm64) }
    }
}

/// The verb: the digest is the answer.
pub(crate) fn run(paths: &Paths, args: &Args) -> Result<()> {
    let arch = match args.arch {
        Some(arch) => arch,
        None => Arch::of_this_machine()?,
    };
    let identity = Identity::of(paths)?;
    let binary = build::run_for(paths, arch.of_compiler(), identity.revision.as_deref())?;
    println!("{}", pack(paths, arch, &image_name(arch)?, &binary, &identity)?.digest);
    Ok(())
}

/// That of this machine, from a binary, twice: fails unless both are the same bytes. Another `name` leaves the image
/// alone that a cluster would get. What differs from the verb's is that this binary was not told its commit.
pub(crate) fn pack_twice(paths: &Paths, binary: &Path, name: Option<&str>) -> Result<PathBuf> {
    let arch = Arch::of_this_machine()?;
    let name = name.map_or_else(|| image_name(arch), |name| Ok(name.to_owned()))?;
    let read = |built: &Built| {
        fs::read(&built.path).with_context(|| format!("failed to read {}", built.path.display()))
    };
    let first = pack(paths, arch, &name, binary, &Identity::of(paths)?)?;
    let bytes = read(&first)?;
    let second = pack(paths, arch, &name, binary, &Identity::of(paths)?)?;
    ensure!(first == second, "two images of one binary differ: {} and {}", first.digest, second.digest);
    ensure!(bytes == read(&second)?, "two archives of the image {} differ", first.digest);
    Ok(first.path)
}

fn pack(paths: &Paths, arch: Arch, name: &str, binary: &Path, identity: &Identity) -> Result<Built> {
    let bytes = fs::read(binary)
        .with_context(|| format!("failed to read {}: `cargo xtask build` makes it", binary.display()))?;
    let layer = layer::pack(ENTRYPOINT, &bytes, identity.time.unwrap_or_default())?;
    let image = layout::assemble(&arch.of_engines(), layer, identity)?;
    fits(&image)?;
    let path = paths.image(name);
    let dir = path.parent().context("the image has no directory")?;
    fs::create_dir_all(dir).with_context(|| format!("failed to create {}", dir.display()))?;
    // Under its name only when whole: another process may be reading the last one.
    let draft = path.with_extension("new");
    fs::write(&draft, &image.archive).with_context(|| format!("failed to write {}", draft.display()))?;
    fs::rename(&draft, &path).with_context(|| format!("failed to replace {}", path.display()))?;
    let name = path.strip_prefix(paths.root()).unwrap_or(&path);
    let Image { digest, pulled_bytes, unpacked_bytes, archive: _ } = image;
    let (pulled, unpacked) = (pulled_bytes / 1024, unpacked_bytes / 1024);
    say(&format!("wrote {}, {pulled} KiB to pull, {unpacked} KiB unpacked, {digest}", name.display()));
    Ok(Built { path, digest })
}

fn fits(image: &Image) -> Result<()> {
    let bytes = image.pulled_bytes.max(image.unpacked_bytes);
    if bytes > LIMIT_BYTES {
        bail!("the image has {bytes} bytes, {LIMIT_BYTES} are allowed: look at what made the binary larger");
    }
    Ok(())
}

fn image_name(arch: Arch) -> Result<String> {
    let value = arch.to_possible_value().context("an architecture without a name")?;
    Ok(value.get_name().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(binary: &[u8]) -> Image {
        let layer = layer::pack(ENTRYPOINT, binary, 0).unwrap();
        layout::assemble(&image::Arch::Amd64, layer, &Identity::default()).unwrap()
    }

    #[test]
    fn the_same_binary_is_the_same_image_and_another_is_not() {
        let (one, other) = (image(b"one"), image(b"other"));
        assert_eq!(one.digest, image(b"one").digest);
        assert_eq!(one.archive, image(b"one").archive);
        assert_ne!(one.digest, other.digest);
    }

    #[test]
    fn an_image_over_the_limit_is_refused() {
        let limit = usize::try_from(LIMIT_BYTES).unwrap();
        assert!(fits(&image(&vec![0; limit / 2])).is_ok());
        // Zeros shrink to nothing on the way and are all there on the node.
        let error = fits(&image(&vec![0; limit])).unwrap_err().to_string();
        assert!(error.contains("15000000 are allowed"), "{error}");
    }

    #[test]
    fn this_machine_has_an_image() {
        assert_eq!(Arch::of_this_machine().unwrap().of_compiler(), ARCH);
    }
}
