//! Running other programs, with errors that say what was being done.
//!
//! In: a `Command` and what it is for. Out: its success, or its output.
//! Must not: decide what to run.

use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};

use anyhow::{Context as _, Result, bail};

/// One short line of progress. Standard output belongs to what a verb was asked for.
pub(crate) fn say(line: &str) {
    // A closed standard error must not end the work.
    let _ = writeln!(std::io::stderr(), "xtask: {line}");
}

/// `program`, to be sent `signal` when the thread that starts it ends, however it ends.
pub(crate) fn ends_with_us(signal: &str, program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", signal]).arg(program);
    command
}

/// The ways this crate runs a program to its end.
pub(crate) trait Run {
    /// Its output goes to the terminal.
    fn run(&mut self, what: &str) -> Result<()>;
    /// Its output is shown only if it fails.
    fn run_quietly(&mut self, what: &str) -> Result<()>;
    /// Its standard output goes to the terminal and is returned, with how it ended.
    fn run_and_copy(&mut self, what: &str) -> Result<(ExitStatus, String)>;
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

    fn run_and_copy(&mut self, what: &str) -> Result<(ExitStatus, String)> {
        let mut child = self.stdout(Stdio::piped()).spawn().with_context(|| failed_to(what, self))?;
        let mut copy = Vec::new();
        if let Some(stdout) = child.stdout.take() {
            let mut reader = BufReader::new(stdout);
            let mut terminal = std::io::stdout();
            let mut start = 0;
            // Line by line, so that a long run is seen while it runs.
            while reader.read_until(b'\n', &mut copy).with_context(|| failed_to(what, self))? > 0 {
                terminal.write_all(copy.get(start..).unwrap_or_default())?;
                start = copy.len();
            }
        }
        let status = child.wait().with_context(|| failed_to(what, self))?;
        Ok((status, String::from_utf8_lossy(&copy).into_owned()))
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
    // The name is enough: where a toolchain lies only makes the line longer.
    let program = Path::new(command.get_program());
    let mut line = program.file_name().unwrap_or(program.as_os_str()).to_string_lossy().into_owned();
    for argument in command.get_args() {
        line.push(' ');
        line.push_str(&argument.to_string_lossy());
    }
    format!("failed to {what}: `{line}`")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_tells_what_was_done_and_how_it_ended() {
        let error = Command::new("false").arg("--flag").run("prove a point").unwrap_err();
        let text = format!("{error:#}");
        assert!(text.starts_with("failed to prove a point: `false --flag`: exit status: 1"), "{text}");
    }

    #[test]
    fn a_copy_holds_every_line_and_the_last_without_an_end() {
        let mut command = Command::new("printf");
        let (status, copy) = command.arg("one\ntwo").run_and_copy("print").unwrap();
        assert!(status.success());
        assert_eq!(copy, "one\ntwo");
    }

    #[test]
    fn a_missing_program_is_an_answer_where_one_is_asked_for() {
        assert_eq!(Command::new("/nonexistent/program").read_if_works(), None);
        assert_eq!(Command::new("echo").arg("yes").read_if_works().as_deref(), Some("yes\n"));
    }
}
