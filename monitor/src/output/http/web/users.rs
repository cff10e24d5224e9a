//! Basic authentication against bcrypt hashes.
//!
//! In: users with their hashes, and the `Authorization` header. Out: right, wrong or missing.
//! Must not: hash on the async thread, hash twice at once, hash again for a scraper that was right before, keep
//! a password, or tell by its time which users exist.

use std::collections::{BTreeMap, VecDeque};
use std::ops::RangeInclusive;
use std::str::FromStr as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bcrypt::HashParts;
use hyper::header::HeaderValue;
use ring::hmac;
use ring::rand::SystemRandom;
use tokio::sync::Semaphore;

use super::file::{WebError, WebFile};

/// Credentials remembered, right ones and wrong ones each. More scrapers than this do not ask one node.
const REMEMBERED: usize = 32;

/// bcrypt knows none below; one above takes a minute and more, and no scraper waits that long.
const COSTS: RangeInclusive<u32> = 4..=18;

/// Who may read.
pub(super) struct Users {
    hashes: BTreeMap<String, String>,
    /// Compared for unknown users, so that they take as long as known ones.
    decoy: String,
    key: hmac::Key,
    memory: Arc<Mutex<Memory>>,
    /// One at a time: whoever sends wrong passwords gets one core at the most, and waits in line.
    gate: Arc<Semaphore>,
}

/// What a request's credentials are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Right,
    Wrong,
    Missing,
}

/// Digests of credentials under a key of this process.
#[derive(Default)]
struct Memory {
    right: VecDeque<Vec<u8>>,
    /// Apart, so that a flood of guesses does not push the scraper's credentials out.
    wrong: VecDeque<Vec<u8>>,
}

impl Users {
    /// `None` if there are no users: then everyone may read.
    pub(super) fn of(file: &WebFile) -> Result<Option<Self>, WebError> {
        const KEY: &str = "basic_auth_users";
        let hashes = file.settings.basic_auth_users.clone().unwrap_or_default();
        let Some(decoy) = hashes.values().next().cloned() else { return Ok(None) };
        for (user, hash) in &hashes {
            // The hash is a secret: it stays out of the messages.
            let Ok(parts) = HashParts::from_str(hash) else {
                let problem = format!("{user:?} has no bcrypt hash: make one with `htpasswd -nBC 10`");
                return Err(file.problem(KEY, problem));
            };
            if !COSTS.contains(&parts.get_cost()) {
                let (lowest, highest) = COSTS.into_inner();
                let problem =
                    format!("the hash of {user:?} needs a cost from {lowest} to {highest}: make another");
                return Err(file.problem(KEY, problem));
            }
            if user.contains(':') {
                return Err(file.problem(KEY, format!("{user:?}: a user's name cannot hold a colon")));
            }
        }
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new())
            .map_err(|_| file.problem(KEY, "the system has no random numbers"))?;
        Ok(Some(Self { hashes, decoy, key, memory: Arc::default(), gate: Arc::new(Semaphore::new(1)) }))
    }

    pub(super) async fn check(&self, header: Option<&HeaderValue>) -> Verdict {
        let Some((user, password)) = header.and_then(credentials) else { return Verdict::Missing };
        let digest = hmac::sign(&self.key, format!("{}:{user}:{password}", user.len()).as_bytes());
        let digest = digest.as_ref().to_vec();
        if let Some(verdict) = recall(&self.memory).verdict(&digest) {
            return verdict;
        }
        // The gate is never closed.
        let Ok(turn) = Arc::clone(&self.gate).acquire_owned().await else { return Verdict::Wrong };
        // The same credentials may just have been checked for another request.
        if let Some(verdict) = recall(&self.memory).verdict(&digest) {
            return verdict;
        }
        let hash = self.hashes.get(&user);
        let known = hash.is_some();
        let hash = hash.unwrap_or(&self.decoy).clone();
        let memory = Arc::clone(&self.memory);
        let check = move || {
            let right = matches(&password, &hash) && known;
            // Remembered here, since the client may be gone by now and ask again soon.
            let verdict = recall(&memory).remember(digest, right);
            drop(turn);
            verdict
        };
        tokio::task::spawn_blocking(check).await.unwrap_or_else(|error| {
            tracing::error!(%error, "failed to check a password");
            Verdict::Wrong
        })
    }
}

impl Memory {
    fn verdict(&self, digest: &[u8]) -> Option<Verdict> {
        if self.right.iter().any(|known| known == digest) {
            Some(Verdict::Right)
        } else if self.wrong.iter().any(|known| known == digest) {
            Some(Verdict::Wrong)
        } else {
            None
        }
    }

    fn remember(&mut self, digest: Vec<u8>, right: bool) -> Verdict {
        let (digests, verdict) =
            if right { (&mut self.right, Verdict::Right) } else { (&mut self.wrong, Verdict::Wrong) };
        if digests.len() >= REMEMBERED {
            digests.pop_front();
        }
        digests.push_back(digest);
        verdict
    }
}

fn recall(memory: &Mutex<Memory>) -> MutexGuard<'_, Memory> {
    memory.lock().unwrap_or_else(PoisonError::into_inner)
}

fn matches(password: &str, hash: &str) -> bool {
    // Every hash was parsed before, so an error means a password that bcrypt cannot take.
    bcrypt::verify(password, hash).unwrap_or(false)
}

/// User and password of an `Authorization: Basic` header (RFC 7617).
fn credentials(header: &HeaderValue) -> Option<(String, String)> {
    let (scheme, token) = header.to_str().ok()?.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("Basic") {
        return None;
    }
    let pair = String::from_utf8(STANDARD.decode(token.trim()).ok()?).ok()?;
    let (user, password) = pair.split_once(':')?;
    Some((user.to_owned(), password.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_well_formed_basic_headers_hold_credentials() {
        let check = |header: &str, expected: Option<(&str, &str)>| {
            let found = credentials(&HeaderValue::from_str(header).unwrap());
            let found = found.as_ref().map(|(user, password)| (user.as_str(), password.as_str()));
            assert_eq!(found, expected, "{header}");
        };
        check("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==", Some(("Aladdin", "open sesame")));
        check("basic  QWxhZGRpbjpvcGVuIHNlc2FtZQ==", Some(("Aladdin", "open sesame")));
        check("Basic YTpiOmM=", Some(("a", "b:c")));
        check("Basic Og==", Some(("", "")));
        check("Basic", None);
        check("Basic ", None);
        check("Basic !!!!", None);
        check("Basic YWJj", None);
        check("Basic //8=", None);
        check("Bearer QWxhZGRpbjpvcGVuIHNlc2FtZQ==", None);
    }

    #[test]
    fn guesses_do_not_push_out_what_was_right() {
        let mut memory = Memory::default();
        memory.remember(b"scraper".to_vec(), true);
        for guess in 0..1000_u32 {
            memory.remember(guess.to_le_bytes().to_vec(), false);
        }
        assert_eq!(memory.verdict(b"scraper"), Some(Verdict::Right));
        assert_eq!(memory.verdict(&999_u32.to_le_bytes()), Some(Verdict::Wrong));
        assert_eq!(memory.verdict(&0_u32.to_le_bytes()), None);
        assert_eq!(memory.wrong.len(), REMEMBERED);
    }
}
