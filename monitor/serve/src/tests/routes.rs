//! Routes, methods, encodings, readiness.

use std::io::BufReader;
use std::sync::Arc;
use std::time::{Duration, Instant};

use flate2::read::GzDecoder;
use hyper::StatusCode;
use monitor_model::served::Route;

use super::*;
use crate::LocalReply;

/// The page without the snapshot's age, whose value is checked on the way.
fn without_age(page: &str) -> &str {
    let (page, age) = page.split_once("# HELP ctmon_snapshot_age_seconds ").unwrap();
    let age = age.lines().last().unwrap().strip_prefix("ctmon_snapshot_age_seconds ").unwrap();
    assert!(age.parse::<f64>().unwrap() < PATIENCE.as_secs_f64(), "{age}");
    page
}

#[test]
fn the_metrics_page_arrives_whole_and_with_its_age() {
    let server = start(Setup::default());
    let answer = server.ask("GET", "/metrics", &[]);
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    assert_eq!(answer.header("vary"), Some("Accept-Encoding"));
    assert_eq!(answer.header("content-encoding"), None);
    assert_eq!(without_age(answer.text()), METRICS);
}

#[test]
fn gzip_holds_the_same_page_at_every_size() {
    let server = start(Setup::default());
    let line = METRICS.lines().last().unwrap();
    for lines in [0, 1, 10, 5000] {
        let page = (0..lines).map(|number| format!("{line}{number}\n")).collect::<Vec<_>>().concat();
        let rendered = Rendered::new(index(), page.clone(), Instant::now(), Duration::from_secs(15));
        server.pages.send_replace(Arc::new(rendered));
        let answer = server.ask("GET", "/metrics", &["Accept-Encoding: deflate, gzip;q=0.5"]);
        assert_eq!(answer.header("content-encoding"), Some("gzip"));
        assert_eq!(answer.header("vary"), Some("Accept-Encoding"));
        let mut unpacked = String::new();
        let mut reader = GzDecoder::new(answer.body.as_slice());
        reader.read_to_string(&mut unpacked).unwrap();
        assert_eq!(reader.into_inner(), b"", "bytes follow the stream");
        assert_eq!(without_age(&unpacked), page);
        assert!(lines < 5000 || answer.body.len() < unpacked.len() / 4, "not compressed");
    }
    assert_eq!(
        server.ask("GET", "/metrics", &["Accept-Encoding: gzip;q=0"]).header("content-encoding"),
        None
    );
}

#[test]
fn the_age_grows_while_no_snapshot_comes() {
    let server = start(Setup::default());
    let taken = Instant::now().checked_sub(Duration::from_secs(3)).unwrap();
    server.pages.send_replace(Arc::new(Rendered::new(index(), METRICS, taken, Duration::from_secs(15))));
    let answer = server.ask("GET", "/metrics", &[]);
    let age: f64 = answer.text().lines().last().unwrap().rsplit(' ').next().unwrap().parse().unwrap();
    assert!(age >= 3.0, "{age}");
    assert!(server.ask("GET", "/", &[]).text().contains("every 15.0 s"));
}

#[test]
fn head_has_the_headers_of_get_and_no_body() {
    let server = start(Setup::default());
    for path in ["/metrics", "/healthz", "/readyz", "/", "/nowhere"] {
        let get = server.ask("GET", path, &[]);
        let mut stream = server.connect();
        send(&mut stream, "HEAD", path, &["Connection: close"]);
        let head = String::from_utf8(read_to_close(&mut stream)).unwrap();
        assert!(head.ends_with("\r\n\r\n"), "{path} has a body: {head}");
        let head = head.to_lowercase();
        for (name, value) in get.headers.iter().filter(|(name, _)| name.starts_with("content-")) {
            // The age's digits may differ in number between two requests, by one at most.
            let same = head.contains(&format!("{name}: {}", value.to_lowercase()));
            assert!(same || name == "content-length" && path != "/healthz", "{path} {name}: {value}: {head}");
        }
        assert!(head.contains("content-length: "), "{head}");
    }
}

