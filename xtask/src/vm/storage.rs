//! What the storage scenes need beside the tests: servers and clients of SMB and iSCSI, and their kernel modules.
//!
//! In: Debian packages, this machine's libraries, one kernel. Out: a second archive, unpacked over the initramfs.
//! Must not: install a package or load a module here; change what any other boot sees.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

use super::archive::Archive;
use super::initramfs::{compress, create_parent, place};
use super::kernels::Kernel;
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

/// The archive at `initramfs` with all of this behind it, for `kernel`, which was unpacked in `kernel_tree`.
pub(super) fn pack(
    packages: &Path,
    kernel: &Kernel,
    kernel_tree: &Path,
    initramfs: &Path,
) -> Result<PathBuf> {
    let (tree, own) = (initramfs.with_extension("storage"), initramfs.with_extension("storage.gz"));
    let both = initramfs.with_extension("with-storage.gz");
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
    place_modules(&Modules::of(kernel, kernel_tree)?, &tree.join("storage/modules"))?;
    compress(&tree, &own)?;
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

/// The modules of one kernel.
struct Modules {
    files: Vec<PathBuf>,
    built_in: String,
}

impl Modules {
    fn of(Kernel { image: _, release }: &Kernel, tree: &Path) -> Result<Self> {
        let folders = ["lib/modules", "usr/lib/modules"].map(|lib| tree.join(lib).join(release));
        let folder = folders.iter().find(|folder| folder.exists());
        let folder = folder.with_context(|| format!("kernel {release} has no modules"))?;
        let built_in = folder.join("modules.builtin");
        let built_in = fs::read_to_string(&built_in)
            .with_context(|| format!("failed to read {}", built_in.display()))?;
        let mut files = Vec::new();
        collect_files(folder, &mut files)?;
        Ok(Self { files, built_in })
    }

    /// The module's bytes; `None` if it is built in.
    fn read(&self, name: &str) -> Result<Option<Vec<u8>>> {
        if self.built_in.lines().any(|path| module_name(Path::new(path)).as_deref() == Some(name)) {
            return Ok(None);
        }
        let file = self.files.iter().find(|file| module_name(file).as_deref() == Some(name));
        let file = file.with_context(|| format!("the kernel has no module {name}"))?;
        if file.extension().is_some_and(|extension| extension == "ko") {
            return fs::read(file).map(Some).with_context(|| format!("failed to read {}", file.display()));
        }
        let output = Command::new("xz").arg("-dc").arg(file).stderr(Stdio::inherit()).output();
        let output = output.context("failed to start xz")?;
        anyhow::ensure!(output.status.success(), "failed to unpack {}", file.display());
        Ok(Some(output.stdout))
    }
}

fn collect_files(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("failed to list {}", folder.display()))? {
        let entry = entry.with_context(|| format!("failed to list {}", folder.display()))?;
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            collect_files(&entry.path(), files)?;
        } else {
            files.push(entry.path());
        }
    }
    Ok(())
}

/// `ghash-generic.ko.xz` is the module `ghash_generic`.
fn module_name(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_str()?;
    let name = name.strip_suffix(".xz").unwrap_or(name).strip_suffix(".ko")?;
    Some(name.replace('-', "_"))
}

/// Numbered in the order of loading: what a module needs stands before it.
fn place_modules(modules: &Modules, to: &Path) -> Result<()> {
    let mut placed = Vec::new();
    for name in MODULES {
        place_module(modules, name, to, &mut placed)?;
    }
    Ok(())
}

fn place_module(modules: &Modules, name: &str, to: &Path, placed: &mut Vec<String>) -> Result<()> {
    if placed.iter().any(|known| known == name) {
        return Ok(());
    }
    let Some(bytes) = modules.read(name)? else { return Ok(()) };
    for needed in dependencies(&bytes) {
        place_module(modules, &needed, to, placed)?;
    }
    let target = to.join(format!("{:02}-{name}.ko", placed.len()));
    create_parent(&target)?;
    fs::write(&target, bytes).with_context(|| format!("failed to write {}", target.display()))?;
    placed.push(name.to_owned());
    Ok(())
}

/// `depends=netfs,dns_resolver`, between zero bytes in the section `.modinfo`.
fn dependencies(module: &[u8]) -> Vec<String> {
    let list = module.split(|byte| *byte == 0).find_map(|text| text.strip_prefix(b"depends="));
    let list = String::from_utf8_lossy(list.unwrap_or_default());
    list.split(',').filter(|name| !name.is_empty()).map(|name| name.replace('-', "_")).collect()
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

    #[test]
    fn a_module_names_what_it_needs_by_the_names_of_files() {
        assert_eq!(
            dependencies(b"\x7fELF\0license=GPL\0depends=netfs,crc-t10dif\0"),
            ["netfs", "crc_t10dif"]
        );
        assert_eq!(dependencies(b"\0depends=\0"), Vec::<String>::new());
        assert_eq!(module_name(Path::new("kernel/crypto/ghash-generic.ko.xz")).unwrap(), "ghash_generic");
        assert_eq!(module_name(Path::new("modules.builtin")), None);
    }
}
