//! Whose password is checked next.
//!
//! In: the address that asks. Out: its turn, or that too many of its requests wait already.
//! Must not: let one address keep another waiting for more than the check under way, or grow with what clients send.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Requests of one address that may wait, with the one whose turn it is.
const MOST_WAITING: usize = 4;

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct Asker {
    pub(in super::super) address: IpAddr,
    /// This host, or an address that was answered before: strangers do not keep it waiting.
    pub(in super::super) trusted: bool,
}

/// Two lanes, each with one check at a time: guessing takes one core at the most. Each address has one request in its lane;
/// the others of that address wait behind it.
pub(super) struct PasswordQueue {
    trusted: Arc<Semaphore>,
    strangers: Arc<Semaphore>,
    lines: Arc<Mutex<Lines>>,
}

type Lines = BTreeMap<IpAddr, Line>;

/// The requests of one address.
struct Line {
    head: Arc<Semaphore>,
    length: usize,
}

/// The right to have a password checked now; given back when dropped.
pub(super) struct Turn {
    _lane: OwnedSemaphorePermit,
    _head: OwnedSemaphorePermit,
    _waiting: Waiting,
}

/// One of the waiting requests of an address; counted until dropped.
struct Waiting {
    address: IpAddr,
    lines: Arc<Mutex<Lines>>,
}

impl PasswordQueue {
    pub(super) fn new() -> Self {
        let lane = || Arc::new(Semaphore::new(1));
        Self { trusted: lane(), strangers: lane(), lines: Arc::default() }
    }

    /// Waits for a turn; `None` if the address has too many waiting.
    pub(super) async fn take(&self, asker: Asker) -> Option<Turn> {
        let (waiting, head) = self.join_line(asker.address)?;
        // Neither semaphore is ever closed.
        let head = head.acquire_owned().await.ok()?;
        let lane = if asker.trusted { &self.trusted } else { &self.strangers };
        let lane = Arc::clone(lane).acquire_owned().await.ok()?;
        Some(Turn { _lane: lane, _head: head, _waiting: waiting })
    }

    fn join_line(&self, address: IpAddr) -> Option<(Waiting, Arc<Semaphore>)> {
        let mut lines = locked(&self.lines);
        let line =
            lines.entry(address).or_insert_with(|| Line { head: Arc::new(Semaphore::new(1)), length: 0 });
        if line.length >= MOST_WAITING {
            return None;
        }
        line.length += 1;
        let head = Arc::clone(&line.head);
        drop(lines);
        Some((Waiting { address, lines: Arc::clone(&self.lines) }, head))
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let mut lines = locked(&self.lines);
        if let Some(line) = lines.get_mut(&self.address) {
            line.length -= 1;
            if line.length == 0 {
                lines.remove(&self.address);
            }
        }
    }
}

fn locked(lines: &Mutex<Lines>) -> MutexGuard<'_, Lines> {
    lines.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::task::Poll;

    use super::*;
    use crate::tests::poll;

    fn asker(last: u8, trusted: bool) -> Asker {
        Asker { address: [192, 0, 2, last].into(), trusted }
    }

    type Asking<'a> = Pin<Box<dyn Future<Output = Option<Turn>> + 'a>>;

    fn turn(waiting: &mut Asking<'_>) -> Turn {
        match poll(waiting) {
            Poll::Ready(Some(turn)) => turn,
            Poll::Ready(None) => panic!("refused"),
            Poll::Pending => panic!("it waits"),
        }
    }

    #[test]
    fn an_address_that_guesses_keeps_another_waiting_for_one_check() {
        let turns = PasswordQueue::new();
        let take = |last| -> Asking<'_> { Box::pin(turns.take(asker(last, false))) };
        let mut guesses: Vec<_> = (0..MOST_WAITING).map(|_| take(1)).collect();
        let first = turn(&mut guesses[0]);
        for waiting in &mut guesses[1..] {
            assert!(poll(waiting).is_pending());
        }
        assert!(matches!(poll(&mut take(1)), Poll::Ready(None)), "one more is refused, not kept");
        let mut right = take(2);
        assert!(poll(&mut right).is_pending());
        // The guess behind the first one came before, and the other address is next all the same.
        assert!(poll(&mut guesses[1]).is_pending());
        drop(first);
        assert!(poll(&mut guesses[1]).is_pending());
        drop(turn(&mut right));
        drop(turn(&mut guesses[1]));
    }

    #[test]
    fn strangers_do_not_keep_those_waiting_who_were_answered_before() {
        let turns = PasswordQueue::new();
        let mut stranger: Asking<'_> = Box::pin(turns.take(asker(1, false)));
        let _held = turn(&mut stranger);
        let mut trusted: Asking<'_> = Box::pin(turns.take(asker(2, true)));
        drop(turn(&mut trusted));
    }

    #[test]
    fn whoever_leaves_the_line_makes_room_and_nothing_stays_of_the_address() {
        let turns = PasswordQueue::new();
        let mut guesses: Vec<Asking<'_>> =
            (0..MOST_WAITING).map(|_| -> Asking<'_> { Box::pin(turns.take(asker(1, false))) }).collect();
        let first = turn(&mut guesses[0]);
        for waiting in &mut guesses[1..] {
            assert!(poll(waiting).is_pending());
        }
        guesses.clear();
        assert_eq!(locked(&turns.lines).len(), 1);
        drop(first);
        assert!(locked(&turns.lines).is_empty());
    }
}
