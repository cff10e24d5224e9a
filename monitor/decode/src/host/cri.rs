//! The log format of container runtimes: `TIME STREAM P|F MESSAGE`, one piece a line.
//!
//! In: the bytes of a file, in pieces of any size. Out: whole messages, cut to a bound. Must not: keep more than
//! two bounds' worth of bytes of one file, or more of all files together than there is room for, whatever is written.

/// What came of some bytes, to be added to the totals.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub messages: u64,
    pub cut: u64,
    pub malformed: u64,
}

/// Puts lines and messages together again.
#[derive(Debug, Default)]
pub struct Assembler {
    /// The line whose end has not been read yet, cut.
    line: Vec<u8>,
    line_cut: bool,
    /// The pieces of a message so far, per stream: stdout and stderr may be interleaved.
    messages: [Message; 2],
    /// The bytes up to the next newline belong to a line whose beginning was not read.
    in_the_middle: bool,
}

#[derive(Debug, Default)]
struct Message {
    text: Vec<u8>,
    cut: bool,
}

/// Time stamp, stream and tag before the message.
const PREFIX: usize = 64;
/// What each unfinished line and message may hold whatever others do: nearly all are shorter, and a pod that never ends its
/// lines takes nothing from those of others.
const OWN: usize = 512;
/// Unfinished texts of one file: a line, and a message of each stream.
const TEXTS: usize = 3;

/// How much unfinished text all files together may still hold, beyond what is each one's own.
#[derive(Debug)]
pub struct Room {
    left: usize,
}

impl Room {
    /// Of so many bytes for so many files, of which these hold something.
    pub fn new<'a>(most: usize, files: usize, assemblers: impl Iterator<Item = &'a Assembler>) -> Self {
        let own = files.saturating_mul(TEXTS * OWN);
        let held = assemblers.flat_map(Assembler::texts).map(|text| text.len().saturating_sub(OWN)).sum();
        Self { left: most.saturating_sub(own).saturating_sub(held) }
    }

    /// Adds what fits below the bound and into the room; whether something did not.
    fn keep(&mut self, to: &mut Vec<u8>, bytes: &[u8], bound: usize) -> bool {
        let own = OWN.saturating_sub(to.len());
        let fits = bytes.len().min(bound.saturating_sub(to.len())).min(own.saturating_add(self.left));
        self.left -= fits.saturating_sub(own);
        // Exactly: room for twice as much would count for nothing here, and in memory all the same.
        to.reserve_exact(fits);
        to.extend_from_slice(bytes.get(..fits).unwrap_or(bytes));
        bytes.len() > fits
    }

    /// Takes a text out; its room is free again.
    fn take(&mut self, from: &mut Vec<u8>) -> Vec<u8> {
        self.left += from.len().saturating_sub(OWN);
        std::mem::take(from)
    }
}

impl Assembler {
    /// What follows does not follow what came: parts that wait for their end are given up.
    pub fn restart(&mut self, in_the_middle: bool) {
        *self = Self { in_the_middle, ..Self::default() };
    }

    /// What waits for its end.
    fn texts(&self) -> [&Vec<u8>; TEXTS] {
        let [stdout, stderr] = &self.messages;
        [&self.line, &stdout.text, &stderr.text]
    }

