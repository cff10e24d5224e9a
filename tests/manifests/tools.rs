//! The programs manifests are rendered and checked with.
//!
//! In: PATH, `CTMON_PYTHON`. Out: what they print, or one line that says what to install.
//! Must not: install anything.

use std::ffi::OsStr;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

/// The workspace.
pub(crate) fn root() -> Result<PathBuf> {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    Ok(package.parent().context("the tests have no workspace")?.to_owned())
}

/// A file or folder below `deploy/`.
pub(crate) fn deploy(path: &str) -> Result<PathBuf> {
    Ok(root()?.join("deploy").join(path))
}

/// The text of a file below `deploy/`.
pub(crate) fn text(path: &str) -> Result<String> {
    let file = deploy(path)?;
    std::fs::read_to_string(&file).with_context(|| format!("failed to read {}", file.display()))
}

/// Compares with a file below `deploy/`; `CTMON_BLESS=1` writes it instead.
pub(crate) fn committed(path: &str, expected: &str) -> Result<()> {
    let file = deploy(path)?;
    if std::env::var_os("CTMON_BLESS").is_some() {
        std::fs::write(&file, expected)?;
    }
    let found = std::fs::read_to_string(&file).unwrap_or_default();
    ensure!(found == expected, "{} is not what is made: run this test with CTMON_BLESS=1", file.display());
    Ok(())
}

/// Every file below a folder of `deploy/` with this extension, sorted.
pub(crate) fn files(folder: &str, extension: &str) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in deploy(folder)?.read_dir()? {
        let path = entry?.path();
        if path.is_file() && path.extension() == Some(OsStr::new(extension)) {
            found.push(path);
        }
    }
    ensure!(!found.is_empty(), "no .{extension} file in deploy/{folder}");
    found.sort();
    Ok(found)
}

/// Runs kubectl.
pub(crate) fn kubectl(arguments: &[&OsStr]) -> Result<String> {
    run(
        Path::new("kubectl"),
        arguments,
        "",
        "install kubectl 1.27 or later, its kustomize is the one users have",
    )
}

/// Runs promtool over a file of rules.
pub(crate) fn promtool_check_rules(file: &Path) -> Result<String> {
    let arguments = ["check".as_ref(), "rules".as_ref(), file.as_os_str()];
    run(Path::new("promtool"), &arguments, "", "install the package `prometheus`")
}

/// Runs promtool over a file of cases.
pub(crate) fn promtool_test_rules(file: &Path) -> Result<String> {
    let arguments = ["test".as_ref(), "rules".as_ref(), file.as_os_str()];
    run(Path::new("promtool"), &arguments, "", "install the package `prometheus`")
}

/// Runs a Python program that needs `helm-python-sdk` and `kubernetes-validate`, with this on its standard input.
pub(crate) fn python(program: &str, arguments: &[&OsStr], input: &str) -> Result<String> {
    const MISSING: &str = "make a virtual environment with helm-python-sdk and kubernetes-validate at \
                           target/tools/venv (`cargo xtask test` does), or name its python in CTMON_PYTHON";
    let python = match std::env::var_os("CTMON_PYTHON") {
        Some(path) => PathBuf::from(path),
        None => root()?.join("target/tools/venv/bin/python"),
    };
    let mut all: Vec<&OsStr> = vec!["-c".as_ref(), program.as_ref()];
    all.extend_from_slice(arguments);
    run(&python, &all, input, MISSING)
}

fn run(program: &Path, arguments: &[&OsStr], input: &str, missing: &str) -> Result<String> {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("failed to run {}: {missing}", program.display()))?;
    let mut stdin = child.stdin.take().context("no standard input")?;
    let input = input.to_owned();
    // From another thread: a program that prints before it has read everything must not wait for us for ever.
    let writer = std::thread::spawn(move || stdin.write_all(input.as_bytes()));
    let output = child.wait_with_output()?;
    let written = writer.join();
    let errors = String::from_utf8_lossy(&output.stderr);
    if errors.contains("ModuleNotFoundError") {
        bail!("{} lacks a module: {missing}\n{errors}", program.display());
    }
    ensure!(output.status.success(), "{} failed ({}):\n{errors}", program.display(), output.status);
    ensure!(matches!(written, Ok(Ok(()))), "{} did not read its input", program.display());
    Ok(String::from_utf8(output.stdout)?)
}
