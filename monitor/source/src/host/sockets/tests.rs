//! Real sockets on the loopback interface. Each test has its own address there, and each run its own: they may run
//! side by side, and what an earlier run left in `TIME_WAIT` is not theirs.

use std::io::Read as _;
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr as Endpoint, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use monitor_model::host::sockets::{Keepalive, Timer};
use monitor_model::host::tcp_info::TcpInfo;
use tokio::net::TcpSocket;

use super::*;

fn own(test: u8) -> Ipv4Addr {
    let [.., high, low] = std::process::id().to_be_bytes();
    Ipv4Addr::new(127, 64 + test, high, low)
}

fn towards(address: Ipv4Addr) -> Sockets {
    read_sockets(|remote| remote == IpAddr::V4(address)).unwrap()
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

#[test]
fn a_connection_is_seen_with_its_ports_its_inode_and_what_it_did() {
    let address = own(1);
    let listener = TcpListener::bind((address, 0)).unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (mut server, _) = listener.accept().unwrap();
    client.write_all(b"ping").unwrap();
    server.read_exact(&mut [0; 4]).unwrap();
    server.write_all(b"pong!").unwrap();
    client.peek(&mut [0]).unwrap();

    let sockets = towards(address);
    let local = client.local_addr().unwrap();
    let socket = sockets.sockets.iter().find(|socket| socket.local == local).expect("our connection");
    assert_eq!(socket.remote, listener.local_addr().unwrap());
    assert_eq!((socket.state, socket.receive_queue), (TcpState::Established, 5));
    assert!(socket.inode > 0);
    let info = socket.info.expect("tcp_info");
    assert!(info.round_trip > Duration::ZERO && info.retransmission_timeout >= Duration::from_millis(200));
    assert!(socket.silent_for().unwrap() < Duration::from_secs(60), "{info:?}");
    assert!(!socket.is_stalled(Duration::ZERO), "nothing is unanswered");
    assert_eq!((sockets.skipped, sockets.skipped_ended, sockets.undecoded), (0, 0, 0));
}

#[test]
fn keepalive_is_told_from_its_timer() {
    let address = own(2);
    let listener = TcpListener::bind((address, 0)).unwrap();
    let remote = listener.local_addr().unwrap();
    let plain = TcpStream::connect(remote).unwrap();
    let kept = runtime().block_on(async {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_keepalive(true).unwrap();
        socket.connect(remote).await.unwrap().into_std().unwrap()
    });
    // The server's ends have the clients' addresses as remote, which are 127.0.0.1.
    let sockets = towards(address);
    let of = |stream: &TcpStream| {
        let local = stream.local_addr().unwrap();
        sockets.sockets.iter().find(|socket| socket.local == local).unwrap().uses_keepalive()
    };
    assert_eq!((of(&plain), of(&kept)), (Some(false), Some(true)));
    let expected = Keepalive { using: 1, not_using: 1, unknown: 0 };
    assert_eq!(Keepalive::of(&sockets.sockets), expected);
}

#[test]
fn a_connection_whose_syn_is_not_answered_is_stalled_once_it_repeats() {
    let address = own(3);
    runtime().block_on(async {
        let listener = TcpSocket::new_v4().unwrap();
        listener.bind((address, 0).into()).unwrap();
        // Nobody accepts: once the queue of one is full, the kernel drops SYNs as a dead server would.
        let listener = listener.listen(0).unwrap();
        let remote = listener.local_addr().unwrap();
        let connect = || (0..4).map(|_| tokio::spawn(TcpSocket::new_v4().unwrap().connect(remote)));
        let mut clients: Vec<_> = connect().collect();
        let of = |sockets: &Sockets, repeating: bool| {
            let waits = |socket: &&Socket| socket.state == TcpState::SynSent;
            let repeats = |socket: &&Socket| socket.info.is_some_and(|info| info.retransmits > 0);
            sockets.sockets.iter().filter(waits).filter(|socket| repeats(socket) == repeating).count()
        };
        let begun = Instant::now();
        let mut early = 0;
        loop {
            let sockets = towards(address);
            let (once, repeating) = (of(&sockets, false), of(&sockets, true));
            early += once;
            // One SYN without an answer yet is no sign, a repeated one is.
            assert_eq!(sockets.stalled(Duration::ZERO).count(), repeating, "{sockets:?}");
            if repeating > 0 && once == 0 {
                assert_eq!(sockets.stalled(Duration::from_secs(10)).count(), repeating, "{sockets:?}");
                if early > 0 {
                    break;
                }
                // A busy machine looked too late.
                clients.extend(connect());
            }
            assert!(
                begun.elapsed() < Duration::from_secs(60),
                "{early} before a repetition, then {sockets:?}"
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        for client in clients {
            client.abort();
        }
    });
}

#[test]
fn ipv6_and_mapped_ipv4_peers_are_found_by_their_plain_address() {
    let Ok(listener) = TcpListener::bind("[::]:0") else {
        assert!(!std::path::Path::new("/proc/sys/net/ipv6").exists(), "IPv6 is there and cannot be bound");
        return;
    };
    let port = listener.local_addr().unwrap().port();
    let address = own(4);
    // The server's end is an IPv6 socket whose remote is ::ffff:127.x.x.x.
    let client = runtime().block_on(async {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((address, 0).into()).unwrap();
        socket.connect((Ipv4Addr::LOCALHOST, port).into()).await.unwrap().into_std().unwrap()
    });
    let sockets = towards(address);
    assert!(
        sockets.sockets.iter().any(|socket| socket.remote == client.local_addr().unwrap()),
        "{sockets:?}"
    );
}

#[test]
fn beyond_the_bound_sockets_are_counted_not_kept() {
    let address = own(5);
    let listener = TcpListener::bind((address, 0)).unwrap();
    let remote = listener.local_addr().unwrap();
    let mut streams = Vec::new();
    for _ in 0..MAX_SOCKETS + 10 {
        streams.push(TcpStream::connect(remote).unwrap());
        streams.push(listener.accept().unwrap().0);
    }
    let sockets = towards(address);
    assert_eq!(sockets.sockets.len(), MAX_SOCKETS);
    assert_eq!((sockets.skipped, sockets.skipped_ended), (10, 0));
    drop(streams);
}

#[test]
fn a_living_socket_is_not_hidden_by_ended_ones() {
    let address = own(6);
    let listener = TcpListener::bind((address, 0)).unwrap();
    let remote = listener.local_addr().unwrap();
    for _ in 0..MAX_SOCKETS + 10 {
        // The side that closes first stays in TIME_WAIT for a minute; here the client.
        drop(TcpStream::connect(remote).unwrap());
        drop(listener.accept().unwrap());
    }
    let _client = TcpStream::connect(remote).unwrap();
    let sockets = towards(address);
    let of = |state| sockets.sockets.iter().filter(|socket| socket.state == state).count();
    assert_eq!(of(TcpState::Established), 1);
    assert_eq!(of(TcpState::TimeWait), MAX_SOCKETS - 1);
    assert_eq!((sockets.skipped, sockets.skipped_ended), (0, 11));
}

#[test]
fn stalled_means_silent_and_repeating() {
    let info = |retransmits, silent| TcpInfo {
        retransmits,
        probes: 0,
        backoff: retransmits,
        retransmission_timeout: Duration::from_millis(200),
        unacked: 1,
        since_data_sent: Duration::from_millis(silent),
        since_data_received: Duration::from_secs(3600),
        since_ack_received: Duration::from_millis(silent),
        round_trip: Duration::from_millis(1),
        total_retransmits: 1,
    };
    let check = |state, retransmits: u8, silent_ms, stalled| {
        let expires = Duration::from_millis(1);
        let socket = Socket {
            state,
            local: Endpoint::from(([10, 0, 0, 1], 40000)),
            remote: Endpoint::from(([10, 0, 0, 2], 445)),
            timer: Some(Timer::Retransmit { expires, retransmits }),
            inode: 0,
            receive_queue: 0,
            send_queue: 100,
            info: Some(info(retransmits, silent_ms)),
        };
        assert_eq!(socket.is_stalled(Duration::from_secs(5)), stalled, "{socket:?}");
        assert_eq!(socket.uses_keepalive(), None, "the retransmission timer hides it");
    };
    check(TcpState::Established, 3, 6_000, true);
    check(TcpState::Established, 3, 4_000, false);
    check(TcpState::Established, 0, 60_000, false);
    check(TcpState::SynSent, 1, 0, true);
    check(TcpState::TimeWait, 3, 60_000, false);
}
