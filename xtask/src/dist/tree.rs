//! A copy of some of the workspace's files, to be changed and packed.
//!
//! In: a folder. Out: paths and bytes, links followed, and archives of them.
//! Must not: write into the checkout.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

use crate::oci::{Entry, gzip, tar};

/// Files by their path below the folder, in the order of their names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Tree(pub(super) BTreeMap<String, Vec<u8>>);

impl Tree {
    pub(super) fn read(folder: &Path) -> Result<Self> {
        let mut files = BTreeMap::new();
        read_into(folder, "", &mut files)?;
        Ok(Self(files))
    }

    /// What lies below `folder`, named from there.
    pub(super) fn below(&self, folder: &str) -> Self {
        let files = self.0.iter().filter_map(|(path, bytes)| {
            let name = path.strip_prefix(folder)?.strip_prefix('/')?;
            Some((name.to_owned(), bytes.clone()))
        });
        Self(files.collect())
    }

    /// Those whose path begins with one of these folders.
    pub(super) fn only(&self, folders: &[&str]) -> Self {
        let within = |path: &str| {
            folders.iter().any(|folder| path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/')))
        };
        let files = self.0.iter().filter(|(path, _)| within(path));
        Self(files.map(|(path, bytes)| (path.clone(), bytes.clone())).collect())
    }

    pub(super) fn text(&self, path: &str) -> Result<&str> {
        let bytes = self.0.get(path).with_context(|| format!("there is no {path}"))?;
        std::str::from_utf8(bytes).with_context(|| format!("{path} is no text"))
    }

    /// A tar of it with `prefix` before every path; its folders are made by whoever unpacks it.
    pub(super) fn tar(&self, prefix: &str, time: u64) -> Result<Vec<u8>> {
        let entries = self.0.iter().map(|(path, bytes)| Entry::file(format!("{prefix}{path}"), bytes));
        tar(&entries.collect::<Vec<_>>(), time)
    }

    pub(super) fn tar_gz(&self, prefix: &str, time: u64) -> Result<Vec<u8>> {
        gzip(&self.tar(prefix, time)?)
    }
}

fn read_into(folder: &Path, prefix: &str, files: &mut BTreeMap<String, Vec<u8>>) -> Result<()> {
    let listed = fs::read_dir(folder).with_context(|| format!("failed to list {}", folder.display()))?;
    for entry in listed {
        let path = entry.with_context(|| format!("failed to list {}", folder.display()))?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        let name = name.with_context(|| format!("{} is not UTF-8", path.display()))?;
        let name = format!("{prefix}{name}");
        if path.is_dir() {
            read_into(&path, &format!("{name}/"), files)?;
        } else {
            let bytes = fs::read(&path).with_context(|| format!("failed to read {}", path.display()))?;
            files.insert(name, bytes);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(paths: &[&str]) -> Tree {
        Tree(paths.iter().map(|path| ((*path).to_owned(), path.as_bytes().to_vec())).collect())
    }

    #[test]
    fn a_folder_is_no_file_that_begins_like_it() {
        let all = tree(&["a/b/c", "a/d", "ab/e", "a"]);
        assert_eq!(all.only(&["a"]), tree(&["a/b/c", "a/d"]));
        let below: Vec<String> = all.below("a").0.into_keys().collect();
        assert_eq!(below, ["b/c", "d"]);
    }
}