    /// Gives every message that these bytes complete.
    pub fn push(
        &mut self,
        mut bytes: &[u8],
        bound: usize,
        room: &mut Room,
        message: &mut dyn FnMut(&[u8]),
    ) -> Tally {
        let mut tally = Tally::default();
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            let (line, rest) = bytes.split_at(end);
            bytes = rest.get(1..).unwrap_or_default();
            if std::mem::take(&mut self.in_the_middle) {
                continue;
            }
            if self.line.is_empty() && line.len() <= bound.saturating_add(PREFIX) {
                self.end_line(line, false, bound, room, &mut tally, message);
            } else {
                self.extend_line(line, bound, room);
                let line = room.take(&mut self.line);
                let cut = std::mem::take(&mut self.line_cut);
                self.end_line(&line, cut, bound, room, &mut tally, message);
            }
        }
        if !self.in_the_middle {
            self.extend_line(bytes, bound, room);
        }
        tally
    }

    fn extend_line(&mut self, bytes: &[u8], bound: usize, room: &mut Room) {
        self.line_cut |= room.keep(&mut self.line, bytes, bound.saturating_add(PREFIX));
    }

    fn end_line(
        &mut self,
        line: &[u8],
        cut: bool,
        bound: usize,
        room: &mut Room,
        tally: &mut Tally,
        message: &mut dyn FnMut(&[u8]),
    ) {
        let Some(Piece { stderr, partial, text }) = parse_line(line) else {
            tally.malformed += 1;
            return;
        };
        let [stdout, other] = &mut self.messages;
        let pieces = if stderr { other } else { stdout };
        if !partial && pieces.text.is_empty() && text.len() <= bound {
            tally.messages += 1;
            tally.cut += u64::from(cut);
            message(text);
            return;
        }
        pieces.cut |= room.keep(&mut pieces.text, text, bound) | cut;
        if !partial {
            tally.messages += 1;
            tally.cut += u64::from(std::mem::take(&mut pieces.cut));
            message(&room.take(&mut pieces.text));
        }
    }
}

struct Piece<'a> {
    stderr: bool,
    /// More of the same message follows.
    partial: bool,
    text: &'a [u8],
}

fn parse_line(line: &[u8]) -> Option<Piece<'_>> {
    let (time, rest) = split_word(line)?;
    if !time.first().is_some_and(u8::is_ascii_digit) || !time.contains(&b'T') {
        return None;
    }
    let (stream, rest) = split_word(rest)?;
    let stderr = match stream {
        b"stdout" => false,
        b"stderr" => true,
        _ => return None,
    };
    // An empty message may come without the blank behind its tag.
    let (tags, text) = split_word(rest).unwrap_or((rest, &[]));
    // Tags are a list: `P:tag:tag`.
    match tags {
        [b'P'] | [b'P', b':', ..] => Some(Piece { stderr, partial: true, text }),
        [b'F'] | [b'F', b':', ..] => Some(Piece { stderr, partial: false, text }),
        _ => None,
    }
}

