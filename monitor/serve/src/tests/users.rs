//! Basic authentication: who gets in, who does not, and what it costs.

use std::io::BufReader;
use std::sync::Arc;

use super::credentials::{Folder, basic, hash};
use super::*;

fn start_with(folder: &Folder, users: &str) -> (Running, Arc<Web>) {
    let web = load_web(&folder.write("web.yml", format!("basic_auth_users:\n{users}")));
    (start_with_web(&web), web)
}

#[test]
fn only_the_right_credentials_read_the_pages() {
    let folder = Folder::new();
    let (server, _web) =
        start_with(&folder, &format!("  scraper: {}\n  human: {}\n", hash("sesame"), hash("päss: wörd")));
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
    let folder = Folder::new();
    let (server, _web) =
        start_with(&folder, "  dave: $2y$10$2UXri9cIDdgeKjBo4Rlpx.U3ZLDV8X1IxKmsfOvhcM5oXQt/mLmXq\n");
    assert_eq!(server.ask("GET", "/metrics", &[&basic("dave", "dave123")]).status, 200);
    assert_eq!(server.ask("GET", "/metrics", &[&basic("dave", "dave124")]).status, 401);
}

#[test]
fn probes_need_no_credentials() {
    let folder = Folder::new();
    let (server, _web) = start_with(&folder, &format!("  scraper: {}\n", hash("sesame")));
    for path in ["/healthz", "/readyz"] {
        assert_eq!(server.ask("GET", path, &[]).status, 200);
        assert_eq!(server.ask("GET", path, &[&basic("scraper", "wrong")]).status, 200);
        assert_eq!(server.ask("GET", &format!("{path}/../metrics"), &[]).status, 401);
    }
}

#[test]
fn a_scraper_pays_for_the_hash_once() {
    let folder = Folder::new();
    let (server, web) = start_with(&folder, &format!("  scraper: {}\n", hash("sesame")));
    let header = basic("scraper", "sesame");
    let mut kept = server.connect();
    for _ in 0..10 {
        assert_eq!(get(&mut kept, "/metrics", &[&header]).status, 200);
        assert_eq!(server.ask("GET", "/metrics", &[&header]).status, 200);
    }
    assert_eq!(web.checks(), 1);
}

#[test]
fn probes_are_answered_while_a_password_is_checked() {
    let folder = Folder::new();
    let (server, _web) =
        start_with(&folder, &format!("  scraper: {}\n", bcrypt::hash("sesame", 12).unwrap()));
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
