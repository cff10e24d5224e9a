//! Many clients at once, from several addresses of the loopback: who gets an answer.

use std::io::BufReader;
use std::io::Write as _;
use std::net::{IpAddr, SocketAddr};

use super::credentials::{Folder, basic, hash};
use super::reload::start_following;
use super::*;

/// Connects from another address of the loopback.
fn connect_from(address: [u8; 4], to: SocketAddr) -> TcpStream {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::new(IpAddr::from(address), 0).into()).unwrap();
    socket.connect(&to.into()).unwrap();
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

#[test]
fn beside_silent_and_slow_connections_of_one_address_all_others_are_answered() {
    let server = start(Setup::default());
    let kept = Limits::default().places.this_host;
    for slow in [b"".as_slice(), b"G", b"GET /metrics HTTP/1.1\r\nHost: node\r\nX-"] {
        let mut streams: Vec<_> = (0..100).map(|_| connect_from([127, 0, 0, 2], server.address)).collect();
        for stream in &mut streams {
            // A connection that was closed already cannot be written to.
            let _ = stream.write_all(slow);
        }
        eventually("nobody beyond the places", || server.stats.connections_open() <= kept as u64);
        for path in ["/healthz", "/readyz", "/metrics", "/"] {
            assert_eq!(server.ask("GET", path, &[]).status, 200, "{path} beside {slow:?}");
            let mut same = connect_from([127, 0, 0, 2], server.address);
            assert_eq!(get(&mut same, path, &[]).status, 200, "{path} from the same address");
        }
    }
    assert!(server.stats.connections_displaced() > 200, "{}", server.stats.connections_displaced());
}

#[test]
fn a_connection_that_waits_for_its_next_scrape_survives_a_crowd_from_elsewhere() {
    let server = start(Setup::default());
    let mut scraper = server.connect();
    let mut scrape = || assert_eq!(get(&mut scraper, "/metrics", &[]).status, 200);
    scrape();
    for _ in 0..3 {
        let crowd: Vec<_> = (0..100).map(|_| connect_from([127, 0, 0, 3], server.address)).collect();
        scrape();
        drop(crowd);
    }
}

#[test]
fn the_right_password_waits_for_one_guess_of_another_address_at_the_most() {
    let folder = Folder::new();
    let hash = bcrypt::hash("sesame", 11).unwrap();
    folder.write("web.yml", format!("basic_auth_users: {{scraper: {hash}}}"));
    let (server, _web) = start_following(&folder);
    let guesses: Vec<_> = (0..12)
        .map(|number| {
            let mut stream = connect_from([127, 0, 0, 2], server.address);
            send(&mut stream, "GET", "/metrics", &[&basic("scraper", &number.to_string())]);
            stream
        })
        .collect();
    let refused = || server.answered(429);
    eventually("more guesses than may wait", || refused() == 8);
    assert_eq!(server.ask("GET", "/metrics", &[&basic("scraper", "sesame")]).status, 200);
    // The one under way; a second one if this thread was held up for as long as a check takes.
    let checked = server.answered(401);
    assert!(checked < 3, "{checked} guesses were checked first");
    for stream in guesses {
        let status = receive(&mut BufReader::new(stream), "GET").status;
        assert!([401, 429].contains(&status), "{status}");
    }
    assert_eq!((server.answered(401), refused()), (4, 8));
}

#[test]
fn who_was_right_is_not_checked_again_while_the_hash_stays() {
    let folder = Folder::new();
    let scraper = hash("sesame");
    let text = |other: &str| format!("basic_auth_users: {{scraper: {scraper}, other: {other}}}");
    folder.write("web.yml", text(&hash("a")));
    let (server, web) = start_following(&folder);
    let ask = |user, password| server.ask("GET", "/metrics", &[&basic(user, password)]).status;
    assert_eq!((ask("scraper", "sesame"), ask("other", "a")), (200, 200));
    let checks = web.checks();
    folder.write("web.yml", text(&hash("b")));
    web.reload();
    assert_eq!(ask("scraper", "sesame"), 200);
    assert_eq!(web.checks(), checks, "checked again though nothing changed for it");
    // A password that was right with the hash before is not with this one.
    assert_eq!((ask("other", "a"), ask("other", "b")), (401, 200));
    assert_eq!(web.checks(), checks + 2);
    let scraper = hash("new");
    folder.write("web.yml", format!("basic_auth_users: {{scraper: {scraper}}}"));
    web.reload();
    assert_eq!((ask("scraper", "sesame"), ask("scraper", "new"), ask("other", "b")), (401, 200, 401));
}
