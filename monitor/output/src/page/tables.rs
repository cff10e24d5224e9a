//! The snapshot on the page at `/`: what is wrong and what to do, the maps, the targets.
//!
//! In: a snapshot and its findings. Out: three tables of HTML.
//! Must not: show an address seen in traffic: whoever may scrape may read this. Evidence can hold one, so that it
//! stays with `ctmon check`, on the node. Nor grow without bound: rows come from our maps, the configuration, the
//! checks.

use std::fmt;
use std::fmt::Write as _;
use std::time::Duration;

use monitor_check::Finding;
use monitor_check::gc::outlook;
use monitor_model::duration;
use monitor_model::map_name::with_aliases;
use monitor_model::snapshot::{Content, PresentMap, Snapshot, TargetState};

use super::Escaped;

/// Findings shown at the most, the heaviest first. A node in trouble has a dozen.
const MOST_FINDINGS: usize = 40;

/// What the tables show.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    pub snapshot: &'a Snapshot,
    /// The heaviest first.
    pub findings: &'a [Finding],
}

pub(super) fn write(out: &mut String, view: &View<'_>) -> fmt::Result {
    let View { snapshot, findings } = *view;
    write_findings(out, findings)?;
    write_maps(out, snapshot)?;
    write_collector(out, snapshot)?;
    write_targets(out, &snapshot.targets)
}

fn write_findings(out: &mut String, findings: &[Finding]) -> fmt::Result {
    out.push_str("<h2>Findings</h2>\n");
    if findings.is_empty() {
        out.push_str("<p>Nothing that this snapshot can tell is wrong.</p>\n");
        return Ok(());
    }
    head(out, &["Level", "Finding", "Where", "What to do"])?;
    for Finding { check, level, map_name, target, evidence: _, advice } in findings.iter().take(MOST_FINDINGS)
    {
        let place = if target.is_empty() { with_aliases(map_name) } else { target.clone() };
        let level = level.name();
        writeln!(
            out,
            "<tr><td class=\"{level}\">{level}</td><th scope=\"row\">{}</th><td>{}</td><td>{}</td></tr>",
            Escaped(check),
            Escaped(&place),
            Escaped(advice),
        )?;
    }
    out.push_str("</tbody>\n</table>\n");
    match findings.len().saturating_sub(MOST_FINDINGS) {
        0 => out.push_str("<p>The numbers behind them: <code>ctmon check</code> on the node.</p>\n"),
        more => writeln!(out, "<p>And {more} more: <code>ctmon check</code> on the node shows all.</p>")?,
    }
    Ok(())
}

fn write_maps(out: &mut String, snapshot: &Snapshot) -> fmt::Result {
    out.push_str("<h2>Maps</h2>\n");
    if snapshot.maps.iter().all(|map| matches!(map.content, Content::Absent)) {
        out.push_str("<p>No map of Cilium is pinned on this node.</p>\n");
        return Ok(());
    }
    head(out, &["Map", "Entries", "Capacity", "Fill", "Stale", "Dead", "Oldest dead"])?;
    for map in &snapshot.maps {
        let name = Escaped(&map.map.name);
        match &map.content {
            Content::Absent => {}
            Content::Problem(problem) => writeln!(
                out,
                "<tr><th scope=\"row\">{name}</th><td colspan=\"6\">cannot be read: {}</td></tr>",
                Escaped(&problem.detail)
            )?,
            Content::Present(present) => {
                write!(out, "<tr><th scope=\"row\">{name}</th>")?;
                cells(out, &of_map(present, map.map.is_conntrack()))?;
            }
        }
    }
    out.push_str("</tbody>\n</table>\n");
    Ok(())
}

