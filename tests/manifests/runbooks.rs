//! Every alert has a page that says what to do, and no page is without an alert.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use monitor_check::ALERTS;
use monitor_model::alert::{Alert, Unit};
use monitor_output::prometheus::metrics;
use monitor_output::rules::cluster;
use serde_json::Value;
use support::objects::{at, documents};

use crate::tools;

/// In this order, so that whoever is woken up finds them.
const SECTIONS: [&str; 4] = ["## What it means", "## How to look", "## What to do", "## When it is wrong"];

/// What a line to type may begin with: programs of whoever reads the page, and the words that the index defines. Neither our image
/// nor Talos has a shell or a tool.
const COMMANDS: [&str; 9] =
    ["kubectl", "talosctl", "ctmon", "cilium-dbg", "helm", "promtool", "agent", "probe", "from_node"];
/// What a command is piped into, on the reader's side.
const FILTERS: [&str; 6] = ["grep", "head", "tail", "sort", "uniq", "awk"];
const MORE_FILTERS: [&str; 4] = ["wc", "cut", "tr", "ctmon"];
/// What the words of the index may run, since the image has it: the agent's, and busybox.
const INSIDE: [(&str, &[&str]); 3] =
    [("agent", &["bpftool", "cilium-dbg"]), ("probe", &["nc"]), ("from_node", &["nc"])];
/// What nobody can run on a node without a shell.
const HOST: [&str; 12] = [
    "bpftool",
    "uname",
    "nc",
    "ss",
    "ls",
    "cat",
    "ps",
    "dmesg",
    "netstat",
    "sysctl",
    "tcpdump",
    "journalctl",
];

fn pages() -> Result<BTreeSet<String>> {
    let files = tools::files("runbooks", "md")?;
    let names = files.iter().filter_map(|file| file.file_stem()?.to_str().map(str::to_owned));
    Ok(names.filter(|name| name != "README").collect())
}

/// Alerts of the generated rules: those on ctmon's own series, and those on other exporters' series. What is committed links nowhere:
/// where its pages are read is known to whoever releases or installs it.
fn alerts() -> Result<BTreeSet<String>> {
    let mut names: BTreeSet<String> = ALERTS.iter().map(|alert| alert.name.to_owned()).collect();
    for file in ["ctmon.prometheusrule.yaml", "cluster/ctmon-cluster.prometheusrule.yaml"] {
        let rule = documents(&tools::text(&format!("prometheus/{file}"))?)?;
        for group in at(rule.first().context("no rules")?, "/spec/groups").as_array().context("no groups")? {
            for rule in group["rules"].as_array().context("no rules")? {
                let Some(alert) = rule["alert"].as_str() else { continue };
                names.insert(alert.to_owned());
                assert_eq!(at(rule, "/annotations/runbook_url"), &Value::Null, "{alert}");
            }
        }
    }
    Ok(names)
}

#[test]
fn every_alert_has_its_page_and_every_page_its_alert() -> Result<()> {
    assert_eq!(pages()?, alerts()?);
    Ok(())
}

#[test]
fn every_page_has_the_same_sections_and_something_to_run() -> Result<()> {
    for page in pages()? {
        let text = tools::text(&format!("runbooks/{page}.md"))?;
        assert!(text.starts_with(&format!("# {page}\n\n**")), "{page} begins with its name and severity");
        let found: Vec<_> = text.lines().filter(|line| line.starts_with("## ")).collect();
        assert_eq!(found, SECTIONS, "{page}");
        let commands: Vec<_> = text.lines().filter(|line| line.starts_with("    ")).collect();
        assert!(commands.iter().any(|line| line.contains("ctmon")), "{page} shows no command of ours");
        assert!(
            commands.iter().any(|line| line.contains("cilium-dbg") || line.contains("trident")),
            "{page} shows no way without ctmon"
        );
    }
    Ok(())
}

#[test]
fn the_index_names_every_page() -> Result<()> {
    let index = tools::text("runbooks/README.md")?;
    for page in pages()? {
        assert!(index.contains(&format!("[{page}]({page}.md)")), "{page}");
    }
    Ok(())
}

#[test]
fn links_lead_to_files_that_exist() -> Result<()> {
    let mut links = 0;
    for folder in ["runbooks", "tuning", "flux", "."] {
        for file in tools::files(folder, "md")? {
            let text = std::fs::read_to_string(&file)?;
            for link in text.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(link, _)| link)
            {
                if link.starts_with("https://") {
                    continue;
                }
                let path = link.split('#').next().unwrap_or_default();
                let target = file.parent().unwrap_or(Path::new(".")).join(path);
                assert!(target.exists(), "{}: {link}", file.display());
                links += 1;
            }
        }
    }
    assert!(links > 50, "{links} links");
    Ok(())
}

