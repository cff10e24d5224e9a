//! The files on the release's page.

use std::fs;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use support::folder::Folder;
use support::released;

use crate::tools;

#[test]
fn every_file_has_a_checksum_that_holds() -> Result<()> {
    let folder = released::artefacts()?;
    let sums = fs::read_to_string(folder.join("SHA256SUMS"))?;
    let mut listed: Vec<&str> = sums.lines().filter_map(|line| line.split("  ").nth(1)).collect();
    for line in sums.lines() {
        let (sum, name) = line.split_once("  ").context("not a line of sha256sum")?;
        assert_eq!(tools::digest(&folder.join(name))?, format!("sha256:{sum}"), "{name}");
    }
    // What says of others what they are, and the text of the page.
    listed.extend(["SHA256SUMS", "notes.md", "oci.txt"]);
    listed.sort_unstable();
    let mut there = Vec::new();
    for entry in fs::read_dir(&folder)? {
        there.push(entry?.file_name().to_string_lossy().into_owned());
    }
    there.sort();
    assert_eq!(there, listed);
    Ok(())
}

#[test]
fn the_bill_of_materials_is_of_the_binary_in_the_archive() -> Result<()> {
    let folder = released::artefacts()?;
    let mut checked = 0;
    for entry in fs::read_dir(&folder)? {
        let path = entry?.path();
        let name = path.file_name().context("no name")?.to_string_lossy().into_owned();
        let Some(name) = name.strip_suffix(".cdx.json") else { continue };
        let bom = tools::json(&fs::read_to_string(&path)?)?;
        assert_eq!((&bom["bomFormat"], &bom["specVersion"]), (&"CycloneDX".into(), &"1.5".into()));
        let subject = &bom["metadata"]["component"];
        assert_eq!((&subject["name"], &subject["version"]), (&"ctmon".into(), &tools::VERSION.into()));
        let unpacked = Folder::new("registry")?;
        let text =
            |path: &std::path::Path| path.to_str().map(str::to_owned).context("a path that is not UTF-8");
        let archive = text(&folder.join(format!("{name}.tar.gz")))?;
        tools::run("tar", &["-xf".to_owned(), archive, "-C".to_owned(), text(unpacked.path())?])?;
        let digest = tools::digest(&unpacked.join(name).join("ctmon"))?;
        assert_eq!(subject["hashes"][0]["content"], Value::from(digest.trim_start_matches("sha256:")));
        let components = bom["components"].as_array().context("no components")?;
        let known = |name: &str| components.iter().any(|component| component["name"] == name);
        ensure!(
            components.len() > 50 && known("aya") && known("rust-std"),
            "{} components",
            components.len()
        );
        checked += 1;
    }
    ensure!(checked > 0, "no bill of materials");
    Ok(())
}
