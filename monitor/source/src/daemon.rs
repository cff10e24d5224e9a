//! Asks the running daemon on this host.
//!
//! In: its address as `--daemon` names it, a path. Out: the document it answers.
//! Must not: follow anywhere else, wait longer than a person would, or repeat the user and password of an address.

use std::convert::Infallible;
use std::io::Read as _;
use std::io::Write as _;
use std::io::{self, ErrorKind};
use std::net::ToSocketAddrs as _;
use std::net::{SocketAddr, TcpStream};
use std::str::FromStr;
use std::sync::mpsc;
use std::time::{Duration, Instant};
use std::{fmt, thread};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::de::DeserializeOwned;

/// For everything: finding the address, the connection, the whole answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// More than any page of the daemon.
const MAX_BYTES: u64 = 16 << 20;
/// How much of a refusal is repeated.
const MOST_OF_A_REFUSAL: usize = 400;

/// Where a daemon listens, as the user wrote it. It may hold a password: what is shown of it does not.
#[derive(Clone, PartialEq, Eq)]
pub struct DaemonUrl(String);

impl FromStr for DaemonUrl {
    type Err = Infallible;

    /// Takes any text: what is no address is refused by the verb that needs one.
    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for DaemonUrl {
    /// Without what stands before the last `@`, whether or not the rest is an address.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, rest) = match self.0.find("://") {
            Some(at) => self.0.split_at(at + 3),
            None => ("", self.0.as_str()),
        };
        let (_, place) = rest.rsplit_once('@').unwrap_or(("", rest));
        // A scheme with an `@` before it is part of a password.
        write!(f, "{}{place}", if scheme.contains('@') { "" } else { scheme })
    }
}

impl fmt::Debug for DaemonUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DaemonUrl({self})")
    }
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    #[error("{url} is not the address of a daemon: it looks like http://127.0.0.1:10469")]
    Url { url: DaemonUrl },
    #[error(
        "failed to ask the daemon at {url}: {source}: is `ctmon run` running on this host? \
         --daemon names another address"
    )]
    Ask {
        url: DaemonUrl,
        #[source]
        source: io::Error,
    },
    #[error("the daemon at {url} refuses with status {status}: {text}")]
    Refused { url: DaemonUrl, status: u16, text: String },
    #[error("failed to read the answer of {url}: {source}: is it a ctmon of another version?")]
    Foreign {
        url: DaemonUrl,
        #[source]
        source: serde_json::Error,
    },
}

/// Where a daemon listens.
#[derive(Clone, PartialEq, Eq)]
struct Place<'a> {
    authority: &'a str,
    /// `user:password`.
    user: Option<&'a str>,
}

/// The document that `GET path` answers.
pub fn get<T: DeserializeOwned>(url: &DaemonUrl, path: &str) -> Result<T, DaemonError> {
    serde_json::from_slice(&body(url, path, PATIENCE)?)
        .map_err(|source| DaemonError::Foreign { url: url.clone(), source })
}

fn body(url: &DaemonUrl, path: &str, patience: Duration) -> Result<Vec<u8>, DaemonError> {
    let place = parse_url(&url.0).ok_or_else(|| DaemonError::Url { url: url.clone() })?;
    let failed = |source| DaemonError::Ask { url: url.clone(), source };
    let answer = ask(&place, path, Deadline::after(patience)).map_err(failed)?;
    let (status, body) = parse_answer(&answer)
        .ok_or_else(|| failed(io::Error::new(ErrorKind::InvalidData, "its answer is not HTTP")))?;
    if status == 200 {
        return Ok(body.to_vec());
    }
    let text = String::from_utf8_lossy(body).trim().chars().take(MOST_OF_A_REFUSAL).collect();
    Err(DaemonError::Refused { url: url.clone(), status, text })
}

/// The end of the wait for everything together.
#[derive(Clone, Copy, Debug)]
struct Deadline {
    at: Instant,
    patience: Duration,
}

impl Deadline {
    fn after(patience: Duration) -> Self {
        Self { at: Instant::now() + patience, patience }
    }

