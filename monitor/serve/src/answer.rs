//! From a request to a response.
//!
//! In: method, path, headers, the peer's address, the latest pages. Out: status, headers, ready bytes.
//! Must not: wait for anything, or read a request's body.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Instant;

use hyper::body::{Body, Bytes};
use hyper::header::{
    ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST,
    HeaderName, HeaderValue, RETRY_AFTER, VARY, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
};
use hyper::http::uri::Authority;
use hyper::{Method, Request, Response, StatusCode, Version};
use monitor_model::served::Route;

use super::encoding::accepts_gzip;
use super::rendered::Rendered;
use super::response_body::ResponseBody;
use super::web::Refusal;

const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const METRICS: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
const HTML: HeaderValue = HeaderValue::from_static("text/html; charset=utf-8");
const GZIP: HeaderValue = HeaderValue::from_static("gzip");

/// A page that only peers on this host may read, such as `/evictions`: addresses of traffic are on it.
#[derive(Clone)]
pub struct LocalRoute {
    /// The path, with its leading slash.
    pub path: &'static str,
    /// Makes the answer from the query string (what follows `?`). Must be quick and must not block.
    pub answer: Arc<dyn Fn(&str) -> LocalReply + Send + Sync>,
}

/// A local route's answer.
#[derive(Clone, Debug)]
pub struct LocalReply {
    pub status: StatusCode,
    pub content_type: &'static str,
    pub body: Bytes,
}

/// The route of a path, and the page behind it if it is a local one.
pub(super) fn route<'a>(path: &str, local: &'a [LocalRoute]) -> (Route, Option<&'a LocalRoute>) {
    let found = local.iter().find(|route| route.path == path);
    let route = match path {
        "/metrics" => Route::Metrics,
        "/healthz" => Route::Healthz,
        "/readyz" => Route::Readyz,
        "/" => Route::Index,
        _ if found.is_some() => Route::Local,
        _ => Route::Other,
    };
    (route, found)
}

/// Answers a request that is allowed to ask.
pub(super) fn answer<B: Body>(
    request: &Request<B>,
    (route, local): (Route, Option<&LocalRoute>),
    peer: IpAddr,
    rendered: &Rendered,
    now: Instant,
) -> Response<ResponseBody> {
    if route == Route::Other {
        return text(StatusCode::NOT_FOUND, "no such page: / lists them\n");
    }
    if ![Method::GET, Method::HEAD].contains(request.method()) {
        let refusal = text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD are answered\n");
        return with(refusal, ALLOW, HeaderValue::from_static("GET, HEAD"));
    }
    match (route, local) {
        (Route::Metrics, _) => metrics(accepts_gzip(request.headers()), rendered, now),
        (Route::Readyz, _) => match rendered.ready(now) {
            Ok(()) => text(StatusCode::OK, "ok\n"),
            Err(why) => text(StatusCode::SERVICE_UNAVAILABLE, why),
        },
        (Route::Index, _) => index(rendered, now),
        // An IPv4 client of a dual-stack socket shows as ::ffff:127.0.0.1.
        (_, Some(_)) if !peer.to_canonical().is_loopback() => {
            text(StatusCode::FORBIDDEN, "this page is for processes on the same host: ask 127.0.0.1 or ::1\n")
        }
        (_, Some(_)) if !names_this_host(request) => text(
            StatusCode::FORBIDDEN,
            "this page answers to the names localhost, 127.0.0.1 and [::1] only\n",
        ),
        (_, Some(local)) => {
            let LocalReply { status, content_type, body } =
                (local.answer)(request.uri().query().unwrap_or_default());
            respond(status, HeaderValue::from_static(content_type), body.into())
        }
        (_, None) => text(StatusCode::OK, "ok\n"),
    }
}

/// Whether the request names this host, by a name that cannot mean another. A browser that a foreign site's name has led here
/// (DNS rebinding) sends that name. Before HTTP/1.1 a request did not have to name a host.
fn names_this_host<B>(request: &Request<B>) -> bool {
    let mut hosts = request.headers().get_all(HOST).iter();
    let (first, second) = (hosts.next(), hosts.next());
    let header = match (first.map(HeaderValue::to_str), second) {
        (_, Some(_)) | (Some(Err(_)), _) => return false,
        (Some(Ok(host)), None) => Some(host).filter(|host| !host.is_empty()),
        (None, None) => None,
    };
    // In `GET http://host/path` that host takes precedence over the header; a browser sends either, so both have to be right.
    match (request.uri().authority().map(Authority::as_str), header) {
        (None, None) => request.version() <= Version::HTTP_10,
        (authority, header) => [authority, header].into_iter().flatten().all(is_loopback),
    }
}

