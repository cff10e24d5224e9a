//! A real writer in a real folder, rotating as the kubelet and the runtime do.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::symlink;

use super::super::testing::TempDir;
use super::*;

/// A container whose runtime appends to `0.log`.
struct Writer {
    folder: PathBuf,
    file: File,
}

impl Writer {
    fn new(dir: &TempDir, pod: &str, container: &str) -> Self {
        let folder = dir.path().join("pods").join(pod).join(container);
        fs::create_dir_all(&folder).unwrap();
        let file = Self::open(&folder);
        Self { folder, file }
    }

    fn open(folder: &Path) -> File {
        OpenOptions::new().create(true).append(true).open(folder.join("0.log")).unwrap()
    }

    fn log(&mut self, message: &str) {
        writeln!(self.file, "2026-11-22T00:17:09.669794202Z stdout F {message}").unwrap();
    }

    /// The kubelet's half of a rotation.
    fn rename(&self, to: &str) {
        fs::rename(self.folder.join("0.log"), self.folder.join(to)).unwrap();
    }

    /// The runtime's half.
    fn reopen(&mut self) {
        self.file = Self::open(&self.folder);
    }
}

fn spec(name: &str, pattern: &str) -> LogPattern {
    let (name, pattern) = (name.to_owned(), pattern.to_owned());
    LogPattern { name, pattern, namespaces: vec![], pods: vec![], containers: vec![] }
}

fn counter(specs: &[LogPattern]) -> LogCounter {
    LogCounter::new(specs, Limits::default()).unwrap()
}

/// Time that never ends.
fn idle() -> Meter {
    Meter::new(Duration::MAX, || Duration::ZERO)
}

fn count(counter: &mut LogCounter, dir: &TempDir) -> u64 {
    counter.read(&dir.host(), &mut idle()).unwrap().unwrap().matches[0].1
}

#[test]
fn without_pod_logs_or_patterns_the_source_is_off() {
    let dir = TempDir::new();
    assert_eq!(counter(&[spec("a", "x")]).read(&dir.host(), &mut idle()).unwrap(), None);
    Writer::new(&dir, "ns_pod_uid", "app");
    assert_eq!(counter(&[]).read(&dir.host(), &mut idle()).unwrap(), None);
}

#[test]
fn what_was_there_before_the_start_is_not_counted_and_what_comes_is_counted_once() {
    let dir = TempDir::new();
    let mut writer = Writer::new(&dir, "media_plex-0_1", "plex");
    writer.log("error before");
    let mut counter = counter(&[spec("errors", "error"), spec("never", "xyz")]);
    assert_eq!(count(&mut counter, &dir), 0);
    writer.log("error one");
    writer.log("fine");
    assert_eq!(count(&mut counter, &dir), 1);
    assert_eq!(count(&mut counter, &dir), 1);
    // A pod that starts later is read from its beginning.
    Writer::new(&dir, "media_sonarr-0_2", "sonarr").log("error two and error three are one message");
    let reading = counter.read(&dir.host(), &mut idle()).unwrap().unwrap();
    assert_eq!(reading.matches, [("errors".to_owned(), 2), ("never".to_owned(), 0)]);
    assert_eq!((reading.files, reading.totals.messages), (2, 3));
}

#[test]
fn a_line_half_written_at_the_start_or_at_a_reading_is_handled() {
    let dir = TempDir::new();
    let mut writer = Writer::new(&dir, "ns_pod_1", "app");
    write!(writer.file, "2026-11-22T00:17:09Z stdout F err").unwrap();
    let mut counter = counter(&[spec("errors", "error")]);
    assert_eq!(count(&mut counter, &dir), 0);
    write!(writer.file, "or\n2026-11-22T00:17:09Z stdout F er").unwrap();
    assert_eq!(count(&mut counter, &dir), 0, "the first began before the start, the second has no end yet");
    writeln!(writer.file, "ror").unwrap();
    assert_eq!(count(&mut counter, &dir), 1);
    assert_eq!(counter.read(&dir.host(), &mut idle()).unwrap().unwrap().totals.malformed_lines, 0);
}

