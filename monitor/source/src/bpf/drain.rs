//! Reads an iterator to its end.
//!
//! In: the descriptor of one walk. Out: how many reads it took, or the records it wrote.
//! Must not: give up at EAGAIN (the kernel's word for "a million elements without output, read on") or EINTR.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::ops::ControlFlow;
use std::os::fd::OwnedFd;

/// What one `read` of a streaming walk may return: the kernel's own buffer holds eight pages.
const STREAM_BUFFER: usize = 8 * 4096;

/// Runs an aggregating walk. A buffer of one byte makes the kernel return at every byte the program writes.
pub(super) fn count_reads(iterator: OwnedFd) -> io::Result<u64> {
    let mut file = File::from(iterator);
    let mut byte = [0_u8; 1];
    let mut reads = 0;
    loop {
        reads += 1;
        if read_on(&mut file, &mut byte)? == 0 {
            return Ok(reads);
        }
    }
}

/// Runs a streaming walk. Returns whether it came to its end; `each` may stop it before.
pub(super) fn records(
    iterator: OwnedFd,
    key_size: usize,
    value_size: usize,
    mut each: impl FnMut(&[u8], &[u8]) -> ControlFlow<()>,
) -> io::Result<bool> {
    let mut file = File::from(iterator);
    let mut buffer = vec![0_u8; STREAM_BUFFER];
    let mut held = 0;
    loop {
        let Some(free) = buffer.get_mut(held..) else { return Ok(true) };
        let read = read_on(&mut file, free)?;
        if read == 0 {
            return if held == 0 { Ok(true) } else { Err(ErrorKind::UnexpectedEof.into()) };
        }
        held += read;
        let whole = held - held % (key_size + value_size);
        for record in buffer.get(..whole).unwrap_or_default().chunks_exact(key_size + value_size) {
            let (key, value) = record.split_at(key_size);
            if each(key, value).is_break() {
                return Ok(false);
            }
        }
        // A record may be cut by the end of a read: its start moves to the front.
        buffer.copy_within(whole..held, 0);
        held -= whole;
    }
}

fn read_on(file: &mut File, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match file.read(buffer) {
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            other => return other,
        }
    }
}
