//! How many connections there may be, and which one is closed for a new one.
//!
//! In: who connects, asks and is answered. Out: a place for every new connection, and a signal to the one that has to go for it.
//! Must not: refuse a new connection because of idle ones, or let strangers take the places of this host and of scrapers.
//!
//! Three kinds of clients have places of their own: this host (the loopback, and the node's own addresses, from which
//! the kubelet probes), addresses that were handed a metrics page lately, everybody else. Where a kind has no place
//! left, a connection of the address that has most is closed: the one without a request for the longest time.
//! Bytes that are no complete request do not count: sending slowly keeps no place. A connection whose password is being
//! checked is not idle, and goes last.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, oneshot};

/// How many places each kind has.
#[derive(Clone, Copy, Debug)]
pub struct PlaceLimits {
    pub this_host: usize,
    pub known: usize,
    pub others: usize,
    /// Addresses that may be known at once, and for how long after their last page. One that comes steadily keeps its
    /// place among them: newcomers wait until another stays away.
    pub addresses: usize,
    pub remembered: Duration,
    /// Between the beginnings of two TLS handshakes with others: each takes the thread that serves about a millisecond.
    pub handshake_pause: Duration,
}

/// Who a connection comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Peer {
    /// In its shortest form: an IPv4 client of a dual-stack socket is an IPv4 client.
    pub(super) address: IpAddr,
    /// From this host, by the loopback or another address of its own.
    pub(super) this_host: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    ThisHost,
    Known,
    Other,
}

/// The connections there are.
#[derive(Debug)]
pub(super) struct Places {
    limits: PlaceLimits,
    handshakes: Arc<Semaphore>,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    next: u64,
    open: BTreeMap<u64, Holder>,
    /// When each was handed its last page.
    known: BTreeMap<IpAddr, Instant>,
}

/// A connection that has a place.
#[derive(Debug)]
struct Holder {
    peer: Peer,
    /// When it came, or asked last.
    asked: Instant,
    /// Its request is being judged.
    waits: bool,
    /// Dropped when it has to leave.
    _signal: oneshot::Sender<()>,
}

/// A place, free again when dropped.
#[derive(Debug)]
pub(super) struct Place {
    places: Arc<Places>,
    number: u64,
    peer: Peer,
}

impl Places {
    pub(super) fn new(limits: PlaceLimits) -> Arc<Self> {
        Arc::new(Self { limits, handshakes: Arc::new(Semaphore::new(1)), inner: Mutex::default() })
    }

    /// A place, the signal to leave it (its sender is dropped), and how many connections had to go for it.
    pub(super) fn enter(self: &Arc<Self>, peer: Peer) -> (Place, oneshot::Receiver<()>, usize) {
        let now = Instant::now();
        let mut inner = self.inner();
        let kind = inner.kind(peer, now, &self.limits);
        let left = inner.make_room(kind, Some(peer.address), now, &self.limits);
        let (signal, leave) = oneshot::channel();
        let number = inner.next;
        inner.next += 1;
        inner.open.insert(number, Holder { peer, asked: now, waits: false, _signal: signal });
        drop(inner);
        (Place { places: Arc::clone(self), number, peer }, leave, left)
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    pub(super) const fn peer(&self) -> Peer {
        self.peer
    }

    /// This host, or an address that is known.
    pub(super) fn is_trusted(&self) -> bool {
        self.places.inner().kind(self.peer, Instant::now(), &self.places.limits) != Kind::Other
    }

    /// Waits until a TLS handshake may begin: strangers' one after the other, with a pause. This host and scrapers do not
    /// wait, so that a flood of handshakes takes a part of the thread and not all of it.
    pub(super) async fn handshake_turn(&self) {
        if self.is_trusted() {
            return;
        }
        // The semaphore is never closed. A connection that is closed while it waits takes no turn.
        let Ok(turn) = Arc::clone(&self.places.handshakes).acquire_owned().await else { return };
        let pause = self.places.limits.handshake_pause;
        tokio::spawn(async move {
            tokio::time::sleep(pause).await;
            drop(turn);
        });
    }

    /// A whole request has come, and is judged.
    pub(super) fn asked(&self) {
        self.set(|holder| (holder.asked, holder.waits) = (Instant::now(), true));
    }

    /// The answer is ready: now the client is to take it.
    pub(super) fn judged(&self) {
        self.set(|holder| holder.waits = false);
    }

    fn set(&self, change: impl FnOnce(&mut Holder)) {
        if let Some(holder) = self.places.inner().open.get_mut(&self.number) {
            change(holder);
        }
    }

    /// A metrics page was handed out: the address is known from now on, if there is room. Says how many had to leave.
    pub(super) fn answered(&self) -> usize {
        let limits = &self.places.limits;
        let now = Instant::now();
        let mut inner = self.places.inner();
        if self.peer.this_host || !inner.remember(self.peer.address, now, limits) {
            return 0;
        }
        // Its connections moved from the others' places.
        inner.make_room(Kind::Known, None, now, limits)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.inner().open.remove(&self.number);
    }
}

impl Kind {
    const fn places(self, limits: &PlaceLimits) -> usize {
        match self {
            Self::ThisHost => limits.this_host,
            Self::Known => limits.known,
            Self::Other => limits.others,
        }
    }
}

impl Inner {
    fn kind(&self, peer: Peer, now: Instant, limits: &PlaceLimits) -> Kind {
        let lately = |at: &Instant| now.saturating_duration_since(*at) < limits.remembered;
        if peer.this_host {
            Kind::ThisHost
        } else if self.known.get(&peer.address).is_some_and(lately) {
            Kind::Known
        } else {
            Kind::Other
        }
    }

