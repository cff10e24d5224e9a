//! The format of the web configuration, and reading it.
//!
//! In: the YAML file, and the certificate files it names. Out: all of it as one comparable value.
//! Must not: skip a key it does not know: it might be the one that was to protect the node.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io;
use std::io::Read as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use monitor_model::yaml_cost::check_cost;
use serde::Deserialize;
use yaml_serde::Value;

/// No such file is near this size; a wrong path may lead to one that never ends.
const LARGEST: u64 = 1 << 20;

/// Why a web configuration is not usable.
#[derive(Debug, thiserror::Error)]
pub enum WebError {
    #[error("failed to read {path}: check that it exists and that this process may read it")]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("failed to read {path}: it has more than {LARGEST} bytes: check that it is the file meant")]
    TooLarge { path: PathBuf },
    #[error("failed to parse web configuration {path}: {problem}")]
    Costly { path: PathBuf, problem: String },
    #[error("failed to read {path}: it is no regular file: check that it is the file meant")]
    NoFile { path: PathBuf },
    #[error("failed to use web configuration {path}: nothing in it: write users or TLS, or start without it")]
    Empty { path: PathBuf },
    #[error(
        "failed to use web configuration {path}: neither users nor TLS in it: write basic_auth_users or \
         tls_server_config, or start without it"
    )]
    Open { path: PathBuf },
    #[error(
        "failed to use web configuration {path}: {what} would no longer be asked for, which needs a restart: a file \
         that was cut short looks the same"
    )]
    Weaker { path: PathBuf, what: &'static str },
    #[error("failed to use web configuration {path}: {key}: no value: write one, or take the key out")]
    NoValue { path: PathBuf, key: String },
    #[error("failed to parse web configuration {path}")]
    Syntax {
        path: PathBuf,
        #[source]
        source: yaml_serde::Error,
    },
    #[error("failed to check passwords: the system has no random numbers")]
    Random,
    #[error("failed to use web configuration {path}: {key}: {problem}")]
    Value { path: PathBuf, key: &'static str, problem: String },
    #[error("failed to use web configuration {path}: {key}")]
    Tls {
        path: PathBuf,
        key: &'static str,
        #[source]
        source: rustls::Error,
    },
}

/// The configuration with the contents of the files it names. It holds secrets, so nothing here is `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct WebFile {
    pub(super) path: PathBuf,
    pub(super) settings: WebSettings,
    pub(super) certificate: Option<Vec<u8>>,
    pub(super) key: Option<Vec<u8>>,
    pub(super) client_ca: Option<Vec<u8>>,
}

/// The keys of the file.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct WebSettings {
    pub(super) tls_server_config: Option<TlsSettings>,
    pub(super) http_server_config: Option<HttpSettings>,
    pub(super) basic_auth_users: Option<BTreeMap<String, String>>,
    pub(super) rate_limit: Option<RateSettings>,
}

#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct TlsSettings {
    pub(super) cert: Option<String>,
    pub(super) key: Option<String>,
    pub(super) client_ca: Option<String>,
    pub(super) cert_file: Option<PathBuf>,
    pub(super) key_file: Option<PathBuf>,
    pub(super) client_ca_file: Option<PathBuf>,
    pub(super) client_auth_type: Option<String>,
    pub(super) min_version: Option<String>,
    pub(super) max_version: Option<String>,
    pub(super) cipher_suites: Option<Vec<String>>,
    pub(super) prefer_server_cipher_suites: Option<bool>,
    pub(super) curve_preferences: Option<Vec<String>>,
}

#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct HttpSettings {
    /// Accepted, and without effect: one scraper's small page gains nothing from HTTP/2.
    pub(super) http2: Option<bool>,
    pub(super) headers: Option<BTreeMap<String, String>>,
}

#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RateSettings {
    pub(super) interval: Option<String>,
    pub(super) burst: Option<u32>,
}

