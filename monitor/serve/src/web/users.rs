//! Basic authentication against bcrypt hashes.
//!
//! In: users with their hashes, the `Authorization` header, who asks. Out: right, wrong, missing, or later.
//! Must not: hash on the async thread, let one address keep others waiting, hash again for a scraper that was right
//! before, keep a password, or show by the time it takes which users exist.

use std::collections::{BTreeMap, VecDeque};
use std::hint::black_box;
use std::ops::{Range, RangeInclusive};
use std::str::FromStr as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bcrypt::HashParts;
use hyper::header::HeaderValue;
use ring::hmac;
use ring::rand::SystemRandom;

use super::file::{WebError, WebFile};
use super::password_queue::{Asker, PasswordQueue};

/// Credentials remembered, right ones and wrong ones each. More scrapers than this do not ask one node.
const REMEMBERED: usize = 32;

/// bcrypt knows none below; one above takes a minute and more, and no scraper waits that long.
const COSTS: RangeInclusive<u32> = 4..=18;

/// Who may read.
pub(super) struct Users {
    hashes: BTreeMap<String, Hash>,
    /// Every check costs as much as the most expensive hash.
    highest: u32,
    passwords: Arc<PasswordChecks>,
}

/// A user's hash, and what it costs to compare a password with it.
#[derive(Clone)]
struct Hash {
    text: String,
    cost: u32,
}

/// Credentials that were checked, and those that wait for it. It outlives changes of the files: credentials that were right
/// with a hash need no other check while that is the user's hash.
pub(super) struct PasswordChecks {
    key: hmac::Key,
    memory: Mutex<Memory>,
    queue: PasswordQueue,
}

/// What a request's credentials are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Right,
    Wrong,
    Missing,
    /// Not looked at: too many of the address wait.
    Busy,
}

/// Digests of credentials under a key of this process.
#[derive(Default)]
struct Memory {
    /// How many were added since the process began.
    checked: u64,
    right: VecDeque<Vec<u8>>,
    /// Apart, so that a flood of guesses does not push the scraper's credentials out.
    wrong: VecDeque<Vec<u8>>,
}

impl Users {
    /// `None` if there are no users: then everyone may read.
    pub(super) fn of(file: &WebFile, passwords: &Arc<PasswordChecks>) -> Result<Option<Self>, WebError> {
        const KEY: &str = "basic_auth_users";
        let mut hashes = BTreeMap::new();
        for (user, text) in file.settings.basic_auth_users.clone().unwrap_or_default() {
            // The hash is a secret: it stays out of the messages.
            let Ok(parts) = HashParts::from_str(&text) else {
                let problem = format!("{user:?} has no bcrypt hash: make one with `htpasswd -nBC 10`");
                return Err(file.problem(KEY, problem));
            };
            let cost = parts.get_cost();
            if !COSTS.contains(&cost) {
                let (lowest, highest) = COSTS.into_inner();
                let problem =
                    format!("the hash of {user:?} needs a cost from {lowest} to {highest}: make another");
                return Err(file.problem(KEY, problem));
            }
            if user.contains(':') {
                return Err(file.problem(KEY, format!("{user:?}: a user's name cannot hold a colon")));
            }
            hashes.insert(user, Hash { text, cost });
        }
        let highest = hashes.values().map(|hash| hash.cost).max();
        Ok(highest.map(|highest| Self { hashes, highest, passwords: Arc::clone(passwords) }))
    }

    pub(super) async fn check(&self, header: Option<&HeaderValue>, asker: Asker) -> Verdict {
        let Some((user, password)) = header.and_then(credentials) else { return Verdict::Missing };
        let hash = self.hashes.get(&user);
        let digest = self.passwords.digest([&user, hash.map_or("", |hash| &hash.text), &password]);
        if let Some(verdict) = self.passwords.memory().verdict(&digest) {
            return verdict;
        }
        let Some(turn) = self.passwords.queue.take(asker).await else { return Verdict::Busy };
        // The same credentials may just have been checked for another request.
        if let Some(verdict) = self.passwords.memory().verdict(&digest) {
            return verdict;
        }
        let (hash, highest, passwords) = (hash.cloned(), self.highest, Arc::clone(&self.passwords));
        let check = move || {
            let right = matches(&password, hash.as_ref(), highest);
            // Remembered here, since the client may be gone by now and ask again soon.
            let verdict = passwords.memory().remember(digest, right);
            drop(turn);
            verdict
        };
        tokio::task::spawn_blocking(check).await.unwrap_or_else(|error| {
            tracing::error!(%error, "failed to check a password");
            Verdict::Wrong
        })
    }

