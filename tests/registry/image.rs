//! The image: one name for every architecture.

use std::env;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use support::folder::Folder;
use support::released;

use crate::server::Registry;
use crate::tools;

/// What the machine field of an ELF file says.
fn machine(binary: &[u8]) -> Option<&'static str> {
    match binary.get(18..20)? {
        [62, 0] => Some("amd64"),
        [183, 0] => Some("arm64"),
        _ => None,
    }
}

/// The architectures of the archives on the release's page.
fn architectures() -> Result<Vec<String>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(released::artefacts()?)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        let arch = name.split("-linux-").nth(1).and_then(|rest| rest.strip_suffix(".tar.gz"));
        found.extend(arch.map(str::to_owned));
    }
    found.sort();
    ensure!(!found.is_empty(), "no archive of a binary");
    Ok(found)
}

#[test]
fn one_name_serves_every_architecture_its_own_binary() -> Result<()> {
    let registry = Registry::with_everything()?;
    let index = registry.inspect("ctmon", &["--raw"])?;
    let raw = registry.folder.join("index");
    fs::write(&raw, &index)?;
    assert_eq!(tools::digest(&raw)?, released::at("ctmon")?.digest);
    let index = tools::json(&index)?;
    assert_eq!(index["mediaType"], "application/vnd.oci.image.index.v1+json");
    let members = index["manifests"].as_array().context("no members")?;
    let platforms: Vec<&str> =
        members.iter().filter_map(|member| member["platform"]["architecture"].as_str()).collect();
    let expected = architectures()?;
    assert_eq!(platforms, expected);
    for arch in expected {
        let flags = ["--override-os", "linux", "--override-arch", arch.as_str()];
        let name = format!("docker://{}/ctmon:{}", registry.name, tools::VERSION);
        let inspect = [&flags[..], &["inspect", "--tls-verify=false", name.as_str()]].concat();
        let seen = tools::json(&tools::run("skopeo", &inspect)?)?;
        assert_eq!((&seen["Architecture"], &seen["Os"]), (&arch.clone().into(), &"linux".into()));
        assert_eq!(seen["Labels"]["org.opencontainers.image.source"], released::HOME);
        let layout = registry.pull("ctmon", &flags)?;
        let unpacked = registry.folder.join(format!("bundle-{arch}"));
        let image = format!("{}:{}", layout.display(), tools::VERSION);
        tools::run("umoci", &["unpack", "--image", &image, unpacked.to_str().context("a path")?])?;
        let binary = fs::read(unpacked.join("rootfs/usr/bin/ctmon"))?;
        assert_eq!(machine(&binary), Some(arch.as_str()));
        assert!(binary == of_the_archive(&arch)?, "{arch}: the archive holds another binary");
    }
    Ok(())
}

/// The binary in the archive on the release's page.
fn of_the_archive(arch: &str) -> Result<Vec<u8>> {
    let name = format!("ctmon-{}-linux-{arch}", tools::VERSION);
    let archive = released::artefacts()?.join(format!("{name}.tar.gz"));
    let folder = Folder::new("registry")?;
    let to = folder.path().to_str().context("a path that is not UTF-8")?;
    tools::run("tar", &["-xf", archive.to_str().context("a path that is not UTF-8")?, "-C", to])?;
    for text in ["README.md", "LICENSE-MIT", "LICENSE-APACHE", "LICENSE-GPL-2.0", "THIRD-PARTY-LICENSES.txt"]
    {
        let length = fs::metadata(folder.join(&name).join(text)).with_context(|| format!("no {text}"))?.len();
        assert!(length > 500, "{text}");
    }
    Ok(fs::read(folder.join(name).join("ctmon"))?)
}

#[test]
fn a_registry_that_keeps_something_else_ends_the_push() -> Result<()> {
    let (registry, altered) = (Registry::start()?, Folder::new("registry")?);
    let folder = released::artefacts()?;
    for one in released::listed()? {
        let name = one.archive.file_name().context("no name")?;
        std::os::unix::fs::symlink(&one.archive, altered.path().join(name))?;
    }
    let list = fs::read_to_string(folder.join("oci.txt"))?;
    let digest = released::at("charts/ctmon")?.digest;
    let other = released::at("manifests/ctmon")?.digest;
    fs::write(altered.path().join("oci.txt"), list.replace(&digest, &other))?;
    let finished = registry.push(altered.path())?;
    assert_eq!(finished.status.code(), Some(1), "{}", finished.stderr);
    assert!(finished.stderr.contains("error: charts/ctmon has the digest"), "{}", finished.stderr);
    assert!(
        !finished.stdout.contains("charts/"),
        "what is wrong is not named as pushed: {}",
        finished.stdout
    );
    Ok(())
}

#[test]
fn without_a_registry_nothing_is_pushed() -> Result<()> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.ci/push");
    let mut command = std::process::Command::new(script);
    command.arg(released::artefacts()?).env_remove("CTMON_REGISTRY");
    let finished = support::daemon::run_command(&mut command, support::node::PATIENCE)?;
    assert_eq!(finished.status.code(), Some(1));
    assert!(finished.stderr.contains("CTMON_REGISTRY"), "{}", finished.stderr);
    Ok(())
}