impl WebFile {
    pub(super) fn read(path: &Path) -> Result<Self, WebError> {
        let text = read_file(path)?;
        check_cost(&text).map_err(|problem| WebError::Costly { path: path.to_owned(), problem })?;
        let failed = |source| WebError::Syntax { path: path.to_owned(), source };
        let settings: Option<WebSettings> = yaml_serde::from_slice(&text).map_err(failed)?;
        let mut settings = settings.ok_or_else(|| WebError::Empty { path: path.to_owned() })?;
        if let Some(key) = without_value(&yaml_serde::from_slice(&text).map_err(failed)?) {
            return Err(WebError::NoValue { path: path.to_owned(), key });
        }
        // `{}` is the same as none, as in exporter-toolkit.
        settings.tls_server_config = settings.tls_server_config.filter(|tls| *tls != TlsSettings::default());
        settings.basic_auth_users = settings.basic_auth_users.filter(|users| !users.is_empty());
        if settings.tls_server_config.is_none() && settings.basic_auth_users.is_none() {
            return Err(WebError::Open { path: path.to_owned() });
        }
        let tls = settings.tls_server_config.clone().unwrap_or_default();
        let content = |key, inline: Option<String>, file: Option<PathBuf>| match (inline, file) {
            (Some(_), Some(_)) => Err(WebError::Value {
                path: path.to_owned(),
                key,
                problem: "given as text and as a file: keep one of them".to_owned(),
            }),
            (Some(inline), None) => Ok(Some(inline.into_bytes())),
            // Relative to the configuration, wherever the daemon was started.
            (None, Some(file)) => read_file(&path.parent().unwrap_or(Path::new("")).join(file)).map(Some),
            (None, None) => Ok(None),
        };
        Ok(Self {
            path: path.to_owned(),
            certificate: content("tls_server_config.cert", tls.cert, tls.cert_file)?,
            key: content("tls_server_config.key", tls.key, tls.key_file)?,
            client_ca: content("tls_server_config.client_ca", tls.client_ca, tls.client_ca_file)?,
            settings,
        })
    }

    /// Whether TLS is the same in both, with the certificates.
    pub(super) fn same_tls(&self, other: &Self) -> bool {
        let of = |file: &Self| {
            let Self { path: _, settings, certificate, key, client_ca } = file;
            (settings.tls_server_config.clone(), certificate.clone(), key.clone(), client_ca.clone())
        };
        of(self) == of(other)
    }

    /// An error about one key.
    pub(super) fn problem(&self, key: &'static str, problem: impl Into<String>) -> WebError {
        WebError::Value { path: self.path.clone(), key, problem: problem.into() }
    }
}

impl WebError {
    /// The error and what lies beneath it, in one line.
    #[must_use]
    pub fn with_causes(&self) -> String {
        let mut line = self.to_string();
        let mut next = std::error::Error::source(self);
        while let Some(cause) = next {
            // Writing to a String cannot fail.
            let _ = write!(line, ": {cause}");
            next = cause.source();
        }
        line
    }
}

/// The first key without a value. A file that was cut short ends like this, so it is not taken for a wish.
fn without_value(value: &Value) -> Option<String> {
    let (key, below) = value.as_mapping()?.iter().find_map(|(key, value)| {
        let below = if value.is_null() { None } else { Some(without_value(value)?) };
        Some((key.as_str().unwrap_or("a key"), below))
    })?;
    Some(below.map_or_else(|| key.to_owned(), |below| format!("{key}.{below}")))
}

fn read_file(path: &Path) -> Result<Vec<u8>, WebError> {
    let failed = |source| WebError::Read { path: path.to_owned(), source };
    // Nobody may ever write to a pipe: opening it must not wait for that.
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path).map_err(failed)?;
    if !file.metadata().map_err(failed)?.is_file() {
        return Err(WebError::NoFile { path: path.to_owned() });
    }
    let mut content = Vec::new();
    file.take(LARGEST + 1).read_to_end(&mut content).map_err(failed)?;
    if content.len() as u64 > LARGEST {
        return Err(WebError::TooLarge { path: path.to_owned() });
    }
    Ok(content)
}
