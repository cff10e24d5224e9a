//! Running other programs, with errors that say what was being done.
//!
//! In: a `Command` and what it is for. Out: its success, or its output.
//! Must not: decide what to run.

use std::io::Write as _;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

/// One short line of progress. Standard output belongs to what a verb was asked for.
pub(crate) fn say(line: &str) {
    // A closed standard error must not end the work.
    let _ = writeln!(std::io::stderr(), "xtask: {line}");
}

/// The ways this crate runs a program to its end.
pub(crate) trait Run {
    /// Its output goes to the terminal.
    fn run(&mut self, what: &str) -> Result<()>;
    /// Its output is shown only if it fails.
    fn run_quietly(&mut self, what: &str) -> Result<()>;
    /// Its standard output is the answer.
    fn read(&mut self, what: &str) -> Result<String>;
    /// Likewise, where a missing program or a failure is an answer too.
    fn read_if_works(&mut self) -> Option<String>;
}

impl Run for Command {
    fn run(&mut self, what: &str) -> Result<()> {
        let status = self.status().with_context(|| failed_to(what, self))?;
        if !status.success() {
            bail!("{}: {status}", failed_to(what, self));
        }
        Ok(())
    }

    fn run_quietly(&mut self, what: &str) -> Result<()> {
        let output = self.stdin(Stdio::null()).output().with_context(|| failed_to(what, self))?;
        if !output.status.success() {
            let mut terminal = std::io::stderr();
            terminal.write_all(&output.stdout)?;
            terminal.write_all(&output.stderr)?;
            bail!("{}: {}", failed_to(what, self), output.status);
        }
        Ok(())
    }

    fn read(&mut self, what: &str) -> Result<String> {
        let output = self
            .stdin(Stdio::null())
            .stderr(Stdio::inherit())
            .output()
            .with_context(|| failed_to(what, self))?;
        if !output.status.success() {
            bail!("{}: {}", failed_to(what, self), output.status);
        }
        String::from_utf8(output.stdout).with_context(|| failed_to(what, self))
    }

    fn read_if_works(&mut self) -> Option<String> {
        let output = self.stdin(Stdio::null()).output().ok().filter(|output| output.status.success())?;
        String::from_utf8(output.stdout).ok()
    }
}

fn failed_to(what: &str, command: &Command) -> String {
    let mut line = command.get_program().to_string_lossy().into_owned();
    for argument in command.get_args() {
        line.push(' ');
        line.push_str(&argument.to_string_lossy());
    }
    format!("failed to {what}: `{line}`")
}
