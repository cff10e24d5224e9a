//! Buffered output of entries, up to a limit and as long as somebody reads.
//!
//! In: entries, one by one. Out: bytes. The first entry is flushed at once, later ones when the buffer is full or a fifth of
//! a second has passed.
//! Must not: call a closed pipe an error: `ctmon list | head` is a success.

use std::io::{self, BufWriter, ErrorKind, Write};
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

/// How long an entry may wait in the buffer for others.
const FLUSH_EVERY: Duration = Duration::from_millis(200);

/// Counts entries, and ends at the limit.
pub(crate) struct LimitedOutput<'o, W: Write> {
    out: BufWriter<&'o mut W>,
    limit: Option<u64>,
    written: u64,
    flushed: Option<Instant>,
    failure: Option<io::Error>,
}

impl<'o, W: Write> LimitedOutput<'o, W> {
    pub(crate) fn new(out: &'o mut W, limit: Option<u64>) -> Self {
        let out = BufWriter::with_capacity(1 << 16, out);
        Self { out, limit, written: 0, flushed: None, failure: None }
    }

    /// Writes one entry and counts it; breaks at the limit, or when nobody reads any more.
    pub(crate) fn entry(
        &mut self,
        write: impl FnOnce(&mut BufWriter<&'o mut W>) -> io::Result<()>,
    ) -> ControlFlow<()> {
        self.written += 1;
        self.other(write)?;
        let due = self.flushed.is_none_or(|flushed| flushed.elapsed() >= FLUSH_EVERY);
        if due {
            self.flushed = Some(Instant::now());
            self.other(Write::flush)?;
        }
        if self.limit.is_some_and(|limit| self.written >= limit) {
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    }

    /// Writes what is not an entry, such as the end of a map.
    pub(crate) fn other(
        &mut self,
        write: impl FnOnce(&mut BufWriter<&'o mut W>) -> io::Result<()>,
    ) -> ControlFlow<()> {
        if self.failure.is_some() {
            return ControlFlow::Break(());
        }
        match write(&mut self.out) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                self.failure = Some(error);
                ControlFlow::Break(())
            }
        }
    }

    /// Entries so far.
    pub(crate) const fn written(&self) -> u64 {
        self.written
    }

    /// Flushes and returns how many entries were written.
    pub(crate) fn finish(mut self) -> io::Result<u64> {
        let _ = self.other(Write::flush);
        match self.failure.take() {
            Some(error) if error.kind() == ErrorKind::BrokenPipe => {
                // What is buffered has no reader; dropping the buffer must not try again.
                let _ = self.out.into_parts();
                Ok(self.written)
            }
            Some(error) => Err(error),
            None => Ok(self.written),
        }
    }
}
