//! A plain HTTP/1.1 client over one TCP connection: enough to ask the daemon and to see its headers.
//!
//! In: an address, a method, a path, headers. Out: status, headers, body. Must not: follow, retry or decompress.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use socket2::{Domain, Socket, Type};

/// Longest wait for a connection, and for each piece of the answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// An answer.
#[derive(Clone, Debug)]
pub struct Response {
    pub status: u16,
    /// Names in lower case, in the order they came.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Response {
    /// The first header of this name (lower case).
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(is, _)| is == name).map(|(_, value)| value.as_str())
    }

    /// The body as text.
    pub fn text(&self) -> Result<&str> {
        std::str::from_utf8(&self.body).context("the body is not UTF-8")
    }
}

/// `GET path`.
pub fn get(address: SocketAddr, path: &str) -> Result<Response> {
    request(address, "GET", path, &[])
}

/// One request on a connection of its own.
pub fn request(address: SocketAddr, method: &str, path: &str, headers: &[(&str, &str)]) -> Result<Response> {
    exchange(|| Ok(TcpStream::connect_timeout(&address, PATIENCE)?), address, method, path, headers)
}

/// `GET path` from an address of this host's choice.
pub fn get_from(
    source: IpAddr,
    address: SocketAddr,
    path: &str,
    headers: &[(&str, &str)],
) -> Result<Response> {
    exchange(|| connect_from(source, address), address, "GET", path, headers)
}

/// A connection from an address of this host's choice.
pub fn connect_from(source: IpAddr, to: SocketAddr) -> Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, None)?;
    socket.bind(&SocketAddr::new(source, 0).into()).with_context(|| format!("failed to bind {source}"))?;
    socket.connect_timeout(&to.into(), PATIENCE)?;
    Ok(socket.into())
}

fn exchange(
    connect: impl FnOnce() -> Result<TcpStream>,
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
) -> Result<Response> {
    let mut text = format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n");
    for (name, value) in headers {
        text.extend([name, ": ", value, "\r\n"]);
    }
    text.push_str("\r\n");
    let ask = || -> Result<Response> {
        let mut stream = connect()?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.write_all(text.as_bytes())?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        parse(&answer, method == "HEAD")
    };
    ask().with_context(|| format!("failed to {method} http://{address}{path}"))
}

/// A local TCP port that was free a moment ago.
pub fn free_address() -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").context("failed to bind a local port")?;
    listener.local_addr().context("failed to read the local port")
}

fn parse(answer: &[u8], headers_only: bool) -> Result<Response> {
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").context("no end of headers")?;
    let (head, body) = answer.split_at_checked(end).context("no head")?;
    let mut lines = std::str::from_utf8(head).context("headers are not UTF-8")?.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).context("no status")?;
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let mut response =
        Response { status: status.parse()?, headers, body: body.get(4..).unwrap_or_default().to_vec() };
    if response.header("transfer-encoding").is_some_and(|coding| coding.contains("chunked")) {
        response.body = unchunk(&response.body)?;
    }
    if let Some(length) = response.header("content-length") {
        let length: usize = length.parse().context("bad content-length")?;
        ensure!(
            headers_only || response.body.len() == length,
            "{} of {length} bytes came",
            response.body.len()
        );
    }
    Ok(response)
}

fn unchunk(mut body: &[u8]) -> Result<Vec<u8>> {
    let mut whole = Vec::new();
    loop {
        let end = body.windows(2).position(|two| two == b"\r\n").context("chunk without a size")?;
        let (size, rest) = body.split_at_checked(end).context("chunk without a size")?;
        let size = usize::from_str_radix(std::str::from_utf8(size)?.trim(), 16).context("bad chunk size")?;
        let rest = rest.get(2..).unwrap_or_default();
        let (chunk, rest) = rest.split_at_checked(size).context("chunk cut short")?;
        if chunk.is_empty() {
            return Ok(whole);
        }
        whole.extend_from_slice(chunk);
        body = rest.strip_prefix(b"\r\n").context("chunk without an end")?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    /// Answers one connection with `answer` and gives back what was asked.
    fn serve(answer: &'static [u8]) -> (SocketAddr, thread::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut asked = Vec::new();
            while !asked.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                asked.extend(byte);
            }
            stream.write_all(answer).unwrap();
            String::from_utf8(asked).unwrap()
        });
        (address, server)
    }

    #[test]
    fn an_answer_is_read_with_its_headers() {
        let (address, server) =
            serve(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 3\r\n\r\nabc");
        let response = request(address, "GET", "/x", &[("Accept-Encoding", "gzip")]).unwrap();
        assert_eq!((response.status, response.text().unwrap()), (200, "abc"));
        assert_eq!(response.header("content-type"), Some("text/plain"));
        let asked = server.join().unwrap();
        assert!(asked.starts_with("GET /x HTTP/1.1\r\n") && asked.contains("Accept-Encoding: gzip\r\n"));
    }

    #[test]
    fn chunks_are_put_together() {
        let (address, _) = serve(
            b"HTTP/1.1 404 Not Found\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\na\r\n0123456789\r\n0\r\n\r\n",
        );
        let response = get(address, "/").unwrap();
        assert_eq!((response.status, response.text().unwrap()), (404, "abc0123456789"));
    }

    #[test]
    fn a_short_answer_is_an_error() {
        let (address, _) = serve(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc");
        assert!(get(address, "/").is_err());
    }
}