#[test]
fn what_is_not_served_says_what_is() {
    let server = start(Setup::default());
    for path in ["/nowhere", "/metrics/", "/evictions", "//", "/%2e%2e/etc/passwd"] {
        assert_eq!(server.ask("GET", path, &[]).status, 404, "{path}");
        assert_eq!(server.ask("POST", path, &[]).status, 404, "{path}");
    }
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "INVENTED"] {
        let answer = server.ask(method, "/metrics", &[]);
        assert_eq!((answer.status, answer.header("allow")), (405, Some("GET, HEAD")), "{method}");
    }
    assert_eq!(server.ask("GET", "/metrics?name=x", &[]).status, 200);
}

#[test]
fn before_the_first_snapshot_there_are_reasons_instead_of_numbers() {
    let server = start(Setup::default());
    server.pages.send_replace(Arc::new(Rendered::waiting(index(), "Cilium has no pins yet")));
    for path in ["/metrics", "/readyz"] {
        let answer = server.ask("GET", path, &[]);
        assert_eq!(answer.status, 503);
        assert_eq!(answer.text(), "no snapshot yet: Cilium has no pins yet\n");
    }
    assert_eq!(server.ask("GET", "/healthz", &[]).status, 200);
    assert!(server.ask("GET", "/", &[]).text().contains("Cilium has no pins yet"));
}

#[test]
fn ready_means_a_snapshot_younger_than_three_intervals() {
    let server = start(Setup::default());
    let interval = Duration::from_secs(100);
    for (age, expected) in [(0, 200), (299, 200), (300, 503), (1000, 503)] {
        let now = Instant::now();
        let rendered = Rendered::new(index(), METRICS, now, interval);
        assert_eq!(
            rendered.ready(now + Duration::from_secs(age)).is_ok(),
            expected == 200,
            "{age} s of {interval:?}"
        );
    }
    let taken = Instant::now().checked_sub(Duration::from_secs(1)).unwrap();
    let old = Rendered::new(index(), METRICS, taken, Duration::from_millis(100));
    assert_eq!(server.ask("GET", "/readyz", &[]).status, 200);
    server.pages.send_replace(Arc::new(old));
    let answer = server.ask("GET", "/readyz", &[]);
    assert_eq!(answer.status, 503);
    assert!(answer.text().contains("more than 3 intervals of 0.1 s"), "{}", answer.text());
    // The numbers are still served, with their age: a rule can then tell old from absent.
    assert_eq!(server.ask("GET", "/metrics", &[]).status, 200);
}

#[test]
fn the_index_names_the_other_pages_and_forbids_scripts() {
    let server = start(Setup::default());
    let answer = server.ask("GET", "/", &[]);
    assert_eq!(answer.header("content-type"), Some("text/html; charset=utf-8"));
    assert!(answer.header("content-security-policy").unwrap().starts_with("default-src 'none'"));
    assert!(answer.text().contains("<a href=\"/metrics\">"));
    assert!(answer.text().ends_with("</html>\n"));
}

/// A route that says what it was asked.
fn echo() -> LocalRoute {
    LocalRoute {
        path: "/evictions",
        answer: Arc::new(|query| LocalReply {
            status: StatusCode::OK,
            content_type: "application/json",
            body: format!("{query:?}").into(),
        }),
    }
}

#[test]
fn local_routes_answer_processes_on_this_host_only() {
    let server = start(Setup { local: vec![echo()], ..Setup::default() });
    let answer = server.ask("GET", "/evictions?limit=5", &[]);
    assert_eq!((answer.status, answer.text()), (200, "\"limit=5\""));
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(server.ask("POST", "/evictions", &[]).status, 405);
    for (peer, expected) in [
        ("127.0.0.1", 200),
        ("127.8.8.8", 200),
        ("::1", 200),
        ("::ffff:127.0.0.1", 200),
        ("192.168.100.180", 403),
        ("::ffff:192.168.100.180", 403),
        ("fd00::1", 403),
    ] {
        let local = [echo()];
        let request =
            hyper::Request::get("/evictions").header("Host", "localhost").body(String::new()).unwrap();
        let route = crate::answer::route("/evictions", &local);
        let answer = crate::answer::answer(&request, route, peer.parse().unwrap(), &fresh(), Instant::now());
        assert_eq!(answer.status().as_u16(), expected, "{peer}");
    }
}

