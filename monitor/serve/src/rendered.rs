//! What the server hands out, made once per snapshot.
//!
//! In: a finished metrics page, its instant and interval, a finished index page.
//! Out: the pieces of an answer, of which only the snapshot's age is made per request.
//! Must not: compress or format anything that grows with the page while a client waits.

use std::io::Write as _;
use std::time::{Duration, Instant};

use flate2::write::DeflateEncoder;
use flate2::{Compression, Crc};
use hyper::body::Bytes;

use super::response_body::ResponseBody;

/// A snapshot older than this many intervals makes the daemon unready.
const READY_INTERVALS: u32 = 3;

/// RFC 1952: magic, deflate, no flags, no time, no hint, Unix.
const GZIP_HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3];

/// The page at `/` in two pieces, between which the snapshot's age is written.
#[derive(Clone, Debug)]
pub struct Index {
    pub before: Bytes,
    pub after: Bytes,
    /// The sentence between the two: the snapshot's age and interval, or why there is none.
    pub status: Status,
}

/// Makes that sentence.
pub type Status = fn(Result<(Duration, Duration), &str>) -> String;

/// Pages ready to be sent.
#[derive(Debug)]
pub struct Rendered {
    index: Index,
    snapshot: Result<MetricsPage, String>,
}

/// The metrics page of one snapshot.
#[derive(Debug)]
struct MetricsPage {
    plain: Bytes,
    gzip: OpenGzip,
    taken: Instant,
    interval: Duration,
}

/// A gzip stream with its header and everything but the last block, so that a few lines can still follow.
#[derive(Debug)]
struct OpenGzip {
    stream: Bytes,
    crc: Crc,
}

impl Rendered {
    /// Before the first snapshot: `why` completes the sentence "no snapshot yet: ".
    #[must_use]
    pub fn waiting(index: Index, why: impl Into<String>) -> Self {
        Self { index, snapshot: Err(why.into()) }
    }

    /// A snapshot's pages. `interval` is the effective one, as stretched.
    ///
    /// The page must end with a newline and must not hold the snapshot's age: [`age_lines`] are added to each
    /// answer, since an age that was rendered once would never grow. Compresses: call it off the async thread.
    #[must_use]
    pub fn new(index: Index, metrics: impl Into<Bytes>, taken: Instant, interval: Duration) -> Self {
        let plain = metrics.into();
        let gzip = OpenGzip::of(&plain);
        Self { index, snapshot: Ok(MetricsPage { plain, gzip, taken, interval }) }
    }

    /// The metrics page, or why there is none.
    pub(super) fn metrics(&self, gzip: bool, now: Instant) -> Result<ResponseBody, String> {
        let snapshot = self.snapshot.as_ref().map_err(|why| format!("no snapshot yet: {why}\n"))?;
        let age = age_lines(now.saturating_duration_since(snapshot.taken));
        Ok(if gzip {
            let end = snapshot.gzip.end(age.as_bytes());
            ResponseBody::new([snapshot.gzip.stream.clone(), end, Bytes::new()])
        } else {
            ResponseBody::new([snapshot.plain.clone(), age.into(), Bytes::new()])
        })
    }

    /// The index page.
    pub(super) fn index(&self, now: Instant) -> ResponseBody {
        let age = match &self.snapshot {
            Ok(snapshot) => Ok((now.saturating_duration_since(snapshot.taken), snapshot.interval)),
            Err(why) => Err(why.as_str()),
        };
        ResponseBody::new([
            self.index.before.clone(),
            (self.index.status)(age).into(),
            self.index.after.clone(),
        ])
    }

    /// Whether the numbers are recent, or the reason why not.
    pub(super) fn ready(&self, now: Instant) -> Result<(), String> {
        let snapshot = self.snapshot.as_ref().map_err(|why| format!("no snapshot yet: {why}\n"))?;
        let age = now.saturating_duration_since(snapshot.taken);
        if age < snapshot.interval.saturating_mul(READY_INTERVALS) {
            return Ok(());
        }
        Err(format!(
            "the last snapshot is {:.1} s old, more than {READY_INTERVALS} intervals of {:.1} s: \
             a scan hangs or fails, the log says which\n",
            age.as_secs_f64(),
            snapshot.interval.as_secs_f64(),
        ))
    }
}

/// The lines of the one metric that is made per answer.
#[must_use]
pub fn age_lines(age: Duration) -> String {
    format!(
        "# HELP ctmon_snapshot_age_seconds Age of the numbers on this page, on the monotonic clock.\n\
         # TYPE ctmon_snapshot_age_seconds gauge\n\
         ctmon_snapshot_age_seconds {:.3}\n",
        age.as_secs_f64(),
    )
}

impl OpenGzip {
    fn of(page: &[u8]) -> Self {
        // A page of numbers shrinks to a tenth at this level; higher ones cost twice for a few per cent.
        let mut encoder = DeflateEncoder::new(GZIP_HEADER.to_vec(), Compression::new(4));
        // A flush ends the block on a byte boundary without ending the stream. A Vec takes every write.
        let _ = encoder.write_all(page).and_then(|()| encoder.flush());
        let mut stream = std::mem::take(encoder.get_mut());
        stream.shrink_to_fit();
        let mut crc = Crc::new();
        crc.update(page);
        Self { stream: stream.into(), crc }
    }

    /// The last block, stored as it is, and the trailer. `tail` is a few lines; a block holds 65,535 bytes.
    fn end(&self, tail: &[u8]) -> Bytes {
        let length = u16::try_from(tail.len()).unwrap_or(u16::MAX);
        let tail = tail.get(..usize::from(length)).unwrap_or(tail);
        let mut whole = Crc::new();
        whole.combine(&self.crc);
        whole.update(tail);
        let mut end = Vec::with_capacity(tail.len() + 13);
        end.push(1);
        end.extend(length.to_le_bytes());
        end.extend((!length).to_le_bytes());
        end.extend(tail);
        end.extend(whole.sum().to_le_bytes());
        end.extend(whole.amount().to_le_bytes());
        end.into()
    }
}
