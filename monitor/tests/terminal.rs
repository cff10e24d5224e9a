//! Hostile text through every verb of the built binary.
//!
//! In: paths, arguments, variables, files and a daemon whose every word was chosen to steer the terminal of whoever reads
//! the output. Out: nothing but ordinary characters and line ends may arrive, on either stream.

mod folder;

use std::collections::BTreeSet;
use std::io::Read as _;
use std::io::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::process::{Command, Output};
use std::{fs, thread};

use anyhow::Context as _;
use anyhow::{Result, ensure};
use folder::Folder;

/// Escape sequences, C1, direction, line ends, a forged line; no NUL, which no argument can hold.
const HOSTILE: &str =
    "a\u{1b}[31m\u{1b}]0;t\u{7}\u{9b}2J\u{85}\r\nctmon: fine\t\u{8}\u{7f}\u{202e}x\u{2066}\u{200f}\u{2028}z";
const WILD: [char; 6] = ['\u{9b}', '\u{85}', '\u{202e}', '\u{2066}', '\u{200f}', '\u{2028}'];

fn run(arguments: &[&str]) -> Result<Output> {
    // What this machine's environment says must not decide.
    let mut command = Command::new(env!("CARGO_BIN_EXE_ctmon"));
    command.args(arguments).env_clear().output().with_context(|| format!("{arguments:?}"))
}

/// Both streams hold ordinary text only, and something arrived.
fn ensure_tame(output: &Output) -> Result<()> {
    for bytes in [&output.stdout, &output.stderr] {
        let text = std::str::from_utf8(bytes)?;
        let wild = text.chars().find(|c| (c.is_control() && *c != '\n') || WILD.contains(c));
        ensure!(wild.is_none(), "{wild:?} in {text:?}");
    }
    ensure!(output.stdout.len() + output.stderr.len() > 0, "silent");
    // Ended by itself, not by a signal: an abort has no code.
    ensure!(output.status.code().is_some(), "{:?}", output.status);
    Ok(())
}

/// A daemon that gives everybody the same answer, as often as it is asked.
fn daemon(status: &str, body: &str) -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let answer = format!("HTTP/1.0 {status}\r\nContent-Type: application/json\r\n\r\n{body}");
    thread::spawn(move || {
        for mut client in listener.incoming().flatten() {
            let mut request = [0; 4096];
            let _ = client.read(&mut request);
            let _ = client.write_all(answer.as_bytes());
        }
    });
    Ok(address)
}

fn victims(mode: &str, text: &str) -> String {
    let end = serde_json::json!({ "address": "10.0.0.1", "port": 445 });
    serde_json::json!({
        "mode": mode, "reason": text, "explanation": text, "victims_lost": 1,
        "victims": [{
            "number": 1, "evicted_at": 1e9, "map": text, "protocol": text, "direction": text, "state": text,
            "initiator": end, "responder": end, "remaining_seconds": 1, "expired": false,
            "target": text, "target_service": text,
        }],
    })
    .to_string()
}

/// JSON that YAML takes too: nothing in it that its readers refuse as it is.
fn spelled(object: &serde_json::Value) -> String {
    let escape = |c: char| {
        if c.is_ascii() && c != '\u{7f}' { c.to_string() } else { format!("\\u{:04x}", u32::from(c)) }
    };
    object.to_string().chars().map(escape).collect()
}

/// Writes a file and returns its path, as an argument.
fn write(folder: &Folder, name: &str, text: &str) -> Result<String> {
    let path = folder.path().join(name);
    fs::write(&path, text)?;
    path.to_str().map(str::to_owned).context("a path that is not UTF-8")
}

