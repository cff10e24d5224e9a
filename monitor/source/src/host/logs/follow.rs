//! One log file, followed through appends, truncation and rotation.
//!
//! In: its path, and how much may be read. Out: its messages. Must not: read a byte twice, or lose what the runtime
//! still writes to a file after the kubelet has renamed it.
//!
//! Rotation: the kubelet renames `0.log`, then asks the runtime to reopen; until it does, the runtime writes to the
//! renamed file. So the old descriptor is read to its end, and once more a reading later. What cannot be read to its end
//! because bytes or time run out again and again is counted as passed over.

use std::fs::{File, Metadata, OpenOptions};
use std::io::Read as _;
use std::io::Seek as _;
use std::io::{self, SeekFrom};
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use monitor_decode::host::cri::{Assembler, Room};
use monitor_model::host::logs::Totals;

use super::{Limits, Meter};

/// What one reading may still use.
pub(super) struct Budget<'a> {
    /// Bytes; none are left once the processor's time is used up.
    pub(super) left: u64,
    pub(super) room: Room,
    pub(super) meter: &'a mut Meter,
    pub(super) limits: &'a Limits,
}

/// Gets the indices of the patterns that select the file, and one message of it.
pub(super) type OnMessage<'a> = dyn FnMut(&[usize], &[u8]) + 'a;

#[derive(Debug)]
pub(super) struct Follower {
    patterns: Vec<usize>,
    current: Option<Cursor>,
    /// The file before the last rotation.
    before: Option<Cursor>,
    from_end: bool,
    /// Readings since the path was last there.
    missing: u8,
}

/// How many readings a descriptor is kept after its path went away.
const PATIENCE: u8 = 2;

impl Follower {
    pub(super) fn new(patterns: Vec<usize>, from_end: bool) -> Self {
        Self { patterns, current: None, before: None, from_end, missing: 0 }
    }

    /// The patterns that select the file from now on.
    pub(super) fn select(&mut self, patterns: Vec<usize>) {
        self.patterns = patterns;
    }

    /// Called when the path was not listed: is the open file still worth reading?
    pub(super) fn outlives_its_path(&mut self) -> bool {
        self.missing += 1;
        self.missing <= PATIENCE && self.current.is_some()
    }

    /// What waits for the rest of a line.
    pub(super) fn assemblers(&self) -> impl Iterator<Item = &Assembler> {
        self.current.iter().chain(&self.before).map(|cursor| &cursor.assembler)
    }

    pub(super) fn read(
        &mut self,
        path: &Path,
        budget: &mut Budget<'_>,
        totals: &mut Totals,
        on_message: &mut OnMessage<'_>,
    ) {
        if let Err(error) = self.switch_if_rotated(path, totals) {
            totals.failures += u64::from(error.kind() != io::ErrorKind::NotFound);
        }
        let patterns = &self.patterns;
        let mut message = |bytes: &[u8]| on_message(patterns, bytes);
        if let Some(mut before) = self.before.take() {
            match before.read(budget, totals, &mut message) {
                Ok(End::NotReached) => self.before = Some(before),
                // Once more at the next reading, then it has been given up by its writer.
                Ok(End::Reached) if !std::mem::replace(&mut before.last_chance, true) => {
                    self.before = Some(before);
                }
                Ok(End::Reached) => {}
                Err(_) => totals.failures += 1,
            }
        }
        if let Some(current) = &mut self.current
            && current.read(budget, totals, &mut message).is_err()
        {
            totals.failures += 1;
        }
    }

    /// Opens what is at the path now, if that is not what is open.
    fn switch_if_rotated(&mut self, path: &Path, totals: &mut Totals) -> io::Result<()> {
        // Fails between the rename and the new file; or the pod is gone, which the listing decides.
        let there = path.metadata()?;
        self.missing = 0;
        if self.current.as_ref().is_some_and(|current| current.is(&there)) {
            return Ok(());
        }
        let next = Cursor::open(path, std::mem::take(&mut self.from_end))?;
        if let Some(current) = self.current.replace(next)
            && let Some(given_up) = self.before.replace(current)
        {
            totals.skipped_bytes += given_up.unread();
        }
        Ok(())
    }

    /// Bytes that are there and were not read.
    pub(super) fn unread(&self) -> u64 {
        self.current.iter().chain(&self.before).map(Cursor::unread).sum()
    }
}

/// Whether a reading came to the end of its file.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Reached,
    NotReached,
}

#[derive(Debug)]
struct Cursor {
    file: File,
    identity: (u64, u64),
    offset: u64,
    assembler: Assembler,
    last_chance: bool,
}

impl Cursor {
    fn open(path: &Path, from_end: bool) -> io::Result<Self> {
        // Not blocking: a FIFO in this folder must not hold the daemon.
        let file =
            OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC).open(path)?;
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        let mut assembler = Assembler::default();
        let offset = if from_end { metadata.len() } else { 0 };
        assembler.restart(offset > 0 && !ends_a_line(&file, offset)?);
        Ok(Self { identity: (metadata.dev(), metadata.ino()), file, offset, assembler, last_chance: false })
    }

    fn is(&self, metadata: &Metadata) -> bool {
        self.identity == (metadata.dev(), metadata.ino())
    }

    fn read(
        &mut self,
        budget: &mut Budget<'_>,
        totals: &mut Totals,
        message: &mut dyn FnMut(&[u8]),
    ) -> io::Result<End> {
        let size = self.file.metadata()?.len();
        if size < self.offset {
            totals.truncations += 1;
            self.offset = 0;
            self.assembler.restart(false);
        }
        let behind = size - self.offset;
        let limits = budget.limits;
        if behind > limits.bytes_per_file {
            let skipped = behind - limits.bytes_per_file;
            totals.skipped_bytes += skipped;
            self.offset += skipped;
            self.assembler.restart(!ends_a_line(&self.file, self.offset)?);
        }
        let mut left = (size - self.offset).min(budget.left);
        (&self.file).seek(SeekFrom::Start(self.offset))?;
        let mut buffer = [0; 16 << 10];
        while left > 0 {
            let want = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
            let Some(part) = buffer.get_mut(..want) else { break };
            let read = match (&self.file).read(part) {
                Ok(0) => break,
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            let bytes = part.get(..read).unwrap_or_default();
            let tally = self.assembler.push(bytes, limits.message_bytes, &mut budget.room, message);
            totals.messages += tally.messages;
            totals.cut_messages += tally.cut;
            totals.malformed_lines += tally.malformed;
            let read = read as u64;
            (self.offset, left) = (self.offset + read, left - read);
            totals.bytes += read;
            budget.left -= read;
            if budget.meter.is_used_up() {
                (budget.left, left) = (0, 0);
            }
        }
        Ok(if self.offset < size { End::NotReached } else { End::Reached })
    }

    fn unread(&self) -> u64 {
        self.file.metadata().map_or(0, |metadata| metadata.len().saturating_sub(self.offset))
    }
}

/// Whether the byte before the offset is a newline.
fn ends_a_line(mut file: &File, offset: u64) -> io::Result<bool> {
    let mut byte = [0];
    file.seek(SeekFrom::Start(offset.saturating_sub(1)))?;
    Ok(file.read(&mut byte)? == 0 || byte == *b"\n")
}
