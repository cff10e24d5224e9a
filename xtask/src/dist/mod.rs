//! `dist`: all that a release is made of.
//!
//! In: the workspace, its home, a tag. Out: `target/release-artefacts`: archives, layouts for a registry, checksums, notes.
//! Must not: upload or sign anything, write into the checkout, or give other bytes for the same commit and home.
//!
//! `.ci/push` uploads the layouts, as `oci.txt` lists them; the workflow `release` signs them.

mod artefact;
mod licences;
mod linked;
mod notes;
mod sbom;
mod stamp;
mod tree;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use self::linked::Crates;
use self::sbom::Toolchain;
use self::tree::Tree;
use crate::build;
use crate::home::{CHART, Home, IMAGE, MANIFESTS};
use crate::image::{self, Arch, Identity, VERSION};
use crate::oci::{Entry, digest, gzip, tar};
use crate::paths::Paths;
use crate::shell::{Run as _, say};

/// Read by whoever unpacks an archive.
const TEXTS: [&str; 5] = ["README.md", "CHANGELOG.md", "LICENSE-APACHE", "LICENSE-MIT", "LICENSE-GPL-2.0"];

/// What `.ci/push` reads: an archive, its place below the registry, its tag and its digest.
const LIST: &str = "oci.txt";
const SUMS: &str = "SHA256SUMS";
const NOTES: &str = "notes.md";

/// Home and registry in tests, which know them too.
const FORK: (&str, &str) = ("https://forge.example/owner/ctmon", "registry.example.org/owner");

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Architectures of the nodes, as container engines call them
    #[arg(long, value_name = "ARCH", value_delimiter = ',', default_values = ["amd64", "arm64"])]
    arch: Vec<Arch>,
    /// The tag that is released: must be the workspace's version, and CHANGELOG.md must say what changed
    #[arg(long, value_name = "TAG")]
    tag: Option<String>,
    /// Make what the tests `registry` and `containerd` read, of a fork that does not exist, at target/suite-artefacts
    #[arg(long, conflicts_with = "tag")]
    for_tests: bool,
}

/// What is released for one architecture.
struct Built {
    arch: Arch,
    path: PathBuf,
    binary: Vec<u8>,
    crates: Crates,
    toolchain: Toolchain,
}

/// Files of a release by their name.
type Artefacts = BTreeMap<String, Vec<u8>>;

pub(crate) fn run(paths: &Paths, args: &Args) -> Result<()> {
    let Args { arch, tag, for_tests } = args;
    let notes = notes(paths, tag.as_deref())?;
    let identity = Identity::of(paths)?;
    // The suite's own binary was not told its commit either.
    let revision = identity.revision.as_deref().filter(|_| !for_tests);
    let mut archs = arch.clone();
    archs.sort_unstable();
    archs.dedup();
    let binaries =
        archs.into_iter().map(|arch| Ok((arch, build::run_for(paths, arch.of_compiler(), revision)?)));
    let binaries = binaries.collect::<Result<Vec<_>>>()?;
    if *for_tests {
        return twice(paths, binaries);
    }
    let built = describe(paths, binaries)?;
    let artefacts = assemble(paths, &built, &identity, &notes)?;
    write(paths, &paths.release_artefacts(), &built, &artefacts)?;
    let page = identity.home.page().unwrap_or("a home that is not known");
    say(&format!("of {page}, for {}", identity.home.image()));
    Ok(())
}

impl Args {
    /// What the tests read, for every architecture there is.
    pub(crate) fn for_tests() -> Self {
        Self { arch: vec![Arch::Amd64, Arch::Arm64], tag: None, for_tests: true }
    }
}

/// For the tests: of a binary of this machine, and of a fork that does not exist. Another architecture would be a second
/// release build: `dist --for-tests` has it.
pub(crate) fn of_the_suite(paths: &Paths, binary: &Path) -> Result<()> {
    twice(paths, vec![(Arch::of_this_machine()?, binary.to_owned())])
}

/// Fails unless both times are the same bytes.
fn twice(paths: &Paths, binaries: Vec<(Arch, PathBuf)>) -> Result<()> {
    let notes = notes(paths, None)?;
    let home = Home::new(Some(FORK.0.to_owned()), Some(FORK.1.to_owned()))?;
    let identity = Identity { home, ..Identity::of(paths)? };
    let built = describe(paths, binaries)?;
    let first = assemble(paths, &built, &identity, &notes)?;
    let second = assemble(paths, &built, &identity, &notes)?;
    for (name, bytes) in &first {
        ensure!(second.get(name) == Some(bytes), "two archives of one commit differ: {name}");
    }
    write(paths, &paths.suite_artefacts(), &built, &first)
}

fn notes(paths: &Paths, tag: Option<&str>) -> Result<String> {
    let changelog = read(&paths.root().join("CHANGELOG.md"))?;
    let changelog = String::from_utf8(changelog).context("CHANGELOG.md is no text")?;
    match tag {
        Some(tag) => {
            notes::check_tag(tag, VERSION)?;
            notes::cut(&changelog, VERSION)
        }
        None => notes::cut(&changelog, VERSION).or_else(|_| notes::cut(&changelog, notes::UNRELEASED)),
    }
}