#[test]
fn no_verb_lets_text_from_outside_steer_a_terminal() {
    let mut verbs = BTreeSet::new();
    let mut check = |arguments: &[&str]| {
        verbs.insert(arguments[0].to_owned());
        let output = run(arguments).unwrap();
        ensure_tame(&output).unwrap_or_else(|error| panic!("{arguments:?}: {error}"));
        output
    };
    let folder = Folder::new().unwrap();
    let mounted = format!("/nowhere/{HOSTILE}");
    for verb in ["run", "scrape", "list", "nat", "top", "check"] {
        let output = check(&[verb, "--bpffs", &mounted]);
        assert_eq!(output.status.code(), Some(2), "{verb}");
        assert_eq!(String::from_utf8(output.stderr).unwrap().lines().count(), 1, "{verb}: one line");
    }
    for verb in ["run", "scrape", "list", "nat", "top", "check", "evictions", "rules", "config"] {
        check(&[verb, "--config", &mounted]);
        check(&[verb, HOSTILE]);
        check(&[verb, "--help"]);
    }
    check(&["list", "--map", HOSTILE, "-o", "json"]);
    check(&["evictions", "--log-level", HOSTILE]);
    let file = write(&folder, HOSTILE.split('/').next_back().unwrap(), &format!("{HOSTILE}: 1\n")).unwrap();
    check(&["config", "--config", &file]);

    // A value that the configuration may hold is spelled out so that it still reads back.
    let odd = "größe\u{202e}\u{200f} 'x' \"y\" \\d";
    let text = format!("logs: [{{name: odd, pattern: {}}}]\n", spelled(&odd.into()));
    let file = write(&folder, "odd.yaml", &text).unwrap();
    let output = check(&["config", "--config", &file]);
    let printed = String::from_utf8(output.stdout).unwrap();
    assert_eq!(
        monitor_config::parse::<monitor_check::Catalog>(&printed).unwrap().logs[0].pattern,
        odd,
        "{printed}"
    );

    let manifest = serde_json::json!({
        "kind": "Deployment", "metadata": { "name": HOSTILE, "namespace": HOSTILE },
        "spec": { "template": { "spec": { "containers": [{
            "name": HOSTILE, "image": "docker.io/netapp/trident:24", "args": [HOSTILE],
        }] } } },
    });
    let storage = serde_json::json!({
        "kind": "PersistentVolume", "metadata": { "name": HOSTILE },
        "spec": { "mountOptions": [HOSTILE], "csi": { "driver": "smb.csi.k8s.io", "volumeAttributes": { "source": HOSTILE } } },
    });
    let machine = serde_json::json!({
        "cluster": { "proxy": { "extraArgs": { (format!("conntrack-{HOSTILE}")): 1 } } },
        "machine": {
            "kernel": { "modules": [{ "name": "nf_conntrack", "parameters": [HOSTILE] }] },
            "kubelet": { "extraMounts": [{ "destination": HOSTILE }] },
            "sysctls": { HOSTILE: 1, "net.ipv4.tcp_fin_timeout": HOSTILE },
        },
    });
    let expect = "expect: {mount_options: {cifs: {has: [noatime]}}, sysctls: {net.ipv4.tcp_fin_timeout: {equals: 30}}}\n";
    let wanting = write(&folder, "expect.yaml", expect).unwrap();
    let file = [&manifest, &storage, &machine].map(spelled).join("\n---\n");
    let file = write(&folder, "objects.yaml", &file).unwrap();
    for format in ["table", "json"] {
        let output =
            check(&["check", "--config", &wanting, "--bpffs", &mounted, "--manifest", &file, "-o", format]);
        assert!(!output.stdout.is_empty(), "{output:?}");
    }
    check(&["check", "--bpffs", &mounted, "--manifest", &mounted]);

    for text in [HOSTILE.to_owned(), HOSTILE.repeat(2_000), "n".repeat(70_000)] {
        let full = format!("http://{}", daemon("200 OK", &victims("full", &text)).unwrap());
        for format in ["table", "json"] {
            let output = check(&["evictions", "--daemon", &full, "-o", format]);
            assert_eq!(output.status.code(), Some(0), "{output:?}");
        }
        let table = check(&["evictions", "--daemon", &full]);
        assert_eq!(String::from_utf8(table.stdout).unwrap().lines().count(), 3, "no forged line");
        let off = format!("http://{}", daemon("200 OK", &victims("off", &text)).unwrap());
        assert_eq!(check(&["evictions", "--daemon", &off]).status.code(), Some(2));
        let refusing = format!("http://{}", daemon("403 No", &text).unwrap());
        assert_eq!(check(&["evictions", "--daemon", &refusing]).status.code(), Some(2));
    }

    // Every verb there is was asked.
    let help = String::from_utf8(run(&["--help"]).unwrap().stdout).unwrap();
    let commands = help.split("Commands:").nth(1).unwrap().split("\n\n").next().unwrap();
    // Two blanks before a name, more before what goes on about it.
    let named = commands.lines().filter_map(|line| line.strip_prefix("  ")?.split(' ').next());
    let there: BTreeSet<String> =
        named.filter(|name| !["", "help"].contains(name)).map(str::to_owned).collect();
    assert!(there.len() >= 9, "{help}");
    assert_eq!(there.difference(&verbs).collect::<Vec<_>>(), Vec::<&String>::new(), "verbs without a test");
}

#[test]
fn neither_errors_nor_help_repeat_a_password() {
    let url = "http://me:hunter2@127.0.0.1:1";
    for arguments in [
        &["evictions"][..],
        &["evictions", "--help"],
        &["--help"],
        &["evictions", "--nonsense"],
        &["check", "--bpffs", "/nowhere"],
        &["list", "--bpffs", "/nowhere", "--log-level", "trace"],
    ] {
        for by_variable in [true, false] {
            let mut command = Command::new(env!("CARGO_BIN_EXE_ctmon"));
            command.env_clear().args(arguments);
            if by_variable {
                command.env("CTMON_DAEMON", url);
            } else {
                command.args(["--daemon", url]);
            }
            let output = command.output().unwrap();
            let said = [output.stdout, output.stderr].concat();
            let said = String::from_utf8(said).unwrap();
            assert!(
                !said.is_empty() && !said.contains("hunter2") && !said.contains("me:"),
                "{arguments:?}: {said}"
            );
        }
    }
}
