//! The licences of what is linked: most ask that their text goes with the binary.
//!
//! In: the crates' own files. Out: one text. Must not: guess a text that a crate does not bring.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;

use anyhow::{Context as _, Result};

use super::linked::{Crates, Key};

/// What such files are called.
const NAMES: [&str; 6] = ["LICENSE", "LICENCE", "COPYING", "NOTICE", "COPYRIGHT", "UNLICENSE"];

/// Every text once, with the crates it is of; those that bring none are named with their expression.
pub(super) fn texts(crates: &Crates) -> Result<String> {
    let mut texts: BTreeMap<String, Vec<&Key>> = BTreeMap::new();
    let mut all = "ctmon holds these crates, linked into it:\n\n".to_owned();
    for (key, described) in crates.iter().filter(|(_, described)| described.checksum.is_some()) {
        let licence = described.licence.as_deref().unwrap_or("see below");
        writeln!(all, "  {} {}: {licence}", key.0, key.1)?;
        let folder = &described.folder;
        let listed = fs::read_dir(folder).with_context(|| format!("failed to list {}", folder.display()))?;
        for entry in listed {
            let path = entry.with_context(|| format!("failed to list {}", folder.display()))?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().to_uppercase();
            if path.is_file() && NAMES.iter().any(|known| name.starts_with(known)) {
                let text = fs::read(&path).with_context(|| format!("failed to read {}", path.display()))?;
                let text = String::from_utf8_lossy(&text).replace("\r\n", "\n").trim().to_owned();
                let of = texts.entry(text).or_default();
                if !of.contains(&key) {
                    of.push(key);
                }
            }
        }
    }
    let mut ordered: Vec<_> = texts.into_iter().map(|(text, of)| (of, text)).collect();
    ordered.sort();
    for (of, text) in ordered {
        let names: Vec<String> = of.iter().map(|(name, version)| format!("{name} {version}")).collect();
        write!(all, "\n{}\nOf {}:\n\n{text}\n", "-".repeat(80), names.join(", "))?;
    }
    Ok(all)
}
