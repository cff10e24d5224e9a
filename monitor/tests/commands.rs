//! Wrong arguments, variables and files, as whoever runs the built binary meets them: one clear line and exit code 2.
//!
//! In: command lines that need no kernel. Out: pass or fail.
//! Must not: need a node: what is asked here is answered before one is read.

mod folder;

use std::fs;
use std::process::{Command, Output};

use anyhow::{Result, ensure};
use folder::Folder;

/// What the binary says with these variables alone.
fn run(arguments: &[&str], variables: &[(&str, &str)]) -> Result<(Option<i32>, String, String)> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ctmon"));
    let Output { status, stdout, stderr } =
        command.args(arguments).env_clear().envs(variables.iter().copied()).output()?;
    Ok((status.code(), String::from_utf8(stdout)?, String::from_utf8(stderr)?))
}

/// One line on standard error with all of these words, nothing else, and exit code 2.
fn refused(arguments: &[&str], variables: &[(&str, &str)], words: &[&str]) -> Result<()> {
    let (code, stdout, stderr) = run(arguments, variables)?;
    ensure!(code == Some(2) && stdout.is_empty(), "{arguments:?}: {code:?} {stdout} {stderr}");
    ensure!(stderr.lines().count() == 1, "{arguments:?}: {stderr}");
    for word in words {
        ensure!(stderr.contains(word), "{arguments:?}: no {word:?} in {stderr}");
    }
    Ok(())
}

#[test]
fn a_check_that_does_not_exist_is_refused_with_those_that_do() {
    for only in ["Foo", "CtmonMapFull,Foo", "CtmonStaleConnection"] {
        let wrong = only.rsplit(',').next().unwrap();
        refused(&["check", "--only", only], &[], &[&format!("`{wrong}`"), "CtmonStaleConnections", "clock"])
            .unwrap();
        refused(&["check"], &[("CTMON_ONLY", only)], &[&format!("`{wrong}`"), "per_cpu_lru"]).unwrap();
    }
    // A name in another case is none of those: what is refused is the place of the node.
    for only in ["ctmonstaleconnections", "STALECONNECTIONS", "Per_Cpu_Lru"] {
        refused(&["check", "--only", only, "--procfs", "/nowhere"], &[], &["/nowhere is not a procfs"])
            .unwrap();
    }
}

#[test]
fn checks_are_listed_and_explained_without_a_node_or_a_configuration() {
    let (code, list, stderr) = run(&["check", "--list", "--config", "/nowhere"], &[]).unwrap();
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    for line in ["CtmonMapFull                 critical", "clock                        unknown  "] {
        assert!(list.contains(line), "{list}");
    }
    // Each name that is listed can be explained, and asked for.
    for name in list.lines().map(|line| line.split(' ').next().unwrap()) {
        let (code, page, stderr) = run(&["check", "--explain", &name.to_lowercase()], &[]).unwrap();
        assert_eq!((code, stderr.as_str()), (Some(0), ""), "{name}");
        assert!(page.contains(name), "{page}");
        assert_eq!(page.contains("## What to do"), name.starts_with("Ctmon"), "{page}");
    }
    let page = include_str!("../../deploy/runbooks/CtmonMapFull.md");
    assert_eq!(run(&["check", "--explain", "MapFull"], &[]).unwrap().1, page, "the page as it is on file");
    refused(&["check", "--explain", "Foo"], &[], &["no check is called `Foo`", "CtmonMapFull"]).unwrap();
}

#[test]
fn a_variable_that_a_verb_does_not_take_is_named_with_what_it_takes() {
    let check = |verb: &str, variable: &str, value: &str, words: &[&str]| {
        let named = format!("{variable} is `{value}`, which `ctmon {verb}` does not take");
        refused(&[verb], &[(variable, value)], &[words, &[&named]].concat()).unwrap();
    };
    check("check", "CTMON_OUTPUT", "cilium", &["table, json", "--output"]);
    check("rules", "CTMON_OUTPUT", "table", &["plain, crd", "--output"]);
    check("list", "CTMON_OUTPUT", "crd", &["table, json, cilium, cilium-1.16", "--output"]);
    check("list", "CTMON_STATE", "dead", &["rx_closing, tx_closing, closed", "--state"]);
    check("list", "CTMON_LIMIT", "many", &["--limit"]);
    check("nat", "CTMON_MAP", "ct5", &["snat_v4_external (nat, bpf.natMax)", "--map"]);
    check("scrape", "CTMON_LOG_FORMAT", "xml", &["text, json", "--log-format"]);
    // What stands on the command line goes before the variable, and is told without it.
    for flag in [&["--output", "cilium"][..], &["--output=cilium"], &["-o", "cilium"], &["-ocilium"]] {
        let arguments = [&["check"], flag].concat();
        let (code, _, stderr) = run(&arguments, &[("CTMON_OUTPUT", "cilium")]).unwrap();
        assert_eq!(code, Some(2));
        assert!(!stderr.contains("CTMON_OUTPUT") && stderr.contains("table, json"), "{stderr}");
    }
}

