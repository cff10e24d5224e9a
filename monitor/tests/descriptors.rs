//! The HTTP server while no file descriptor is left.
//!
//! A test binary of its own, since the limit is the whole process's.

use std::fs::File;
use std::io;
use std::io::Read as _;
use std::io::Write as _;
use std::net::TcpStream;
use std::os::fd::AsRawFd as _;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use monitor_model::served::Stats;
use monitor_output::page::{Facts, Page};
use monitor_serve::{Index, Limits, Listener, Rendered, Server, Web, serve};
use tokio::sync::{oneshot, watch};

/// Nothing here takes this long unless it hangs.
const PATIENCE: Duration = Duration::from_secs(20);

/// Sets the number below which this process's next descriptors must lie.
fn set_limit(limit: i32) -> io::Result<bool> {
    let pid = std::process::id().to_string();
    let status = Command::new("prlimit").args(["--pid", &pid, &format!("--nofile={limit}:")]).status()?;
    Ok(status.success())
}

/// A shell that lifts this process's limit once its standard input ends: by then we could not start one.
fn lifter() -> io::Result<Child> {
    let command = format!("read -r line; exec prlimit --pid {} --nofile=512:", std::process::id());
    Command::new("sh").args(["-c", &command]).stdin(Stdio::piped()).spawn()
}

#[test]
fn without_descriptors_the_server_waits_and_then_goes_on() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let stats = Arc::new(Stats::default());
    let Page { before, after } = Page::render(&Facts { version: "0.0.0", host: None, view: None });
    let index = Index { before: before.into(), after: after.into(), status: Page::status };
    let (_pages, receiver) = watch::channel(Arc::new(Rendered::waiting(index, "this is a test")));
    let server = Server {
        pages: receiver,
        local: Vec::new(),
        web: Arc::new(Web::open()),
        limits: Limits::default(),
        stats: Arc::clone(&stats),
    };
    let listener = {
        let _inside = runtime.enter();
        Listener::bind("127.0.0.1:0".parse().unwrap()).unwrap()
    };
    // The kernel answers for the listener: the client is connected before anyone accepts.
    let mut client = TcpStream::connect(listener.address()).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client.write_all(b"GET /healthz HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n").unwrap();
    let mut lifter = lifter().unwrap();
    // The lowest free descriptor is the one that accepting would get.
    let free = File::open("/dev/null").unwrap().as_raw_fd();
    assert!(set_limit(free).unwrap(), "the limit was not set");

    let (end, ended) = oneshot::channel::<()>();
    let thread = std::thread::spawn(move || {
        runtime.block_on(serve(vec![listener], server, async { drop(ended.await) }));
    });
    let started = Instant::now();
    while stats.accept_errors() < 3 {
        assert!(started.elapsed() < PATIENCE, "no failure to accept was seen");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(stats.connections_accepted(), 0);
    // It tries a few times a second; a busy loop would be at many thousands.
    assert!(stats.accept_errors() < 200, "{} failures in {:?}", stats.accept_errors(), started.elapsed());

    drop(lifter.stdin.take());
    assert!(lifter.wait().unwrap().success(), "the limit was not lifted");
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    drop(end);
    thread.join().unwrap();
}