/// What somebody would type: the lines of blocks, without the index's definitions and comments.
fn typed(text: &str) -> impl Iterator<Item = &str> {
    let lines = text.lines().filter_map(|line| line.strip_prefix("    "));
    lines.filter(|line| {
        !line.starts_with('#') && !line.split(' ').next().unwrap_or_default().contains(['=', '('])
    })
}

/// Why this cannot be run as it stands; `None` if it can.
fn unusable(line: &str) -> Option<String> {
    let first = line.split(' ').next().unwrap_or_default();
    if metrics().any(|metric| metric.name == first) {
        return None;
    }
    if !COMMANDS.contains(&first) {
        return Some(format!("{first} is not there"));
    }
    if line.contains("sh -c") {
        return Some("there is no shell".to_owned());
    }
    let inside = INSIDE.iter().find(|(word, _)| *word == first).map(|(_, programs)| programs);
    let second = line.split(' ').nth(1).unwrap_or_default();
    if inside.is_some_and(|programs| !programs.contains(&second)) {
        return Some(format!("{first} has no {second}"));
    }
    let filters = line.split(" | ").skip(1).filter_map(|filter| filter.split(' ').next());
    let mut strange = filters.filter(|filter| !FILTERS.contains(filter) && !MORE_FILTERS.contains(filter));
    strange.next().map(|filter| format!("piped into {filter}"))
}

#[test]
fn every_line_to_type_runs_without_a_shell_on_the_node() -> Result<()> {
    let mut lines = 0;
    for file in tools::files("runbooks", "md")? {
        let text = std::fs::read_to_string(&file)?;
        for line in typed(&text) {
            assert_eq!(unusable(line), None, "{}: {line}", file.display());
            // Its argument is an address; names of nodes are Kubernetes's.
            assert!(!line.contains("talosctl -n $NODE"), "{}: {line}", file.display());
            lines += 1;
        }
        // Outside of blocks every second piece between ` is code.
        let prose: Vec<_> = text.lines().filter(|line| !line.starts_with("    ")).collect();
        for code in prose.join("\n").split('`').skip(1).step_by(2).filter(|code| code.contains(' ')) {
            let first = code.split(' ').next().unwrap_or_default();
            assert!(!HOST.contains(&first), "{}: `{code}`", file.display());
        }
    }
    assert!(lines > 150, "{lines} lines");
    Ok(())
}

#[test]
fn a_command_of_the_host_is_seen() {
    let check =
        |line: &str, expected: Option<&str>| assert_eq!(unusable(line).as_deref(), expected, "{line}");
    check("uname -r", Some("uname is not there"));
    check("bpftool map show", Some("bpftool is not there"));
    check("agent bpftool map show", None);
    check("agent ss -tn", Some("agent has no ss"));
    check("kubectl exec x -- sh -c 'ss | grep x'", Some("there is no shell"));
    check("ctmon scrape | tee page", Some("piped into tee"));
    check("ctmon_config_last_reload_successful", None);
}

/// The block of the index, run by a shell whose `kubectl` prints what a cluster of two nodes would.
fn shell(instance: &str, then: &str) -> Result<String> {
    const KUBECTL: &str = r#"kubectl() { case "$*" in
        "get nodes"*) printf 'talos-1 10.0.0.1 talos-1\ntalos-2 10.0.0.11 fd00::11 talos-2\n' ;;
        "get node talos-2"*) printf '10.0.0.11 fd00::11' ;;
        *"get pod"*) printf 'pod/here\npod/leaving\n' ;;
        *) printf '%s\n' "$*" ;;
    esac; }"#;
    let index = tools::text("runbooks/README.md")?;
    let block: Vec<_> = index.lines().filter_map(|line| line.strip_prefix("    ")).collect();
    let block = block.join("\n").replace("INSTANCE=10.0.0.11:10469", &format!("INSTANCE='{instance}'"));
    let output = Command::new("bash").args(["-euc", &format!("{KUBECTL}\n{block}\n{then}")]).output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}

#[test]
fn the_words_of_the_index_find_the_node_and_run_there() -> Result<()> {
    for instance in ["10.0.0.11:10469", "[fd00::11]:10469", "talos-2:10469"] {
        assert_eq!(shell(instance, "echo $NODE $ADDRESS")?, "talos-2 10.0.0.11\n", "{instance}");
    }
    let runs = |then: &str| shell("10.0.0.11:10469", then);
    assert_eq!(runs("ctmon check")?, "-n ctmon exec pod/here -- ctmon check\n");
    let agent = "-n kube-system exec pod/here -c cilium-agent -- cilium-dbg map list\n";
    assert_eq!(runs("cilium-dbg map list")?, agent);
    assert!(runs("from_node nc -z 192.0.2.1 445")?.ends_with(" -i -- nc -z 192.0.2.1 445\n"));
    Ok(())
}

