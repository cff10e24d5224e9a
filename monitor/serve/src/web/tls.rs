//! TLS as the web configuration asks for it.
//!
//! In: the settings and the certificates' contents. Out: a rustls configuration.
//! Must not: accept a setting it cannot honour: it would be taken for protection.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::crypto::{CryptoProvider, SupportedKxGroup, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{
    CipherSuite, ProtocolVersion, RootCertStore, ServerConfig, SupportedCipherSuite, SupportedProtocolVersion,
};
use x509_parser::prelude::FromDer as _;
use x509_parser::prelude::X509Certificate;

use super::file::{TlsSettings, WebError, WebFile};

/// TLS for new connections.
pub(super) struct Tls {
    pub(super) config: Arc<ServerConfig>,
    /// `Required`: requests need a certificate that was verified. The handshake asks for it and refuses a wrong one,
    /// but lets clients without one in: kubelet has none and must still reach the probes.
    pub(super) client_auth: ClientAuth,
    /// Who may certify clients.
    pub(super) client_ca: Option<Vec<u8>>,
    /// When the first certificate of the chain ends; unknown where it cannot be read.
    pub(super) not_after: Option<SystemTime>,
}

/// What clients' certificates are worth, least first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum ClientAuth {
    None,
    IfGiven,
    Required,
}

/// Go's name, and the version if rustls speaks it.
const VERSIONS: [(&str, ProtocolVersion); 2] =
    [("TLS12", ProtocolVersion::TLSv1_2), ("TLS13", ProtocolVersion::TLSv1_3)];

impl Tls {
    pub(super) fn of(file: &WebFile, settings: &TlsSettings) -> Result<Self, WebError> {
        let provider = Arc::new(CryptoProvider {
            cipher_suites: suites(file, settings)?,
            kx_groups: groups(file, settings)?,
            ..ring::default_provider()
        });
        let failed = |key| move |source| WebError::Tls { path: file.path.clone(), key, source };
        let client_auth = ClientAuth::of(file, settings)?;
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&versions(file, settings)?)
            .map_err(failed("tls_server_config.min_version"))?;
        let builder = match client_auth {
            ClientAuth::None => builder.with_no_client_auth(),
            ClientAuth::IfGiven | ClientAuth::Required => {
                builder.with_client_cert_verifier(verifier(file, provider)?)
            }
        };
        let chain = certificates(file)?;
        let not_after = chain.iter().filter_map(not_after).min();
        let mut config = builder
            .with_single_cert(chain, key(file)?)
            .map_err(failed("tls_server_config.cert_file and key_file"))?;
        config.ignore_client_order = settings.prefer_server_cipher_suites.unwrap_or(true);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        // A scraper keeps its connection: resumption would cost memory for nobody.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Self { config: Arc::new(config), client_auth, client_ca: file.client_ca.clone(), not_after })
    }
}

impl ClientAuth {
    fn of(file: &WebFile, settings: &TlsSettings) -> Result<Self, WebError> {
        const KEY: &str = "tls_server_config.client_auth_type";
        let auth = match settings.client_auth_type.as_deref().unwrap_or_default() {
            "" | "NoClientCert" => Self::None,
            "VerifyClientCertIfGiven" => Self::IfGiven,
            "RequireAndVerifyClientCert" => Self::Required,
            name @ ("RequestClientCert" | "RequireAnyClientCert") => {
                let problem = format!(
                    "{name} accepts a certificate from anyone, which proves nothing: \
                     use RequireAndVerifyClientCert with client_ca_file"
                );
                return Err(file.problem(KEY, problem));
            }
            name => {
                let problem = format!(
                    "{name:?} is unknown: use NoClientCert, VerifyClientCertIfGiven or RequireAndVerifyClientCert"
                );
                return Err(file.problem(KEY, problem));
            }
        };
        match (auth, &file.client_ca) {
            (Self::None, Some(_)) => Err(file.problem(
                KEY,
                "there is a client_ca, but no client needs a certificate: set RequireAndVerifyClientCert",
            )),
            (Self::IfGiven | Self::Required, None) => {
                Err(file.problem(KEY, "certificates cannot be verified without one: set client_ca_file"))
            }
            _ => Ok(auth),
        }
    }
}

fn certificates(file: &WebFile) -> Result<Vec<CertificateDer<'static>>, WebError> {
    const KEY: &str = "tls_server_config.cert_file";
    let Some(pem) = &file.certificate else {
        return Err(file.problem(KEY, "missing: TLS needs a certificate"));
    };
    parse_certificates(file, KEY, pem)
}

fn not_after(certificate: &CertificateDer<'_>) -> Option<SystemTime> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    let seconds = u64::try_from(parsed.validity().not_after.timestamp()).ok()?;
    UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
}

