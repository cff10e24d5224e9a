//! Commands that runbooks and the tuning tell people to type exist, with these flags.

use anyhow::Result;
use clap::Parser;
use monitor::command::cli::Cli;

use crate::tools;

/// Told by the runbooks, and not in the command line yet: drop a line when it is.
const TO_COME: [&str; 2] = ["evictions", "--collisions"];

/// The arguments of our command in an indented line, without what follows it.
fn arguments(line: &str) -> Option<Vec<String>> {
    let line = line.strip_prefix("    ")?;
    let ours = match line.find("| ctmon ") {
        Some(at) => line.get(at + 2..)?,
        None => line,
    };
    let command = ours.strip_prefix("ctmon ")?;
    let command = command.split(['#', '|']).next()?.replace("<node address>", "192.0.2.1");
    Some(command.split_whitespace().map(str::to_owned).collect())
}

#[test]
fn every_command_of_the_runbooks_is_understood() -> Result<()> {
    let (mut understood, mut to_come) = (0, 0);
    for folder in ["runbooks", "tuning", "."] {
        for file in tools::files(folder, "md")? {
            let text = std::fs::read_to_string(&file)?;
            for arguments in text.lines().filter_map(arguments) {
                if arguments.iter().any(|argument| TO_COME.contains(&argument.as_str())) {
                    to_come += 1;
                    continue;
                }
                let line = std::iter::once("ctmon").chain(arguments.iter().map(String::as_str));
                let parsed = Cli::try_parse_from(line);
                assert!(parsed.is_ok(), "{}: ctmon {}: {parsed:?}", file.display(), arguments.join(" "));
                understood += 1;
            }
        }
    }
    println!("{understood} commands understood, {to_come} to come");
    assert!(understood > 30);
    Ok(())
}
