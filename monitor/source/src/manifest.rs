//! Files of Kubernetes objects.
//!
//! In: a path, or standard input. Out: [`Manifest`]. Must not: read without a bound.

use std::io;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use monitor_decode::manifest::parse_manifest;
use monitor_model::manifest::Manifest;

#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    #[error("failed to read manifest {path}: {source}")]
    Read { path: PathBuf, source: io::Error },
    #[error("failed to read manifest {path}: larger than {limit} bytes: give fewer objects at a time")]
    TooLarge { path: PathBuf, limit: u64 },
    #[error("failed to parse manifest {path}: document {document}: {reason}")]
    Parse { path: PathBuf, document: usize, reason: String },
}

const LIMIT: u64 = 64 << 20;
/// A file, or standard input when the path is `-`.
pub fn read_manifest(path: &Path) -> Result<Manifest, ManifestError> {
    let fail = |source| ManifestError::Read { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    if path == Path::new("-") {
        io::stdin().lock().take(LIMIT + 1).read_to_end(&mut bytes).map_err(fail)?;
    } else {
        let file = std::fs::File::open(path).map_err(fail)?;
        file.take(LIMIT + 1).read_to_end(&mut bytes).map_err(fail)?;
    }
    if bytes.len() as u64 > LIMIT {
        return Err(ManifestError::TooLarge { path: path.to_owned(), limit: LIMIT });
    }
    parse_manifest(&bytes).map_err(|(document, reason)| ManifestError::Parse {
        path: path.to_owned(),
        document,
        reason,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_not_there_is_named() {
        let error = read_manifest(Path::new("/does/not/exist")).unwrap_err().to_string();
        assert!(error.starts_with("failed to read manifest /does/not/exist: "), "{error}");
    }
}