fn parse_certificates(
    file: &WebFile,
    key: &'static str,
    pem: &[u8],
) -> Result<Vec<CertificateDer<'static>>, WebError> {
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|error| file.problem(key, format!("not PEM: {error}")))?;
    if certificates.is_empty() {
        return Err(file.problem(key, "no certificate in it: it must be PEM"));
    }
    Ok(certificates)
}

fn key(file: &WebFile) -> Result<PrivateKeyDer<'static>, WebError> {
    const KEY: &str = "tls_server_config.key_file";
    let Some(pem) = &file.key else {
        return Err(file.problem(KEY, "missing: TLS needs the certificate's private key"));
    };
    PrivateKeyDer::from_pem_slice(pem)
        .map_err(|error| file.problem(KEY, format!("no usable private key in it: {error}")))
}

fn verifier(file: &WebFile, provider: Arc<CryptoProvider>) -> Result<Arc<dyn ClientCertVerifier>, WebError> {
    const KEY: &str = "tls_server_config.client_ca_file";
    let mut roots = RootCertStore::empty();
    for certificate in parse_certificates(file, KEY, file.client_ca.as_deref().unwrap_or_default())? {
        roots.add(certificate).map_err(|source| WebError::Tls {
            path: file.path.clone(),
            key: KEY,
            source,
        })?;
    }
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
        .allow_unauthenticated()
        .build()
        .map_err(|error| file.problem(KEY, error.to_string()))
}

fn versions(
    file: &WebFile,
    settings: &TlsSettings,
) -> Result<Vec<&'static SupportedProtocolVersion>, WebError> {
    let place = |key, name: &Option<String>, default| match name.as_deref().unwrap_or_default() {
        "" => Ok(default),
        name => VERSIONS
            .iter()
            .position(|(known, _)| *known == name)
            .ok_or_else(|| file.problem(key, format!("{name:?} is not supported: use TLS12 or TLS13"))),
    };
    let lowest = place("tls_server_config.min_version", &settings.min_version, 0)?;
    let highest = place("tls_server_config.max_version", &settings.max_version, 1)?;
    if lowest > highest {
        return Err(file.problem("tls_server_config.min_version", "above max_version: no version is left"));
    }
    let wanted: Vec<_> =
        VERSIONS.iter().take(highest + 1).skip(lowest).map(|(_, version)| *version).collect();
    Ok(rustls::ALL_VERSIONS.iter().copied().filter(|known| wanted.contains(&known.version)).collect())
}

/// Go's list rules TLS 1.2 alone; the suites of TLS 1.3 are always there.
fn suites(file: &WebFile, settings: &TlsSettings) -> Result<Vec<SupportedCipherSuite>, WebError> {
    let all = ring::default_provider().cipher_suites;
    let Some(names) = settings.cipher_suites.as_deref().filter(|names| !names.is_empty()) else {
        return Ok(all);
    };
    let (newer, older): (Vec<_>, Vec<_>) =
        all.into_iter().partition(|suite| suite.version().version == ProtocolVersion::TLSv1_3);
    let mut chosen = newer;
    for name in names {
        let found = older.iter().find(|suite| go_names(suite.suite(), name));
        match found {
            Some(suite) => chosen.push(*suite),
            // Those of TLS 1.3 are listed by Go, and cannot be chosen there either.
            None if name.starts_with("TLS_AES_") || name.starts_with("TLS_CHACHA20_") => {}
            None => {
                let known: Vec<_> = older.iter().filter_map(|suite| suite.suite().as_str()).collect();
                let problem = format!("{name:?} is not supported: use some of {}", known.join(", "));
                return Err(file.problem("tls_server_config.cipher_suites", problem));
            }
        }
    }
    Ok(chosen)
}

/// Go has a short name too for the suites with `ChaCha20`.
fn go_names(suite: CipherSuite, name: &str) -> bool {
    suite.as_str().is_some_and(|known| known == name || known.strip_suffix("_SHA256") == Some(name))
}

fn groups(file: &WebFile, settings: &TlsSettings) -> Result<Vec<&'static dyn SupportedKxGroup>, WebError> {
    let Some(names) = settings.curve_preferences.as_deref().filter(|names| !names.is_empty()) else {
        return Ok(ring::default_provider().kx_groups);
    };
    names
        .iter()
        .map(|name| match name.as_str() {
            "X25519" => Ok(ring::kx_group::X25519),
            "CurveP256" => Ok(ring::kx_group::SECP256R1),
            "CurveP384" => Ok(ring::kx_group::SECP384R1),
            _ => Err(file.problem(
                "tls_server_config.curve_preferences",
                format!("{name:?} is not supported: use X25519, CurveP256 or CurveP384"),
            )),
        })
        .collect()
}
