//! The kernels that every kernel test has to pass on.
//!
//! In: a series. Out: the newest kernel of that series in the archive, unpacked.
//! Must not: pin a build: the archive drops old ones.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use super::archive::{Archive, Section};
use crate::shell::say;

/// One boot.
#[derive(Debug, Clone, Copy)]
pub(super) struct Machine {
    /// What `cargo xtask vm NAME` selects, besides the series.
    pub(super) name: &'static str,
    pub(super) series: &'static str,
    /// Further words on the kernel's command line.
    pub(super) command_line: &'static str,
    /// Whether it is the machine of the storage scenes: those run there and nothing else. It has servers and clients of
    /// storage on board, is slower to start, and mostly waits: for time-outs, for servers to come back.
    pub(super) storage: bool,
    pub(super) proves: &'static str,
    /// Parts of the names of the tests that the suite runs there; `cargo xtask vm` runs all where it is not for storage.
    pub(super) suite: &'static [&'static str],
}

/// What a kernel can change: whether the programs load and walk, what evictions and lockdown let be seen, how memory is
/// accounted, what the host's sockets and files look like.
const OF_A_KERNEL: &[&str] =
    &["counts::", "drops::", "evictions::", "generated::", "host::", "maps::", "scan::"];
/// `silence::` compares what the verbs and the pages make of one walk, which no kernel changes (`generated::` compares the
/// walk's own sums with the reference): once, on a machine that booted just now, is enough.
const OF_THE_OLDEST: &[&str] =
    &["counts::", "drops::", "evictions::", "generated::", "host::", "maps::", "scan::", "silence::"];
/// Where lockdown changes something: loading, walking, evictions.
const OF_LOCKDOWN: &[&str] = &["counts::", "drops::", "evictions::", "maps::", "scan::"];
const OF_STORAGE: &[&str] = &["storage::"];

/// In the order they are started: those that take longest come first.
pub(super) const MACHINES: &[Machine] = &[
    Machine {
        name: "6.12-storage",
        storage: true,
        proves: "storage servers that fail",
        suite: OF_STORAGE,
        ..Machine::plain("6.12")
    },
    Machine { proves: "the oldest kernel supported", suite: OF_THE_OLDEST, ..Machine::plain("6.1") },
    Machine { proves: "Talos 1.9 to 1.11", ..Machine::plain("6.12") },
    Machine {
        name: "6.12-lockdown",
        command_line: LOCKDOWN,
        proves: "no program needs bpf_probe_read to walk a map",
        suite: OF_LOCKDOWN,
        ..Machine::plain("6.12")
    },
    Machine { proves: "Talos 1.12 and 1.13", ..Machine::plain("6.18") },
    Machine { proves: "the newest kernel Debian has", ..Machine::plain("7") },
];

impl Machine {
    const fn plain(series: &'static str) -> Self {
        Self { name: series, series, command_line: "", storage: false, proves: "", suite: OF_A_KERNEL }
    }
}

pub(super) const LOCKDOWN: &str = "lockdown=confidentiality";

/// Where the series above are published.
pub(super) const SUITES: &[(&str, Section)] =
    &[("bookworm-security", Section::Security), ("trixie-backports", Section::Main)];

/// A kernel on disk.
#[derive(Debug, Clone)]
pub(super) struct Kernel {
    pub(super) image: PathBuf,
    pub(super) release: String,
}

/// Those of the table that `wanted` names, by name or by series; all when it names none.
pub(super) fn select(wanted: &[String]) -> Result<Vec<Machine>> {
    if wanted.is_empty() {
        return Ok(MACHINES.to_vec());
    }
    let names = |machine: &Machine, word: &str| machine.name == word || machine.series == word;
    for word in wanted {
        if !MACHINES.iter().any(|machine| names(machine, word)) {
            let known: Vec<_> = MACHINES.iter().map(|machine| machine.name).collect();
            bail!("no kernel called {word}: there are {}", known.join(", "));
        }
    }
    Ok(MACHINES.iter().copied().filter(|machine| wanted.iter().any(|word| names(machine, word))).collect())
}

/// The kernel of `series` below `dir`, if it was unpacked before.
pub(super) fn unpacked(dir: &Path, series: &str) -> Option<Kernel> {
    let tree = dir.join(series);
    let in_boot = entries(&tree.join("boot")).find_map(|(name, path)| {
        Some(Kernel { release: name.strip_prefix("vmlinuz-")?.to_owned(), image: path })
    });
    // From 7.x on the image lies beside its modules.
    in_boot.or_else(|| {
        entries(&tree.join("usr/lib/modules")).find_map(|(release, path)| {
            let image = path.join("vmlinuz");
            image.exists().then_some(Kernel { image, release })
        })
    })
}

