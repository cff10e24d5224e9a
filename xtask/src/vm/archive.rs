//! Packages of other suites, without the machine noticing.
//!
//! In: the archive's address from the machine's own apt sources. Out: packages downloaded and unpacked.
//! Must not: install or upgrade anything, touch the machine's lists, or know the address of an archive.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::apt;
use crate::shell::{Run as _, say};

const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// Where a suite is published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Section {
    Main,
    Security,
}

/// An apt of our own: its state, lists and sources lie in one directory.
pub(super) struct Archive {
    dir: PathBuf,
    /// The machine's release; backports for it are called `CODENAME-backports`.
    codename: String,
}

impl Archive {
    /// Opens it, fetching the lists when there are none, when the sources changed, or when asked to.
    pub(super) fn open(dir: PathBuf, suites: &[(&str, Section)], refresh: bool) -> Result<Self> {
        let machine = Addresses::parse(&machine_sources()?)?;
        let sources = machine.sources(suites);
        let archive = Self { dir, codename: machine.codename };
        for part in ["state/lists/partial", "cache/archives/partial"] {
            let part = archive.dir.join(part);
            fs::create_dir_all(&part).with_context(|| format!("failed to create {}", part.display()))?;
        }
        let known = fs::read_to_string(archive.sources_list()).is_ok_and(|known| known == sources);
        if refresh || !known {
            say("fetching the package lists of other suites, under target/vm/apt");
            let draft = archive.dir.join("sources.new");
            fs::write(&draft, sources).context("failed to write the list of sources")?;
            let mut update = archive.command("apt-get");
            update.arg("-o").arg(format!("Dir::Etc::sourcelist={}", draft.display()));
            update.args(["-q=2", "update"]).run_quietly("fetch package lists")?;
            // Only now: an interrupted update is repeated.
            fs::rename(&draft, archive.sources_list()).context("failed to keep the list of sources")?;
        }
        Ok(archive)
    }

    /// The packages whose names begin with `prefix`.
    pub(super) fn names(&self, prefix: &str) -> Result<Vec<String>> {
        let names = self.command("apt-cache").args(["pkgnames", prefix]).read("list package names")?;
        Ok(names.lines().map(str::to_owned).collect())
    }

    /// The packages that `package` depends on directly.
    pub(super) fn dependencies(&self, package: &str) -> Result<Vec<String>> {
        let depends = self
            .command("apt-cache")
            .args(["depends", "--important", package])
            .read("read the dependencies of a package")?;
        Ok(depends
            .lines()
            .filter_map(|line| line.trim().strip_prefix("Depends: "))
            .map(str::to_owned)
            .collect())
    }

    /// `package` and what it needs beyond what is installed, as `name=version`.
    pub(super) fn closure(&self, package: &str) -> Result<Vec<String>> {
        let backports = format!("{}-backports", self.codename);
        let simulate = |release: &[&str]| {
            self.command("apt-get")
                .args(["-q=2", "install", "--simulate", "--no-install-recommends"])
                .args(release)
                .arg(package)
                .read_if_works()
        };
        // The plain one conflicts where the machine has a sibling package from backports.
        match simulate(&[]).or_else(|| simulate(&["--target-release", &backports])) {
            Some(simulation) => Ok(parse_installations(&simulation)),
            None => bail!("apt finds no {package} that goes with this machine's packages"),
        }
    }

    /// Downloads (checking signatures) and unpacks into `into`; nothing is installed.
    pub(super) fn unpack(&self, packages: &[String], into: &Path) -> Result<()> {
        let draft = into.with_extension("new");
        let downloads = draft.join("debs");
        let tree = draft.join("tree");
        if draft.exists() {
            fs::remove_dir_all(&draft).with_context(|| format!("failed to remove {}", draft.display()))?;
        }
        fs::create_dir_all(&downloads)
            .with_context(|| format!("failed to create {}", downloads.display()))?;
        self.command("apt-get")
            .args(["-q=2", "download"])
            .args(packages)
            .current_dir(&downloads)
            .run_quietly("download packages")?;
        for deb in fs::read_dir(&downloads).context("failed to list the downloaded packages")? {
            let deb = deb.context("failed to list the downloaded packages")?.path();
            Command::new("dpkg-deb").arg("-x").arg(deb).arg(&tree).run_quietly("unpack a package")?;
        }
        if into.exists() {
            fs::remove_dir_all(into).with_context(|| format!("failed to remove {}", into.display()))?;
        }
        fs::rename(&tree, into).with_context(|| format!("failed to create {}", into.display()))?;
        fs::remove_dir_all(&draft).with_context(|| format!("failed to remove {}", draft.display()))
    }

    fn sources_list(&self) -> PathBuf {
        self.dir.join("sources.list")
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        let setting = |name: &str, path: &Path| format!("{name}={}", path.display());
        for option in [
            setting("Dir::Etc::sourcelist", &self.sources_list()),
            "Dir::Etc::sourceparts=-".to_owned(),
            setting("Dir::State", &self.dir.join("state")),
            "Dir::State::status=/var/lib/dpkg/status".to_owned(),
            setting("Dir::Cache", &self.dir.join("cache")),
            // The unprivileged user of apt may not see into the workspace.
            "APT::Sandbox::User=root".to_owned(),
            "Acquire::Languages=none".to_owned(),
        ] {
            command.arg("-o").arg(option);
        }
        command.env("LC_ALL", "C");
        command
    }
}

