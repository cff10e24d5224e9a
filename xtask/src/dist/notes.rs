//! What changed, for the page of the release.
//!
//! In: CHANGELOG.md and a version. Out: its section. Must not: write anything of its own.

use anyhow::{Result, bail, ensure};

/// What is not released yet.
pub(super) const UNRELEASED: &str = "Unreleased";

/// Fails unless the tag names this version.
pub(super) fn check_tag(tag: &str, version: &str) -> Result<()> {
    ensure!(
        tag.strip_prefix('v') == Some(version),
        "the tag is {tag}, the workspace's version is {version}: it is released as v{version}"
    );
    Ok(())
}

/// The text below the version's heading, up to the next.
pub(super) fn cut(changelog: &str, version: &str) -> Result<String> {
    let heading = format!("## [{version}]");
    let mut lines = changelog.lines().skip_while(|line| !line.starts_with(&heading));
    if lines.next().is_none() {
        bail!("CHANGELOG.md has no section {heading}: what changed has to be said before it is released");
    }
    // The last section ends where the addresses of links begin.
    let is_end = |line: &str| line.starts_with("## ") || (line.starts_with('[') && line.contains("]: "));
    let text: Vec<&str> = lines.take_while(|line| !is_end(line)).collect();
    let text = text.join("\n").trim().to_owned();
    ensure!(!text.is_empty(), "the section {heading} of CHANGELOG.md is empty");
    Ok(format!("{text}\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHANGELOG: &str = "# Changelog\n\n## [Unreleased]\n\n## [1.1.0] - 2026-02-01\n\n### Added\n\n- One.\n\n\
        ## [1.0.0] - 2026-01-01\n\n- First.\n\n[1.0.0]: https://forge.example/1\n";

    #[test]
    fn a_section_ends_where_the_next_begins() {
        assert_eq!(cut(CHANGELOG, "1.1.0").unwrap(), "### Added\n\n- One.\n");
        assert_eq!(cut(CHANGELOG, "1.0.0").unwrap(), "- First.\n");
    }

    #[test]
    fn a_version_that_nothing_is_said_of_is_not_released() {
        for (version, said) in [("2.0.0", "no section"), ("1.1", "no section"), (UNRELEASED, "is empty")] {
            let error = cut(CHANGELOG, version).unwrap_err().to_string();
            assert!(error.contains(said), "{version}: {error}");
        }
    }

    #[test]
    fn a_tag_is_the_version_with_a_v() {
        assert!(check_tag("v1.0.0", "1.0.0").is_ok());
        for tag in ["1.0.0", "v1.0.1", "v1.0.0-rc1", "refs/tags/v1.0.0"] {
            assert!(check_tag(tag, "1.0.0").unwrap_err().to_string().contains("v1.0.0"), "{tag}");
        }
    }
}
