//! Hostile names of maps and targets through the verbs that walk maps, in every format, onto a terminal.

use monitor_check::{Finding, Level};
use monitor_output::terminal::hostile::{TEXT, assert_tame};
use monitor_output::terminal::{Notation, Terminal};
use monitor_output::{json, table};

use super::*;

/// The captured entries, as if their maps had hostile names.
fn walk(
    order: &'static [&'static str],
    now: ClockNow,
) -> impl FnOnce(&mut WalkVisitor<'_>) -> anyhow::Result<()> {
    move |visitor| {
        super::walk(order, Some(now))(&mut |step| match step {
            WalkEvent::Map { clock, .. } => visitor(WalkEvent::Map { name: TEXT, clock }),
            entry @ WalkEvent::Entry { .. } => visitor(entry),
        })
    }
}

/// A classifier whose target has a hostile name, as no configuration could give it one.
fn hostile_classifier() -> Classifier {
    let qnap = TargetSpec {
        name: TEXT.to_owned(),
        prefixes: vec!["192.168.100.180".parse().unwrap()],
        services: vec![ServiceSpec { name: TEXT.to_owned(), ports: vec![445], protocol: None }],
    };
    Classifier { targets: TargetIndex::new(vec![qnap]).unwrap(), ..classifier() }
}

fn printed(json: bool, print: impl FnOnce(&mut Terminal<&mut Vec<u8>>)) -> Vec<u8> {
    let mut out = Vec::new();
    let notation = if json { Notation::Json } else { Notation::Text };
    print(&mut Terminal::new(&mut out, notation));
    out
}

#[test]
fn hostile_names_steer_nothing_in_any_format_of_any_verb() {
    let classifier = hostile_classifier();
    for format in ["table", "json", "cilium"] {
        let (line, is_json) = (format!("-o {format}"), format == "json");
        let listed = printed(is_json, |out| {
            list::run(&parse(&line), &classifier, walk(&CT_ORDER, CT_NOW), out).unwrap();
        });
        let translated = printed(is_json, |out| {
            nat::run(&parse(&line), &classifier, walk(&NAT_ORDER, NAT_NOW), out).unwrap();
        });
        for (what, out) in [("list", listed), ("nat", translated)] {
            assert_tame(what, &out);
            assert!(out.len() > 1000, "{what} -o {format} printed {} bytes", out.len());
            let text = String::from_utf8(out).unwrap();
            assert!(!text.lines().any(|line| line.starts_with("ctmon:")), "{what}: a forged line");
            if is_json {
                assert_eq!(json_lines(&text)[0]["map"], TEXT);
            }
        }
        if format == "cilium" {
            continue;
        }
        for by in ["remote", "address"] {
            assert_tame(
                "top",
                &printed(is_json, |out| {
                    let args = parse(&format!("{line} --by {by}"));
                    top::run(&args, &classifier, walk(&CT_ORDER, CT_NOW), out).unwrap();
                }),
            );
        }
        assert_tame(
            "top",
            &printed(is_json, |out| {
                let args = parse(&format!("{line} --by nat-ports"));
                top::run_ports(&args, &classifier, 32_768..=65_535, walk(&NAT_ORDER, NAT_NOW), out).unwrap();
            }),
        );
    }
}

#[test]
fn hostile_findings_steer_nothing_and_add_no_lines() {
    let endless = "x".repeat(70_000);
    let finding = |text: &str| Finding {
        check: text.to_owned(),
        level: Level::Warning,
        map_name: text.to_owned(),
        target: text.to_owned(),
        evidence: text.to_owned(),
        advice: text.to_owned(),
    };
    let findings = [finding(TEXT), finding(&endless)];
    let text = printed(false, |out| table::findings(out, &findings).unwrap());
    assert_tame("check", &text);
    let text = String::from_utf8(text).unwrap();
    assert_eq!(text.lines().count(), 6, "{text}");
    assert!(text.len() < 16_000, "{}", text.len());
    let objects = printed(true, |out| json::findings(out, &findings).unwrap());
    assert_tame("check -o json", &objects);
    let objects = json_lines(std::str::from_utf8(&objects).unwrap());
    assert_eq!((&objects[0]["evidence"], &objects[1]["advice"]), (&TEXT.into(), &endless.into()));
}
