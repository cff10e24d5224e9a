//! What `list` and `top` cost in memory on a table of very many entries.
//!
//! In: entries made up on the fly, each of another remote end: the worst case for both. Out: growth of this
//! process's peak, so this file must stay a process of its own with a single test.

mod peak;

use std::io;
use std::time::{Duration, Instant};

use monitor::command::list::{self, ListArgs};
use monitor::command::top::{self, TopArgs};
use monitor_model::classifier::Classifier;
use monitor_model::clock::ClockNow;
use monitor_model::target::TargetIndex;
use monitor_model::walk::{WalkEvent, WalkVisitor};

/// Three times what the table of remote ends holds; that its index may double once more, much later, is in the sum
/// that the table asserts when it is compiled.
const ENTRIES: u32 = 200_000;
#[expect(clippy::unnecessary_wraps, reason = "walks can fail, this one does not")]
fn walk(visitor: &mut WalkVisitor<'_>) -> anyhow::Result<()> {
    let _ = visitor(WalkEvent::Map { name: "ct4_global", clock: Some(ClockNow::ktime(1000)) });
    let mut key = [10, 244, 0, 10, 0, 0, 0, 0, 0x01, 0xbd, 0xa8, 0xca, 6, 0];
    let mut value = [0; 56];
    value[36] = 0x13;
    for number in 0..ENTRIES {
        key[4..8].copy_from_slice(&number.to_be_bytes());
        if visitor(WalkEvent::Entry { key: &key, value: &value }).is_break() {
            break;
        }
    }
    Ok(())
}

/// Notes when the first bytes arrive.
struct Sink {
    begun: Instant,
    first: Option<Duration>,
}

impl io::Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.first.get_or_insert_with(|| self.begun.elapsed());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn the_largest_tables_fit_in_what_list_and_top_may_take() {
    let classifier = Classifier { targets: TargetIndex::default(), stale_after: Duration::from_secs(600) };
    let before = peak::kib();
    let mut sink = Sink { begun: Instant::now(), first: None };
    let listed = list::run(&ListArgs::default(), &classifier, walk, &mut sink).unwrap();
    assert_eq!(listed.entries, u64::from(ENTRIES));
    assert!(sink.first.unwrap() < Duration::from_millis(100), "first line after {:?}", sink.first);
    let list = peak::kib() - before;
    assert!(list < 2 * 1024, "list streams, yet its peak grew by {list} KiB");

    let before = peak::kib();
    let mut report = Vec::new();
    let listed =
        top::run(&TopArgs { limit: 20, ..TopArgs::default() }, &classifier, walk, &mut report).unwrap();
    assert_eq!(listed.entries, u64::from(ENTRIES));
    let text = String::from_utf8(report).unwrap();
    assert!(text.contains(&format!("20 of more than 65536 remote ends, {ENTRIES} entries in all")), "{text}");
    let top = peak::kib() - before;
    assert!(top > 0 && top < peak::MOST_KIB, "top's peak grew by {top} KiB");
    println!("peak growth: list {list} KiB, top {top} KiB");
}
