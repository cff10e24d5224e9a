//! What the storage scenes need beside the tests: servers and clients of SMB and iSCSI, and their kernel modules.
//!
//! In: Debian packages, this machine's libraries, one kernel. Out: a second archive, unpacked over the initramfs.
//! Must not: install a package or load a module here; change what any other boot sees.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use super::archive::Archive;
use super::folders::create_parent;
use super::initramfs::{archive_tree, place};
use super::modules::Modules;
use crate::shell::{Run as _, say};

const PACKAGES: [&str; 5] = ["samba", "cifs-utils", "tgt", "open-iscsi", "iproute2"];
/// Placed in `/usr/sbin`, wherever their packages have them.
const PROGRAMS: [&str; 7] = ["smbd", "mount.cifs", "tgtd", "tgtadm", "iscsid", "iscsiadm", "ip"];
/// What nobody asks for by a name that a kernel without modprobe could answer; their dependencies follow.
const MODULES: [&str; 9] =
    ["veth", "cifs", "nls_utf8", "cmac", "ccm", "ghash_generic", "gcm", "iscsi_tcp", "sd_mod"];
const LIBRARIES: [&str; 3] =
    ["usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu/samba"];
const LOADER: &str = "/lib64/ld-linux-x86-64.so.2";
/// smbd looks its users up.
const USERS: [(&str, &str); 2] = [
    ("etc/passwd", "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/bin/false\n"),
    ("etc/group", "root:x:0:\nnogroup:x:65534:\n"),
];

/// The packages unpacked below `dir` before, if they were.
pub(super) fn unpacked(dir: &Path) -> Option<PathBuf> {
    Some(dir.join("storage")).filter(|tree| tree.exists())
}

/// Downloads the packages and unpacks them below `dir`.
pub(super) fn fetch(archive: &Archive, dir: &Path) -> Result<PathBuf> {
    say(
        "downloading a Samba server, an iSCSI target and their clients, unpacked under target/vm, not installed",
    );
    let mut wanted = BTreeSet::new();
    for package in PACKAGES {
        wanted.extend(archive.closure(package)?);
    }
    let tree = dir.join("storage");
    archive.unpack(&wanted.into_iter().collect::<Vec<_>>(), &tree)?;
    Ok(tree)
}

/// The archive at `initramfs` with all of this behind it, for the kernel of these modules.
pub(super) fn pack(packages: &Path, modules: &Modules, initramfs: &Path) -> Result<PathBuf> {
    let (tree, own) = (initramfs.with_extension("storage"), initramfs.with_extension("storage.cpio"));
    let both = initramfs.with_extension("with-storage.cpio");
    if tree.exists() {
        fs::remove_dir_all(&tree).with_context(|| format!("failed to remove {}", tree.display()))?;
    }
    for name in PROGRAMS {
        let program = find_program(packages, name)?;
        place(&program, &tree.join("usr/sbin").join(name))?;
        for library in libraries(packages, &program)? {
            place(&library, &tree.join(in_machine(packages, &library)?))?;
        }
    }
    for merged in ["lib", "lib64", "sbin"] {
        symlink(Path::new("usr").join(merged), tree.join(merged))
            .with_context(|| format!("failed to link {merged}"))?;
    }
    for (path, text) in USERS {
        let path = tree.join(path);
        create_parent(&path)?;
        fs::write(&path, text).with_context(|| format!("failed to write {}", path.display()))?;
    }
    modules.place(&MODULES, &tree.join("storage/modules"))?;
    archive_tree(&tree, &own)?;
    join(&[initramfs, &own], &both)?;
    fs::remove_file(&own).with_context(|| format!("failed to remove {}", own.display()))?;
    fs::remove_dir_all(&tree).with_context(|| format!("failed to remove {}", tree.display()))?;
    Ok(both)
}

/// A package's program, else this machine's: a package that is installed here was not downloaded.
fn find_program(packages: &Path, name: &str) -> Result<PathBuf> {
    let folders = ["usr/sbin", "sbin", "usr/bin", "bin"];
    [packages, Path::new("/")]
        .iter()
        .flat_map(|root| folders.map(|folder| root.join(folder).join(name)))
        .find(|program| program.exists())
        .with_context(|| format!("none of the packages {} has the program {name}", PACKAGES.join(", ")))
}

/// Every library that `program` is started with, and the loader.
fn libraries(packages: &Path, program: &Path) -> Result<Vec<PathBuf>> {
    let search: Vec<_> = LIBRARIES.iter().map(|folder| packages.join(folder).display().to_string()).collect();
    let listed = Command::new(LOADER)
        .args(["--library-path", &search.join(":"), "--list"])
        .arg(program)
        .read("list the libraries of a program")?;
    parse_libraries(&listed).with_context(|| format!("{} cannot start", program.display()))
}

/// `libc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f...)`, or a path alone; what has none is of the kernel.
fn parse_libraries(listed: &str) -> Result<Vec<PathBuf>> {
    let mut found = vec![PathBuf::from(LOADER)];
    for line in listed.lines() {
        let (name, path) = line.split_once(" => ").unwrap_or(("", line.trim()));
        if path.starts_with("not found") {
            bail!("the library {} is in no package that was downloaded", name.trim());
        }
        found.extend(path.split_whitespace().next().filter(|path| path.starts_with('/')).map(PathBuf::from));
    }
    Ok(found)
}

/// Where a library of the packages or of this machine lies in the virtual one, which has one `/usr` for both.
fn in_machine(packages: &Path, library: &Path) -> Result<PathBuf> {
    let path = library.strip_prefix(packages).or_else(|_| library.strip_prefix("/"));
    let path = path.with_context(|| format!("{} is no absolute path", library.display()))?;
    Ok(if path.starts_with("usr") { path.to_owned() } else { Path::new("usr").join(path) })
}

/// The kernel unpacks archives one after the other.
fn join(parts: &[&Path], whole: &Path) -> Result<()> {
    let mut to = fs::File::create(whole).with_context(|| format!("failed to create {}", whole.display()))?;
    for part in parts {
        let mut from = fs::File::open(part).with_context(|| format!("failed to open {}", part.display()))?;
        io::copy(&mut from, &mut to).with_context(|| format!("failed to append {}", part.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_those_with_a_path_and_a_missing_one_is_an_error() {
        let listed = "\tlinux-vdso.so.1 (0x00007ffc)\n\
            \tlibtdb.so.1 => /w/tree/usr/lib/x86_64-linux-gnu/libtdb.so.1 (0x00007f1)\n\
            \tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f2)\n\
            \t/lib64/ld-linux-x86-64.so.2 (0x00007f3)\n";
        let found = parse_libraries(listed).unwrap();
        let places: Vec<_> =
            found.iter().map(|path| in_machine(Path::new("/w/tree"), path).unwrap()).collect();
        assert_eq!(
            places,
            [
                "usr/lib64/ld-linux-x86-64.so.2",
                "usr/lib/x86_64-linux-gnu/libtdb.so.1",
                "usr/lib/x86_64-linux-gnu/libc.so.6",
                "usr/lib64/ld-linux-x86-64.so.2",
            ]
            .map(PathBuf::from)
        );
        let error = parse_libraries("\tlibcups.so.2 => not found\n").unwrap_err();
        assert!(error.to_string().contains("libcups.so.2"), "{error}");
    }
}