    /// Whether the address is known now.
    fn remember(&mut self, address: IpAddr, now: Instant, limits: &PlaceLimits) -> bool {
        if !self.known.contains_key(&address) && self.known.len() >= limits.addresses {
            self.known.retain(|_, at| now.saturating_duration_since(*at) < limits.remembered);
            if self.known.len() >= limits.addresses {
                return false;
            }
        }
        self.known.insert(address, now);
        true
    }

    /// Closes connections of a kind until there is a place for each, the new one too, and says how many were closed.
    fn make_room(
        &mut self,
        kind: Kind,
        newcomer: Option<IpAddr>,
        now: Instant,
        limits: &PlaceLimits,
    ) -> usize {
        let keep = kind.places(limits).saturating_sub(newcomer.iter().len());
        let mut left = 0;
        loop {
            let of_kind: Vec<(u64, &Holder)> = self
                .open
                .iter()
                .filter(|(_, holder)| self.kind(holder.peer, now, limits) == kind)
                .map(|(number, holder)| (*number, holder))
                .collect();
            if of_kind.len() <= keep {
                return left;
            }
            let mut held: BTreeMap<IpAddr, usize> = BTreeMap::new();
            for address in of_kind.iter().map(|(_, holder)| holder.peer.address).chain(newcomer) {
                *held.entry(address).or_default() += 1;
            }
            let most = held.values().max();
            let longest = of_kind
                .iter()
                .filter(|(_, holder)| held.get(&holder.peer.address) == most)
                .min_by_key(|(number, holder)| (holder.waits, holder.asked, *number))
                .map(|(number, _)| *number);
            let Some(number) = longest else { return left };
            self.open.remove(&number);
            left += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::{poll, runtime};

    const LIMITS: PlaceLimits = PlaceLimits {
        this_host: 3,
        known: 3,
        others: 4,
        addresses: 2,
        remembered: Duration::from_secs(600),
        handshake_pause: Duration::from_secs(600),
    };

    fn peer(last: u8, this_host: bool) -> Peer {
        Peer { address: [192, 0, 2, last].into(), this_host }
    }

    /// A place and the signal to leave it.
    type Seat = (Place, oneshot::Receiver<()>);

    fn sit(places: &Arc<Places>, last: u8) -> Seat {
        let (place, leave, _) = places.enter(peer(last, false));
        (place, leave)
    }

    fn stays((_, leave): &mut Seat) -> bool {
        leave.try_recv() == Err(oneshot::error::TryRecvError::Empty)
    }

    #[test]
    fn the_longest_silent_connection_leaves_of_the_address_that_holds_most() {
        let places = Places::new(LIMITS);
        let mut honest = sit(&places, 1);
        let mut many: Vec<Seat> = (0..3).map(|_| sit(&places, 2)).collect();
        // The first of them has asked since, the second is silent for the longest time.
        many[0].0.asked();
        let mut newcomer = sit(&places, 3);
        assert!(stays(&mut honest) && stays(&mut newcomer));
        assert_eq!(many.iter_mut().map(stays).collect::<Vec<_>>(), [true, false, true]);
        // Of addresses that hold as much as each other, the longest silent one.
        let mut seats = [honest, newcomer, many.remove(0)];
        let mut another = sit(&places, 4);
        assert!(!stays(&mut many[1]), "the address with two");
        let mut last = sit(&places, 5);
        assert!(!stays(&mut seats[0]), "one each: who has been silent longest");
        assert!(stays(&mut another) && stays(&mut last));
    }

    #[test]
    fn whoever_waits_for_a_password_to_be_checked_leaves_last() {
        let places = Places::new(LIMITS);
        let mut seats: Vec<Seat> = (0..4).map(|number| sit(&places, number)).collect();
        for seat in &seats[..3] {
            seat.0.asked();
        }
        seats[1].0.judged();
        let mut newcomers: Vec<Seat> = (10..12).map(|number| sit(&places, number)).collect();
        assert_eq!(seats.iter_mut().map(stays).collect::<Vec<_>>(), [true, false, true, false]);
        newcomers.extend((12..16).map(|number| sit(&places, number)));
        assert_eq!(seats.iter_mut().map(stays).collect::<Vec<_>>(), [true, false, true, false]);
        // Nobody else is left: then the one that has waited longest.
        for seat in newcomers.iter().chain(&seats) {
            seat.0.asked();
        }
        let _another = sit(&places, 20);
        assert_eq!(places.inner().open.len(), 4);
    }

    #[test]
    fn each_kind_has_places_of_its_own() {
        let places = Places::new(LIMITS);
        let mut scraper = sit(&places, 1);
        scraper.0.answered();
        let (place, leave, _) = places.enter(peer(9, true));
        let mut probe = (place, leave);
        let mut strangers: Vec<Seat> = (0..40).map(|number| sit(&places, 100 + number)).collect();
        assert!(stays(&mut scraper) && stays(&mut probe));
        assert_eq!(strangers.iter_mut().filter_map(|seat| stays(seat).then_some(())).count(), 4);
        assert!(scraper.0.is_trusted() && probe.0.is_trusted() && !strangers[0].0.is_trusted());
        // This host among itself likewise.
        let greedy = (0..5).map(|_| places.enter(peer(8, true)));
        let mut greedy: Vec<Seat> = greedy.map(|(place, leave, _)| (place, leave)).collect();
        assert!(stays(&mut probe));
        assert_eq!(greedy.iter_mut().filter_map(|seat| stays(seat).then_some(())).count(), 2);
        assert_eq!(places.inner().open.len(), 3 + 1 + 4);
    }

    #[test]
    fn an_address_that_becomes_known_takes_no_more_than_the_places_of_the_known() {
        let places = Places::new(LIMITS);
        let mut seats: Vec<Seat> = (0..4).map(|_| sit(&places, 1)).collect();
        seats[3].0.asked();
        assert_eq!(seats[3].0.answered(), 1);
        assert_eq!(seats.iter_mut().map(stays).collect::<Vec<_>>(), [false, true, true, true]);
    }

    #[test]
    fn known_addresses_are_bounded_and_stay_known_while_they_come() {
        let mut inner = Inner::default();
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut known = |last: u8, seconds| {
            inner.remember([192, 0, 2, last].into(), at(seconds), &LIMITS);
            inner.kind(peer(last, false), at(seconds), &LIMITS) == Kind::Known
        };
        assert!(known(1, 0) && known(2, 0));
        assert!(!known(3, 100), "no room");
        assert!(known(1, 500));
        assert!(!known(3, 599), "both came lately");
        assert!(known(3, 600), "the second stayed away");
        assert!(known(1, 601) && !known(2, 602));
    }

    #[test]
    fn strangers_begin_handshakes_one_after_the_other_and_nobody_else_waits_for_them() {
        let runtime = runtime();
        runtime.block_on(async {
            let places = Places::new(LIMITS);
            let (first, second, scraper) = (sit(&places, 1), sit(&places, 2), sit(&places, 3));
            scraper.0.answered();
            let (probe, _leave, _) = places.enter(peer(9, true));
            first.0.handshake_turn().await;
            let mut waiting = Box::pin(second.0.handshake_turn());
            assert!(poll(&mut waiting).is_pending());
            scraper.0.handshake_turn().await;
            probe.handshake_turn().await;
            assert!(poll(&mut waiting).is_pending());
        });
        runtime.block_on(async {
            let places = Places::new(PlaceLimits { handshake_pause: Duration::from_millis(1), ..LIMITS });
            for last in 0..3 {
                sit(&places, last).0.handshake_turn().await;
            }
        });
    }

    #[test]
    fn whoever_goes_leaves_the_place_free() {
        let places = Places::new(LIMITS);
        let seats: Vec<Seat> = (0..4).map(|_| sit(&places, 1)).collect();
        drop(seats);
        assert!(places.inner().open.is_empty());
        let mut again: Vec<Seat> = (0..4).map(|_| sit(&places, 1)).collect();
        assert!(again.iter_mut().all(stays));
    }
}
