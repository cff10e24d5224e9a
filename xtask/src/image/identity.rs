//! What the image says about itself.
//!
//! In: the workspace's manifest, the commit, the project's home. Out: labels, and how a container of it starts.
//! Must not: know how an image is stored. `deploy/Containerfile` says the same; a test compares the two.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result};
use oci_spec::image::{
    ANNOTATION_CREATED, ANNOTATION_DESCRIPTION, ANNOTATION_LICENSES, ANNOTATION_REVISION, ANNOTATION_SOURCE,
    ANNOTATION_TITLE, ANNOTATION_VERSION,
};

use crate::home::Home;
use crate::paths::Paths;
use crate::revision;

/// Where the binary lies in the image, and the whole entry point: arguments are given by the container.
pub(super) const ENTRYPOINT: &str = "/usr/bin/ctmon";

/// The pins are root's, see the `DaemonSet`. As a number: the image has no passwd that could translate a name.
pub(super) const USER: &str = "0";

/// The tag of everything that registries keep.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The agent's licence, and that of the eBPF object in it.
pub(crate) const LICENSES: &str = "(MIT OR Apache-2.0) AND (MIT OR GPL-2.0-only)";

const DESCRIPTION: &str =
    "A node-level monitor for the connection tracking of Kubernetes nodes that run Cilium";

/// What differs from commit to commit, and from fork to fork.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Identity {
    /// Seconds since 1970; every file of the image has this time.
    pub(crate) time: Option<u64>,
    /// The same as the specification writes it.
    pub(crate) created: Option<String>,
    pub(crate) revision: Option<String>,
    pub(crate) home: Home,
}

impl Identity {
    pub(crate) fn of(paths: &Paths) -> Result<Self> {
        let time = revision::time(paths)?;
        let created = match time {
            Some(time) => Some(rfc3339(time)?),
            None => None,
        };
        Ok(Self { time, created, revision: revision::of(paths), home: Home::of_environment()? })
    }

    /// Labels of the configuration, which engines show, and annotations of the manifest, which registries show.
    pub(crate) fn labels(&self) -> BTreeMap<String, String> {
        self.labels_of("ctmon", DESCRIPTION)
    }

    /// Those of something that is released beside it.
    pub(crate) fn labels_of(&self, title: &str, description: &str) -> BTreeMap<String, String> {
        let fixed = [
            (ANNOTATION_TITLE, title),
            (ANNOTATION_DESCRIPTION, description),
            (ANNOTATION_VERSION, VERSION),
            (ANNOTATION_LICENSES, LICENSES),
        ];
        let known = [
            (ANNOTATION_CREATED, self.created.as_deref()),
            (ANNOTATION_REVISION, self.revision.as_deref()),
            (ANNOTATION_SOURCE, self.home.page()),
        ];
        let known = known.into_iter().filter_map(|(name, value)| Some((name, value?)));
        fixed.into_iter().chain(known).map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }
}

fn rfc3339(time: u64) -> Result<String> {
    let time = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(time));
    let mut text = String::new();
    // Refuses what lies after the year 9999.
    time.and_then(|time| write!(text, "{}", humantime::format_rfc3339_seconds(time)).ok())
        .context("failed to write a time: it is beyond the year 9999")?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    const TIME: u64 = 1_700_000_000;

    fn read(file: &str) -> String {
        fs::read_to_string(Paths::of_workspace().unwrap().root().join(file)).unwrap()
    }

    /// The instructions of a Containerfile, continued lines joined, without comments.
    fn instructions(text: &str) -> Vec<(String, String)> {
        let lines: Vec<&str> = text.lines().filter(|line| !line.trim_start().starts_with('#')).collect();
        let joined = lines.join("\n").replace("\\\n", " ");
        let split = |line: &str| {
            let (word, rest) = line.trim().split_once(char::is_whitespace)?;
            Some((word.to_owned(), rest.split_whitespace().collect::<Vec<_>>().join(" ")))
        };
        joined.lines().filter_map(split).collect()
    }

    /// `name="value" name="value"`, where no value holds a quotation mark.
    fn quoted(pairs: &str) -> BTreeMap<String, String> {
        let pieces: Vec<&str> = pairs.split('"').collect();
        let pairs = pieces.chunks_exact(2).map(|pair| {
            let name = pair[0].trim().strip_suffix('=').unwrap();
            (name.to_owned(), pair[1].to_owned())
        });
        pairs.collect()
    }

    #[test]
    fn the_containerfile_makes_the_same_image() {
        let instructions = instructions(&read("deploy/Containerfile"));
        let all = |word: &str| -> Vec<&str> {
            let found = instructions.iter().filter(|(found, _)| found == word);
            found.map(|(_, rest)| rest.as_str()).collect()
        };
        assert_eq!(all("FROM"), ["scratch"]);
        assert_eq!(all("COPY"), [format!("--chown=0:0 --chmod=0755 ctmon {ENTRYPOINT}")]);
        assert_eq!(all("USER"), [USER]);
        assert_eq!(all("ENTRYPOINT"), [format!("[\"{ENTRYPOINT}\"]")]);
        assert_eq!(all("ARG"), ["CREATED", "REVISION"]);
        let others = ["FROM", "COPY", "USER", "ENTRYPOINT", "ARG", "LABEL"];
        let others: Vec<_> =
            instructions.iter().filter(|(word, _)| !others.contains(&word.as_str())).collect();
        assert!(others.is_empty(), "{others:?}");
        let identity = Identity {
            time: None,
            created: Some("${CREATED}".to_owned()),
            revision: Some("${REVISION}".to_owned()),
            home: Home::default(),
        };
        assert_eq!(quoted(&all("LABEL").join(" ")), identity.labels());
    }

    #[test]
    fn what_deploy_pulls_is_what_is_built() {
        let kustomization = read("deploy/kustomize/base/kustomization.yaml");
        let image = Home::default().image();
        assert!(kustomization.contains(&format!("newName: {image}\n")), "{kustomization}");
        assert!(kustomization.contains(&format!("newTag: {VERSION}\n")), "{kustomization}");
    }

    #[test]
    fn what_is_not_known_has_no_label() {
        let labels = Identity::default().labels();
        let names: Vec<&str> = labels.keys().map(String::as_str).collect();
        assert_eq!(
            names,
            [ANNOTATION_DESCRIPTION, ANNOTATION_LICENSES, ANNOTATION_TITLE, ANNOTATION_VERSION]
        );
        assert!(labels.values().all(|value| !value.is_empty()), "{labels:?}");
        let home = Home::new(Some("https://forge.example/owner/ctmon".to_owned()), None).unwrap();
        let known = Identity { home, ..Identity::default() }.labels();
        assert_eq!(known[ANNOTATION_SOURCE], "https://forge.example/owner/ctmon");
    }

    #[test]
    fn a_time_is_written_as_the_specification_wants_it() {
        assert_eq!(rfc3339(TIME).unwrap(), "2023-11-14T22:13:20Z");
        assert!(rfc3339(u64::MAX).is_err());
        assert!(rfc3339(u64::from(u32::MAX) * 100).is_err());
    }
}
