//! The log: standard error, as text for people or JSON for log collectors.
//!
//! In: `--log-level` and `--log-format`. Out: a subscriber for the whole process, which also takes what comes
//! through the `log` crate (aya and the kernel programs' aya-log speak through it).
//! Must not: write to standard output, which belongs to the command's result, or let what is logged steer a terminal or
//! begin a line of its own.

use std::io;
use std::io::IsTerminal as _;

use anyhow::Context as _;
use monitor_output::terminal::{Notation, Shown, Terminal};
use tracing::{Level, Metadata};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::util::SubscriberInitExt as _;

/// How a line looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    #[default]
    Text,
    Json,
}

/// Starts the log. `level` is a level (`info`) or tracing's directives (`info,monitor_source=debug`).
pub fn init(level: &str, format: LogFormat) -> anyhow::Result<()> {
    subscriber(level, format, io::stderr().is_terminal(), io::stderr)?
        .try_init()
        .context("failed to start the log: something else in this process started one")
}

/// The subscriber, writing wherever it is told to.
fn subscriber<W>(
    level: &str,
    format: LogFormat,
    colours: bool,
    writer: W,
) -> anyhow::Result<Box<dyn tracing::Subscriber + Send + Sync>>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let filter = EnvFilter::builder().parse(level).with_context(|| {
        format!(
            "failed to read log level {level:?}: use error, warn, info, debug or trace, \
             or directives such as info,monitor_source=debug"
        )
    })?;
    // The subscriber makes no colours: ours are around the whole line, and what is logged can make none.
    let writer = LineMaker { to: writer, format, colours: colours && format == LogFormat::Text };
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(false)
        .with_ansi_sanitization(false)
        .with_writer(writer);
    Ok(match format {
        LogFormat::Text => Box::new(builder.finish()),
        // Fields beside the message, not in an object of their own: that is how log collectors index them.
        LogFormat::Json => Box::new(builder.json().flatten_event(true).finish()),
    })
}

/// Makes a line of every event.
struct LineMaker<M> {
    to: M,
    format: LogFormat,
    colours: bool,
}

/// Writes one event, which comes in one piece.
struct LineWriter<W> {
    to: W,
    format: LogFormat,
    colour: Option<&'static str>,
}

impl<'a, M: MakeWriter<'a>> MakeWriter<'a> for LineMaker<M> {
    type Writer = LineWriter<M::Writer>;

    fn make_writer(&'a self) -> Self::Writer {
        LineWriter { to: self.to.make_writer(), format: self.format, colour: None }
    }

    fn make_writer_for(&'a self, event: &Metadata<'_>) -> Self::Writer {
        let colour = match *event.level() {
            Level::ERROR => Some("\x1b[31m"),
            Level::WARN => Some("\x1b[33m"),
            _ => None,
        };
        LineWriter {
            to: self.to.make_writer_for(event),
            format: self.format,
            colour: colour.filter(|_| self.colours),
        }
    }
}

impl<W: io::Write> io::Write for LineWriter<W> {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let Self { to, format, colour } = self;
        match format {
            LogFormat::Json => Terminal::new(to, Notation::Json).write_all(event)?,
            LogFormat::Text => {
                let text = String::from_utf8_lossy(event);
                let line = Shown::line(text.strip_suffix('\n').unwrap_or(&text));
                let line = match colour {
                    Some(colour) => format!("{colour}{line}\x1b[0m\n"),
                    None => format!("{line}\n"),
                };
                to.write_all(line.as_bytes())?;
            }
        }
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use monitor_output::terminal::hostile;

    use super::*;