#[test]
fn names_of_maps_and_states_are_listed_and_take_any_case() {
    let said = |arguments: &[&str]| {
        let (code, _, stderr) = run(&[arguments, &["--procfs", "/nowhere"]].concat(), &[]).unwrap();
        assert_eq!(code, Some(2));
        stderr
    };
    for verb in ["list", "nat", "top"] {
        let unknown = said(&[verb, "--map", "ct5_global"]);
        for name in
            ["ct4_global (ct_tcp, bpf.ctTcpMax)", "snat_v6_external (nat, bpf.natMax)", "'ct5_global'"]
        {
            assert!(unknown.contains(name), "{unknown}");
        }
    }
    for fine in [
        &["list", "--map", "cilium_ct4_global,per_cluster_ct_tcp4_3"][..],
        &["list", "--state", "CLOSED,Rx_Closing", "--direction", "OUT"],
        &["list", "--limit", "0"],
        &["nat", "--limit", "0"],
        &["top", "--limit", "0"],
    ] {
        assert_eq!(said(fine).lines().count(), 1);
        assert!(said(fine).contains("/nowhere is not a procfs"), "{}", said(fine));
    }
}

#[test]
fn a_place_that_is_no_procfs_is_told_before_anything_is_read_of_it() {
    let folder = Folder::new().unwrap();
    let empty = folder.path().to_str().unwrap();
    for verb in ["run", "scrape", "list", "nat", "top", "check"] {
        refused(&[verb, "--procfs", empty], &[], &[empty, "is not a procfs", "--procfs"]).unwrap();
        refused(&[verb], &[("CTMON_PROCFS", "/nowhere")], &["/nowhere is not a procfs"]).unwrap();
    }
}

#[test]
fn an_error_says_its_cause_once() {
    let folder = Folder::new().unwrap();
    let gone = folder.path().join("gone");
    let gone = gone.to_str().unwrap();
    for arguments in [
        &["config", "--config", gone][..],
        &["check", "--manifest", gone],
        &["list", "--bpffs", gone],
        &["run", "--web.config.file", gone],
        &["evictions", "--daemon", "http://127.0.0.1:1"],
    ] {
        let (code, _, stderr) = run(arguments, &[]).unwrap();
        assert_eq!((code, stderr.lines().count()), (Some(2), 1), "{stderr}");
        for cause in ["No such file", "Connection refused", "failed to create map", "failed to read"] {
            assert!(stderr.matches(cause).count() < 2, "{arguments:?}: {stderr}");
        }
    }
}

#[test]
fn a_configuration_that_cannot_be_meant_is_refused_where_it_is() {
    let folder = Folder::new().unwrap();
    let check = |text: &str, words: &[&str]| {
        let path = folder.path().join("config.yaml");
        fs::write(&path, text).unwrap();
        refused(&["config", "--config", path.to_str().unwrap()], &[], words).unwrap();
    };
    check("thresholds: {MapFilling: {warning: {value: 75}}}", &["CtmonMapFilling", "0 and 1", "line 1"]);
    check("thresholds: {MapSmallerThanExpected: {warning: {value: 90}}}", &["0 and 1"]);
    check("thresholds: {MapFilling: {value: 75}}", &["`value` stands below a severity"]);
    check(
        "thresholds: {MapFull: {critical: 1}}",
        &["expected a rule: {value: 0.8, for: 10m}, or null for off"],
    );
    check(
        "targets: [{name: a, addresses: [10.0.0.1]}, {name: b, addresses: [10.0.0.1]}]",
        &["targets `a` and `b` both have 10.0.0.1"],
    );
    check(
        "targets: [{name: a, addresses: 10.0.0.1}]",
        &["expected a list `[..]`, in which each is an IP address or a CIDR"],
    );
    check(
        "expect: {map_capacity: {ct4_global: {at_least: 1}}}",
        &["ct_tcp (ct4_global, ct6_global, bpf.ctTcpMax)"],
    );
    check("wrong", &["found the text \"wrong\", expected a mapping of keys"]);
}
