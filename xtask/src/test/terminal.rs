//! What several steps say at a time, one after the other on the terminal.
//!
//! In: pieces of output, each of a step. Out: the step in front as it speaks, the others whole once it is their turn.
//! Must not: mix two steps, or keep anything back at the end.

use std::collections::VecDeque;
use std::io::Write;
use std::sync::{Mutex, PoisonError};

pub(super) struct Terminal<W> {
    stage: Mutex<Stage<W>>,
}

struct Stage<W> {
    out: W,
    /// In the order they began; the first one speaks.
    turns: VecDeque<Turn>,
}

struct Turn {
    step: &'static str,
    said: Vec<u8>,
    ended: bool,
}

impl<W: Write> Terminal<W> {
    pub(super) fn new(out: W) -> Self {
        Self { stage: Mutex::new(Stage { out, turns: VecDeque::new() }) }
    }

    /// A step speaks from now on.
    pub(super) fn begin(&self, step: &'static str) {
        self.with(|stage| stage.turns.push_back(Turn { step, said: Vec::new(), ended: false }));
    }

    pub(super) fn say(&self, step: &str, bytes: &[u8]) {
        self.with(|stage| {
            if let Some(turn) = stage.turns.iter_mut().find(|turn| turn.step == step) {
                turn.said.extend_from_slice(bytes);
            }
        });
    }

    /// It has said all.
    pub(super) fn end(&self, step: &str) {
        self.with(|stage| {
            if let Some(turn) = stage.turns.iter_mut().find(|turn| turn.step == step) {
                turn.ended = true;
            }
        });
    }

    fn with(&self, change: impl FnOnce(&mut Stage<W>)) {
        let mut stage = self.stage.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut stage);
        stage.show();
    }
}

impl<W: Write> Stage<W> {
    fn show(&mut self) {
        while let Some(turn) = self.turns.front_mut() {
            // A closed terminal must not end the work.
            let _ = self.out.write_all(&turn.said);
            turn.said.clear();
            if !turn.ended {
                break;
            }
            self.turns.pop_front();
        }
        let _ = self.out.flush();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_speaks_at_once_and_the_others_in_their_turn() {
        let mut out = Vec::new();
        let terminal = Terminal::new(&mut out);
        let seen = |terminal: &Terminal<&mut Vec<u8>>| {
            String::from_utf8(terminal.stage.lock().unwrap().out.clone()).unwrap()
        };
        terminal.begin("one");
        terminal.begin("two");
        terminal.begin("three");
        terminal.say("two", b"2a ");
        terminal.say("one", b"1a ");
        assert_eq!(seen(&terminal), "1a ");
        terminal.say("three", b"3a ");
        terminal.end("three");
        terminal.say("two", b"2b ");
        terminal.end("one");
        assert_eq!(seen(&terminal), "1a 2a 2b ");
        terminal.say("two", b"2c ");
        terminal.end("two");
        assert_eq!(seen(&terminal), "1a 2a 2b 2c 3a ");
    }
}