fn entries(dir: &Path) -> impl Iterator<Item = (String, PathBuf)> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.map(|entry| (entry.file_name().to_string_lossy().into_owned(), entry.path()))
}

/// Downloads the newest kernel of `series` and unpacks it below `dir`.
pub(super) fn fetch(archive: &Archive, dir: &Path, series: &str) -> Result<Kernel> {
    let names = archive.names(&format!("linux-image-{series}."))?;
    let package = newest(&names, series)
        .with_context(|| format!("the archive has no kernel of the series {series} for cloud machines"))?;
    say(&format!("downloading {package}"));
    let mut packages = vec![package.to_owned()];
    // From 7.x on the image itself and its modules are packages of their own.
    packages.extend(archive.dependencies(package)?.into_iter().filter(|dependency| {
        dependency.starts_with("linux-binary-") || dependency.starts_with("linux-modules-")
    }));
    archive.unpack(&packages, &dir.join(series))?;
    unpacked(dir, series).with_context(|| format!("{} unpacked to no kernel image", packages.join(" and ")))
}

fn newest<'a>(names: &'a [String], series: &str) -> Option<&'a str> {
    let prefix = format!("linux-image-{series}.");
    names
        .iter()
        .filter_map(|name| {
            let version = name.strip_prefix(&prefix)?.strip_suffix("-cloud-amd64")?;
            Some((numbers(version), name.as_str()))
        })
        .max()
        .map(|(_, name)| name)
}

/// Every number of a version in order: `12.117+deb12` is 12, 117, 12.
fn numbers(version: &str) -> Vec<u64> {
    version.split(|c: char| !c.is_ascii_digit()).filter_map(|digits| digits.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(series: &str, names: &[&str], expected: Option<&str>) {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        assert_eq!(newest(&names, series), expected);
    }

    #[test]
    fn versions_are_compared_as_numbers() {
        check(
            "6.12",
            &["linux-image-6.12.90+deb12-cloud-amd64", "linux-image-6.12.117+deb12-cloud-amd64"],
            Some("linux-image-6.12.117+deb12-cloud-amd64"),
        );
        check(
            "6.1",
            &["linux-image-6.1.0-9-cloud-amd64", "linux-image-6.1.0-56-cloud-amd64"],
            Some("linux-image-6.1.0-56-cloud-amd64"),
        );
        check(
            "7",
            &["linux-image-7.2.12+deb13-cloud-amd64", "linux-image-7.3.4+deb13-cloud-amd64"],
            Some("linux-image-7.3.4+deb13-cloud-amd64"),
        );
    }

    #[test]
    fn a_rebuild_is_newer_than_what_it_rebuilds() {
        check(
            "6.12",
            &["linux-image-6.12.90+deb12.1-cloud-amd64", "linux-image-6.12.90+deb12-cloud-amd64"],
            Some("linux-image-6.12.90+deb12.1-cloud-amd64"),
        );
    }

    #[test]
    fn other_series_and_flavours_are_no_candidates() {
        check(
            "6.1",
            &[
                "linux-image-6.12.117+deb12-cloud-amd64",
                "linux-image-6.1.0-56-amd64",
                "linux-image-6.1.0-56-cloud-amd64-dbg",
                "linux-image-6.1.0-56-cloud-amd64-unsigned",
                "linux-image-6.1-cloud-amd64",
            ],
            None,
        );
    }

    #[test]
    fn a_series_selects_all_its_boots_and_a_name_only_one() {
        let names = |wanted: &[&str]| -> Vec<_> {
            let wanted: Vec<String> = wanted.iter().map(|&word| word.to_owned()).collect();
            select(&wanted).unwrap().iter().map(|machine| machine.name).collect()
        };
        assert_eq!(names(&["6.12"]), ["6.12-storage", "6.12", "6.12-lockdown"]);
        assert_eq!(names(&["6.12-lockdown"]), ["6.12-lockdown"]);
        assert_eq!(names(&[]).len(), MACHINES.len());
    }

    #[test]
    fn one_machine_is_for_storage_and_none_runs_its_scenes_beside_other_tests() {
        let storage: Vec<_> = MACHINES.iter().filter(|machine| machine.storage).collect();
        assert_eq!(storage.iter().map(|machine| machine.suite).collect::<Vec<_>>(), [OF_STORAGE]);
        assert!(!MACHINES.iter().any(|machine| !machine.storage && machine.suite.contains(&"storage::")));
    }

    #[test]
    fn an_unknown_series_is_an_error_naming_those_there_are() {
        let error = select(&["5.15".to_owned()]).unwrap_err();
        assert!(error.to_string().contains("6.12-lockdown"), "{error}");
    }
}