/// What Cilium's collector does, and where that leads: numbers of this node, no address.
fn write_collector(out: &mut String, snapshot: &Snapshot) -> fmt::Result {
    let Some(outlook) = outlook(snapshot) else { return Ok(()) };
    writeln!(out, "<h2>Collector of dead entries</h2>\n<p>{}.</p>", Escaped(&outlook.words()))?;
    let advice = outlook.general_advice();
    if !advice.is_empty() {
        writeln!(out, "<p>What helps: {}.</p>", Escaped(&advice))?;
    }
    Ok(())
}

/// Entries, capacity, fill; of conntrack also what is stale, what is dead, and for how long.
fn of_map(present: &PresentMap, is_conntrack: bool) -> [String; 6] {
    let scan = &present.scan;
    let [stale, dead, oldest] = if is_conntrack {
        let dead = || scan.count(|cell| cell.due.expired() == Some(true)).to_string();
        let age = |seconds| duration::format(Duration::from_secs(seconds));
        [
            scan.count(|cell| cell.state.is_stale()).to_string(),
            known(scan.oldest_expired.map(|_| dead())),
            known(scan.oldest_expired.map(age)),
        ]
    } else {
        // Translations have neither a state nor a lifetime.
        ["–", "–", "–"].map(str::to_owned)
    };
    let fill = format!("{:.1} %", present.fill() * 100.0);
    [scan.entries.to_string(), present.capacity.to_string(), fill, stale, dead, oldest]
}

fn write_targets(out: &mut String, targets: &[TargetState]) -> fmt::Result {
    out.push_str("<h2>Targets</h2>\n");
    if targets.is_empty() {
        out.push_str("<p>None is configured, and this host mounts none.</p>\n");
        return Ok(());
    }
    head(out, &["Target", "Service", "Entries", "Stale", "Lingering", "Unanswered"])?;
    for state in targets {
        write!(
            out,
            "<tr><th scope=\"row\">{}</th><td>{}</td>",
            Escaped(&state.target),
            Escaped(&state.service)
        )?;
        cells(
            out,
            &[
                state.count(|_| true).to_string(),
                state.stale().to_string(),
                known(state.silent.map(|silent| silent.lingering().to_string())),
                known(state.silent.map(|silent| silent.unanswered.to_string())),
            ],
        )?;
    }
    out.push_str("</tbody>\n</table>\n");
    Ok(())
}

fn head(out: &mut String, columns: &[&str]) -> fmt::Result {
    out.push_str("<table>\n<thead><tr>");
    for column in columns {
        write!(out, "<th scope=\"col\">{column}</th>")?;
    }
    out.push_str("</tr></thead>\n<tbody>\n");
    Ok(())
}

/// The rest of a row: numbers, and words that stand for one.
fn cells(out: &mut String, values: &[String]) -> fmt::Result {
    for value in values {
        write!(out, "<td>{}</td>", Escaped(value))?;
    }
    out.push_str("</tr>\n");
    Ok(())
}

/// Never silently zero.
fn known(value: Option<String>) -> String {
    value.unwrap_or_else(|| "unknown".to_owned())
}

#[cfg(test)]
mod tests {
    use monitor_abi::class::State;
    use monitor_check::Level;
    use monitor_model::map_name::{self, MapProblem, ProblemReason};
    use monitor_model::snapshot::{MapState, SilentEntries, TargetCell};

    use super::*;
    use crate::testing;

    fn shown(snapshot: &Snapshot, findings: &[Finding]) -> String {
        let mut out = String::new();
        write(&mut out, &View { snapshot, findings }).unwrap();
        out
    }

    fn finding(check: &str) -> Finding {
        Finding {
            check: check.to_owned(),
            level: Level::WARNING,
            map_name: "ct4_global".to_owned(),
            target: String::new(),
            evidence: "192.0.2.1 fills it".to_owned(),
            advice: "set <it>".to_owned(),
        }
    }

    fn present(entries: u64, oldest_expired: Option<u64>) -> Content {
        let mut present = testing::walked(entries);
        present.scan.oldest_expired = oldest_expired;
        Content::Present(present)
    }

