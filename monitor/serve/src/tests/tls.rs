//! Handshakes: versions, client certificates, clients that do not shake hands.

use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::SupportedKxGroup;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned, SupportedProtocolVersion, version};

use super::super::connection::serve_connection;
use super::super::connection_places::{Peer, Places};
use super::credentials::{Authority, Folder, Pair, hash};
use super::*;

pub(super) type TlsStream = StreamOwned<ClientConnection, TcpStream>;

pub(super) const TLS: &str = "tls_server_config:\n  cert_file: tls.crt\n  key_file: tls.key\n";

/// A client that trusts `authority` and shows `own`, if any.
pub(super) fn client(
    authority: &Authority,
    own: Option<&Pair>,
    versions: &[&'static SupportedProtocolVersion],
) -> Arc<ClientConfig> {
    let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(authority.roots());
    Arc::new(match own {
        Some(own) => builder.with_client_auth_cert(own.chain(), own.private_key()).unwrap(),
        None => builder.with_no_client_auth(),
    })
}

/// Shakes hands, or says why not.
pub(super) fn greet(server: &Running, client: &Arc<ClientConfig>) -> Result<TlsStream, String> {
    let name = ServerName::try_from("localhost").unwrap();
    let connection = ClientConnection::new(Arc::clone(client), name).unwrap();
    let mut stream = StreamOwned::new(connection, server.connect());
    while stream.conn.is_handshaking() {
        stream.conn.complete_io(&mut stream.sock).map_err(|error| error.to_string())?;
    }
    Ok(stream)
}

pub(super) fn ask_tls(server: &Running, client: &Arc<ClientConfig>, path: &str) -> Answer {
    let mut stream = greet(server, client).unwrap();
    get(&mut stream, path, &[])
}

/// A web configuration with a certificate of `authority` and more lines in its `tls_server_config`.
fn configuration(authority: &Authority, lines: &str) -> (Folder, PathBuf) {
    let folder = Folder::new();
    folder.write_pair(&authority.server());
    let path = folder.write("web.yml", format!("{TLS}{lines}"));
    (folder, path)
}

/// A server with a certificate of `authority` and more lines in its `tls_server_config`.
fn start_tls(authority: &Authority, lines: &str, limits: Limits) -> (Running, Folder) {
    let (folder, path) = configuration(authority, lines);
    (start(Setup { web: Some(load_web(&path)), limits, ..Setup::default() }), folder)
}

#[test]
fn both_versions_of_tls_carry_the_page() {
    let authority = Authority::new();
    let (server, _folder) = start_tls(&authority, "", Limits::default());
    for version in [&version::TLS12, &version::TLS13] {
        let client = client(&authority, None, &[version]);
        let mut stream = greet(&server, &client).unwrap();
        assert_eq!(stream.conn.protocol_version(), Some(version.version));
        for _ in 0..3 {
            let answer = get(&mut stream, "/metrics", &[]);
            assert_eq!(answer.status, 200);
            assert!(answer.text().starts_with(METRICS));
        }
    }
    assert_eq!(server.stats.connections_accepted(), 2);
    assert!(greet(&server, &client(&Authority::new(), None, rustls::ALL_VERSIONS)).is_err());
    eventually("a failed handshake", || server.stats.handshakes_failed() == 1);
}

#[test]
fn versions_suites_and_curves_are_limited_as_configured() {
    let authority = Authority::new();
    let (server, _folder) = start_tls(&authority, "  min_version: TLS13\n", Limits::default());
    assert!(greet(&server, &client(&authority, None, &[&version::TLS12])).is_err());
    assert_eq!(ask_tls(&server, &client(&authority, None, &[&version::TLS13]), "/metrics").status, 200);

    let lines = "  max_version: TLS12\n  cipher_suites: [TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305]\n  \
                 curve_preferences: [CurveP384]\n";
    let (server, _folder) = start_tls(&authority, lines, Limits::default());
    assert!(greet(&server, &client(&authority, None, &[&version::TLS13])).is_err());
    let stream = greet(&server, &client(&authority, None, &[&version::TLS12])).unwrap();
    assert_eq!(
        stream.conn.negotiated_cipher_suite().map(|suite| suite.suite()),
        Some(rustls::CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256)
    );
    let group = stream.conn.negotiated_key_exchange_group().map(SupportedKxGroup::name);
    assert_eq!(group, Some(rustls::NamedGroup::secp384r1));
}

#[test]
fn a_required_client_certificate_is_required_of_all_but_probes() {
    let authority = Authority::new();
    let clients = Authority::new();
    let folder = Folder::new();
    let ca = folder.write("clients.crt", &clients.certificate);
    let lines =
        format!("  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: {}\n", ca.display());
    let (server, _folder) = start_tls(&authority, &lines, Limits::default());
    for version in [&version::TLS12, &version::TLS13] {
        let nobody = client(&authority, None, &[version]);
        for (path, expected) in
            [("/metrics", 403), ("/", 403), ("/nowhere", 403), ("/healthz", 200), ("/readyz", 200)]
        {
            assert_eq!(ask_tls(&server, &nobody, path).status, expected, "{path}");
        }
        assert_eq!(
            server.ask("GET", "/metrics", &[]).status,
            403,
            "without TLS there is no certificate either"
        );
        let known = client(&authority, Some(&clients.client()), &[version]);
        assert_eq!(ask_tls(&server, &known, "/metrics").status, 200);

        let stranger = client(&authority, Some(&authority.client()), &[version]);
        // With TLS 1.3 the client is done before the server has looked at its certificate.
        let refused = match greet(&server, &stranger) {
            Err(_) => true,
            Ok(mut stream) => {
                let _ = stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: node\r\n\r\n");
                read_to_close(&mut stream).is_empty()
            }
        };
        assert!(refused, "a certificate of another authority was accepted");
    }
}

#[test]
fn a_client_of_another_host_that_speaks_plain_http_is_told_to_use_https() {
    let authority = Authority::new();
    let (folder, path) = configuration(&authority, "");
    let web = load_web(&path);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        stream.set_nonblocking(true).unwrap();
        let (_pages, pages) = watch::channel(Arc::new(fresh()));
        let (local, limits, stats) = (Vec::new(), Limits::default(), Arc::new(Stats::default()));
        let (place, _stay, _) =
            Places::new(limits.places).enter(Peer { address: [192, 0, 2, 7].into(), this_host: false });
        let server = Arc::new(Server { pages, local, web, limits, stats });
        // As if it came from another host.
        let peer = "192.0.2.7:40000".parse().unwrap();
        runtime().block_on(async {
            let stream = tokio::net::TcpStream::from_std(stream).unwrap();
            serve_connection(stream, peer, place, server, std::future::pending()).await;
        });
    });
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let answer = get(&mut stream, "/metrics", &[]);
    assert_eq!(answer.status, 400);
    assert_eq!(answer.text(), "this server speaks TLS: use https here\n");
    assert_eq!(read_to_close(&mut stream), b"");
    server.join().unwrap();
    drop(folder);
}

