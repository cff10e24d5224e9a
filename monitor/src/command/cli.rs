//! The command line: verbs, global flags, exit codes.
//!
//! In: arguments and the environment. Out: one verb run; 0 fine, 1 findings, 2 could not tell.
//! Must not: do a verb's work.

use std::io::{self, ErrorKind};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};

use super::check::CheckArgs;
use super::evictions::EvictionsArgs;
use super::list::ListArgs;
use super::logging;
use super::nat::NatArgs;
use super::run::RunArgs;
use super::top::TopArgs;
use super::{check, config, evictions, node, rules, run, scrape};
use crate::output::rules::{Format as RulesFormat, Group};

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

/// Flags of every verb, before or after it.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Global options")]
pub struct GlobalArgs {
    /// Configuration file [default: /etc/ctmon/config.yaml if it exists]
    #[arg(long, global = true, value_name = "FILE", env = "CTMON_CONFIG")]
    pub config: Option<PathBuf>,
    /// Where bpffs is mounted; Cilium's pins lie in tc/globals below it
    #[arg(long, global = true, value_name = "DIR", default_value = "/sys/fs/bpf", env = "CTMON_BPFFS")]
    pub bpffs: PathBuf,
    /// Where the node's procfs is mounted
    #[arg(long, global = true, value_name = "DIR", default_value = "/proc", env = "CTMON_PROCFS")]
    pub procfs: PathBuf,
    /// Where the node's sysfs is mounted
    #[arg(long, global = true, value_name = "DIR", default_value = "/sys", env = "CTMON_SYSFS")]
    pub sysfs: PathBuf,
    /// Where the kubelet keeps the logs of pods
    #[arg(long, global = true, value_name = "DIR", default_value = "/var/log/pods", env = "CTMON_POD_LOGS")]
    pub pod_logs: PathBuf,
    /// The running daemon: `evictions` and `check` ask what it saw
    #[arg(
        long,
        global = true,
        value_name = "URL",
        default_value = "http://127.0.0.1:9469",
        env = "CTMON_DAEMON"
    )]
    pub daemon: String,
    /// Cilium's configuration: the mounted ConfigMap `cilium-config` (a folder), or a YAML file of it
    #[arg(long, global = true, value_name = "FILE|DIR", env = "CTMON_CILIUM_CONFIG")]
    pub cilium_config: Option<PathBuf>,
    /// What to log: error, warn, info, debug, trace, or directives of the tracing library
    #[arg(long, global = true, value_name = "LEVEL", env = "CTMON_LOG_LEVEL")]
    pub log_level: Option<String>,
    /// How to log
    #[arg(
        long,
        global = true,
        value_name = "FORMAT",
        value_enum,
        default_value = "text",
        env = "CTMON_LOG_FORMAT"
    )]
    pub log_format: logging::Format,
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

/// Arguments of `ctmon rules`.
#[derive(Args, Clone, Copy, Debug)]
pub struct RulesArgs {
    /// A rule file for Prometheus, or a PrometheusRule for its operator
    #[arg(
        short = 'o',
        long,
        value_enum,
        default_value = "plain",
        value_name = "FORMAT",
        env = "CTMON_OUTPUT"
    )]
    pub output: RulesOutput,
    /// Which rules: alerts on ctmon's own series, one series per cluster for fleets, or alerts on what
    /// kube-state-metrics and cAdvisor say of Trident and Cilium
    #[arg(long, value_enum, default_value = "nodes", value_name = "GROUP")]
    pub group: RulesGroup,
}

/// Format of `ctmon rules`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum RulesOutput {
    Plain,
    Crd,
}

/// Rules of `ctmon rules`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum RulesGroup {
    Nodes,
    Fleet,
    Cluster,
}

/// Runs the process.
#[must_use]
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { COULD_NOT_TELL } else { 0 });
        }
    };
    match dispatch(&cli) {
        Ok(code) => code,
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            // One line: the chain says where, the last part what to do.
            eprintln!("ctmon: {error:#}");
            ExitCode::from(COULD_NOT_TELL)
        }
    }
}

fn dispatch(Cli { global, verb }: &Cli) -> anyhow::Result<ExitCode> {
    // A daemon tells what it does; a one-off verb speaks through its result.
    let usual_level = if matches!(verb, Verb::Run(_)) { "info" } else { "warn" };
    logging::init(global.log_level.as_deref().unwrap_or(usual_level), global.log_format)?;
    let settings = crate::config::load(global.config.as_deref())?;
    let out = &mut io::stdout().lock();
    match verb {
        Verb::Run(args) => run::run(global, args, settings)?,
        Verb::Scrape => scrape::run(global, &settings, out)?,
        Verb::List(args) => node::list(global, &settings, args, out)?,
        Verb::Nat(args) => node::nat(global, &settings, args, out)?,
        Verb::Top(args) => node::top(global, &settings, args, out)?,
        Verb::Evictions(args) => evictions::run(global, *args, out)?,
        Verb::Check(args) => return check::run(global, &settings, args, out),
        Verb::Rules(RulesArgs { output, group }) => {
            let group = match group {
                RulesGroup::Nodes => Group::Nodes,
                RulesGroup::Fleet => Group::Fleet,
                RulesGroup::Cluster => Group::Cluster,
            };
            let format = match output {
                RulesOutput::Plain => RulesFormat::Plain,
                RulesOutput::Crd => RulesFormat::Crd,
            };
            rules::run(&settings, group, format, out)?;
        }
        Verb::Config => config::run(&settings, out)?,
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
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn global_flags_stand_before_or_after_the_verb() {
        for line in [["ctmon", "--bpffs", "/b", "scrape"], ["ctmon", "scrape", "--bpffs", "/b"]] {
            let cli = Cli::try_parse_from(line).unwrap();
            assert_eq!(cli.global.bpffs, PathBuf::from("/b"));
        }
    }
}
