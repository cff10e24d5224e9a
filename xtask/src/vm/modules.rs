//! Modules of a kernel that was unpacked, not installed, for a machine without modprobe.
//!
//! In: the tree of a kernel's packages, names. Out: files to insmod in the order of their names.
//! Must not: leave out in silence what was asked for: a name that is neither a module nor built in is an error.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};

use super::folders::create_parent;
use super::kernels::Kernel;

/// The modules of one kernel.
#[derive(Debug)]
pub(super) struct Modules {
    pub(super) release: String,
    files: Vec<PathBuf>,
    built_in: String,
}

impl Modules {
    /// Those of the kernel that was unpacked in `tree`.
    pub(super) fn of(Kernel { image: _, release }: &Kernel, tree: &Path) -> Result<Self> {
        let folders = ["lib/modules", "usr/lib/modules"].map(|lib| tree.join(lib).join(release));
        let folder = folders.iter().find(|folder| folder.exists());
        let folder = folder.with_context(|| format!("kernel {release} has no modules"))?;
        // Debian's packages of 7.x come without this list: there every name must be a file.
        let list = folder.join("modules.builtin");
        let built_in = if list.exists() {
            fs::read_to_string(&list).with_context(|| format!("failed to read {}", list.display()))?
        } else {
            String::new()
        };
        let mut files = Vec::new();
        collect_files(folder, &mut files)?;
        Ok(Self { release: release.clone(), files, built_in })
    }

    /// Places modules and what they need in a folder, unpacked, numbered in the order of loading; what is built in
    /// needs no place.
    pub(super) fn place(&self, names: &[&str], to: &Path) -> Result<()> {
        let mut placed = Vec::new();
        for name in names {
            self.place_one(name, to, &mut placed)?;
        }
        Ok(())
    }

    fn place_one(&self, name: &str, to: &Path, placed: &mut Vec<String>) -> Result<()> {
        if placed.iter().any(|known| known == name) {
            return Ok(());
        }
        let Some(bytes) = self.read(name)? else { return Ok(()) };
        for needed in dependencies(&bytes) {
            self.place_one(&needed, to, placed)?;
        }
        let target = to.join(format!("{:02}-{name}.ko", placed.len()));
        create_parent(&target)?;
        fs::write(&target, bytes).with_context(|| format!("failed to write {}", target.display()))?;
        placed.push(name.to_owned());
        Ok(())
    }

    /// The module's bytes; `None` if it is built in.
    fn read(&self, name: &str) -> Result<Option<Vec<u8>>> {
        if self.built_in.lines().any(|path| module_name(Path::new(path)).as_deref() == Some(name)) {
            return Ok(None);
        }
        let file = self.files.iter().find(|file| module_name(file).as_deref() == Some(name));
        let file = file.with_context(|| format!("kernel {} has no module {name}", self.release))?;
        if file.extension().is_some_and(|extension| extension == "ko") {
            return fs::read(file).map(Some).with_context(|| format!("failed to read {}", file.display()));
        }
        let output = Command::new("xz").arg("-dc").arg(file).stderr(Stdio::inherit()).output();
        let output = output.context("failed to start xz")?;
        ensure!(output.status.success(), "failed to unpack {}", file.display());
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

/// `depends=netfs,dns_resolver`, between zero bytes in the section `.modinfo`.
fn dependencies(module: &[u8]) -> Vec<String> {
    let list = module.split(|byte| *byte == 0).find_map(|text| text.strip_prefix(b"depends="));
    let list = String::from_utf8_lossy(list.unwrap_or_default());
    list.split(',').filter(|name| !name.is_empty()).map(|name| name.replace('-', "_")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

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