fn split_word(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = bytes.iter().position(|byte| *byte == b' ')?;
    let (word, rest) = bytes.split_at(end);
    Some((word, rest.get(1..).unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const T: &str = "2026-11-22T00:17:09.669794202Z";

    fn roomy() -> Room {
        Room { left: 1 << 20 }
    }

    fn messages(text: &str, bound: usize, chunk: usize) -> (Vec<String>, Tally) {
        let (mut assembler, mut room) = (Assembler::default(), roomy());
        let (mut messages, mut total) = (Vec::new(), Tally::default());
        for piece in text.as_bytes().chunks(chunk) {
            let tally = assembler.push(piece, bound, &mut room, &mut |message| {
                messages.push(String::from_utf8_lossy(message).into_owned());
            });
            total.messages += tally.messages;
            total.cut += tally.cut;
            total.malformed += tally.malformed;
        }
        (messages, total)
    }

    #[test]
    fn pieces_are_joined_per_stream_whatever_the_chunks() {
        let text = format!(
            "{T} stdout P one \n{T} stderr P err\n{T} stdout F two\n{T} stderr F or\n{T} stdout F\n{T} stdout F:x a b\n"
        );
        for chunk in [1, 2, 7, 1000] {
            let (messages, tally) = messages(&text, 100, chunk);
            assert_eq!(messages, ["one two", "error", "", "a b"], "chunks of {chunk}");
            assert_eq!(tally, Tally { messages: 4, cut: 0, malformed: 0 });
        }
    }

    #[test]
    fn a_message_beyond_the_bound_keeps_its_beginning() {
        let check = |text: &str, expected: &[&str], cut: u64| {
            for chunk in [3, 1000] {
                let (messages, tally) = messages(text, 10, chunk);
                assert_eq!(messages, expected, "chunks of {chunk}");
                assert_eq!((tally.cut, tally.malformed), (cut, 0));
            }
        };
        check(&format!("{T} stdout F 0123456789\n"), &["0123456789"], 0);
        check(&format!("{T} stdout F 0123456789x\n{T} stdout F b\n"), &["0123456789", "b"], 1);
        check(
            &format!("{T} stdout P 01234567\n{T} stdout F 89xyz\n{T} stdout F b\n"),
            &["0123456789", "b"],
            1,
        );
        check(&format!("{T} stdout F {}\n{T} stdout F b\n", "z".repeat(5000)), &["zzzzzzzzzz", "b"], 1);
    }

    #[test]
    fn other_lines_are_counted_and_not_messages() {
        let (found, tally) = messages(
            &format!(
                "{{\"log\":\"docker\"}}\n\nplain text here\n{T} stdlog F x\n{T} stdout X x\n{T} stdout F y\n"
            ),
            100,
            9,
        );
        assert_eq!((found, tally.malformed), (vec!["y".to_owned()], 5));
    }

    #[test]
    fn from_the_middle_of_a_line_its_rest_is_no_message() {
        let mut assembler = Assembler::default();
        assembler.restart(true);
        let mut found = Vec::new();
        let text = format!("stdout F rest of a line\n{T} stdout F next\n");
        let tally =
            assembler.push(text.as_bytes(), 100, &mut roomy(), &mut |message| found.push(message.to_vec()));
        assert_eq!((found, tally.malformed), (vec![b"next".to_vec()], 0));
    }

    /// What these pieces leave, held and free.
    fn held(assemblers: &[Assembler]) -> usize {
        assemblers.iter().flat_map(Assembler::texts).map(Vec::capacity).sum()
    }

    #[test]
    fn unfinished_texts_of_all_files_share_one_room_and_give_it_back() {
        const MOST: usize = 64 << 10;
        const BOUND: usize = 32 << 10;
        let mut assemblers: Vec<Assembler> = (0..8).map(|_| Assembler::default()).collect();
        let mut room = Room::new(MOST, 8, assemblers.iter());
        let free = room.left;
        assert_eq!(free, MOST - 8 * TEXTS * OWN);
        let endless = format!("{T} stdout P {}\n{T} stderr F {}", "x".repeat(BOUND), "y".repeat(BOUND));
        for assembler in &mut assemblers {
            for piece in endless.as_bytes().chunks(1000) {
                assembler.push(piece, BOUND, &mut room, &mut |_| panic!("nothing is complete"));
            }
        }
        assert!(held(&assemblers) <= MOST, "{} bytes are held", held(&assemblers));
        assert_eq!(room.left, 0);
        // Whoever comes when all is taken still has what an ordinary line needs, in whatever pieces.
        let (mut late, mut found) = (Assembler::default(), Vec::new());
        for piece in [format!("{T} stdout F an error of"), " ordinary length\n".to_owned()] {
            let tally = late.push(piece.as_bytes(), BOUND, &mut room, &mut |text| found.push(text.to_vec()));
            assert_eq!((tally.cut, tally.malformed), (0, 0));
        }
        assert_eq!(found, [b"an error of ordinary length".to_vec()]);
        // The next reading counts what is held by itself, and arrives at the same.
        assert_eq!(Room::new(MOST, 8, assemblers.iter()).left, room.left);
        for assembler in &mut assemblers {
            let rest = format!("\n{T} stdout F\n");
            let tally = assembler.push(rest.as_bytes(), BOUND, &mut room, &mut |_| ());
            assert_eq!((tally.messages, tally.malformed), (2, 0));
        }
        assert_eq!((room.left, held(&assemblers)), (free, 0));
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived_within_the_bound(pieces: Vec<Vec<u8>>) {
            let mut assembler = Assembler::default();
            for piece in &pieces {
                assembler.push(piece, 16, &mut roomy(), &mut |message| assert!(message.len() <= 16));
                let held = assembler.texts().into_iter().map(Vec::len).sum::<usize>();
                assert!(held <= PREFIX + 3 * 16, "{held}");
            }
        }
    }
}