/// One line for each source of the machine: address, release, label.
fn machine_sources() -> Result<String> {
    let list = || {
        Command::new("apt-get")
            .args(["indextargets", "--format", "$(REPO_URI) $(RELEASE) $(LABEL)", "Created-By: Packages"])
            .read("read the machine's apt sources: booting kernels needs a Debian machine")
    };
    let sources = list()?;
    if !sources.trim().is_empty() {
        return Ok(sources);
    }
    // A fresh image has sources and no lists yet, and lists only what it has.
    apt::apt_get().arg("update").run_quietly("refresh the package lists")?;
    list()
}

#[derive(Debug, PartialEq, Eq)]
struct Addresses {
    codename: String,
    main: String,
    security: String,
}

impl Addresses {
    fn parse(sources: &str) -> Result<Self> {
        let mut main = None;
        let mut security = None;
        for source in sources.lines() {
            let mut fields = source.split_whitespace();
            let (Some(address), Some(release), Some(label)) = (fields.next(), fields.next(), fields.next())
            else {
                continue;
            };
            match label {
                "Debian" if !release.contains('-') => main = main.or(Some((address, release))),
                "Debian-Security" => security = security.or(Some(address)),
                _ => {}
            }
        }
        let (Some((main, codename)), Some(security)) = (main, security) else {
            bail!(
                "booting kernels needs Debian's main and security archives among the machine's apt sources"
            );
        };
        Ok(Self { codename: codename.to_owned(), main: main.to_owned(), security: security.to_owned() })
    }

    /// Our list of sources: the machine's release, its backports, and the suites asked for.
    fn sources(&self, suites: &[(&str, Section)]) -> String {
        let backports = format!("{}-backports", self.codename);
        let mut wanted = vec![(self.codename.as_str(), Section::Main), (backports.as_str(), Section::Main)];
        wanted.extend(suites);
        let mut list = String::new();
        let mut seen = Vec::new();
        for source in wanted {
            if seen.contains(&source) {
                continue;
            }
            seen.push(source);
            let (suite, section) = source;
            let address = match section {
                Section::Main => &self.main,
                Section::Security => &self.security,
            };
            // Writing to a string cannot fail.
            let _ = writeln!(list, "deb [target=Packages signed-by={KEYRING}] {address} {suite} main");
        }
        list
    }
}

/// `Inst qemu-system-x86 (1:10.0.2 Debian Backports:12 [amd64])`. An upgrade of what is installed, which names the
/// old version in brackets, is left out: that package is here.
fn parse_installations(simulation: &str) -> Vec<String> {
    simulation
        .lines()
        .filter_map(|line| {
            let (name, rest) = line.strip_prefix("Inst ")?.split_once(' ')?;
            let (version, _) = rest.strip_prefix('(')?.split_once(' ')?;
            Some(format!("{name}={version}"))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MACHINE: &str = "http://mirror.example/debian/ bookworm Debian\n\
        http://mirror.example/debian/ bookworm-updates Debian\n\
        http://vendor.example/ stable Vendor\n\
        http://mirror.example/debian-security/ bookworm-security Debian-Security\n";

    #[test]
    fn other_suites_come_from_the_machines_own_mirror() {
        let suites = [("bookworm-security", Section::Security), ("trixie-backports", Section::Main)];
        let list = Addresses::parse(MACHINE).unwrap().sources(&suites);
        let lines: Vec<_> = list.lines().map(|line| line.split("] ").nth(1).unwrap()).collect();
        assert_eq!(
            lines,
            [
                "http://mirror.example/debian/ bookworm main",
                "http://mirror.example/debian/ bookworm-backports main",
                "http://mirror.example/debian-security/ bookworm-security main",
                "http://mirror.example/debian/ trixie-backports main",
            ]
        );
    }

    #[test]
    fn a_suite_is_listed_once() {
        let suites = [("bookworm-backports", Section::Main), ("bookworm-backports", Section::Main)];
        assert_eq!(Addresses::parse(MACHINE).unwrap().sources(&suites).lines().count(), 2);
    }

    #[test]
    fn a_machine_without_debians_archives_is_an_error() {
        let error = Addresses::parse("http://vendor.example/ stable Vendor\n").unwrap_err();
        assert!(error.to_string().contains("security"), "{error}");
    }

    #[test]
    fn only_what_is_not_installed_yet_is_downloaded() {
        let simulation = "Inst libfdt1 (1.6.1-4+b1 Debian:12.15/oldstable [amd64])\n\
            Inst libc6 [2.36-9] (2.36-10 Debian:12.15/oldstable [amd64])\n\
            Conf libfdt1 (1.6.1-4+b1 Debian:12.15/oldstable [amd64])\n";
        assert_eq!(parse_installations(simulation), ["libfdt1=1.6.1-4+b1"]);
    }
}