/// What `baseline` refuses: namespaces of the host, its files, privilege.
#[test]
fn the_pod_that_probes_is_one_that_baseline_admits() -> Result<()> {
    let run = shell("10.0.0.11:10469", "probe nc -z 192.0.2.1 445")?;
    let (_, overrides) = run.split_once("--overrides=").context("no overrides")?;
    let (overrides, command) = overrides.split_once(" -- ").context("no command")?;
    let overrides: Value = serde_json::from_str(overrides)?;
    assert_eq!(overrides, serde_json::json!({"apiVersion": "v1", "spec": {"nodeName": "talos-2"}}));
    assert_eq!(command, "nc -z 192.0.2.1 445\n");
    assert!(!run.contains("privileged"), "{run}");
    Ok(())
}

/// The paragraph below the name.
fn opening(page: &str) -> Result<String> {
    let text = tools::text(&format!("runbooks/{page}.md"))?;
    Ok(text.split("\n\n").nth(1).context("no paragraph")?.replace('\n', " "))
}

/// A time as these pages write it.
fn spelled(time: Duration) -> String {
    match time.as_secs() {
        60 => "a minute".to_owned(),
        3600 => "an hour".to_owned(),
        seconds if seconds > 3600 && seconds % 3600 == 0 => format!("{} hours", seconds / 3600),
        seconds => format!("{} minutes", seconds / 60),
    }
}

/// A default threshold as these pages write it; `None` where there is no number to tell: any at all, or all of it.
fn threshold(value: f64, unit: Unit) -> Option<String> {
    match unit {
        Unit::Ratio => (value < 1.0).then(|| format!("{} %", (value * 100.0).round())),
        Unit::Seconds => Some(spelled(Duration::from_secs_f64(value))),
        Unit::Times => {
            ["nothing", "one", "twice", "three", "four"].iter().zip(0_u8..).find_map(|(word, times)| {
                (f64::from(times).to_bits() == value.to_bits()).then(|| (*word).to_owned())
            })
        }
        Unit::Count | Unit::Events | Unit::PerSecond => {
            (value > 0.0 && value.to_bits() != 1_f64.to_bits()).then(|| format!("more than {value}"))
        }
    }
}

/// Every "N minutes" of a text.
fn minutes(text: &str) -> impl Iterator<Item = String> {
    let numbers = text.match_indices(" minutes").filter_map(|(at, _)| text.get(..at)?.split(' ').next_back());
    numbers.map(|number| format!("{number} minutes"))
}

fn opening_tells(alert: &Alert) -> Result<()> {
    let page = opening(alert.name)?;
    let mut times: Vec<String> = alert.window.into_iter().map(spelled).collect();
    for grade in alert.severities {
        let bold = format!("**{}", grade.severity.name());
        assert!(page.to_lowercase().contains(&bold), "{}: {bold}: {page}", alert.name);
        if !grade.hold.is_zero() {
            times.push(spelled(grade.hold));
        }
        let value = grade.value.and_then(|value| threshold(value, alert.unit));
        let told = value.as_ref().is_none_or(|value| page.to_lowercase().contains(value.as_str()));
        assert!(told, "{}: {value:?}: {page}", alert.name);
    }
    for time in &times {
        assert!(page.contains(time.as_str()), "{}: {time}: {page}", alert.name);
    }
    times.push(spelled(alert.keep_firing_for));
    for time in minutes(&page) {
        assert!(times.contains(&time), "{}: nothing of it takes {time}: {page}", alert.name);
    }
    Ok(())
}

#[test]
fn a_page_opens_with_the_severities_thresholds_and_times_of_its_alert() -> Result<()> {
    let mut opened = BTreeSet::new();
    for alert in ALERTS {
        opening_tells(alert)?;
        opened.insert(alert.name);
    }
    for alert in cluster::ALERTS {
        let page = opening(alert.name)?;
        let begins = format!("**{}.** For {} ", alert.severity.name(), spelled(alert.hold)).to_lowercase();
        assert!(page.to_lowercase().starts_with(&begins), "{begins}: {page}");
        opened.insert(alert.name);
    }
    assert_eq!(opened.len(), pages()?.len());
    Ok(())
}