    /// What is left; never zero, which would mean for ever.
    fn left(self) -> io::Result<Duration> {
        let left = self.at.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(self.passed()) } else { Ok(left) }
    }

    fn passed(self) -> io::Error {
        io::Error::new(ErrorKind::TimedOut, format!("no whole answer within {:?}", self.patience))
    }

    /// A socket's own time-out is this one, too.
    fn or_passed(self, error: io::Error) -> io::Error {
        if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) {
            self.passed()
        } else {
            error
        }
    }
}

fn ask(place: &Place<'_>, path: &str, deadline: Deadline) -> io::Result<Vec<u8>> {
    let mut last = io::Error::new(ErrorKind::NotFound, "the name has no address");
    for address in addresses(place.authority, deadline)? {
        match TcpStream::connect_timeout(&address, deadline.left()?) {
            Ok(stream) => {
                return exchange(stream, place, path, deadline).map_err(|error| deadline.or_passed(error));
            }
            Err(error) => last = deadline.or_passed(error),
        }
    }
    Err(last)
}

/// A name is asked for aside: whoever answers for names keeps times of its own.
fn addresses(authority: &str, deadline: Deadline) -> io::Result<Vec<SocketAddr>> {
    if let Ok(address) = authority.parse() {
        return Ok(vec![address]);
    }
    let (found, answer) = mpsc::channel();
    let name = authority.to_owned();
    thread::Builder::new().name("resolve".to_owned()).spawn(move || {
        let _ = found.send(name.to_socket_addrs().map(Iterator::collect));
    })?;
    answer.recv_timeout(deadline.left()?).unwrap_or_else(|_| Err(deadline.passed()))
}

fn exchange(mut stream: TcpStream, place: &Place<'_>, path: &str, deadline: Deadline) -> io::Result<Vec<u8>> {
    let user = place.user.map(|user| format!("Authorization: Basic {}\r\n", STANDARD.encode(user)));
    // HTTP/1.0: the answer comes in one piece, and its end is the connection's.
    let request =
        format!("GET {path} HTTP/1.0\r\nHost: {}\r\n{}\r\n", place.authority, user.unwrap_or_default());
    stream.set_write_timeout(Some(deadline.left()?))?;
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    let mut piece = vec![0; 64 << 10];
    loop {
        // Before every read: a server that drips must not begin the wait anew.
        stream.set_read_timeout(Some(deadline.left()?))?;
        let read = match stream.read(&mut piece) {
            Ok(0) => return Ok(answer),
            Ok(read) => read,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        answer.extend_from_slice(piece.get(..read).unwrap_or_default());
        if answer.len() as u64 > MAX_BYTES {
            return Err(io::Error::new(
                ErrorKind::InvalidData,
                format!("its answer is longer than {MAX_BYTES} bytes"),
            ));
        }
    }
}

fn parse_url(url: &str) -> Option<Place<'_>> {
    let rest = url.strip_prefix("http://")?;
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    let (user, authority) = match rest.rsplit_once('@') {
        Some((user, authority)) => (Some(user), authority),
        None => (None, rest),
    };
    let (host, port) = authority.rsplit_once(':')?;
    let valid =
        !host.is_empty() && !authority.contains(['/', ' ', '\r', '\n']) && port.parse::<u16>().is_ok();
    valid.then_some(Place { authority, user })
}

