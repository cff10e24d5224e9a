//! Programs of clients, and what they print.
//!
//! In: PATH, `CTMON_PYTHON`. Out: text and parsed text. Must not: install anything.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use support::daemon;
use support::node::PATIENCE;
use support::objects::at;

pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

pub(crate) fn run<S: AsRef<OsStr>>(program: &str, arguments: &[S]) -> Result<String> {
    let finished = daemon::run(Path::new(program), arguments, PATIENCE).with_context(|| {
        format!("failed to run {program}: `cargo xtask test --only registry` installs what is missing")
    })?;
    ensure!(finished.status.success(), "{program} ended with {}: {}", finished.status, finished.stderr);
    Ok(finished.stdout)
}

/// A Python program that uses Helm's own code.
pub(crate) fn python(program: &str, arguments: &[&str]) -> Result<String> {
    let venv = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/tools/venv/bin/python");
    let python = env::var_os("CTMON_PYTHON").map_or(venv, PathBuf::from);
    let python = python.to_str().context("a path that is not UTF-8")?;
    run(python, &[&["-c", program], arguments].concat())
}

pub(crate) fn json(text: &str) -> Result<Value> {
    serde_json::from_str(text).with_context(|| format!("not JSON: {text}"))
}

/// The image of the one `DaemonSet`.
pub(crate) fn image_of(objects: &[Value]) -> Result<&str> {
    let set = objects.iter().find(|object| object["kind"] == "DaemonSet").context("no DaemonSet")?;
    at(set, "/spec/template/spec/containers/0/image").as_str().context("no image")
}

/// `sha256:` and the digest, by coreutils.
pub(crate) fn digest(file: &Path) -> Result<String> {
    let said = run("sha256sum", &[file])?;
    Ok(format!("sha256:{}", said.split(' ').next().unwrap_or_default()))
}

/// The one layer of what a layout names, and the manifest.
pub(crate) fn layer(layout: &Path) -> Result<(PathBuf, Value)> {
    let read = |path: &Path| -> Result<Value> {
        json(&fs::read_to_string(path).with_context(|| format!("failed to read {}", path.display()))?)
    };
    let blob = |digest: &Value| -> Result<PathBuf> {
        let digest = digest.as_str().context("no digest")?;
        Ok(layout.join("blobs").join(digest.replace(':', "/")))
    };
    let index = read(&layout.join("index.json"))?;
    let manifest = read(&blob(at(&index, "/manifests/0/digest"))?)?;
    assert_eq!(at(&manifest, "/layers").as_array().map(Vec::len), Some(1), "{manifest:#}");
    Ok((blob(at(&manifest, "/layers/0/digest"))?, manifest))
}
