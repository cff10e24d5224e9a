//! `ctmon rules`: Prometheus rules with the configured times.
//!
//! In: settings, the flags. Out: the file.
//! Must not: ask Prometheus or the daemon.

use std::io::Write;

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use monitor_config::Settings;
use monitor_output::rules::{self, CLUSTER, Format, Group, OptionError, Options};

/// Arguments of `ctmon rules`.
#[derive(Args, Clone, Debug)]
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
    /// The label that tells your clusters apart, whose nodes may have equal addresses
    #[arg(long, default_value = CLUSTER, value_name = "LABEL")]
    pub cluster_label: String,
    /// Where the pages of deploy/runbooks are read: each alert gets the link URL/NAME.md, none if URL is empty
    /// [default: of the repository this binary was released from, if any]
    #[arg(long, value_name = "URL")]
    pub runbooks: Option<String>,
    /// Where Grafana is: each alert gets a link to the dashboard, of its node where it has one; none if URL is empty
    #[arg(long, default_value = "", hide_default_value = true, value_name = "URL")]
    pub grafana: String,
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

/// Prints the rules.
pub fn run(settings: &Settings, args: &RulesArgs, out: &mut impl Write) -> anyhow::Result<()> {
    let RulesArgs { output, group, cluster_label, runbooks, grafana } = args;
    let group = match group {
        RulesGroup::Nodes => Group::Nodes,
        RulesGroup::Fleet => Group::Fleet,
        RulesGroup::Cluster => Group::Cluster,
    };
    let format = match output {
        RulesOutput::Plain => Format::Plain,
        RulesOutput::Crd => Format::Crd,
    };
    let options = Options::new(cluster_label, runbooks.as_deref());
    let options = options.and_then(|options| options.with_grafana(grafana)).map_err(|error| {
        let flag = match error {
            OptionError::NoLabel(_) | OptionError::Taken(_) => "--cluster-label",
            OptionError::NoAddress(_) if runbooks.is_some() => "--runbooks",
            OptionError::NoAddress(_) => "CTMON_HOME of this build",
            OptionError::NoGrafana(_) => "--grafana",
        };
        anyhow::Error::new(error).context(flag)
    })?;
    rules::write(settings, &options, group, format, out).context("failed to print the rules")
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        args: RulesArgs,
    }

    /// What `ctmon rules` with these flags prints, or the one line of its error.
    fn check(flags: &[&str]) -> Result<String, String> {
        let line = Line::try_parse_from(std::iter::once(&"rules").chain(flags)).map_err(|e| e.to_string())?;
        let mut out = Vec::new();
        run(&Settings::defaults::<monitor_check::Catalog>(), &line.args, &mut out)
            .map_err(|error| format!("{error:#}"))?;
        Ok(String::from_utf8(out).expect("text"))
    }

    #[test]
    fn a_bad_label_or_address_is_refused_before_anything_is_printed() {
        for (flags, expected) in [
            (["--cluster-label", "k8s-cluster"], "--cluster-label: \"k8s-cluster\" is no name of a label"),
            (["--cluster-label", "a\nb"], "--cluster-label: \"a\\nb\" is no name of a label"),
            (["--cluster-label", "pod"], "--cluster-label: the label pod has another meaning"),
            (["--runbooks", "wiki"], "--runbooks: \"wiki\" is no address of runbooks"),
            (["--grafana", "grafana"], "--grafana: \"grafana\" is no address of Grafana"),
        ] {
            let error = check(&flags).expect_err("refused");
            assert!(error.starts_with(expected) && !error.contains('\n'), "{error}");
        }
    }

    #[test]
    fn both_reach_the_rules() {
        let flags = ["--cluster-label", "site", "--runbooks", "https://wiki.example", "--group", "cluster"];
        let rules = check(&flags).expect("printed");
        assert!(rules.contains("max by(site, namespace, pod)"), "{rules}");
        assert!(rules.contains("runbook_url: https://wiki.example/CtmonPodNotReady.md"), "{rules}");
    }
}
