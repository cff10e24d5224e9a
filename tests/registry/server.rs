//! A registry of one test's own.
//!
//! In: Debian's docker-registry. Out: its address; gone with the value, with all that it keeps.
//! Must not: listen elsewhere than on loopback.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use support::daemon::{self, Daemon, Finished};
use support::folder::Folder;
use support::node::PATIENCE;
use support::released;

use crate::tools;

/// How it says on which port.
const LISTENING: &str = "listening on 127.0.0.1:";

pub(crate) struct Registry {
    // In this order they end.
    _server: Daemon,
    pub(crate) folder: Folder,
    /// Host, port and an owner, as `CTMON_REGISTRY` names them.
    pub(crate) name: String,
}

impl Registry {
    /// An empty one, on a port that was free.
    pub(crate) fn start() -> Result<Self> {
        let folder = Folder::new("registry")?;
        let (config, store) = (folder.join("config.yml"), folder.join("store"));
        let text = format!(
            "version: 0.1\nlog: {{level: info, formatter: json}}\nhttp: {{addr: '127.0.0.1:0'}}\n\
             storage: {{filesystem: {{rootdirectory: '{}'}}}}\n",
            store.display()
        );
        fs::write(&config, text).context("failed to write the registry's configuration")?;
        let program = released::program("docker-registry", "docker-registry")?;
        let mut server = Daemon::start_command(Command::new(program).arg("serve").arg(&config))?;
        server.wait_for_output(LISTENING, PATIENCE)?;
        let said = server.output();
        let port = said.split(LISTENING).nth(1).context("no port")?;
        let port: String = port.chars().take_while(char::is_ascii_digit).collect();
        Ok(Self { _server: server, folder, name: format!("127.0.0.1:{port}/owner") })
    }

    /// Everything that a release uploads, by its own script.
    pub(crate) fn with_everything() -> Result<Self> {
        let registry = Self::start()?;
        let Finished { status, stdout, stderr } = registry.push(&released::artefacts()?)?;
        ensure!(status.success(), "the push ended with {status}: {stderr}");
        // What the workflow signs.
        let expected: Vec<String> = released::listed()?
            .iter()
            .map(|one| format!("{}/{}@{}", registry.name, one.place, one.digest))
            .collect();
        assert_eq!(stdout.lines().collect::<Vec<_>>(), expected);
        Ok(registry)
    }

    pub(crate) fn push(&self, artefacts: &Path) -> Result<Finished> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.ci/push");
        let mut command = Command::new(script);
        command.arg(artefacts).env("CTMON_REGISTRY", &self.name);
        command.env("SKOPEO_FLAGS", "--dest-tls-verify=false");
        daemon::run_command(&mut command, PATIENCE)
    }

    /// What skopeo says of something in it.
    pub(crate) fn inspect(&self, place: &str, flags: &[&str]) -> Result<String> {
        let name = format!("docker://{}/{place}:{}", self.name, tools::VERSION);
        tools::run("skopeo", &[&["inspect", "--tls-verify=false"], flags, &[name.as_str()]].concat())
    }

    /// A layout of something in it, copied by skopeo.
    pub(crate) fn pull(&self, place: &str, flags: &[&str]) -> Result<PathBuf> {
        let folder = self.folder.join(format!("{}{}", place.replace('/', "-"), flags.concat()));
        let from = format!("docker://{}/{place}:{}", self.name, tools::VERSION);
        let to = format!("oci:{}:{}", folder.display(), tools::VERSION);
        let copy = ["copy", "--quiet", "--src-tls-verify=false", from.as_str(), to.as_str()];
        tools::run("skopeo", &[flags, &copy].concat())?;
        Ok(folder)
    }
}