    #[cfg(test)]
    pub(super) fn names(&self) -> Vec<String> {
        self.hashes.keys().cloned().collect()
    }
}

impl PasswordChecks {
    /// `None` if the system has no random numbers.
    pub(super) fn new() -> Option<Self> {
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new()).ok()?;
        Some(Self { key, memory: Mutex::default(), queue: PasswordQueue::new() })
    }

    /// Of the user, the hash that the user has now, and the password.
    fn digest(&self, words: [&str; 3]) -> Vec<u8> {
        let mut context = hmac::Context::with_key(&self.key);
        for word in words {
            // With its length: no two lists of words read the same.
            context.update(&word.len().to_le_bytes());
            context.update(word.as_bytes());
        }
        context.sign().as_ref().to_vec()
    }

    #[cfg(test)]
    pub(super) fn checks(&self) -> u64 {
        self.memory().checked
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
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
        self.checked += 1;
        let (digests, verdict) =
            if right { (&mut self.right, Verdict::Right) } else { (&mut self.wrong, Verdict::Wrong) };
        if digests.len() >= REMEMBERED {
            digests.pop_front();
        }
        digests.push_back(digest);
        verdict
    }
}

/// Whether the password is that of the hash. Takes as long for every hash and for none.
fn matches(password: &str, hash: Option<&Hash>, highest: u32) -> bool {
    // Every hash was parsed before, so an error cannot come.
    let right = hash.is_some_and(|hash| bcrypt::verify(password, &hash.text).unwrap_or(false));
    for cost in padding(hash.map(|hash| hash.cost), highest) {
        let _ = black_box(bcrypt::hash_with_salt(password, cost, [0; 16]));
    }
    right
}

/// The costs to hash at besides, so that the work adds up to that of the highest one. Each cost is twice the one below:
/// a hash at `c`, and then at `c`, `c + 1` and so on below the highest.
fn padding(cost: Option<u32>, highest: u32) -> Range<u32> {
    cost.map_or(highest..highest.saturating_add(1), |cost| cost..highest)
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
    use std::time::Duration;

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
    fn every_check_is_the_same_work() {
        for highest in COSTS {
            let work = |cost: Option<u32>| {
                let own = cost.map_or(0, |cost| 1_u64 << cost);
                own + padding(cost, highest).map(|cost| 1_u64 << cost).sum::<u64>()
            };
            assert_eq!(work(None), 1 << highest, "an unknown user");
            for cost in *COSTS.start()..=highest {
                assert_eq!(work(Some(cost)), 1 << highest, "{cost} of {highest}");
            }
        }
    }

    /// Processor time of this thread, which other work on the machine does not lengthen.
    fn cost_of(work: impl Fn()) -> Duration {
        let now = || {
            let now = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
            Duration::new(now.tv_sec.try_into().unwrap(), now.tv_nsec.try_into().unwrap())
        };
        let once = || {
            let began = now();
            work();
            now().saturating_sub(began)
        };
        (0..5).map(|_| once()).min().unwrap()
    }

    #[test]
    fn unknown_users_and_cheap_hashes_take_as_long_as_the_dearest() {
        let hash = |cost| Hash { text: bcrypt::hash("sesame", cost).unwrap(), cost };
        let (cheap, dear) = (hash(4), hash(9));
        let of = |hash: Option<&Hash>, password: &str| {
            cost_of(|| {
                black_box(matches(password, hash, 9));
            })
        };
        let dearest = of(Some(&dear), "guess");
        // The cheap hash alone takes a thirty-second part, a check that fails early next to nothing.
        for (what, took) in [
            ("unknown", of(None, "guess")),
            ("cheap", of(Some(&cheap), "guess")),
            ("right", of(Some(&cheap), "sesame")),
            ("empty", of(None, "")),
            ("with a NUL", of(Some(&dear), "gu\0ess")),
            ("unknown, with a NUL", of(None, "gu\0ess")),
            ("long", of(Some(&cheap), &"x".repeat(200))),
        ] {
            assert!(took < dearest * 3 && dearest < took * 3, "{what}: {took:?}, the dearest {dearest:?}");
        }
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
