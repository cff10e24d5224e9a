//! Basic authentication: who gets in, who does not, and what it costs.

use std::io::BufReader;
use std::sync::Arc;

use super::credentials::{Folder, basic, hash};
use super::*;

fn start_with(users: &str) -> (Running, Folder) {
    let folder = Folder::new();
    let path = folder.write("web.yml", format!("basic_auth_users:\n{users}"));
    let web = Web::load(&path).unwrap_or_else(|error| panic!("{}", error.with_causes()));
    (start(Setup { web: Some(Arc::new(web)), ..Setup::default() }), folder)
}

#[test]
fn only_the_right_credentials_read_the_pages() {
    let (server, _folder) =
        start_with(&format!("  scraper: {}\n  human: {}\n", hash("sesame"), hash("päss: wörd")));
    let ask = |path, header: &str| server.ask("GET", path, &[header]);
    for path in ["/metrics", "/", "/nowhere", "/evictions"] {
        let missing = ask(path, "X-Nothing: here");
        assert_eq!(missing.status, 401, "{path}");
        assert_eq!(missing.header("www-authenticate"), Some("Basic realm=\"ctmon\", charset=\"UTF-8\""));
        assert!(!missing.text().contains("ctmon_"), "{path}");
    }
    // Twice: the second answer comes from memory.
    for _ in 0..2 {
        assert_eq!(ask("/metrics", &basic("scraper", "sesame")).status, 200);
        assert_eq!(ask("/metrics", &basic("human", "päss: wörd")).status, 200);
        assert_eq!(ask("/nowhere", &basic("human", "päss: wörd")).status, 404);
        for (user, password) in [
            ("scraper", "Sesame"),
            ("scraper", ""),
            ("", "sesame"),
            ("nobody", "sesame"),
            ("human", "sesame"),
            ("scraper\0", "sesame"),
        ] {
            assert_eq!(ask("/metrics", &basic(user, password)).status, 401, "{user}:{password}");
        }
    }
    assert_eq!(ask("/metrics", "Authorization: Bearer sesame").status, 401);
}

#[test]
fn the_hash_that_htpasswd_wrote_is_understood() {
    // From exporter-toolkit's own example of a web configuration; the password is that of its tests.
    let (server, _folder) =
        start_with("  dave: $2y$10$2UXri9cIDdgeKjBo4Rlpx.U3ZLDV8X1IxKmsfOvhcM5oXQt/mLmXq\n");
    assert_eq!(server.ask("GET", "/metrics", &[&basic("dave", "dave123")]).status, 200);
    assert_eq!(server.ask("GET", "/metrics", &[&basic("dave", "dave124")]).status, 401);
}

#[test]
fn probes_need_no_credentials() {
    let (server, _folder) = start_with(&format!("  scraper: {}\n", hash("sesame")));
    for path in ["/healthz", "/readyz"] {
        assert_eq!(server.ask("GET", path, &[]).status, 200);
        assert_eq!(server.ask("GET", path, &[&basic("scraper", "wrong")]).status, 200);
        assert_eq!(server.ask("GET", &format!("{path}/../metrics"), &[]).status, 401);
    }
}

#[test]
fn a_scraper_pays_for_the_hash_once() {
    let (server, _folder) = start_with(&format!("  scraper: {}\n", bcrypt::hash("sesame", 10).unwrap()));
    let header = basic("scraper", "sesame");
    let mut stream = server.connect();
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut ask = || {
        let started = Instant::now();
        send(&mut stream, "GET", "/metrics", &[&header]);
        assert_eq!(receive(&mut reader, "GET").status, 200);
        started.elapsed()
    };
    // Compared with each other in one run, so that a slow machine is slow for both; a busy one may hold up some.
    let first = ask();
    let later = (0..10).map(|_| ask()).min().unwrap();
    assert!(later < first, "the quickest of ten requests took {later:?}, the first one {first:?}");
}

#[test]
fn probes_are_answered_while_a_password_is_checked() {
    let (server, _folder) = start_with(&format!("  scraper: {}\n", bcrypt::hash("sesame", 12).unwrap()));
    let mut waiting: Vec<_> = (0..4)
        .map(|number| {
            let mut stream = server.connect();
            send(&mut stream, "GET", "/metrics", &[&basic("scraper", &number.to_string())]);
            stream
        })
        .collect();
    assert_eq!(server.ask("GET", "/healthz", &[]).status, 200);
    let unanswered = waiting.iter().filter(|stream| !has_answer(stream)).count();
    assert!(unanswered > 0, "the probe came after four passwords");
    for stream in &mut waiting {
        assert_eq!(receive(&mut BufReader::new(stream), "GET").status, 401);
    }
}

fn has_answer(stream: &TcpStream) -> bool {
    stream.set_nonblocking(true).unwrap();
    let seen = stream.peek(&mut [0]);
    stream.set_nonblocking(false).unwrap();
    seen.is_ok()
}
