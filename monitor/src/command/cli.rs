//! The command line: verbs and exit codes.
//!
//! In: arguments and the environment. Out: one verb run; 0 fine, 1 findings, 2 could not tell.
//! Must not: do a verb's work.

use std::io::Write as _;
use std::io::{self, ErrorKind};
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};
use monitor_check::Catalog;
use monitor_model::one_line::one_line;
use monitor_output::terminal::Notation;

use super::check::{self, CheckArgs};
use super::evictions::{self, EvictionsArgs};
use super::format::{EntryFormat, ReportFormat};
use super::global::GlobalArgs;
use super::list::{self, ListArgs};
use super::nat::{self, NatArgs};
use super::rules::{self, RulesArgs};
use super::run::signals::Signals;
use super::run::{self, RunArgs};
use super::terminal::complain;
use super::top::{self, TopArgs};
use super::{config, config_file, logging, scrape, terminal, variables};

/// Exit code for "could not tell".
const COULD_NOT_TELL: u8 = 2;

/// Watches the connection tracking of a Kubernetes node that runs Cilium
#[derive(Debug, Parser)]
#[command(name = "ctmon", version, about, max_term_width = 100, propagate_version = true)]
pub struct Cli {
    #[command(flatten)]
    pub global: GlobalArgs,
    #[command(subcommand)]
    pub verb: Verb,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Run the daemon: collect at every interval, serve /metrics
    Run(RunArgs),
    /// Collect once and print the /metrics page
    Scrape,
    /// List conntrack entries
    List(ListArgs),
    /// List NAT entries
    Nat(NatArgs),
    /// Show who fills the conntrack maps
    Top(TopArgs),
    /// Show the last entries the kernel evicted to make room, as the running daemon saw them
    Evictions(EvictionsArgs),
    /// Say what is wrong, with evidence and advice; exits 1 if there is a finding, 2 if it could not tell
    Check(CheckArgs),
    /// Print Prometheus rules
    Rules(RulesArgs),
    /// Print the effective configuration, every default spelled out
    Config,
}

impl Verb {
    /// How its output spells what would steer a terminal.
    const fn notation(&self) -> Notation {
        let json = match self {
            Self::List(ListArgs { print, .. }) | Self::Nat(NatArgs { print, .. }) => {
                matches!(print.output, EntryFormat::Json)
            }
            Self::Top(TopArgs { output, .. })
            | Self::Evictions(EvictionsArgs { output })
            | Self::Check(CheckArgs { output, .. }) => matches!(output, ReportFormat::Json),
            Self::Run(_) | Self::Scrape | Self::Rules(_) | Self::Config => false,
        };
        if json { Notation::Json } else { Notation::Text }
    }
}

/// Runs the process.
#[must_use]
pub fn main() -> ExitCode {
    // First of all: until then a signal may be lost.
    let signals = Signals::catch_if_first();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Without colours, and spelled out: it repeats arguments and variables.
            let text = variables::named(&error, Cli::command()).unwrap_or_else(|| error.render().to_string());
            let _ = if error.use_stderr() {
                terminal::stderr(Notation::Text).write_all(text.as_bytes())
            } else {
                terminal::stdout(Notation::Text).write_all(text.as_bytes())
            };
            return ExitCode::from(if error.use_stderr() { COULD_NOT_TELL } else { 0 });
        }
    };
    match dispatch(&cli, signals) {
        Ok(code) => code,
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            // One line: its beginning says where, its last part what to do.
            complain(&one_line(error.as_ref()));
            ExitCode::from(COULD_NOT_TELL)
        }
    }
}

fn dispatch(Cli { global, verb }: &Cli, signals: Option<Signals>) -> anyhow::Result<ExitCode> {
    // A daemon logs what it does; the output of other verbs is their result.
    let usual_level = if matches!(verb, Verb::Run(_)) { "info" } else { "warn" };
    logging::init(global.log_level.as_deref().unwrap_or(usual_level), global.log_format)?;
    let out = &mut terminal::stdout(verb.notation());
    if let Verb::Check(args) = verb
        && let Some(code) = check::explain(args, out)?
    {
        return Ok(code);
    }
    let loaded = monitor_config::load::<Catalog>(global.config.as_deref(), config_file::read_text)?;
    let settings = &loaded.settings;
    match verb {
        Verb::Run(args) => run::run(global, args, loaded, signals)?,
        Verb::Scrape => scrape::run(global, settings, out)?,
        Verb::List(args) => list::run(global, settings, args, out)?,
        Verb::Nat(args) => nat::run(global, settings, args, out)?,
        Verb::Top(args) => top::run(global, settings, args, out)?,
        Verb::Evictions(args) => evictions::run(global, *args, out)?,
        Verb::Check(args) => return check::run(global, settings, args, out),
        Verb::Rules(args) => rules::run(settings, args, out)?,
        Verb::Config => config::run(settings, out)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == ErrorKind::BrokenPipe)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn global_flags_stand_before_or_after_the_verb() {
        for line in [["ctmon", "--bpffs", "/b", "scrape"], ["ctmon", "scrape", "--bpffs", "/b"]] {
            let cli = Cli::try_parse_from(line).unwrap();
            assert_eq!(cli.global.bpffs, std::path::Path::new("/b"));
        }
    }
}
