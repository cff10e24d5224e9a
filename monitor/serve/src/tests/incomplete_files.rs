//! Web configurations of which a part is missing: nobody gets in through them.

use std::fs;
use std::io::Read as _;

use super::credentials::{Authority, Folder, basic, hash};
use super::reload::start_following;
use super::tls::{TLS, client, greet};
use super::*;

#[test]
fn a_file_that_protects_nothing_is_not_begun_with() {
    for (text, expected) in [
        ("", "nothing in it"),
        ("# later\n", "nothing in it"),
        ("---\n", "nothing in it"),
        ("~", "nothing in it"),
        ("{}", "neither users nor TLS"),
        ("basic_auth_users: {}", "neither users nor TLS"),
        ("tls_server_config: {}", "neither users nor TLS"),
        ("rate_limit: {interval: 1s, burst: 9}", "neither users nor TLS"),
        ("basic_auth_users:\n", "basic_auth_users: "),
        ("tls_server_config:\n", "tls_server_config: "),
        ("rate_limit:\n", "rate_limit: "),
        ("http_server_config:\n", "http_server_config: "),
        (
            "tls_server_config: {cert_file: tls.crt, key_file: tls.key, client_auth_type: }",
            "client_auth_type: ",
        ),
    ] {
        let folder = Folder::new();
        folder.write_pair(&Authority::new().server());
        let loaded = Web::load(&folder.write("web.yml", text));
        let error = loaded.err().unwrap_or_else(|| panic!("{text:?} was accepted")).with_causes();
        assert!(error.contains(expected) && !error.contains('\n'), "{text:?}: {error}");
    }
    let folder = Folder::new();
    let error = Web::load(&folder.path("web.yml")).err().map(|error| error.with_causes());
    assert!(error.is_some_and(|error| error.contains("failed to read")));
}

#[test]
fn users_stay_asked_for_whatever_becomes_of_the_file() {
    let folder = Folder::new();
    let both = format!("basic_auth_users:\n  ann: {}\n  bob: {}\n", hash("sesame"), hash("simsim"));
    let path = folder.write("web.yml", &both);
    let (server, web) = start_following(&folder);
    let ask = |header: &str| server.ask("GET", "/metrics", &[header]).status;
    let closed = |what: &str| {
        assert_eq!(ask("X-Nobody: 1"), 401, "{what}");
        assert_eq!(ask(&basic("ann", "sesame")), 200, "{what}");
    };
    closed("at the start");
    for (bad, expected) in [
        ("", "nothing in it"),
        ("basic_auth_users:\n", "basic_auth_users: "),
        ("basic_auth_users: {}\n", "neither users nor TLS"),
        ("{}", "neither users nor TLS"),
        ("rate_limit: {interval: 1s, burst: 1000}", "neither users nor TLS"),
        ("basic_auth_users:\n  ann: $2b$04$", "no bcrypt hash"),
    ] {
        folder.write("web.yml", bad);
        eventually_refused(&web, bad, expected);
        closed(bad);
        folder.write("web.yml", &both);
        eventually("the whole file", || web.refused().is_none());
        closed("again whole");
    }
    fs::remove_file(&path).unwrap();
    eventually_refused(&web, "the vanished file", "failed to read");
    closed("vanished");
    // One of two may go at once: that lets nobody in.
    folder.write("web.yml", format!("basic_auth_users:\n  bob: {}\n", hash("simsim")));
    eventually("bob alone", || ask(&basic("ann", "sesame")) == 401);
    assert_eq!(ask(&basic("bob", "simsim")), 200);
    assert_eq!((web.refused(), ask("X-Nobody: 1")), (None, 401));
}

#[test]
fn tls_and_client_certificates_stay_whatever_becomes_of_the_files() {
    let authority = Authority::new();
    let folder = Folder::new();
    folder.write_pair(&authority.server());
    folder.write("ca.crt", &authority.certificate);
    let users = format!("basic_auth_users: {{ann: {}}}\n", hash("sesame"));
    let certified = "  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: ca.crt\n";
    let whole = format!("{users}{TLS}{certified}");
    folder.write("web.yml", &whole);
    let (server, web) = start_following(&folder);
    let own = client(&authority, Some(&authority.client()), rustls::ALL_VERSIONS);
    let nobody = client(&authority, None, rustls::ALL_VERSIONS);
    let ask = |client, header: &str| {
        let mut stream = greet(&server, client).unwrap();
        get(&mut stream, "/metrics", &[header]).status
    };
    let closed = |what: &str| {
        assert_eq!(ask(&own, &basic("ann", "sesame")), 200, "{what}");
        assert_eq!(ask(&own, "X-Nobody: 1"), 401, "{what}");
        assert_eq!(ask(&nobody, &basic("ann", "sesame")), 403, "{what}");
    };
    closed("at the start");
    for (bad, expected) in [
        (users.clone(), "needs a restart"),
        (format!("{TLS}{certified}"), "needs a restart"),
        (format!("{users}{TLS}"), "needs a restart"),
        (format!("{users}{TLS}  client_auth_type:\n"), "client_auth_type: "),
        (
            format!("{users}{TLS}  client_auth_type: VerifyClientCertIfGiven\n  client_ca_file: ca.crt\n"),
            "needs a restart",
        ),
        (format!("{users}tls_server_config:\n"), "tls_server_config: "),
    ] {
        folder.write("web.yml", &bad);
        eventually_refused(&web, &bad, expected);
        closed(&bad);
        folder.write("web.yml", &whole);
        eventually("the whole file", || web.refused().is_none());
    }
    for name in ["tls.crt", "tls.key", "ca.crt", "web.yml"] {
        let before = fs::read(folder.path(name)).unwrap();
        folder.write(name, "");
        eventually(name, || web.refused().is_some());
        closed(name);
        fs::remove_file(folder.path(name)).unwrap();
        eventually_refused(&web, name, "failed to read");
        closed(name);
        folder.write(name, before);
        eventually(name, || web.refused().is_none());
    }
}

