//! The page at `/` as people see it: in a real browser, without scripts, without any other host.
//!
//! In: the built binary on a simulated node in the middle of the incident, Debian's chromium. Out: pass or fail.
//! Must not: let the browser resolve or reach anything but loopback, or keep a profile.

mod chromium;

use std::net::SocketAddr;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use support::cilium::MapName;
use support::config::{self, SMB};
use support::daemon::{self, Daemon};
use support::http;
use support::node::{Node, PATIENCE};
use support::objects::between;
use support::player::Player;
use support::simulate::phase::Phase;

use chromium::{Browser, Seen};

/// One alert that is active from the first snapshot on: the simulated node has some 5,000 entries.
const THRESHOLDS: &str = "thresholds: {EntriesHigh: {warning: {value: 1000}}}\n";

/// The daemon on a node of the incident.
struct Scene {
    // The reader ends before the maps it reads.
    daemon: Daemon,
    address: SocketAddr,
    _player: Player,
    _node: Node,
}

impl Scene {
    fn start() -> Result<Self> {
        let node = Node::new(&config::daemon(&format!("{SMB}{THRESHOLDS}")))?;
        let player = Player::start(&node.bpffs, 1.0, Phase::HalfClosing)?;
        let mut command = Command::new(daemon::ctmon()?);
        command.args(node.arguments(&["run", "--log-format", "json"])?);
        let mut daemon = Daemon::start_command(&mut command)?;
        let address = daemon.wait_for_address(PATIENCE)?;
        daemon.wait_for_page(address, PATIENCE, |page| {
            page.sum("ctmon_target_stale_entries", &[("target", "qnap")]).is_some_and(|stale| stale > 0.0)
        })?;
        Ok(Self { daemon, address, _player: player, _node: node })
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

#[test]
fn the_page_of_the_incident_is_rendered_whole_and_without_a_complaint() -> Result<()> {
    let scene = Scene::start()?;
    let browser = Browser::new()?;
    let Seen { dom, console } = browser.open(&scene.url("/"))?;
    assert_eq!(console, Vec::<String>::new(), "the browser complained");

    let version = daemon::run(&daemon::ctmon()?, &["--version"], PATIENCE)?.stdout;
    let version = version.split_whitespace().nth(1).context("no version")?;
    ensure!(dom.contains(&format!("Version {version}")), "no version {version} in {dom}");
    for name in MapName::ALL {
        ensure!(dom.contains(name.label()), "no {} in {dom}", name.label());
    }
    // What is wrong and what to do, then the numbers.
    for text in
        ["CtmonEntriesHigh", "<code>ctmon check</code>", "`ctmon top` tells", "qnap", "smb", "Unanswered"]
    {
        ensure!(dom.contains(text), "no {text:?} in {dom}");
    }
    // Not only the start of a broken page: its end is there, once.
    assert_eq!(dom.matches("</main>").count(), 1);
    assert_eq!((dom.matches("<script").count(), dom.matches(" src=").count()), (0, 0));

    let links: Vec<_> = between(&dom, "href=\"", "\"").collect();
    assert!(links.len() >= 3, "{links:?}");
    for link in links {
        ensure!(link.starts_with('/'), "{link} leads away from the node");
        assert_eq!(http::get(scene.address, link)?.status, 200, "{link}");
        // As somebody who follows it sees it.
        let behind = browser.open(&scene.url(link))?;
        assert_eq!(behind.console, Vec::<String>::new(), "{link}");
    }
    ensure!(browser.open(&scene.url("/metrics"))?.dom.contains("ctmon_map_entries{"), "no metrics");
    ensure!(scene.daemon.output().contains("serving /metrics"), "{}", scene.daemon.output());
    Ok(())
}

#[test]
fn something_is_painted_in_bright_and_in_dark() -> Result<()> {
    let scene = Scene::start()?;
    let browser = Browser::new()?;
    let empty = browser.picture("about:blank", &[])?;
    let bright = browser.picture(&scene.url("/"), &[])?;
    let dark = browser
        .picture(&scene.url("/"), &["--force-dark-mode", "--blink-settings=preferredColorScheme=0"])?;
    assert!(bright != empty && dark != empty, "the page is blank");
    assert!(bright != dark, "the dark page is the bright one");
    Ok(())
}

#[test]
fn a_complaint_would_be_seen_and_no_other_host_is_reached() -> Result<()> {
    let browser = Browser::new()?;
    let seen = browser.open_document("<script>console.error('a complaint')</script><p>shown</p>")?;
    ensure!(seen.dom.contains("shown"), "{}", seen.dom);
    ensure!(seen.console.iter().any(|line| line.contains("a complaint")), "{:?}", seen.console);
    let image =
        "<img src='http://example.org/x.png' onload='this.alt=\"reached\"' onerror='this.alt=\"refused\"'>";
    let seen = browser.open_document(image)?;
    ensure!(seen.dom.contains("alt=\"refused\""), "{}", seen.dom);
    Ok(())
}
