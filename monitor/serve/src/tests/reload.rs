//! Web configurations that change while the server runs.

use std::fs;
use std::io::BufReader;
use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use super::credentials::{Authority, Folder, basic, hash};
use super::tls::{TLS, TlsStream, ask_tls, client, greet};
use super::*;

pub(super) fn start_following(folder: &Folder) -> (Running, Arc<Web>) {
    let web = load_web(&folder.path("web.yml"));
    let limits = Limits {
        web_check: Duration::from_millis(20),
        web_settle: Duration::from_millis(5),
        ..Limits::default()
    };
    (start(Setup { web: Some(Arc::clone(&web)), limits, ..Setup::default() }), web)
}

#[test]
fn new_users_are_let_in_and_old_ones_are_not() {
    let folder = Folder::new();
    folder.write("web.yml", format!("basic_auth_users: {{old: {}}}", hash("sesame")));
    let (server, _web) = start_following(&folder);
    let (old, new) = (basic("old", "sesame"), basic("new", "simsim"));
    let status = |header: &str| server.ask("GET", "/metrics", &[header]).status;
    let mut kept = server.connect();
    assert_eq!(get(&mut kept, "/metrics", &[&old]).status, 200);
    assert_eq!(status(&new), 401);

    folder.write("web.yml", format!("basic_auth_users: {{new: {}}}", hash("simsim")));
    eventually("the new user's page", || status(&new) == 200);
    assert_eq!(status(&old), 401);
    // The connection that the old user kept opens nothing any more.
    assert_eq!(get(&mut kept, "/metrics", &[&old]).status, 401);
}

#[test]
fn a_request_that_is_on_its_way_when_the_users_change_is_answered_and_judged_by_the_new_ones() {
    let folder = Folder::new();
    folder.write("web.yml", format!("basic_auth_users: {{old: {}}}", hash("sesame")));
    let (server, web) = start_following(&folder);
    let (old, new) = (basic("old", "sesame"), basic("new", "simsim"));
    let mut silent = [server.connect(), server.connect()];
    let mut halfway = [server.connect(), server.connect()];
    for stream in &mut halfway {
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: node\r\n").unwrap();
    }
    eventually("four open connections", || server.stats.connections_open() == 4);

    folder.write("web.yml", format!("basic_auth_users: {{new: {}}}", hash("simsim")));
    web.reload();
    // A connection that the change was to close is closed by the time a later one was answered.
    assert_eq!(server.ask("GET", "/metrics", &[&new]).status, 200);
    for (stream, (user, expected)) in silent.iter_mut().zip([(&old, 401), (&new, 200)]) {
        assert_eq!(get(stream, "/metrics", &[user]).status, expected);
    }
    for (stream, (user, expected)) in halfway.iter_mut().zip([(&old, 401), (&new, 200)]) {
        stream.write_all(format!("{user}\r\n\r\n").as_bytes()).unwrap();
        assert_eq!(receive(&mut BufReader::new(stream), "GET").status, expected);
    }
    // Between two requests as well: no connection was closed.
    for stream in silent.iter_mut().chain(&mut halfway) {
        assert_eq!(get(stream, "/metrics", &[&new]).status, 200);
    }
}

#[test]
fn a_request_that_is_on_its_way_when_the_certificate_changes_is_answered_and_its_connection_closed() {
    let (authority, clients) = (Authority::new(), Authority::new());
    let folder = Folder::new();
    folder.write_pair(&authority.server());
    folder.write("clients.crt", &clients.certificate);
    let lines = "  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: clients.crt\n";
    folder.write("web.yml", format!("{TLS}{lines}"));
    let (server, web) = start_following(&folder);
    let certified = client(&authority, Some(&clients.client()), rustls::ALL_VERSIONS);
    let mut halfway = greet(&server, &certified).unwrap();
    halfway.write_all(b"GET /metrics HTTP/1.1\r\nHost: node\r\n").unwrap();
    eventually("an open connection", || server.stats.connections_open() == 1);
    folder.write_pair(&authority.server());
    web.reload();
    assert_eq!(web.refused(), None);
    let mut fresh = greet(&server, &certified).unwrap();
    assert_eq!(get(&mut fresh, "/metrics", &[]).status, 200);
    halfway.write_all(b"\r\n").unwrap();
    assert_eq!(receive(&mut BufReader::new(&mut halfway), "GET").status, 200);
    assert_eq!(read_to_close(&mut halfway), b"");
}