#[test]
fn commands_on_the_same_host_may_ask_without_tls() {
    let authority = Authority::new();
    let (server, _folder) = start_tls(&authority, "", Limits::default());
    let answer = server.ask("GET", "/metrics", &[]);
    assert!(answer.status == 200 && answer.text().starts_with(METRICS), "{answer:?}");
    assert_eq!(server.stats.handshakes_failed(), 0);
}

#[test]
fn a_client_that_does_not_shake_hands_is_cut_off() {
    let authority = Authority::new();
    let limits = Limits { handshake: Duration::from_millis(150), ..Limits::default() };
    let (mut server, _folder) = start_tls(&authority, "", limits);
    let mut silent = server.connect();
    let mut halfway = server.connect();
    halfway.write_all(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc").unwrap();
    assert_eq!(read_to_close(&mut silent), b"");
    assert_eq!(read_to_close(&mut halfway), b"");
    eventually("two failed handshakes", || server.stats.handshakes_failed() == 2);
    let took = server.stop();
    assert!(took < PATIENCE, "{took:?}");
}

#[test]
fn the_end_of_the_chain_is_the_end_of_its_first_certificate_to_end() {
    let authority = Authority::new();
    let folder = Folder::new();
    folder.write_pair(&authority.server_until(2040));
    let path = folder.write("web.yml", TLS);
    let seconds = |web: &Web| {
        let end = web.status().unwrap().not_after.unwrap();
        end.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()
    };
    let web = Web::load(&path).unwrap();
    assert_eq!(seconds(&web), 2_208_988_800);
    let renewed = authority.server_until(2060);
    let between = authority.server_until(2050);
    folder.write("tls.crt", format!("{}{}", renewed.certificate, between.certificate));
    folder.write("tls.key", &renewed.key);
    web.reload();
    assert_eq!((web.refused(), seconds(&web)), (None, 2_524_608_000));
    let users = Folder::new();
    let path = users.write("web.yml", format!("basic_auth_users: {{ann: {}}}", hash("a")));
    assert_eq!(Web::load(&path).unwrap().status().unwrap().not_after, None);
    assert!(Web::open().status().is_none());
}