fn describe(paths: &Paths, binaries: Vec<(Arch, PathBuf)>) -> Result<Vec<Built>> {
    let built = binaries.into_iter().map(|(arch, path)| {
        let triple = format!("{}-unknown-linux-gnu", arch.of_compiler());
        Ok(Built {
            arch,
            binary: read(&path)?,
            path,
            crates: linked::crates(paths, &triple)?,
            toolchain: Toolchain::of(arch)?,
        })
    });
    built.collect()
}

fn assemble(paths: &Paths, built: &[Built], identity: &Identity, notes: &str) -> Result<Artefacts> {
    let time = identity.time.unwrap_or_default();
    let mut artefacts = Artefacts::new();
    for one in built {
        let name = format!("ctmon-{VERSION}-linux-{}", one.arch.name());
        artefacts.insert(format!("{name}.tar.gz"), archive(paths, &name, one, time)?);
        let Built { arch, path: _, binary, crates, toolchain } = one;
        let bom = sbom::cyclonedx(crates, toolchain, *arch, binary, identity)?;
        artefacts.insert(format!("{name}.cdx.json"), bom);
    }
    let deploy = Tree::read(&paths.root().join("deploy"))?;
    let deploy = stamp::stamp(deploy, &identity.home, VERSION, |flags| rules(built, flags))?;
    artefacts.insert(
        format!("ctmon-{VERSION}-deploy.tar.gz"),
        deploy.tar_gz(&format!("ctmon-{VERSION}/deploy/"), time)?,
    );
    let package = artefact::chart_package(&deploy, time)?;
    let chart = artefact::chart(&deploy, &package, identity)?;
    // As `helm package` calls it.
    artefacts.insert(format!("ctmon-{VERSION}.tgz"), package);
    let manifests = artefact::manifests(&deploy, identity)?;
    let binaries: Vec<_> = built.iter().map(|one| (one.arch, one.binary.clone())).collect();
    let (layout, digest) = image::for_all(&binaries, identity)?;
    let mut list = String::new();
    for (name, place, layout, digest) in [
        ("image", IMAGE, layout.archive()?, digest),
        ("chart", CHART, chart.layout, chart.digest),
        ("manifests", MANIFESTS, manifests.layout, manifests.digest),
    ] {
        let file = format!("ctmon-{VERSION}-{name}.oci.tar");
        writeln!(list, "{file} {place} {VERSION} {digest}")?;
        artefacts.insert(file, layout);
    }
    let sums = sums(&artefacts);
    artefacts.insert(SUMS.to_owned(), sums.into_bytes());
    artefacts.insert(LIST.to_owned(), list.into_bytes());
    artefacts.insert(NOTES.to_owned(), notes.as_bytes().to_vec());
    Ok(artefacts)
}

/// The binary with what its licences ask to go with it.
fn archive(paths: &Paths, name: &str, built: &Built, time: u64) -> Result<Vec<u8>> {
    let texts = TEXTS.iter().map(|text| Ok((*text, read(&paths.root().join(text))?)));
    let texts: Vec<(&str, Vec<u8>)> = texts.collect::<Result<_>>()?;
    let others = licences::texts(&built.crates)?;
    let mut entries = vec![Entry::folder(name), Entry::program(format!("{name}/ctmon"), &built.binary)];
    entries.extend(texts.iter().map(|(text, bytes)| Entry::file(format!("{name}/{text}"), bytes)));
    entries.push(Entry::file(format!("{name}/THIRD-PARTY-LICENSES.txt"), others.as_bytes()));
    gzip(&tar(&entries, time)?)
}

/// Printed by the binary itself, by one that runs here.
fn rules(built: &[Built], flags: &[&str]) -> Result<String> {
    let own = Arch::of_this_machine()?;
    let own = built.iter().find(|one| one.arch == own).with_context(|| {
        format!("the rules are printed by the binary: build that of this machine too, --arch {}", own.name())
    })?;
    // Without a configuration: the rules of the defaults. What this environment says of ctmon is not the release's.
    let mut command = Command::new(&own.path);
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|name| name.starts_with("CTMON_")) {
            command.env_remove(&name);
        }
    }
    command.args(["--config", "/dev/null", "rules"]).args(flags).read("print the rules")
}

/// What `sha256sum --check` reads.
fn sums(artefacts: &Artefacts) -> String {
    let lines = artefacts.iter().map(|(name, bytes)| {
        let digest = digest(bytes);
        format!("{}  {name}\n", digest.trim_start_matches("sha256:"))
    });
    lines.collect()
}

/// All of it or nothing.
fn write(paths: &Paths, folder: &Path, built: &[Built], artefacts: &Artefacts) -> Result<()> {
    let draft = folder.with_extension("new");
    for old in [draft.as_path(), folder] {
        if old.exists() {
            fs::remove_dir_all(old).with_context(|| format!("failed to remove {}", old.display()))?;
        }
    }
    fs::create_dir_all(&draft).with_context(|| format!("failed to create {}", draft.display()))?;
    for (name, bytes) in artefacts {
        let path = draft.join(name);
        fs::write(&path, bytes).with_context(|| format!("failed to write {}", path.display()))?;
    }
    fs::rename(&draft, folder).with_context(|| format!("failed to create {}", folder.display()))?;
    let name = folder.strip_prefix(paths.root()).unwrap_or(folder);
    say(&format!("wrote {} files to {}, for {}", artefacts.len(), name.display(), names(built)));
    Ok(())
}

fn names(built: &[Built]) -> String {
    built.iter().map(|one| one.arch.name()).collect::<Vec<_>>().join(" and ")
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("failed to read {}", path.display()))
}