    /// What `events` leave in the log at `level`.
    fn logged(level: &str, format: LogFormat, events: impl FnOnce()) -> String {
        let buffer = Arc::new(Mutex::new(Vec::new()));
        let writer = Arc::clone(&buffer);
        let subscriber = subscriber(level, format, false, move || Shared(Arc::clone(&writer))).unwrap();
        tracing::subscriber::with_default(subscriber, events);
        String::from_utf8(buffer.lock().unwrap().clone()).unwrap()
    }

    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_below_the_level_are_left_out() {
        let events = || {
            tracing::warn!(map = "ct4_global", "map is gone");
            tracing::info!("not this");
        };
        let text = logged("warn", LogFormat::Text, events);
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(text.contains(" WARN ") && text.contains("map is gone map=\"ct4_global\""), "{text}");
        assert_eq!(logged("off", LogFormat::Text, events), "");
        assert_eq!(logged("warn,monitor=info", LogFormat::Text, events).lines().count(), 2);
    }

    #[test]
    fn json_is_one_object_per_line_with_its_fields_on_top() {
        let json = logged("info", LogFormat::Json, || tracing::info!(entries = 399, "scan\ndone"));
        assert_eq!(json.lines().count(), 1, "{json}");
        let line: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(line["message"], "scan\ndone");
        assert_eq!(line["entries"], 399);
        assert_eq!(line["level"], "INFO");
        assert!(line["timestamp"].is_string() && line["target"].is_string(), "{json}");
    }

    #[test]
    fn what_is_logged_steers_nothing_and_begins_no_line() {
        let events = || {
            tracing::error!(path = hostile::TEXT, error = %hostile::TEXT, what = ?hostile::TEXT, "{}", hostile::TEXT);
            tracing::error!("{}", "x".repeat(70_000));
        };
        for format in [LogFormat::Text, LogFormat::Json] {
            let log = logged("info", format, events);
            hostile::assert_tame("the log", log.as_bytes());
            assert_eq!(log.lines().count(), 2, "{log}");
        }
        let json = logged("info", LogFormat::Json, events);
        let line: serde_json::Value = serde_json::from_str(json.lines().next().unwrap()).unwrap();
        assert_eq!((&line["message"], &line["path"]), (&hostile::TEXT.into(), &hostile::TEXT.into()));
        assert!(logged("info", LogFormat::Text, events).len() < 16_000);
    }

    #[test]
    fn colours_are_around_the_line_alone() {
        let buffer = Arc::new(Mutex::new(Vec::new()));
        let writer = Arc::clone(&buffer);
        let subscriber =
            subscriber("info", LogFormat::Text, true, move || Shared(Arc::clone(&writer))).unwrap();
        tracing::subscriber::with_default(subscriber, || {
            tracing::error!("{}", hostile::TEXT);
            tracing::info!("fine");
        });
        let log = String::from_utf8(buffer.lock().unwrap().clone()).unwrap();
        let [error, fine] = log.lines().collect::<Vec<_>>().try_into().unwrap();
        let inner = error.strip_prefix("\u{1b}[31m").and_then(|line| line.strip_suffix("\u{1b}[0m")).unwrap();
        hostile::assert_tame("a line", inner.as_bytes());
        hostile::assert_tame("a line", fine.as_bytes());
    }

    #[test]
    fn a_level_that_cannot_be_read_is_explained() {
        let error = subscriber("loud=louder", LogFormat::Text, false, io::sink).err().unwrap();
        assert!(error.to_string().contains("use error, warn, info"), "{error}");
    }

    #[test]
    fn the_log_crate_is_heard_too() {
        // The only test that sets the process's log: the log crate has one for the process.
        init("off", LogFormat::Text).unwrap();
        let text = logged("info", LogFormat::Text, aya_log_line);
        assert!(text.contains("WARN") && text.contains("entry with nexthdr 0"), "{text}");
        assert!(init("info", LogFormat::Text).is_err());
    }

    /// What aya-log does with a record of a kernel program.
    fn aya_log_line() {
        log::logger().log(
            &log::Record::builder()
                .level(log::Level::Warn)
                .target("ct4_scan")
                .args(format_args!("entry with nexthdr 0"))
                .build(),
        );
    }
}
