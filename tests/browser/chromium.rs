//! Headless Chromium, one process for each page.
//!
//! In: an address. Out: the document as the browser built it, what it complained of, a picture.
//! Must not: reach any host but this one, update itself, or leave its profile behind.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use support::daemon::{self, Finished};
use support::folder::Folder;
use support::node::PATIENCE;

const FLAGS: [&str; 13] = [
    "--headless",
    // The suite runs as root, for which Chromium has no sandbox.
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-extensions",
    // No name has an address: whatever a page wants from elsewhere fails, and is complained of.
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
    "--no-proxy-server",
    "--enable-logging=stderr",
];

/// A browser whose profile is gone with the value.
pub(crate) struct Browser {
    folder: Folder,
}

/// A page that was opened.
pub(crate) struct Seen {
    /// The document after it was loaded, as HTML.
    pub(crate) dom: String,
    /// What the browser wrote to the page's console.
    pub(crate) console: Vec<String>,
}

impl Browser {
    pub(crate) fn new() -> Result<Self> {
        Ok(Self { folder: Folder::new("browser")? })
    }

    /// Opens a page until it is loaded.
    pub(crate) fn open(&self, url: &str) -> Result<Seen> {
        // On a busy machine it sometimes ends well and without a word; of a page it opened it prints the elements at least.
        for _ in 0..5 {
            let Finished { stdout, stderr, .. } = self.run(&["--dump-dom", url])?;
            if stdout.trim().is_empty() {
                continue;
            }
            let console = stderr.lines().filter(|line| line.contains(":CONSOLE"));
            return Ok(Seen { console: console.map(str::to_owned).collect(), dom: stdout });
        }
        bail!("chromium said nothing of {url}, time after time")
    }

    /// Opens this document. From a file: of an address that holds a document with a script itself (`data:`) Chromium 148
    /// often prints nothing.
    pub(crate) fn open_document(&self, html: &str) -> Result<Seen> {
        let path = self.folder.join("document.html");
        fs::write(&path, html).with_context(|| format!("failed to write {}", path.display()))?;
        self.open(&format!("file://{}", path.display()))
    }

    /// What the page looks like, as a PNG.
    pub(crate) fn picture(&self, url: &str, flags: &[&str]) -> Result<Vec<u8>> {
        let path = self.folder.join("picture.png");
        let to = format!("--screenshot={}", path.display());
        self.run(&[flags, &["--window-size=800,1200", &to, url]].concat())?;
        let picture = fs::read(&path).with_context(|| format!("failed to read {}", path.display()))?;
        ensure!(picture.starts_with(b"\x89PNG\r\n\x1a\n"), "no PNG");
        fs::remove_file(&path).with_context(|| format!("failed to remove {}", path.display()))?;
        Ok(picture)
    }

    fn run(&self, arguments: &[&str]) -> Result<Finished> {
        let profile = format!("--user-data-dir={}", self.folder.join("profile").display());
        let arguments = [&FLAGS[..], &[&profile], arguments].concat();
        let finished = daemon::run(Path::new("chromium"), &arguments, PATIENCE)
            .context("install Debian's package chromium, or run `cargo xtask test`")?;
        ensure!(finished.status.success(), "chromium ended with {}: {}", finished.status, finished.stderr);
        Ok(finished)
    }
}
