//! Whether a client takes gzip.
//!
//! In: the `Accept-Encoding` header lines. Out: yes or no (RFC 9110, 12.5.3).
//! Must not: refuse a request: a client that takes nothing we have gets the plain page.

use hyper::HeaderMap;
use hyper::header::ACCEPT_ENCODING;

/// Whether gzip is acceptable: named with a weight above 0, or, when not named, covered by `*`.
pub(super) fn accepts_gzip(headers: &HeaderMap) -> bool {
    let mut any = false;
    for line in headers.get_all(ACCEPT_ENCODING) {
        for choice in line.to_str().unwrap_or_default().split(',') {
            let (coding, parameters) = choice.split_once(';').unwrap_or((choice, ""));
            let coding = coding.trim();
            if coding.eq_ignore_ascii_case("gzip") || coding.eq_ignore_ascii_case("x-gzip") {
                return wanted(parameters);
            }
            any |= coding == "*" && wanted(parameters);
        }
    }
    any
}

/// No weight means 1; one that cannot be read means no.
fn wanted(parameters: &str) -> bool {
    parameters
        .split(';')
        .filter_map(|parameter| parameter.split_once('='))
        .find(|(name, _)| name.trim().eq_ignore_ascii_case("q"))
        .is_none_or(|(_, weight)| weight.trim().parse::<f32>().is_ok_and(|weight| weight > 0.0))
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    fn check(lines: &[&str], expected: bool) {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(ACCEPT_ENCODING, HeaderValue::from_str(line).unwrap());
        }
        assert_eq!(accepts_gzip(&headers), expected, "{lines:?}");
    }

    #[test]
    fn gzip_is_sent_only_to_clients_that_want_it() {
        check(&[], false);
        check(&[""], false);
        check(&["gzip"], true);
        check(&["GZip"], true);
        check(&["x-gzip"], true);
        check(&["deflate, gzip;q=0.5, br"], true);
        check(&["deflate", "gzip"], true);
        check(&["gzip;q=0"], false);
        check(&["gzip; q=0.000"], false);
        check(&["gzip; Q=0.001"], true);
        check(&["gzip;q=nonsense"], false);
        check(&["gzip;q=0, *"], false);
        check(&["*, gzip;q=0"], false);
        check(&["*"], true);
        check(&["*;q=0"], false);
        check(&["identity"], false);
        check(&["gzipped"], false);
    }
}
