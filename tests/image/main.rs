//! The image, as the tools of other engines read it: is it what its label says, does it run with nothing else.
//!
//! In: `target/image/ctmon-ARCH.oci.tar` of `cargo xtask image` (or `CTMON_IMAGE`), skopeo, umoci, tar. Out: pass or fail;
//! a tool that is missing is a failure that says what to install. Must not: read the image with the code that wrote it.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use support::daemon;
use support::fixture::{self, Lifetimes};
use support::folder::Folder;
use support::node::{Node, PATIENCE, whole};
use support::page::Page;
use support::pod::{Host, Pod};
use support::sys::Container;

const TOOL: Duration = Duration::from_secs(300);
const VERSION: &str = env!("CARGO_PKG_VERSION");

fn archive() -> Result<PathBuf> {
    let path = env::var_os("CTMON_IMAGE").map_or_else(
        || {
            let arch = if env::consts::ARCH == "aarch64" { "arm64" } else { "amd64" };
            let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/image");
            target.join(format!("ctmon-{arch}.oci.tar"))
        },
        PathBuf::from,
    );
    path.canonicalize()
        .with_context(|| format!("no image at {}: `cargo xtask image` makes it", path.display()))
}

/// What a program of another engine prints.
fn tool<S: AsRef<OsStr>>(program: &str, arguments: &[S]) -> Result<String> {
    let finished = daemon::run(Path::new(program), arguments, TOOL)
        .with_context(|| format!("failed to run {program}: install the packages skopeo, umoci and tar"))?;
    ensure!(finished.status.success(), "{program} failed ({}):\n{}", finished.status, finished.stderr);
    Ok(finished.stdout)
}

fn inspect(flags: &[&str]) -> Result<Value> {
    let image = format!("oci-archive:{}", archive()?.display());
    let said = tool("skopeo", &[&["inspect"], flags, &[image.as_str()]].concat())?;
    serde_json::from_str(&said).with_context(|| format!("skopeo printed {said}"))
}

/// The image unpacked by umoci; gone with the value.
struct Unpacked {
    folder: Folder,
}

impl Unpacked {
    fn new() -> Result<Self> {
        let unpacked = Self { folder: Folder::new("image")? };
        let layout = unpacked.folder.join("layout");
        fs::create_dir_all(&layout).with_context(|| format!("failed to create {}", layout.display()))?;
        tool("tar", &[OsStr::new("-xf"), archive()?.as_os_str(), OsStr::new("-C"), layout.as_os_str()])?;
        let image = format!("{}:{VERSION}", layout.display());
        let bundle = unpacked.folder.join("bundle");
        tool("umoci", &["unpack".as_ref(), "--image".as_ref(), OsStr::new(&image), bundle.as_os_str()])?;
        Ok(unpacked)
    }

    fn root(&self) -> PathBuf {
        self.folder.join("bundle/rootfs")
    }
}

/// Paths below a folder, with what they are.
fn tree(folder: &Path, root: &Path, found: &mut Vec<(String, String)>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("failed to list {}", folder.display()))? {
        let path = entry?.path();
        let what = fs::symlink_metadata(&path)?;
        let (mode, owner) = (what.mode() & 0o7777, (what.uid(), what.gid()));
        let kind = if what.is_dir() { "folder" } else { "file" };
        let name = path.strip_prefix(root)?.display().to_string();
        found.push((name, format!("{kind} {mode:o} {}:{}", owner.0, owner.1)));
        if what.is_dir() {
            tree(&path, root, found)?;
        }
    }
    found.sort();
    Ok(())
}