#[test]
fn rotation_loses_and_repeats_nothing_wherever_the_reading_falls() {
    // The places between the steps of a rotation at which a reading may happen.
    for reading_at in 0_u8..16 {
        let dir = TempDir::new();
        let mut writer = Writer::new(&dir, "ns_pod_1", "app");
        let mut counter = counter(&[spec("errors", "error")]);
        assert_eq!(count(&mut counter, &dir), 0);
        let mut expected = 0;
        let mut log = |writer: &mut Writer| {
            writer.log("error");
            expected += 1;
        };
        for (step, rotated) in ["0.log.20261101-120000", "0.log.20261101-130000"].iter().enumerate() {
            let mut read_if = |bit: u8| {
                if reading_at >> bit & 1 == 1 || step == 1 {
                    count(&mut counter, &dir);
                }
            };
            log(&mut writer);
            read_if(0);
            writer.rename(rotated);
            read_if(1);
            log(&mut writer);
            read_if(2);
            writer.reopen();
            log(&mut writer);
            read_if(3);
        }
        // Every descriptor is read to its end, and the old one once more.
        for _ in 0..3 {
            count(&mut counter, &dir);
        }
        let expected_now = if reading_at == 0 { None } else { Some(expected) };
        let sum = count(&mut counter, &dir);
        // With no reading at all during the first rotation the second comes before the first was seen.
        assert!(expected_now.is_none_or(|expected| expected == sum), "{reading_at:04b}: {sum}");
        assert!(sum <= expected, "{reading_at:04b}: {sum} of {expected}: something was read twice");
        drop(File::create(writer.folder.join("0.log.20261101-120000.gz")).unwrap());
        assert_eq!(count(&mut counter, &dir), sum, "a packed file is not read");
    }
}

#[test]
fn what_is_written_to_the_old_file_after_the_new_one_exists_is_still_counted() {
    let dir = TempDir::new();
    let mut writer = Writer::new(&dir, "ns_pod_1", "app");
    let mut counter = counter(&[spec("errors", "error")]);
    count(&mut counter, &dir);
    writer.rename("0.log.1");
    drop(Writer::open(&writer.folder));
    count(&mut counter, &dir);
    writer.log("error late");
    assert_eq!(count(&mut counter, &dir), 1);
}

#[test]
fn a_truncated_file_is_read_from_its_beginning() {
    let dir = TempDir::new();
    let mut writer = Writer::new(&dir, "ns_pod_1", "app");
    let mut counter = counter(&[spec("errors", "error")]);
    count(&mut counter, &dir);
    writer.log("error one, long enough to tell");
    assert_eq!(count(&mut counter, &dir), 1);
    writer.file.set_len(0).unwrap();
    writer.log("error");
    assert_eq!(count(&mut counter, &dir), 2);
    assert_eq!(counter.read(&dir.host(), &mut idle()).unwrap().unwrap().totals.truncations, 1);
}

#[test]
fn symlinks_are_followed_and_what_is_no_file_is_not() {
    let dir = TempDir::new();
    let folder = dir.path().join("pods/ns_pod_1/app");
    fs::create_dir_all(&folder).unwrap();
    let real = dir.write("docker/real.log", b"");
    symlink(&real, folder.join("0.log")).unwrap();
    symlink(dir.path().join("nowhere"), folder.join("1.log")).unwrap();
    fs::create_dir(folder.join("2.log")).unwrap();
    let mut counter = counter(&[spec("errors", "error")]);
    assert_eq!(count(&mut counter, &dir), 0);
    fs::write(&real, "2026-11-22T00:17:09Z stderr F error\n").unwrap();
    let reading = counter.read(&dir.host(), &mut idle()).unwrap().unwrap();
    assert_eq!(reading.matches[0].1, 1);
    assert!(reading.totals.failures > 0, "the folder named like a log cannot be read: {reading:?}");
}

#[test]
fn selectors_choose_namespaces_pods_and_containers() {
    let dir = TempDir::new();
    let select = |namespaces: &[&str], pods: &[&str], containers: &[&str]| {
        let own = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let (namespaces, pods, containers) = (own(namespaces), own(pods), own(containers));
        LogPattern { namespaces, pods, containers, ..spec("p", "error") }
    };
    let specs = [
        select(&["trident"], &[], &[]),
        select(&[], &["plex-*"], &[]),
        select(&["media"], &["*"], &["sidecar", "init"]),
        select(&["nothing"], &[], &[]),
    ];
    let mut counter = counter(&specs);
    fs::create_dir_all(dir.path().join("pods/not a pod")).unwrap();
    counter.read(&dir.host(), &mut idle()).unwrap();
    for (pod, container) in [
        ("trident_controller-1_a", "main"),
        ("media_plex-0_b", "plex"),
        ("media_plex-0_b", "sidecar"),
        ("other_x_c", "x"),
    ] {
        Writer::new(&dir, pod, container).log("error");
    }
    let reading = counter.read(&dir.host(), &mut idle()).unwrap().unwrap();
    let counts: Vec<u64> = reading.matches.iter().map(|(_, count)| *count).collect();
    assert_eq!(counts, [1, 2, 1, 0]);
    assert_eq!(reading.files, 3, "a file no pattern selects is not opened");
}

