//! The flags of every verb.
//!
//! In: arguments and the environment. Out: where the node, its files and the daemon are; what to log.
//! Must not: know a verb.

use std::path::PathBuf;

use clap::Args;
use monitor_source::daemon::DaemonUrl;

use super::logging::LogFormat;

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
        default_value = "http://127.0.0.1:10469",
        env = "CTMON_DAEMON",
        hide_env_values = true
    )]
    pub daemon: DaemonUrl,
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
    pub log_format: LogFormat,
}
