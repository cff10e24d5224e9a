//! A real file, changed as people, editors and kubelets change one, and a reloader that looks at it often.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;
use std::thread;

use clap::Parser as _;

use super::*;
use crate::command::folder::Folder;

/// Nothing here takes this long unless it hangs.
const PATIENCE: Duration = Duration::from_secs(120);
const ONE: &str = "interval: 1s\ntargets: [{name: qnap, addresses: [10.0.0.1]}]\n";

#[derive(clap::Parser)]
struct Flags {
    #[command(flatten)]
    global: GlobalArgs,
}

/// What a command line without flags says.
fn no_flags() -> GlobalArgs {
    Flags::try_parse_from(["ctmon"]).unwrap().global
}

/// A folder laid out as a mounted `ConfigMap`: `config.yaml` points into `..data`, which points to a version.
struct Mounted(Folder);

impl Mounted {
    fn new() -> Self {
        let mounted = Self(Folder::new().unwrap());
        symlink("..data/config.yaml", mounted.path()).unwrap();
        mounted
    }

    fn path(&self) -> PathBuf {
        self.at("config.yaml")
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Makes a version, fills it, and swaps the link, as the kubelet does.
    fn swap(&self, fill: impl FnOnce(&Path)) {
        let version = self.at(&format!("..version-{}", fs::read_dir(self.0.path()).unwrap().count()));
        fs::create_dir_all(&version).unwrap();
        fill(&version.join("config.yaml"));
        let link = self.at("..data_tmp");
        symlink(&version, &link).unwrap();
        fs::rename(&link, self.at("..data")).unwrap();
    }

    fn write(&self, text: &str) {
        self.swap(|path| fs::write(path, text).unwrap());
    }
}

/// A reloader at work in a thread of its own, and what it orders.
struct Working {
    orders: mpsc::Receiver<Order>,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Working {
    fn start(path: &Path, text: Option<&str>) -> Self {
        let listen = vec!["127.0.0.1:10469".parse().unwrap()];
        let mut reloader = Reloader::new(no_flags(), listen, true, text.map(str::to_owned));
        reloader.path = path.to_owned();
        reloader.pace = Pace { poll: Duration::from_millis(5), settle: Duration::from_millis(5) };
        let (sender, orders) = mpsc::channel();
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let thread = thread::spawn(move || {
            // One thread for everything, as in the daemon: what blocks it stops it.
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let mut hangups = Hangups::never();
            runtime.block_on(async {
                tokio::select! {
                    _ = stopped => {}
                    result = reloader.run(&mut hangups, &sender) => result.unwrap(),
                }
            });
        });
        Self { orders, stop: Some(stop), thread: Some(thread) }
    }

    fn order(&self, what: &str) -> Order {
        self.orders.recv_timeout(PATIENCE).unwrap_or_else(|error| panic!("{what}: {error}"))
    }

    /// The one line that says why.
    fn refuses(&self, what: &str) -> String {
        let Order::ReloadFailed(why) = self.order(what) else { panic!("{what} is applied") };
        assert!(!why.is_empty() && !why.contains('\n') && why.len() < 2_000, "{what}: {why}");
        why
    }

    fn applies(&self, what: &str) -> Settings {
        match self.order(what) {
            Order::Settings(order) => order.0,
            Order::ReloadFailed(why) => panic!("{what} is refused: {why}"),
        }
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take()
            && !thread::panicking()
        {
            thread.join().unwrap();
        }
    }
}

#[test]
fn half_a_file_is_refused_and_what_it_says_is_done() {
    let mounted = Mounted::new();
    mounted.write(ONE);
    let working = Working::start(&mounted.path(), Some(ONE));
    mounted.write("");
    assert!(working.refuses("an empty document").contains("the document is empty"));
    mounted.write(&format!("interval: {}", "x".repeat(9_000)));
    assert!(working.refuses("a value without an end").contains("interval: `xxx"));
    mounted.write("# to be continued\n---\n");
    working.refuses("a document of comments");
    mounted.write("interval: 1s\ntargets:\n");
    working.refuses("a section that was cut off");
    mounted.write("interval: 1s\nexpect:\n  sysctls:\n");
    working.refuses("a section below another one that was cut off");
    fs::remove_file(mounted.at("..data")).unwrap();
    working.refuses("a file that is gone");
    mounted.write("interval: 1s\ntargets: []\n");
    assert_eq!(working.applies("an explicit list of nothing").targets, []);
    mounted.write(ONE);
    assert_eq!(working.applies("a swapped link").targets.len(), 1);
    mounted.write("{}");
    assert_eq!(working.applies("an explicit nothing").targets, []);
}

#[test]
fn what_is_no_file_or_a_bomb_is_refused_at_once() {
    let mounted = Mounted::new();
    mounted.write(ONE);
    let working = Working::start(&mounted.path(), Some(ONE));
    // Nobody writes to it: whoever opens and reads it as a file waits for ever.
    mounted.swap(|path| assert!(Command::new("mkfifo").arg(path).status().unwrap().success()));
    working.refuses("a FIFO");
    mounted.write(ONE);
    assert_eq!(working.applies("what was there before").targets.len(), 1);
    mounted.swap(|path| symlink("/dev/zero", path).unwrap());
    working.refuses("a device without an end");
    mounted.write(&"[".repeat(250_000));
    working.refuses("a bomb");
    mounted.write(ONE);
    assert_eq!(working.applies("what was there before").targets.len(), 1);
}

#[test]
fn without_a_file_the_defaults_stay_until_there_is_one() {
    let mounted = Mounted::new();
    let working = Working::start(&mounted.path(), None);
    mounted.write(ONE);
    assert_eq!(working.applies("the first file").targets.len(), 1);
    fs::remove_file(mounted.at("..data")).unwrap();
    working.refuses("a file that is gone again");
}

#[tokio::test]
async fn who_asks_for_a_file_that_never_was_gets_the_defaults() {
    let mounted = Mounted::new();
    let listen = Settings::defaults::<Catalog>().listen;
    let mut reloader = Reloader::new(no_flags(), listen, false, None);
    reloader.path = mounted.path();
    let Order::Settings(order) = reloader.reload(Content::Absent).await.unwrap() else { panic!("refused") };
    assert_eq!(order.0, Settings::defaults::<Catalog>());
}

#[test]
fn a_content_counts_when_it_was_there_twice() {
    let seen = |text: &str| Content::Text(text.to_owned());
    let mut watch = Watch::new(seen("a"));
    assert!(!watch.is_news(&seen("a")));
    // Cut after a whole line, then whole: the half was never taken.
    assert!(watch.is_news(&seen("ab")));
    assert_eq!(watch.settle(&seen("ab"), seen("abc")), Settled::NotYet);
    assert!(watch.is_news(&seen("abc")));
    assert_eq!(watch.settle(&seen("abc"), seen("abc")), Settled::As(seen("abc")));
    assert!(!watch.is_news(&seen("abc")));
    // Gone for a moment, as while an editor renames.
    assert!(watch.is_news(&Content::Absent));
    assert_eq!(watch.settle(&Content::Absent, seen("abc")), Settled::NotYet);
    assert!(!watch.is_news(&seen("abc")));
    // Asked for, the same content is read again, once.
    watch.asked = true;
    assert!(watch.is_news(&seen("abc")));
    assert_eq!(watch.settle(&seen("abc"), seen("abc")), Settled::As(seen("abc")));
    assert!(!watch.is_news(&seen("abc")));
    // What never rests is said once.
    let told = (0..100).map(|turn: u32| {
        assert!(watch.is_news(&seen(&turn.to_string())));
        watch.settle(&seen(&turn.to_string()), seen("other"))
    });
    assert_eq!(told.filter(|settled| *settled == Settled::Never).count(), 1);
}