#[test]
fn a_flood_is_read_within_its_bounds_and_the_rest_is_counted_as_skipped() {
    let dir = TempDir::new();
    let limits = Limits {
        bytes_per_reading: 3000,
        bytes_per_file: 2000,
        message_bytes: 100,
        files: 2,
        ..Limits::default()
    };
    let mut counter = LogCounter::new(&[spec("errors", "error")], limits).unwrap();
    let mut writers = ["a", "b", "c"].map(|name| Writer::new(&dir, &format!("ns_{name}_1"), "app"));
    let first = counter.read(&dir.host(), &mut idle()).unwrap().unwrap();
    assert_eq!((first.files, first.skipped_files), (2, 1));
    for writer in &mut writers {
        (0..1000).for_each(|_| writer.log("error"));
    }
    let size = fs::metadata(writers[0].folder.join("0.log")).unwrap().len();
    let second = counter.read(&dir.host(), &mut idle()).unwrap().unwrap();
    assert_eq!(second.totals.bytes, 3000);
    let third = counter.read(&dir.host(), &mut idle()).unwrap().unwrap();
    assert_eq!(third.totals.bytes, 4000, "the second file's rest, no more");
    assert_eq!(third.totals.skipped_bytes, 2 * (size - 2000));
    assert_eq!(third.totals.malformed_lines, 0, "reading goes on at the beginning of a line");
    assert_eq!(third.matches[0].1, third.totals.messages);
}

#[test]
fn a_pod_that_goes_away_is_forgotten() {
    let dir = TempDir::new();
    let mut writer = Writer::new(&dir, "ns_pod_1", "app");
    let mut counter = counter(&[spec("errors", "error")]);
    count(&mut counter, &dir);
    writer.log("error, the last words");
    fs::remove_dir_all(dir.path().join("pods/ns_pod_1")).unwrap();
    assert_eq!(count(&mut counter, &dir), 1);
    count(&mut counter, &dir);
    assert_eq!(counter.read(&dir.host(), &mut idle()).unwrap().unwrap().files, 0);
}

#[test]
fn an_invalid_or_huge_expression_is_refused_with_its_name() {
    for regex in ["(", "(a{1000}){1000}"] {
        let error = LogCounter::new(&[spec("broken", regex)], Limits::default()).unwrap_err().to_string();
        assert!(error.starts_with("log pattern \"broken\": invalid regular expression"), "{error}");
    }
}

#[test]
fn other_patterns_keep_the_counts_of_those_that_stay_and_read_nothing_again() {
    let dir = TempDir::new();
    let mut writer = Writer::new(&dir, "ns_pod_1", "app");
    let mut unselected = Writer::new(&dir, "other_pod_1", "app");
    let only = LogPattern { namespaces: vec!["ns".to_owned()], ..spec("errors", "error") };
    let mut counter = counter(std::slice::from_ref(&only));
    assert_eq!(count(&mut counter, &dir), 0);
    writer.log("error one");
    unselected.log("warning before anybody asked");
    assert_eq!(count(&mut counter, &dir), 1);
    counter.follow(&[spec("warnings", "warning"), only]).unwrap();
    writer.log("error two, with a warning");
    let read = |counter: &mut LogCounter| counter.read(&dir.host(), &mut idle()).unwrap().unwrap().matches;
    assert_eq!(read(&mut counter), [("warnings".to_owned(), 1), ("errors".to_owned(), 2)]);
    unselected.log("warning");
    assert_eq!(read(&mut counter), [("warnings".to_owned(), 2), ("errors".to_owned(), 2)]);
    assert!(counter.follow(&[spec("broken", "(")]).is_err());
    writer.log("error three");
    assert_eq!(read(&mut counter)[1], ("errors".to_owned(), 3));
}

