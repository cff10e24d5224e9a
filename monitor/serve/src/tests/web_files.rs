//! Which web configurations are good, and what is said about the others.

use super::credentials::{Authority, Folder, hash};
use super::*;

/// Loads a configuration beside a certificate, its key, and a few files that are neither.
fn load(text: &str) -> Result<Web, String> {
    let folder = Folder::new();
    let authority = Authority::new();
    folder.write_pair(&authority.server());
    folder.write("other.key", authority.client().key);
    folder.write("ca.crt", &authority.certificate);
    folder.write("empty", "");
    folder.write("huge", vec![b'#'; 2 << 20]);
    let path = folder.write("web.yml", text);
    Web::load(&path).map_err(|error| error.with_causes().replace(&path.display().to_string(), "FILE"))
}

/// Somebody to be asked for: without it nothing is protected.
fn user() -> String {
    format!("basic_auth_users: {{ann: {}}}\n", hash("a"))
}

#[test]
fn what_exporters_use_is_accepted() {
    let inline = Authority::new().server();
    let indented = |pem: &str| pem.replace('\n', "\n    ");
    for text in [
        format!("tls_server_config: {{}}\nhttp_server_config: {{}}\n{}", user()),
        "tls_server_config: {cert_file: tls.crt, key_file: tls.key}".to_owned(),
        "tls_server_config: {cert_file: tls.crt, key_file: tls.key, client_auth_type: NoClientCert}".to_owned(),
        "tls_server_config: {cert_file: tls.crt, key_file: tls.key, client_auth_type: VerifyClientCertIfGiven, \
         client_ca_file: ca.crt}"
            .to_owned(),
        "tls_server_config: {cert_file: tls.crt, key_file: tls.key, min_version: TLS12, max_version: TLS13, \
         prefer_server_cipher_suites: false, cipher_suites: [TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, \
         TLS_AES_128_GCM_SHA256], curve_preferences: [CurveP256, X25519]}"
            .to_owned(),
        format!(
            "tls_server_config:\n  cert: |\n    {}\n  key: |\n    {}\n",
            indented(&inline.certificate),
            indented(&inline.key)
        ),
        format!("basic_auth_users: {{alice: {}, bob: {}}}", hash("a"), hash("b")),
        format!("rate_limit: {{interval: 1s, burst: 20}}\n{}", user()),
        format!("rate_limit: {{interval: 0, burst: 0}}\n{}", user()),
        format!(
            "http_server_config: {{http2: true, headers: {{X-Frame-Options: deny, Strict-Transport-Security: \
             max-age=31536000, X-XSS-Protection: ''}}}}\n{}",
            user()
        ),
    ] {
        if let Err(error) = load(&text) {
            panic!("{text}: {error}");
        }
    }
}

