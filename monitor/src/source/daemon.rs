//! Asks the running daemon on this host.
//!
//! In: its address as `--daemon` names it, a path. Out: the document it answers.
//! Must not: follow anywhere else, or wait longer than a person would.

use std::io::{self, Read as _, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::de::DeserializeOwned;

/// For the connection, and for each piece of the answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// More than any page of the daemon.
const MAX_BYTES: u64 = 16 << 20;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    #[error("{url} is not the address of a daemon: it looks like http://127.0.0.1:10469")]
    Url { url: String },
    #[error(
        "failed to ask the daemon at {url}: {source}: is `ctmon run` running on this host? \
         --daemon names another address"
    )]
    Ask {
        url: String,
        #[source]
        source: io::Error,
    },
    #[error("the daemon at {url} refuses with status {status}: {text}")]
    Refused { url: String, status: u16, text: String },
    #[error("failed to read the answer of {url}: {source}: is it a ctmon of another version?")]
    Foreign {
        url: String,
        #[source]
        source: serde_json::Error,
    },
}

/// Where a daemon listens.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Place<'a> {
    authority: &'a str,
    /// `user:password`.
    user: Option<&'a str>,
}

/// The document that `GET path` answers.
pub fn get<T: DeserializeOwned>(url: &str, path: &str) -> Result<T, DaemonError> {
    serde_json::from_slice(&body(url, path)?)
        .map_err(|source| DaemonError::Foreign { url: url.to_owned(), source })
}

fn body(url: &str, path: &str) -> Result<Vec<u8>, DaemonError> {
    let place = parse_url(url).ok_or_else(|| DaemonError::Url { url: url.to_owned() })?;
    let answer = ask(&place, path).map_err(|source| DaemonError::Ask { url: url.to_owned(), source })?;
    let (status, body) = parse_answer(&answer).ok_or_else(|| DaemonError::Ask {
        url: url.to_owned(),
        source: io::Error::new(io::ErrorKind::InvalidData, "its answer is not HTTP"),
    })?;
    if status == 200 {
        return Ok(body.to_vec());
    }
    let text = String::from_utf8_lossy(body).trim().to_owned();
    Err(DaemonError::Refused { url: url.to_owned(), status, text })
}

fn ask(place: &Place<'_>, path: &str) -> io::Result<Vec<u8>> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in place.authority.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, PATIENCE) {
            Ok(stream) => return exchange(stream, place, path),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn exchange(mut stream: TcpStream, place: &Place<'_>, path: &str) -> io::Result<Vec<u8>> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let user = place.user.map(|user| format!("Authorization: Basic {}\r\n", STANDARD.encode(user)));
    // HTTP/1.0: the answer comes in one piece, and its end is the connection's.
    let request =
        format!("GET {path} HTTP/1.0\r\nHost: {}\r\n{}\r\n", place.authority, user.unwrap_or_default());
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.take(MAX_BYTES).read_to_end(&mut answer)?;
    Ok(answer)
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
    use super::*;

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
        let error = body("http://127.0.0.1:1", "/evictions").unwrap_err().to_string();
        assert!(error.contains("http://127.0.0.1:1") && error.contains("ctmon run"), "{error}");
    }
}