fn parse_answer(answer: &[u8]) -> Option<(u16, &[u8])> {
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = std::str::from_utf8(answer.get(..end)?).ok()?;
    let status = head.strip_prefix("HTTP/1.")?.split(' ').nth(1)?.parse().ok()?;
    Some((status, answer.get(end + 4..)?))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn url(text: &str) -> DaemonUrl {
        text.parse().unwrap()
    }

    /// A server for one request that goes on as it is told once the request is there.
    fn serve(go_on: impl FnOnce(&mut TcpStream) + Send + 'static) -> (DaemonUrl, thread::JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = thread::spawn(move || {
            let (mut client, _) = listener.accept().unwrap();
            let mut request = [0; 1024];
            assert!(client.read(&mut request).unwrap() > 0);
            go_on(&mut client);
        });
        (url(&format!("http://{address}")), server)
    }

    #[test]
    fn addresses_are_urls_with_a_port() {
        let check = |url, expected: Option<(&str, Option<&str>)>| {
            assert_eq!(parse_url(url).map(|place| (place.authority, place.user)), expected, "{url}");
        };
        check("http://127.0.0.1:10469", Some(("127.0.0.1:10469", None)));
        check("http://[::1]:10469/", Some(("[::1]:10469", None)));
        check("http://me:secret@localhost:10469", Some(("localhost:10469", Some("me:secret"))));
        for wrong in
            ["127.0.0.1:10469", "https://127.0.0.1:10469", "http://127.0.0.1", "http://:1", "http://a:b"]
        {
            check(wrong, None);
        }
        check("http://127.0.0.1:10469/metrics", None);
    }

    #[test]
    fn answers_are_a_status_and_a_body() {
        assert_eq!(parse_answer(b"HTTP/1.0 404 Not Found\r\na: b\r\n\r\nwhy\n"), Some((404, &b"why\n"[..])));
        assert_eq!(parse_answer(b"HTTP/1.1 200 OK\r\n\r\n"), Some((200, &b""[..])));
        assert_eq!(parse_answer(b"SSH-2.0-OpenSSH\r\n\r\n"), None);
        assert_eq!(parse_answer(b"HTTP/1.1 200 OK\r\n"), None);
    }

    #[test]
    fn who_does_not_listen_is_named_with_advice() {
        // Port 1 is nobody's.
        let error = body(&url("http://127.0.0.1:1"), "/evictions", PATIENCE).unwrap_err().to_string();
        assert!(error.contains("http://127.0.0.1:1") && error.contains("ctmon run"), "{error}");
    }

    #[test]
    fn no_error_repeats_the_user_or_the_password() {
        for text in [
            "http://me:sec@ret@127.0.0.1:1",
            "http://me:sec@ret@127.0.0.1:1/metrics",
            "https://me:sec@ret@127.0.0.1:1",
            "me:sec@ret@127.0.0.1:1",
            "me:sec@ret://x@127.0.0.1:1",
            "http://me:sec@ret@",
        ] {
            let error = body(&url(text), "/evictions", PATIENCE).unwrap_err();
            let shown = format!("{error} {error:?} {:#} {:?}", url(text), url(text));
            assert!(
                !shown.contains("me:") && !shown.contains("sec") && !shown.contains("ret"),
                "{text}: {shown}"
            );
        }
        assert_eq!(url("http://me:secret@[::1]:10469").to_string(), "http://[::1]:10469");
        assert_eq!(url("http://127.0.0.1:10469").to_string(), "http://127.0.0.1:10469");
    }

    #[test]
    fn a_server_that_drips_is_given_up_at_the_deadline() {
        let (url, server) = serve(|client| {
            // Until the other side is gone: a byte well before any wait for one byte ends.
            while client.write_all(b"x").is_ok() {
                thread::sleep(Duration::from_millis(20));
            }
        });
        let error = body(&url, "/evictions", Duration::from_millis(400)).unwrap_err().to_string();
        assert!(error.contains("no whole answer within 400ms"), "{error}");
        // Ends because nobody reads any more.
        server.join().unwrap();
    }

    #[test]
    fn an_endless_answer_is_given_up_and_a_long_refusal_is_cut() {
        let (endless, server) = serve(|client| {
            let _ = client.write_all(b"HTTP/1.0 200 OK\r\n\r\n");
            while client.write_all(&vec![b'x'; 1 << 16]).is_ok() {}
        });
        let error = body(&endless, "/evictions", Duration::from_secs(120)).unwrap_err().to_string();
        assert!(error.contains("is longer than 16777216 bytes"), "{error}");
        server.join().unwrap();

        let (refusing, server) = serve(|client| {
            client.write_all(b"HTTP/1.0 403 No\r\n\r\n").unwrap();
            client.write_all(&vec![b'x'; 70_000]).unwrap();
        });
        let error = body(&refusing, "/evictions", Duration::from_secs(120)).unwrap_err().to_string();
        assert!(error.contains("status 403: xxx") && error.len() < 1000, "{}", error.len());
        server.join().unwrap();
    }
}