#[test]
fn what_cannot_be_honoured_is_refused_with_its_key() {
    const PAIR: &str = "cert_file: tls.crt, key_file: tls.key";
    let tls = |keys: &str| format!("tls_server_config: {{{keys}}}");
    let with_pair = |keys: &str| tls(&format!("{PAIR}, {keys}"));
    let headers = |headers: &str| format!("http_server_config: {{headers: {{{headers}}}}}\n{}", user());
    let other_version = hash("a").replace("$2b$", "$9z$");
    for (text, expected) in [
        ("tls_config: {}".to_owned(), "unknown field `tls_config`"),
        ("[".repeat(200_000), "nested too deeply"),
        ("? {".repeat(100_000), "nested too deeply"),
        ("%TAG !a! b\n".repeat(50_000), "lines begin with `%`"),
        ("a: b: c".to_owned(), "failed to parse web configuration FILE: "),
        (tls("cert_file: tls.crt"), "tls_server_config.key_file: missing"),
        (tls("key_file: tls.key"), "tls_server_config.cert_file: missing"),
        (tls("min_version: TLS13"), "tls_server_config.cert_file: missing"),
        (tls("cert_file: tls.crt, key_file: nowhere"), "failed to read "),
        (tls("cert_file: tls.crt, key_file: other.key"), "cert_file and key_file: "),
        (tls("cert_file: tls.crt, key_file: tls.crt"), "key_file: no usable private key in it"),
        (tls("cert_file: empty, key_file: tls.key"), "cert_file: no certificate in it"),
        (tls("cert_file: huge, key_file: tls.key"), "more than 1048576 bytes"),
        (tls("cert_file: /dev/zero, key_file: tls.key"), "failed to read /dev/zero: it is no regular file"),
        (with_pair("cert: x"), "tls_server_config.cert: given as text and as a file"),
        (with_pair("min_version: TLS10"), "\"TLS10\" is not supported: use TLS12 or TLS13"),
        (with_pair("min_version: TLS13, max_version: TLS12"), "above max_version"),
        (
            with_pair("cipher_suites: [TLS_RSA_WITH_RC4_128_SHA]"),
            "\"TLS_RSA_WITH_RC4_128_SHA\" is not supported",
        ),
        (with_pair("curve_preferences: [CurveP521]"), "use X25519, CurveP256 or CurveP384"),
        (with_pair("client_auth_type: RequireAndVerifyClientCert"), "set client_ca_file"),
        (with_pair("client_auth_type: RequireAnyClientCert"), "which proves nothing"),
        (with_pair("client_auth_type: Please"), "\"Please\" is unknown"),
        (with_pair("client_ca_file: ca.crt"), "set RequireAndVerifyClientCert"),
        (
            with_pair("client_auth_type: VerifyClientCertIfGiven, client_ca_file: empty"),
            "no certificate in it",
        ),
        (with_pair("client_allowed_sans: [a]"), "unknown field `client_allowed_sans`"),
        ("basic_auth_users: {alice: secret}".to_owned(), "\"alice\" has no bcrypt hash"),
        ("basic_auth_users: {alice: ''}".to_owned(), "\"alice\" has no bcrypt hash"),
        (format!("basic_auth_users: {{alice: {other_version}}}"), "\"alice\" has no bcrypt hash"),
        (format!("basic_auth_users: {{'a:b': {}}}", hash("a")), "cannot hold a colon"),
        (
            format!("basic_auth_users: {{a: {}}}", hash("a").replace("$04$", "$31$")),
            "needs a cost from 4 to 18",
        ),
        (format!("rate_limit: {{interval: 1s}}\n{}", user()), "rate_limit.burst: must be at least 1"),
        (format!("rate_limit: {{interval: soon, burst: 1}}\n{}", user()), "rate_limit.interval: `soon`"),
        (headers("X-Other: a"), "\"X-Other\" cannot be set"),
        (headers("X-Frame-Options: allow"), "deny or sameorigin"),
        (headers("X-XSS-Protection: \"a\\nb\""), "characters"),
    ] {
        let error = load(&text).err().unwrap_or_else(|| panic!("{text:.200} was accepted"));
        assert!(error.contains(expected), "{text}: {error}");
        assert!(!error.contains("secret") && !error.contains('\n'), "{text}: {error}");
    }
}

#[test]
fn configured_headers_are_on_every_answer_and_win_over_ours() {
    let folder = Folder::new();
    let path = folder.write(
        "web.yml",
        format!(
            "http_server_config: {{headers: {{X-Frame-Options: DENY, Content-Security-Policy: default-src 'self'}}}}\n{}",
            user()
        ),
    );
    let server = start_with_web(&load_web(&path));
    for path in ["/", "/metrics", "/healthz", "/nowhere"] {
        let answer = server.ask("GET", path, &[]);
        assert_eq!(answer.header("x-frame-options"), Some("DENY"), "{path}");
        assert_eq!(answer.header("content-security-policy"), Some("default-src 'self'"), "{path}");
    }
}

#[test]
fn the_rate_limit_spares_probes() {
    let folder = Folder::new();
    let path = folder.write("web.yml", format!("rate_limit: {{interval: 1h, burst: 2}}\n{}", user()));
    let server = start_with_web(&load_web(&path));
    let statuses = ["/metrics", "/", "/metrics", "/", "/healthz", "/readyz"];
    let statuses = statuses.map(|path| server.ask("GET", path, &[]).status);
    assert_eq!(statuses, [401, 401, 429, 429, 200, 200]);
}