    #[test]
    fn findings_tell_what_to_do_and_no_address() {
        let snapshot = testing::nothing(&testing::defaults());
        assert!(shown(&snapshot, &[]).contains("Nothing that this snapshot can tell is wrong."));
        let text = shown(&snapshot, &[finding("CtmonMapFull")]);
        assert!(
            text.contains(
                "CtmonMapFull</th><td>ct4_global (ct_tcp, bpf.ctTcpMax)</td><td>set &lt;it&gt;</td>"
            ),
            "{text}"
        );
        assert!(!text.contains("192.0.2.1"), "{text}");
        let many = vec![finding("CtmonMapFull"); MOST_FINDINGS + 3];
        let text = shown(&snapshot, &many);
        assert_eq!(text.matches("CtmonMapFull").count(), MOST_FINDINGS);
        assert!(text.contains("And 3 more"), "{text}");
    }

    #[test]
    fn a_map_has_its_numbers_or_the_reason_why_not() {
        let mut snapshot = testing::nothing(&testing::defaults());
        assert!(shown(&snapshot, &[]).contains("No map of Cilium is pinned"));
        let problem = MapProblem { reason: ProblemReason::Layout, detail: "keys of <12>".to_owned() };
        let contents =
            [present(1_024, Some(90)), present(7, None), Content::Problem(problem), Content::Absent];
        snapshot.maps = map_name::global_maps()
            .into_iter()
            .filter(map_name::MapName::is_conntrack)
            .zip(contents)
            .map(|(map, content)| MapState { map, content, recreations: 0 })
            .collect();
        let names: Vec<_> = snapshot.maps.iter().map(|map| map.map.name.clone()).collect();
        let text = shown(&snapshot, &[]);
        for expected in [
            format!(
                "{}</th><td>1024</td><td>4096</td><td>25.0 %</td><td>0</td><td>0</td><td>1m30s</td>",
                names[0]
            ),
            format!("{}</th><td>7</td><td>4096</td><td>0.2 %</td><td>0</td><td>unknown</td>", names[1]),
            format!("{}</th><td colspan=\"6\">cannot be read: keys of &lt;12&gt;</td>", names[2]),
        ] {
            assert!(text.contains(&expected), "{expected} is not in {text}");
        }
        assert!(!text.contains(&names[3]), "{text}");
        assert!(!text.contains("<h2>Collector"), "the clock of one map is unknown: {text}");
    }

    #[test]
    fn the_collector_has_its_line() {
        let mut snapshot = testing::nothing(&testing::defaults());
        let map = map_name::global_maps().remove(0);
        snapshot.maps = vec![MapState { map, content: present(1_024, Some(90)), recreations: 0 }];
        let text = shown(&snapshot, &[]);
        assert!(
            text.contains("<h2>Collector of dead entries</h2>\n<p>no pass of the collector was seen yet"),
            "{text}"
        );
    }

    #[test]
    fn a_target_shows_what_lingers_and_what_is_unanswered() {
        let mut snapshot = testing::nothing(&testing::defaults());
        let cell = |state, expired, entries| TargetCell { state, expired, entries };
        let state = |expired, silent| TargetState {
            target: "qnap".to_owned(),
            service: "smb".to_owned(),
            cells: vec![cell(State::Opening, expired, 3), cell(State::Closed, expired, 4)],
            silent,
        };
        let silent = SilentEntries {
            lingering_closed: 2,
            lingering_half_closed: 1,
            unanswered: 1,
            longest_unanswered: Some(Duration::from_secs(31)),
        };
        snapshot.targets = vec![state(Some(false), Some(silent)), state(None, None)];
        let text = shown(&snapshot, &[]);
        assert!(text.contains("<td>smb</td><td>7</td><td>4</td><td>3</td><td>1</td>"), "{text}");
        assert!(text.contains("<td>smb</td><td>7</td><td>4</td><td>unknown</td><td>unknown</td>"), "{text}");
    }
}
