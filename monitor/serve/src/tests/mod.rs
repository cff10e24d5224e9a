//! The server over real sockets: a running server per test, and a plain client.

mod credentials;
mod incomplete_files;
mod limits;
mod many_clients;
mod reload;
mod routes;
mod tls;
mod users;
mod web_files;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use monitor_model::served::Stats;
use monitor_output::page::{Facts, Page};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{oneshot, watch};

use super::{Index, Limits, Listener, LocalRoute, Rendered, Server, Web, serve};

/// Nothing here takes this long unless it hangs.
const PATIENCE: Duration = Duration::from_secs(20);

pub(super) const METRICS: &str =
    "# TYPE ctmon_map_entries gauge\nctmon_map_entries{map_name=\"ct4_global\"} 399\n";

/// A server on a port of its own, in a thread of its own.
pub(super) struct Running {
    pub(super) address: SocketAddr,
    pub(super) pages: watch::Sender<Arc<Rendered>>,
    pub(super) stats: Arc<Stats>,
    end: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// What differs from the defaults.
#[derive(Default)]
pub(super) struct Setup {
    pub(super) limits: Limits,
    pub(super) local: Vec<LocalRoute>,
    pub(super) web: Option<Arc<Web>>,
}

pub(super) fn index() -> Index {
    let Page { before, after } = Page::render(&Facts { version: "0.0.0", host: None, view: None });
    Index { before: before.into(), after: after.into(), status: Page::status }
}

pub(super) fn fresh() -> Rendered {
    Rendered::new(index(), METRICS, Instant::now(), Duration::from_secs(15))
}

pub(super) fn start(setup: Setup) -> Running {
    let Setup { limits, local, web } = setup;
    let (pages, receiver) = watch::channel(Arc::new(fresh()));
    let stats = Arc::new(Stats::default());
    let web = web.unwrap_or_else(|| Arc::new(Web::open()));
    let server = Server { web, pages: receiver, local, limits, stats: Arc::clone(&stats) };
    let (end, ended) = oneshot::channel();
    let (sender, bound) = std::sync::mpsc::channel();
    let thread = std::thread::spawn(move || {
        runtime().block_on(async move {
            let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
            sender.send(listener.address()).unwrap();
            serve(vec![listener], server, async { drop(ended.await) }).await;
        });
    });
    let address = bound.recv_timeout(PATIENCE).unwrap();
    Running { address, pages, stats, end: Some(end), thread: Some(thread) }
}

impl Running {
    pub(super) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// How many requests were answered with this status code.
    pub(super) fn answered(&self, code: u16) -> u64 {
        self.stats.requests().filter(|(_, known, _)| *known == code).map(|(_, _, count)| count).sum()
    }

    /// One request on a connection of its own.
    pub(super) fn ask(&self, method: &str, path: &str, headers: &[&str]) -> Answer {
        let mut stream = self.connect();
        send(&mut stream, method, path, headers);
        receive(&mut BufReader::new(stream), method)
    }

    /// Ends the server and says how long that took.
    pub(super) fn stop(&mut self) -> Duration {
        let started = Instant::now();
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
        started.elapsed()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A web configuration that is good.
pub(super) fn load_web(path: &Path) -> Arc<Web> {
    Arc::new(Web::load(path).unwrap_or_else(|error| panic!("{}", error.with_causes())))
}

/// A server with this web configuration.
pub(super) fn start_with_web(web: &Arc<Web>) -> Running {
    start(Setup { web: Some(Arc::clone(web)), ..Setup::default() })
}

/// One thread for everything, as in the daemon.
pub(super) fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

/// Whether a future is done, without waiting for it.
pub(super) fn poll<F: Future + ?Sized>(future: &mut Pin<Box<F>>) -> Poll<F::Output> {
    future.as_mut().poll(&mut Context::from_waker(Waker::noop()))
}

/// A response, read to its `Content-Length`.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
}

impl Answer {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub(super) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

pub(super) fn send(stream: &mut impl Write, method: &str, path: &str, headers: &[&str]) {
    let mut request = format!("{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:9469\r\n");
    for header in headers {
        request.push_str(header);
        request.push_str("\r\n");
    }
    request.push_str("\r\n");
    stream.write_all(request.as_bytes()).unwrap();
}

pub(super) fn receive(stream: &mut impl BufRead, method: &str) -> Answer {
    let mut line = String::new();
    stream.read_line(&mut line).unwrap();
    let status = line.split(' ').nth(1).unwrap_or_else(|| panic!("no status in {line:?}")).parse().unwrap();
    let mut headers = Vec::new();
    loop {
        line.clear();
        stream.read_line(&mut line).unwrap();
        let Some((name, value)) = line.split_once(':') else { break };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let mut answer = Answer { status, headers, body: Vec::new() };
    let length = answer.header("content-length").map_or(0, |length| length.parse().unwrap());
    if method != "HEAD" {
        stream.take(length).read_to_end(&mut answer.body).unwrap();
        assert_eq!(answer.body.len() as u64, length, "the body ended early");
    }
    answer
}

/// One GET on a connection that is kept.
pub(super) fn get<S: Read + Write>(stream: &mut S, path: &str, headers: &[&str]) -> Answer {
    send(stream, "GET", path, headers);
    receive(&mut BufReader::new(stream), "GET")
}

/// Reads until the server closes; a reset counts as closing.
pub(super) fn read_to_close(stream: &mut impl Read) -> Vec<u8> {
    let mut all = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return all,
            Ok(count) => all.extend(&buffer[..count]),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                panic!("the server did not close the connection")
            }
            Err(_) => return all,
        }
    }
}

impl Web {
    /// Why the files as they are now are not in force.
    pub(super) fn refused(&self) -> Option<String> {
        self.status().and_then(|status| status.refused)
    }

    /// Reads the files until two readings agree.
    pub(super) fn reload(&self) {
        while !self.read_again() {}
    }
}

/// Waits until the files are refused for a reason that contains `expected`.
pub(super) fn eventually_refused(web: &Web, what: &str, expected: &str) {
    eventually(what, || web.refused().is_some_and(|why| why.contains(expected)));
}

/// Waits for something that other threads bring about.
pub(super) fn eventually(what: &str, holds: impl Fn() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < PATIENCE, "{what} never came true");
        std::thread::sleep(Duration::from_millis(5));
    }
}
