//! Who may read: TLS, users, the rate limit, and the headers that answers carry besides.
//!
//! In: a web configuration that was read. Out: a decision per request.
//! Must not: ask the kubelet's probes for anything.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use hyper::HeaderMap;
use hyper::header::{AUTHORIZATION, HeaderName, HeaderValue};
use rustls::ServerConfig;

use super::file::{WebError, WebFile};
use super::password_queue::Asker;
use super::rate::Rate;
use super::tls::{ClientAuth, Tls};
use super::users::{PasswordChecks, Users, Verdict};

/// The headers exporter-toolkit lets one set, and the values it takes; none means any.
const HEADERS: [(&str, &[&str]); 5] = [
    ("content-security-policy", &[]),
    ("strict-transport-security", &[]),
    ("x-content-type-options", &["nosniff"]),
    ("x-frame-options", &["deny", "sameorigin"]),
    ("x-xss-protection", &[]),
];

/// The web configuration in force.
pub(in super::super) struct Policy {
    tls: Option<Arc<Tls>>,
    users: Option<Users>,
    rate: Option<Rate>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

/// Why a request is not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Refusal {
    TooOften,
    NoCertificate,
    NoCredentials,
    WrongCredentials,
    /// Too many passwords of the address wait to be checked.
    Busy,
}

impl Policy {
    /// Everyone may read, in plain text.
    pub(super) const fn open() -> Self {
        Self { tls: None, users: None, rate: None, headers: Vec::new() }
    }

    /// `before`: what was in force, and made of which file. TLS that did not change is taken over as it is: nobody
    /// needs to shake hands again.
    pub(super) fn of(
        file: &WebFile,
        passwords: &Arc<PasswordChecks>,
        before: Option<(&WebFile, &Self)>,
    ) -> Result<Self, WebError> {
        let tls = if let Some((_, policy)) = before.filter(|(old, _)| old.same_tls(file)) {
            policy.tls.clone()
        } else {
            let settings = file.settings.tls_server_config.as_ref();
            settings.map(|settings| Tls::of(file, settings).map(Arc::new)).transpose()?
        };
        Ok(Self {
            tls,
            users: Users::of(file, passwords)?,
            rate: Rate::of(file, Instant::now())?,
            headers: headers(file)?,
        })
    }

    /// What was asked for before and is not any more.
    pub(super) fn asks_less_than(&self, before: &Self) -> Option<&'static str> {
        let client_auth = |policy: &Self| policy.tls.as_ref().map_or(ClientAuth::None, |tls| tls.client_auth);
        if before.users.is_some() && self.users.is_none() {
            Some("a password")
        } else if before.tls.is_some() && self.tls.is_none() {
            Some("TLS")
        } else if client_auth(self) < client_auth(before) {
            Some("a client certificate")
        } else {
            None
        }
    }

    /// TLS for a new connection, if it needs it.
    pub(in super::super) fn tls(&self) -> Option<Arc<ServerConfig>> {
        self.tls.as_ref().map(|tls| Arc::clone(&tls.config))
    }

    /// Whether a connection that began under `before` may go on: a handshake would still come out the same.
    pub(in super::super) fn keeps_connections_of(&self, before: &Self) -> bool {
        match (&self.tls, &before.tls) {
            (Some(now), Some(then)) => Arc::ptr_eq(now, then),
            (None, None) => true,
            _ => false,
        }
    }

    /// Whether certificates that were verified under `before` would be again.
    pub(in super::super) fn trusts_same_authority(&self, before: &Self) -> bool {
        let authority = |policy: &Self| policy.tls.as_ref().and_then(|tls| tls.client_ca.clone());
        authority(self) == authority(before)
    }

    /// When the first certificate of the server's chain ends.
    pub(super) fn not_after(&self) -> Option<SystemTime> {
        self.tls.as_ref()?.not_after
    }

    /// Who has a password, for tests.
    #[cfg(test)]
    pub(in super::super) fn users(&self) -> Vec<String> {
        self.users.as_ref().map(Users::names).unwrap_or_default()
    }

    /// Whether a request may be answered. `certified`: its connection came with a verified certificate.
    pub(in super::super) async fn admit(
        &self,
        headers: &HeaderMap,
        certified: bool,
        asker: Asker,
    ) -> Result<(), Refusal> {
        // First, as in exporter-toolkit: it also slows down those who guess.
        if self.rate.as_ref().is_some_and(|rate| !rate.allows(Instant::now())) {
            return Err(Refusal::TooOften);
        }
        if !certified && self.tls.as_ref().is_some_and(|tls| tls.client_auth == ClientAuth::Required) {
            return Err(Refusal::NoCertificate);
        }
        let Some(users) = &self.users else { return Ok(()) };
        match users.check(headers.get(AUTHORIZATION), asker).await {
            Verdict::Right => Ok(()),
            Verdict::Wrong => Err(Refusal::WrongCredentials),
            Verdict::Missing => Err(Refusal::NoCredentials),
            Verdict::Busy => Err(Refusal::Busy),
        }
    }

    /// Adds the configured headers; they win over ours.
    pub(in super::super) fn add_headers(&self, headers: &mut HeaderMap) {
        for (name, value) in &self.headers {
            headers.insert(name.clone(), value.clone());
        }
    }
}

fn headers(file: &WebFile) -> Result<Vec<(HeaderName, HeaderValue)>, WebError> {
    const KEY: &str = "http_server_config.headers";
    let wanted = file.settings.http_server_config.clone().and_then(|http| http.headers).unwrap_or_default();
    let mut headers = Vec::new();
    for (name, value) in wanted {
        let lower = name.to_ascii_lowercase();
        let Some((known, values)) = HEADERS.into_iter().find(|(known, _)| *known == lower) else {
            let names = HEADERS.map(|(name, _)| name).join(", ");
            return Err(file.problem(KEY, format!("{name:?} cannot be set: use some of {names}")));
        };
        if value.is_empty() {
            continue;
        }
        if !values.is_empty() && !values.contains(&value.to_ascii_lowercase().as_str()) {
            return Err(file.problem(KEY, format!("{name} must be {}", values.join(" or "))));
        }
        let value = HeaderValue::from_str(&value)
            .map_err(|_| file.problem(KEY, format!("{name} has characters that a header cannot hold")))?;
        headers.push((HeaderName::from_static(known), value));
    }
    Ok(headers)
}
