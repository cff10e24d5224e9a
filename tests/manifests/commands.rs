//! Commands that runbooks, tuning, README and install pages tell people to type exist, with these flags.

use anyhow::Result;
use clap::Parser;
use monitor::command::cli::Cli;

use crate::tools;

/// The arguments of our command in an indented line, without what follows it.
fn arguments(line: &str) -> Option<Vec<String>> {
    let line = line.strip_prefix("    ")?;
    let ours = match line.find("| ctmon ") {
        Some(at) => line.get(at + 2..)?,
        None => line,
    };
    let command = ours.strip_prefix("ctmon ")?;
    let command = command.split(['#', '|']).next()?.replace("$ADDRESS", "192.0.2.1");
    Some(command.split_whitespace().map(str::to_owned).collect())
}

#[test]
fn every_command_of_the_pages_is_understood() -> Result<()> {
    let mut understood = 0;
    for folder in ["runbooks", "tuning", "docs", ".", ".."] {
        for file in tools::files(folder, "md")? {
            let text = std::fs::read_to_string(&file)?;
            for arguments in text.lines().filter_map(arguments) {
                let line = std::iter::once("ctmon").chain(arguments.iter().map(String::as_str));
                let parsed = Cli::try_parse_from(line);
                assert!(parsed.is_ok(), "{}: ctmon {}: {parsed:?}", file.display(), arguments.join(" "));
                understood += 1;
            }
        }
    }
    println!("{understood} commands understood");
    assert!(understood > 30);
    Ok(())
}