#[test]
fn it_says_what_it_is() -> Result<()> {
    let seen = inspect(&[])?;
    let label = |name: &str| seen["Labels"][format!("org.opencontainers.image.{name}")].as_str();
    assert_eq!(label("title"), Some("ctmon"));
    assert_eq!(label("version"), Some(VERSION));
    // Where the project is at home is known to a release, and to a suite that was told.
    assert_eq!(label("source"), env::var("CTMON_HOME").ok().filter(|home| !home.is_empty()).as_deref());
    assert_eq!(label("created"), seen["Created"].as_str());
    assert!(label("revision").is_some_and(|revision| revision.len() >= 40), "{seen:#}");
    assert!(label("licenses").is_some_and(|licences| licences.contains("GPL-2.0-only")), "{seen:#}");
    assert!(label("description").is_some_and(|text| text.contains("Cilium")), "{seen:#}");
    assert_eq!(seen["Layers"].as_array().map(Vec::len), Some(1));

    let raw = inspect(&["--raw"])?;
    assert_eq!(raw["annotations"], seen["Labels"], "registries show the one, engines the other");
    assert_eq!(raw["mediaType"], "application/vnd.oci.image.manifest.v1+json");

    let config = inspect(&["--config"])?;
    let start = config["config"].as_object().context("no configuration")?;
    let mut keys: Vec<&str> = start.keys().map(String::as_str).collect();
    keys.sort_unstable();
    assert_eq!(keys, ["Entrypoint", "Labels", "User"], "nothing else is set");
    assert_eq!((&start["Entrypoint"], &start["User"]), (&json!(["/usr/bin/ctmon"]), &json!("0")));
    assert_eq!(config["os"], "linux");
    Ok(())
}

#[test]
fn it_holds_one_binary_and_the_folders_above_it() -> Result<()> {
    let image = Unpacked::new()?;
    let mut found = Vec::new();
    tree(&image.root(), &image.root(), &mut found)?;
    let folder = "folder 755 0:0".to_owned();
    let expected = [
        ("usr".to_owned(), folder.clone()),
        ("usr/bin".to_owned(), folder),
        ("usr/bin/ctmon".to_owned(), "file 755 0:0".to_owned()),
    ];
    assert_eq!(found, expected);
    // As umoci understood it for a runtime.
    let spec: Value = serde_json::from_str(&fs::read_to_string(image.folder.join("bundle/config.json"))?)?;
    assert_eq!(spec["process"]["args"], json!(["/usr/bin/ctmon"]));
    assert_eq!((&spec["process"]["user"]["uid"], &spec["process"]["user"]["gid"]), (&json!(0), &json!(0)));
    Ok(())
}

#[test]
fn its_file_system_alone_runs_the_binary() -> Result<()> {
    let image = Unpacked::new()?;
    // No mount at all, not even /proc: a library or a loader that was missing would be missed.
    let mut command: Command = Container::new(&image.root()).command("/usr/bin/ctmon")?;
    let finished = daemon::run_command(command.arg("--version"), PATIENCE)?;
    assert_eq!((finished.status.code(), finished.stderr.as_str()), (Some(0), ""));
    assert_eq!(finished.stdout, format!("ctmon {VERSION}\n"));
    Ok(())
}

#[test]
fn it_scrapes_a_node_from_the_pod_of_the_manifest() -> Result<()> {
    let image = Unpacked::new()?;
    let node = Node::new(
        "
targets_from_host: false
targets: [{name: qnap, addresses: [192.168.100.180], services: [{name: smb, ports: [445]}]}]
",
    )?;
    let _maps = fixture::replay(&node.bpffs, Lifetimes::ShiftedToNow)?;
    let mut command = Pod::of_the_manifest()?.command(&Host::of(&node)?, &image.root())?;
    let finished = daemon::run_command(command.arg("scrape"), PATIENCE)?;
    ensure!(finished.status.success(), "ended with {}: {}", finished.status, finished.stderr);
    let page = Page::parse(&finished.stdout)?;
    assert_eq!(whole(page.sum("ctmon_ct_entries", &[]))?, 399);
    assert_eq!(whole(page.sum("ctmon_target_stale_entries", &[("target", "qnap")]))?, 183);
    Ok(())
}