/// `host`, `host:port` or `[address]:port` of the loopback.
fn is_loopback(authority: &str) -> bool {
    let bracketed = authority.strip_prefix('[').and_then(|rest| rest.split_once(']'));
    let (loopback, port) = if let Some((address, port)) = bracketed {
        let address = address.parse::<Ipv6Addr>().map(|address| IpAddr::from(address).to_canonical());
        (address.is_ok_and(|address| address.is_loopback()), port)
    } else {
        let (host, port) = authority.split_at(authority.find(':').unwrap_or(authority.len()));
        let named = host.strip_suffix('.').unwrap_or(host).eq_ignore_ascii_case("localhost");
        (named || host.parse::<Ipv4Addr>().is_ok_and(|address| address.is_loopback()), port)
    };
    let port = port.is_empty() || port.strip_prefix(':').is_some_and(|port| port.parse::<u16>().is_ok());
    loopback && port
}

/// The answer to a request with a body. The connection is closed with it, since the body is never read.
pub(super) fn refuse_body() -> Response<ResponseBody> {
    let refusal = text(StatusCode::PAYLOAD_TOO_LARGE, "requests must not have a body\n");
    with(refusal, CONNECTION, HeaderValue::from_static("close"))
}

/// The answer to a request that is refused.
pub(super) fn refuse(refusal: Refusal) -> Response<ResponseBody> {
    let (status, why) = match refusal {
        Refusal::TooOften => (StatusCode::TOO_MANY_REQUESTS, "more requests than the rate limit allows\n"),
        Refusal::Busy => (
            StatusCode::TOO_MANY_REQUESTS,
            "too many passwords of this address wait to be checked: ask later\n",
        ),
        Refusal::NoCertificate => (StatusCode::FORBIDDEN, "a client certificate is required here\n"),
        Refusal::NoCredentials => (StatusCode::UNAUTHORIZED, "a user and a password are required here\n"),
        Refusal::WrongCredentials => (StatusCode::UNAUTHORIZED, "the user or the password is wrong\n"),
    };
    let response = text(status, why);
    if status == StatusCode::UNAUTHORIZED {
        let challenge = HeaderValue::from_static("Basic realm=\"ctmon\", charset=\"UTF-8\"");
        return with(response, WWW_AUTHENTICATE, challenge);
    }
    response
}

/// A line of text.
pub(super) fn text(status: StatusCode, line: impl Into<Bytes>) -> Response<ResponseBody> {
    respond(status, TEXT, line.into().into())
}

/// The response with one more header.
pub(super) fn with(
    mut response: Response<ResponseBody>,
    name: HeaderName,
    value: HeaderValue,
) -> Response<ResponseBody> {
    response.headers_mut().insert(name, value);
    response
}

fn metrics(gzip: bool, rendered: &Rendered, now: Instant) -> Response<ResponseBody> {
    let response = match rendered.metrics(gzip, now) {
        Ok(page) if gzip => with(respond(StatusCode::OK, METRICS, page), CONTENT_ENCODING, GZIP),
        Ok(page) => respond(StatusCode::OK, METRICS, page),
        Err(why) => {
            let refusal = text(StatusCode::SERVICE_UNAVAILABLE, why);
            with(refusal, RETRY_AFTER, HeaderValue::from_static("5"))
        }
    };
    with(response, VARY, HeaderValue::from_static("Accept-Encoding"))
}

fn index(rendered: &Rendered, now: Instant) -> Response<ResponseBody> {
    let page = respond(StatusCode::OK, HTML, rendered.index(now));
    let policy = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; \
                  frame-ancestors 'none'";
    with(page, CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy))
}

fn respond(status: StatusCode, content_type: HeaderValue, body: ResponseBody) -> Response<ResponseBody> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, content_type);
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    // The numbers are those of now: a cached copy would be wrong.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
