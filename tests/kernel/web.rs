//! The web configuration of a real daemon: what it refuses to begin with, and what it makes of a file that is cut short.
//!
//! In: the binary, a private bpffs, HTTP. Out: pass or fail.
//! Must not: wait for a time instead of a condition.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use support::config;
use support::daemon;
use support::fixture::{self, Lifetimes};
use support::http;
use support::node::{Node, PATIENCE};
use support::wait::wait_until;

use crate::attack::{RIGHT, WEB};
use crate::daemon::{END, start_command};

fn web(node: &Node) -> PathBuf {
    node.config().with_file_name("web.yaml")
}

#[test]
fn a_web_configuration_that_protects_nothing_ends_the_start_with_one_line_that_says_what_to_do() -> Result<()>
{
    let node = Node::new(&config::daemon(""))?;
    let path = web(&node);
    let path = path.to_str().context("a path that is not UTF-8")?;
    for (text, expected) in [
        (Some(""), "write users or TLS, or start without it"),
        (Some("{}\n"), "write basic_auth_users or tls_server_config, or start without it"),
        (Some("rate_limit: {interval: 1s, burst: 20}\n"), "write basic_auth_users or tls_server_config"),
        (Some("basic_auth_users:\n"), "basic_auth_users: no value"),
        (None, "check that it exists"),
    ] {
        match text {
            Some(text) => fs::write(path, text)?,
            None => fs::remove_file(path)?,
        }
        let ended = node.ctmon(&["run", "--web.config.file", path])?;
        assert_eq!(ended.status.code(), Some(2), "{text:?}: {}", ended.stderr);
        assert_eq!(ended.stderr.lines().count(), 1, "{text:?}: {}", ended.stderr);
        assert!(ended.stderr.contains(expected) && ended.stdout.is_empty(), "{text:?}: {}", ended.stderr);
    }
    Ok(())
}

#[test]
fn a_web_configuration_cut_short_lets_nobody_in_and_is_told_as_metric_and_finding() -> Result<()> {
    let node = Node::new(&config::daemon(""))?;
    let _maps = fixture::replay(&node.bpffs, Lifetimes::ShiftedToNow)?;
    fs::write(web(&node), WEB)?;
    let mut command = Command::new(daemon::ctmon()?);
    command.args(node.arguments(&["run", "--log-format", "json"])?).arg("--web.config.file").arg(web(&node));
    let mut running = start_command(&mut command)?;
    let address = running.address;
    running.daemon.wait_for_http(address, "/readyz", PATIENCE)?;
    let successful = || -> Result<Option<f64>> {
        let page = http::request(address, "GET", "/metrics", &[RIGHT])?;
        ensure!(page.status == 200, "{}", page.status);
        let page = support::page::Page::parse(page.text()?)?;
        Ok(page.value("ctmon_web_config_last_reload_successful", &[]))
    };
    let closed = || -> Result<()> {
        for path in ["/metrics", "/evictions", "/history", "/"] {
            ensure!(http::get(address, path)?.status == 401, "{path} is open");
        }
        Ok(())
    };
    let daemon = format!("http://scraper:sesame@{address}");
    let findings = || -> Result<String> {
        let verb = ["check", "--daemon", &daemon, "--only", "CtmonConfigRefused", "-o", "json"];
        Ok(node.ctmon(&verb)?.stdout)
    };
    let wait = |expected: Option<f64>| -> Result<()> {
        wait_until(&format!("metric that is {expected:?}"), || Ok(successful()? == expected))?;
        closed()
    };
    wait(Some(1.0))?;
    assert_eq!(findings()?, "");
    for half in [Some(""), Some("basic_auth_users:"), None] {
        match half {
            Some(text) => fs::write(web(&node), text)?,
            None => fs::remove_file(web(&node))?,
        }
        wait(Some(0.0)).with_context(|| format!("{half:?}"))?;
        let found = findings()?;
        assert!(
            found.contains("the web configuration (users, TLS) as it is now was refused"),
            "{half:?}: {found}"
        );
        fs::write(web(&node), WEB)?;
        wait(Some(1.0)).with_context(|| format!("after {half:?}"))?;
    }
    ensure!(running.daemon.stop(END)?.success());
    Ok(())
}
