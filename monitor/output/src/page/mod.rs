//! The page at `/`: what this is, how old its numbers are, what they say, where to look.
//!
//! In: the daemon's version, its last snapshot with its findings. Out: plain HTML that every reader, browser or
//! assistive technology understands.
//! Must not: need scripts, other files or the network, nor trust any text: all of it is escaped.

mod tables;

use std::fmt;
use std::fmt::Write as _;
use std::time::Duration;

pub use crate::page::tables::View;

/// A link with what is behind it.
#[derive(Clone, Copy, Debug)]
pub struct Link<'a> {
    pub href: &'a str,
    pub about: &'a str,
}

/// What the page shows.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    pub version: &'a str,
    /// The host's name, if it is known.
    pub host: Option<&'a str>,
    /// `None` before the first snapshot.
    pub view: Option<View<'a>>,
}

/// The finished page, open where the snapshot's age belongs.
#[derive(Clone, Debug)]
pub struct Page {
    pub before: String,
    pub after: String,
}

/// Where to go from here.
const LINKS: [Link<'static>; 3] = [
    Link { href: "/metrics", about: "every number, for Prometheus" },
    Link { href: "/readyz", about: "whether the numbers are recent, with the reason if they are not" },
    Link { href: "/healthz", about: "whether the process answers" },
];

/// What to look at first, and what a healthy node shows there.
const FIRST_LOOKS: [(&str, &str); 5] = [
    ("ctmon_map_fill_ratio", "how full each map is: far below 1, and not growing for days"),
    (
        "ctmon_target_lingering_entries",
        "closed connections to a target that nobody collected: 0 on a healthy node",
    ),
    ("ctmon_gc_last_pass_age_seconds", "how long ago Cilium's collector passed: minutes, not hours"),
    (
        "ctmon_evictions_total",
        "entries the kernel threw away to make room: a live one is a broken connection",
    ),
    ("ctmon_alert_active", "which alerts this node would raise by itself: all 0"),
];

const STYLE: &str = "body{font-family:system-ui,sans-serif;line-height:1.5;max-width:64rem;margin:2rem auto;\
    padding:0 1rem;color:#1b1b1b;background:#fff}a{color:#0b57d0}code{font-size:.95em}\
    table{border-collapse:collapse}th,td{text-align:left;padding:.25rem 1rem .25rem 0;\
    border-bottom:1px solid #ccc;font-variant-numeric:tabular-nums}\
    td:first-child{padding-left:0}.critical,.warning{font-weight:600}\
    @media(prefers-color-scheme:dark){body{color:#e8e8e8;background:#161616}a{color:#8ab4f8}\
    th,td{border-color:#444}}";

impl Page {
    /// Renders the page.
    #[must_use]
    pub fn render(facts: &Facts<'_>) -> Self {
        let mut before = String::with_capacity(2048);
        let mut after = String::with_capacity(4096);
        // Writing to a String cannot fail.
        let _ = write_before(&mut before, facts);
        let _ = write_after(&mut after, facts);
        Self { before, after }
    }

    /// The sentence between the two halves: the snapshot's age and interval, or why there is none.
    #[must_use]
    pub fn status(age: Result<(Duration, Duration), &str>) -> String {
        match age {
            Ok((age, interval)) => format!(
                "<p>The numbers are {:.1} s old; a new snapshot is taken every {:.1} s.</p>\n",
                age.as_secs_f64(),
                interval.as_secs_f64(),
            ),
            Err(why) => format!("<p>There is no snapshot yet: {}</p>\n", Escaped(why)),
        }
    }
}

fn write_before(out: &mut String, facts: &Facts<'_>) -> fmt::Result {
    let Facts { version, host, view: _ } = *facts;
    let place = host.map(|host| format!(" on {host}")).unwrap_or_default();
    let place = Escaped(&place);
    write!(
        out,
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>ctmon{place}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n\
         <h1>ctmon{place}</h1>\n\
         <p>Watches the connection tracking of this node's Cilium. Version {}.</p>\n",
        Escaped(version),
    )
}

fn write_after(out: &mut String, facts: &Facts<'_>) -> fmt::Result {
    if let Some(view) = &facts.view {
        tables::write(out, view)?;
    }
    out.push_str("<h2>Pages</h2>\n<ul>\n");
    for Link { href, about } in LINKS {
        writeln!(out, "<li><a href=\"{0}\">{0}</a>: {1}</li>", Escaped(href), Escaped(about))?;
    }
    out.push_str("</ul>\n<h2>What to look at first</h2>\n<dl>\n");
    for (metric, meaning) in FIRST_LOOKS {
        writeln!(out, "<dt><code>{metric}</code></dt><dd>{meaning}</dd>")?;
    }
    out.push_str(
        "</dl>\n<p>On the node, <code>ctmon check</code> explains every finding, <code>ctmon top</code> shows who \
         fills the table, and <code>ctmon list --lingering</code> lists the entries themselves.</p>\n\
         </main>\n</body>\n</html>\n",
    );
    Ok(())
}

/// Text in which nothing is markup.
struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in self.0.chars() {
            match character {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                other => f.write_char(other)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {

    use super::*;
    use crate::testing;

    fn text(page: &Page, status: &str) -> String {
        [&page.before, status, &page.after].concat()
    }

    #[test]
    fn the_page_shows_its_facts_and_runs_nothing() {
        let snapshot = testing::nothing(&testing::defaults());
        let view = View { snapshot: &snapshot, findings: &[] };
        let page = Page::render(&Facts { version: "1.2.3", host: Some("node-1"), view: Some(view) });
        let page = text(&page, &Page::status(Ok((Duration::from_millis(2500), Duration::from_secs(15)))));
        for expected in [
            "<title>ctmon on node-1</title>",
            "<html lang=\"en\">",
            "Version 1.2.3.",
            "<h2>Findings</h2>",
            "<h2>Maps</h2>",
            "<h2>Targets</h2>",
            "2.5 s old",
            "every 15.0 s",
            "<a href=\"/metrics\">",
        ] {
            assert!(page.contains(expected), "{expected} is missing in {page}");
        }
        assert!(!page.contains("<script"));
        assert_eq!(page.matches("<main>").count(), page.matches("</main>").count());
    }

    #[test]
    fn no_text_becomes_markup() {
        let page = Page::render(&Facts { version: "<v>", host: Some("<h>"), view: None });
        let page = text(&page, &Page::status(Err("<why>")));
        for unwanted in ["<v>", "<h>", "<why>"] {
            assert!(!page.contains(unwanted), "{unwanted} came through in {page}");
        }
        assert_eq!(Escaped("\"b\" & 'c'").to_string(), "&quot;b&quot; &amp; &#39;c&#39;");
    }

    #[test]
    fn without_facts_there_is_no_empty_table() {
        let page = Page::render(&Facts { version: "1", host: None, view: None });
        let page = text(&page, &Page::status(Err("Cilium has no pins yet")));
        assert!(page.contains("<h1>ctmon</h1>"), "{page}");
        assert!(page.contains("There is no snapshot yet: Cilium has no pins yet"), "{page}");
        assert!(!page.contains("<table>"), "{page}");
    }
}