#[test]
fn a_change_is_taken_when_two_readings_agree() {
    let folder = Folder::new();
    let user = |name: &str| format!("  {name}: {}\n", hash("sesame"));
    let text = |names: &[&str]| {
        format!("basic_auth_users:\n{}", names.iter().map(|name| user(name)).collect::<String>())
    };
    let path = folder.write("web.yml", text(&["ann", "bob"]));
    let web = Web::load(&path).unwrap();
    let users = |web: &Web| web.policy().borrow().users();
    // What a writer leaves behind half-way differs from what it leaves in the end.
    for names in [["ann", "bob", "cid"].as_slice(), &["ann"], &["ann", "dan"]] {
        folder.write("web.yml", text(names));
        assert!(!web.read_again(), "read once");
        assert_eq!(users(&web), ["ann", "bob"]);
    }
    assert!(web.read_again(), "read twice");
    assert_eq!(users(&web), ["ann", "dan"]);
    // A bad one is told likewise: only when it stays.
    folder.write("web.yml", "basic_auth_users: [");
    assert!(!web.read_again());
    assert_eq!(web.refused(), None);
    folder.write("web.yml", text(&["eve"]));
    assert!(!web.read_again());
    assert!(web.read_again());
    assert_eq!((users(&web).as_slice(), web.refused()), (["eve".to_owned()].as_slice(), None));
}

#[test]
fn a_swapped_link_is_followed() {
    let folder = Folder::new();
    for (version, name) in [("one", "ann"), ("two", "bob")] {
        fs::create_dir(folder.path(version)).unwrap();
        folder.write(
            &format!("{version}/web.yml"),
            format!("basic_auth_users: {{{name}: {}}}", hash("sesame")),
        );
    }
    // As the kubelet lays out a secret: the file is a link through a link that is replaced.
    std::os::unix::fs::symlink("one", folder.path("..data")).unwrap();
    std::os::unix::fs::symlink("..data/web.yml", folder.path("web.yml")).unwrap();
    let (server, web) = start_following(&folder);
    let ask = |name| server.ask("GET", "/metrics", &[&basic(name, "sesame")]).status;
    assert_eq!((ask("ann"), ask("bob")), (200, 401));
    std::os::unix::fs::symlink("two", folder.path("..new")).unwrap();
    fs::rename(folder.path("..new"), folder.path("..data")).unwrap();
    eventually("bob", || ask("bob") == 200);
    assert_eq!((ask("ann"), web.refused()), (401, None));
}

#[test]
fn what_never_ends_or_never_comes_is_refused_at_once() {
    let folder = Folder::new();
    let good = format!("basic_auth_users: {{ann: {}}}", hash("sesame"));
    let path = folder.write("web.yml", &good);
    let (server, web) = start_following(&folder);
    let fifo = || assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
    let zero = || std::os::unix::fs::symlink("/dev/zero", &path).unwrap();
    let folder_there = || fs::create_dir(&path).unwrap();
    let steps: [&dyn Fn(); 3] = [&fifo, &zero, &folder_there];
    for put in steps {
        fs::remove_file(&path).unwrap();
        put();
        eventually_refused(&web, "what is no file", "is no regular file");
        assert!(Web::load(&path).is_err());
        assert_eq!(server.ask("GET", "/metrics", &[]).status, 401);
        if path.is_dir() {
            fs::remove_dir(&path).unwrap();
            folder.write("web.yml", &good);
        } else {
            fs::remove_file(&path).unwrap();
            folder.write("web.yml", &good);
        }
        eventually("the file", || web.refused().is_none());
    }
}

#[test]
fn requests_under_way_are_answered_when_users_change() {
    let folder = Folder::new();
    let own = hash("sesame");
    let text = |round: u32| format!("basic_auth_users: {{ann: {own}, round{round}: {}}}", hash("x"));
    folder.write("web.yml", text(0));
    let (server, web) = start_following(&folder);
    let ann = basic("ann", "sesame");
    assert_eq!(server.ask("GET", "/metrics", &[&ann]).status, 200);
    for round in 1..40 {
        // Connected, and not a byte sent yet.
        let mut before: Vec<_> = (0..4).map(|_| server.connect()).collect();
        eventually("open connections", || server.stats.connections_open() >= 4);
        folder.write("web.yml", text(round));
        web.read_again();
        let mut after: Vec<_> = (0..4).map(|_| server.connect()).collect();
        web.read_again();
        for stream in before.iter_mut().chain(&mut after) {
            send(stream, "GET", "/metrics", &[&ann]);
        }
        for stream in before.iter_mut().chain(&mut after) {
            let mut first = [0; 12];
            stream.read_exact(&mut first).unwrap_or_else(|error| panic!("round {round}: {error}"));
            assert_eq!(&first, b"HTTP/1.1 200");
        }
        drop((before, after));
        eventually("no open connection", || server.stats.connections_open() == 0);
    }
}