#[test]
fn a_reading_ends_when_its_time_is_used_up_and_the_next_goes_on_behind_it() {
    let dir = TempDir::new();
    let mut counter = counter(&[spec("errors", "error")]);
    let mut writers = ["a", "b", "c", "d"].map(|name| Writer::new(&dir, &format!("ns_{name}_1"), "app"));
    count(&mut counter, &dir);
    for writer in &mut writers {
        (0..5).for_each(|_| writer.log("error"));
    }
    // A clock that is a second further at every look: one file is read, then the time is over.
    let clock = |most: u64| {
        let mut seconds = 0;
        Meter::new(Duration::from_secs(most), move || {
            seconds += 1;
            Duration::from_secs(seconds)
        })
    };
    let mut read = |most| counter.read(&dir.host(), &mut clock(most)).unwrap().unwrap();
    let counts: Vec<u64> = (0..4).map(|_| read(1).matches[0].1).collect();
    assert_eq!(counts, [5, 10, 15, 20], "one file at a time, and none twice");
    let reading = read(1);
    assert_eq!((reading.matches[0].1, reading.totals.skipped_bytes), (20, 0));
    assert!(reading.totals.short_readings >= 3, "{reading:?}");
    writers[0].log("error");
    writers[3].log("error");
    assert_eq!(read(100).matches[0].1, 22);
}

#[test]
fn a_rotated_file_is_kept_until_its_end_was_reached_and_what_is_given_up_is_counted() {
    let dir = TempDir::new();
    let limits = Limits { bytes_per_reading: 1000, ..Limits::default() };
    let mut counter = LogCounter::new(&[spec("errors", "error")], limits).unwrap();
    let mut writer = Writer::new(&dir, "ns_pod_1", "app");
    count(&mut counter, &dir);
    (0..100).for_each(|_| writer.log("error"));
    writer.rename("0.log.1");
    writer.reopen();
    // Many readings long, the old descriptor is read on.
    let counts: Vec<u64> = (0..20).map(|_| count(&mut counter, &dir)).collect();
    assert_eq!(counts.last(), Some(&100), "{counts:?}");
    let unread = |counter: &mut LogCounter| counter.read(&dir.host(), &mut idle()).unwrap().unwrap().totals;
    assert_eq!(unread(&mut counter).skipped_bytes, 0);

    // Two rotations before the first file's end: what was left of it is said to be passed over.
    let mut expected = 100;
    for name in ["0.log.2", "0.log.3"] {
        (0..100).for_each(|_| writer.log("error"));
        expected += 100;
        writer.rename(name);
        writer.reopen();
        count(&mut counter, &dir);
    }
    let counts: Vec<u64> = (0..40).map(|_| count(&mut counter, &dir)).collect();
    let totals = unread(&mut counter);
    let line = "2026-11-22T00:17:09.669794202Z stdout F error\n".len() as u64;
    assert!(totals.skipped_bytes > 0, "{totals:?}");
    assert_eq!(counts.last(), Some(&(expected - totals.skipped_bytes.div_ceil(line))), "{totals:?}");
}

#[test]
fn many_patterns_count_what_each_alone_counts() {
    let specs: Vec<LogPattern> = (0..32)
        .map(|number| spec(&format!("p{number}"), &format!("(?i)error {number}\\b|^x{number}$")))
        .collect();
    let dir = TempDir::new();
    let mut together = counter(&specs);
    let mut alone: Vec<LogCounter> = specs.iter().map(|spec| counter(std::slice::from_ref(spec))).collect();
    assert!(together.any.is_some() && alone.iter().all(|counter| counter.any.is_none()));
    let mut writer = Writer::new(&dir, "ns_pod_1", "app");
    count(&mut together, &dir);
    for counter in &mut alone {
        count(counter, &dir);
    }
    for number in 0..64 {
        writer.log(&format!("an ERROR {number}, and error {} too", number / 2));
        writer.log(&format!("x{number}"));
        writer.log("nothing");
    }
    let found = together.read(&dir.host(), &mut idle()).unwrap().unwrap().matches;
    let found: Vec<u64> = found.into_iter().map(|(_, matches)| matches).collect();
    let expected: Vec<u64> = alone.iter_mut().map(|counter| count(counter, &dir)).collect();
    assert_eq!(found, expected);
    assert!(expected.iter().all(|count| *count >= 3), "{expected:?}");
}

#[test]
fn files_are_as_many_as_descriptors_allow() {
    let check = |descriptors: u64, files: usize| {
        assert_eq!(Limits::within(descriptors).files, files, "{descriptors}");
    };
    check(0, 0);
    check(256, 0);
    check(1024, 256);
    check(1536, 512);
    check(1 << 20, 512);
    check(u64::MAX, 512);
}