#[test]
fn a_certificate_verified_by_an_authority_that_was_replaced_opens_nothing() {
    let (authority, before, after) = (Authority::new(), Authority::new(), Authority::new());
    let folder = Folder::new();
    folder.write_pair(&authority.server());
    folder.write("clients.crt", &before.certificate);
    let lines = "  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: clients.crt\n";
    folder.write("web.yml", format!("{TLS}{lines}"));
    let (server, web) = start_following(&folder);
    let connect = |clients: &Authority| {
        greet(&server, &client(&authority, Some(&clients.client()), rustls::ALL_VERSIONS)).unwrap()
    };
    let status = |stream: &mut TlsStream| get(stream, "/metrics", &[]).status;
    let mut kept = connect(&before);
    assert_eq!(status(&mut connect(&before)), 200);

    folder.write("clients.crt", &after.certificate);
    web.reload();
    assert_eq!(status(&mut connect(&after)), 200);
    assert_eq!(status(&mut kept), 403);
    assert_eq!(read_to_close(&mut kept), b"");
}

#[test]
fn a_bad_file_changes_nothing_until_it_is_repaired() {
    let folder = Folder::new();
    let good = format!("basic_auth_users: {{scraper: {}}}", hash("sesame"));
    let path = folder.write("web.yml", &good);
    let (server, web) = start_following(&folder);
    let right = basic("scraper", "sesame");
    let protected = || {
        assert_eq!(server.ask("GET", "/metrics", &[&right]).status, 200);
        assert_eq!(server.ask("GET", "/metrics", &[]).status, 401);
    };
    protected();
    assert_eq!(web.refused(), None);
    for (bad, expected) in [
        ("basic_auth_users: {scraper: sesame}", "no bcrypt hash"),
        ("basic_auth_users: [", "failed to parse"),
        ("basic_auth_user: {}", "unknown field"),
    ] {
        folder.write("web.yml", bad);
        eventually_refused(&web, bad, expected);
        protected();
    }
    fs::remove_file(&path).unwrap();
    eventually_refused(&web, "the missing file", "failed to read");
    protected();
    folder.write("web.yml", &good);
    eventually("the repaired file", || web.refused().is_none());
    protected();
}

#[test]
fn a_renewed_certificate_is_shown_once_its_key_is_there() {
    let (before, after) = (Authority::new(), Authority::new());
    let folder = Folder::new();
    folder.write_pair(&before.server());
    folder.write("web.yml", TLS);
    let (server, web) = start_following(&folder);
    let (trusting_before, trusting_after) =
        (client(&before, None, rustls::ALL_VERSIONS), client(&after, None, rustls::ALL_VERSIONS));
    assert_eq!(ask_tls(&server, &trusting_before, "/metrics").status, 200);
    let mut kept = greet(&server, &trusting_before).unwrap();
    assert_eq!(get(&mut kept, "/metrics", &[]).status, 200);

    let renewed = after.server();
    folder.write("tls.crt", &renewed.certificate);
    eventually("the half-renewed pair", || web.refused().is_some());
    assert_eq!(ask_tls(&server, &trusting_before, "/metrics").status, 200);

    folder.write("tls.key", &renewed.key);
    eventually("the renewed pair", || greet(&server, &trusting_after).is_ok());
    assert_eq!(web.refused(), None);
    assert_eq!(ask_tls(&server, &trusting_after, "/metrics").status, 200);
    assert!(greet(&server, &trusting_before).is_err());
    assert_eq!(read_to_close(&mut kept), b"", "a connection under the old certificate was kept");
}

#[test]
fn tls_can_be_switched_on_and_not_off() {
    let authority = Authority::new();
    let folder = Folder::new();
    folder.write_pair(&authority.server());
    let users = format!("basic_auth_users: {{ann: {}}}\n", hash("sesame"));
    folder.write("web.yml", &users);
    let (server, web) = start_following(&folder);
    let mut plain = server.connect();
    assert_eq!(get(&mut plain, "/metrics", &[&basic("ann", "sesame")]).status, 200);
    folder.write("web.yml", format!("{users}{TLS}"));
    let client = client(&authority, None, rustls::ALL_VERSIONS);
    eventually("TLS", || greet(&server, &client).is_ok());
    assert_eq!(ask_tls(&server, &client, "/metrics").status, 401);
    assert_eq!(read_to_close(&mut plain), b"", "a connection without TLS was kept");
    folder.write("web.yml", &users);
    web.reload();
    assert!(web.refused().is_some_and(|why| why.contains("TLS would no longer be asked for")));
    assert_eq!(ask_tls(&server, &client, "/metrics").status, 401);
}