#[test]
fn local_routes_answer_to_names_of_the_loopback_only() {
    let server = start(Setup { local: vec![echo()], ..Setup::default() });
    let check = |request: &str, expected: u16| {
        let mut stream = server.connect();
        stream.write_all(format!("{request}\r\n\r\n").as_bytes()).unwrap();
        assert_eq!(receive(&mut BufReader::new(stream), "GET").status, expected, "{request}");
    };
    for host in [
        "localhost",
        "LocalHost:9469",
        "localhost.:80",
        "127.0.0.1",
        "127.9.8.7:9469",
        "[::1]",
        "[::1]:9469",
        "[::ffff:127.0.0.1]:9469",
    ] {
        check(&format!("GET /evictions HTTP/1.1\r\nHost: {host}"), 200);
        check(&format!("GET http://{host}/evictions HTTP/1.1\r\nHost: {host}"), 200);
    }
    for host in [
        "",
        "evil.example",
        "evil.example:9469",
        "localhost.evil.example",
        "evil.localhost.example:80",
        "127.0.0.1.evil.example",
        "192.168.100.180:9469",
        "0.0.0.0",
        "[::]:9469",
        "[fd00::1]",
        "::1",
        "2130706433",
        "127.1",
        "localhost:x",
        "[::1",
        "me@localhost",
        "localhost, evil.example",
        "\u{e9}",
    ] {
        check(&format!("GET /evictions HTTP/1.1\r\nHost: {host}"), 403);
        check(&format!("GET /metrics HTTP/1.1\r\nHost: {host}"), 200);
    }
    check("GET /evictions HTTP/1.1\r\nX-None: 1", 403);
    check("GET /evictions HTTP/1.0", 200);
    check("GET /evictions HTTP/1.0\r\nHost:", 200);
    check("GET /evictions HTTP/1.0\r\nHost: evil.example", 403);
    check("GET /evictions HTTP/1.1\r\nHost: localhost\r\nHost: evil.example", 403);
    check("GET /evictions HTTP/1.1\r\nHost: evil.example\r\nHost: localhost", 403);
    check("GET http://evil.example/evictions HTTP/1.1\r\nHost: localhost", 403);
    check("GET http://localhost/evictions HTTP/1.1\r\nHost: evil.example", 403);
}

#[test]
fn one_connection_serves_many_requests_even_pipelined() {
    let server = start(Setup::default());
    let mut stream = server.connect();
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    for _ in 0..20 {
        send(&mut stream, "GET", "/metrics", &[]);
        assert_eq!(receive(&mut reader, "GET").status, 200);
    }
    send(&mut stream, "GET", "/healthz", &[]);
    send(&mut stream, "GET", "/readyz", &[]);
    assert_eq!(receive(&mut reader, "GET").text(), "ok\n");
    assert_eq!(receive(&mut reader, "GET").text(), "ok\n");
    assert_eq!(server.stats.connections_accepted(), 1);
    let counted = |route, code| {
        server.stats.requests().find(|(r, c, _)| (*r, *c) == (route, code)).map(|(_, _, count)| count)
    };
    assert_eq!(counted(Route::Metrics, 200), Some(20));
    assert_eq!(counted(Route::Readyz, 200), Some(1));
    assert_eq!(counted(Route::Other, 404), Some(0));
}

#[test]
fn a_taken_port_is_explained() {
    let server = start(Setup::default());
    let runtime = runtime();
    let _inside = runtime.enter();
    let error = Listener::bind(server.address).unwrap_err().to_string();
    assert!(error.contains("the port is taken"), "{error}");
    assert!(error.contains(&format!("sport = :{}", server.address.port())), "{error}");
    let error = Listener::bind("203.0.113.7:0".parse().unwrap()).unwrap_err().to_string();
    assert!(error.contains("no such address"), "{error}");
}

#[test]
fn the_unspecified_address_takes_ipv4_clients() {
    let runtime = runtime();
    let _inside = runtime.enter();
    // With IPv6 this is a dual-stack socket, without it the fallback: IPv4 clients get in either way.
    let listener = Listener::bind("[::]:0".parse().unwrap()).unwrap();
    TcpStream::connect(("127.0.0.1", listener.address().port())).unwrap();
}
