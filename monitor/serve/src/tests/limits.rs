//! Clients that are slow, many or greedy, and the end of the server.

use std::io::Write as _;
use std::time::Duration;

use super::*;

const SHORT: Duration = Duration::from_millis(150);
/// Longer than a busy machine takes from one line of a test to the next.
const LONG: Duration = Duration::from_secs(2);
/// What lasts so long does not end by itself within a test.
const NEVER: Duration = Duration::from_secs(3_600);

fn limited(change: impl Fn(&mut Limits)) -> Running {
    let mut limits = Limits::default();
    change(&mut limits);
    start(Setup { limits, ..Setup::default() })
}

#[test]
fn a_client_that_sends_its_head_slowly_is_cut_off() {
    let server = limited(|limits| limits.head = SHORT);
    let mut silent = server.connect();
    let mut slow = server.connect();
    slow.write_all(b"GET /metrics HTTP/1.1\r\nHost: node\r\nX-").unwrap();
    assert_eq!(read_to_close(&mut silent), b"");
    assert_eq!(read_to_close(&mut slow), b"");
    eventually("two time-outs", || server.stats.connections_timed_out() == 2);
    assert_eq!(server.ask("GET", "/healthz", &[]).status, 200);
}

#[test]
fn a_second_head_has_the_same_limit_as_the_first() {
    let server = limited(|limits| limits.head = LONG);
    let mut stream = server.connect();
    assert_eq!(get(&mut stream, "/healthz", &[]).status, 200);
    stream.write_all(b"GET /me").unwrap();
    assert_eq!(read_to_close(&mut stream), b"");
    eventually("a time-out", || server.stats.connections_timed_out() == 1);
}

#[test]
fn an_idle_connection_outlives_the_head_limit() {
    let server = limited(|limits| {
        limits.head = LONG;
        limits.idle = NEVER;
    });
    let mut idle = server.connect();
    assert_eq!(get(&mut idle, "/healthz", &[]).status, 200);
    // It comes later and never sends a head: once it is cut off, the limit has passed for both.
    let mut silent = server.connect();
    assert_eq!(read_to_close(&mut silent), b"");
    assert_eq!(get(&mut idle, "/healthz", &[]).status, 200);
    assert_eq!(server.stats.connections_accepted(), 2);
    eventually("one time-out", || server.stats.connections_timed_out() == 1);
}

#[test]
fn an_idle_connection_has_a_limit_of_its_own() {
    let server = limited(|limits| {
        limits.head = NEVER;
        limits.idle = SHORT;
    });
    let mut stream = server.connect();
    assert_eq!(get(&mut stream, "/healthz", &[]).status, 200);
    assert_eq!(read_to_close(&mut stream), b"");
    eventually("a time-out", || server.stats.connections_timed_out() == 1);
}

#[test]
fn a_client_that_does_not_read_is_cut_off() {
    let server = limited(|limits| limits.answer = SHORT);
    // More than the sockets' buffers hold.
    let page = METRICS.repeat(400_000);
    let rendered = Rendered::new(index(), page, Instant::now(), Duration::from_secs(15));
    server.pages.send_replace(Arc::new(rendered));
    let mut stream = server.connect();
    send(&mut stream, "GET", "/metrics", &[]);
    eventually("a time-out", || server.stats.connections_timed_out() == 1);
    eventually("no open connection", || server.stats.connections_open() == 0);
}

#[test]
fn a_newcomer_is_let_in_and_the_longest_silent_connection_goes() {
    let server = limited(|limits| limits.places.this_host = 2);
    let mut first = server.connect();
    eventually("an open connection", || server.stats.connections_open() == 1);
    let mut second = server.connect();
    eventually("two open connections", || server.stats.connections_open() == 2);
    assert_eq!(get(&mut first, "/healthz", &[]).status, 200);
    assert_eq!(server.ask("GET", "/healthz", &[]).status, 200);
    assert_eq!(read_to_close(&mut second), b"");
    assert_eq!(server.stats.connections_displaced(), 1);
    assert_eq!(get(&mut first, "/healthz", &[]).status, 200);
}

#[test]
fn heads_too_long_or_with_too_many_lines_are_refused() {
    let server = start(Setup::default());
    let long = format!("X-Long: {}", "x".repeat(64 * 1024));
    let mut stream = server.connect();
    // The server may close while this is still being written.
    let request = format!("GET /metrics HTTP/1.1\r\nHost: node\r\n{long}\r\n\r\n");
    let _ = stream.write_all(request.as_bytes());
    let answer = String::from_utf8(read_to_close(&mut stream)).unwrap();
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431 "), "{answer}");
    let many: Vec<String> = (0..200).map(|number| format!("X-{number}: x")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    assert_eq!(server.ask("GET", "/metrics", &many).status, 431);
    eventually("two broken connections", || server.stats.connections_broken() == 2);
    let few: Vec<&str> = many.iter().take(50).copied().collect();
    assert_eq!(server.ask("GET", "/metrics", &few).status, 200);
}

#[test]
fn what_is_not_http_is_refused() {
    let server = start(Setup::default());
    let mut stream = server.connect();
    stream.write_all(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n").unwrap();
    let answer = String::from_utf8(read_to_close(&mut stream)).unwrap();
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400 "), "{answer}");
    eventually("a broken connection", || server.stats.connections_broken() == 1);
}

#[test]
fn a_body_is_refused_and_ends_the_connection() {
    let server = start(Setup::default());
    for header in ["Content-Length: 1000000000", "Transfer-Encoding: chunked"] {
        let mut stream = server.connect();
        send(&mut stream, "GET", "/metrics", &[header]);
        let answer = String::from_utf8(read_to_close(&mut stream)).unwrap();
        assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    }
    assert_eq!(server.ask("GET", "/metrics", &["Content-Length: 0"]).status, 200);
}

#[test]
fn the_end_comes_whatever_clients_do() {
    let mut server = limited(|limits| {
        limits.head = NEVER;
        limits.idle = NEVER;
    });
    let mut idle = server.connect();
    assert_eq!(get(&mut idle, "/healthz", &[]).status, 200);
    let mut halfway = server.connect();
    halfway.write_all(b"GET /metr").unwrap();
    eventually("two open connections", || server.stats.connections_open() == 2);
    let took = server.stop();
    assert!(took < PATIENCE, "{took:?}");
    assert!(
        Limits::default().shutdown < Duration::from_secs(1),
        "on a quiet machine it comes within a second"
    );
    assert_eq!(read_to_close(&mut idle), b"");
    assert_eq!(read_to_close(&mut halfway), b"");
    assert!(TcpStream::connect(server.address).is_err(), "it still listens");
}
