//! A map cannot be read.

use monitor_model::alert::{Alert, Grade, Severity, minutes};
use monitor_model::snapshot::{Content, Snapshot};

use super::definition::{Condition, Definition, Evidence, Reading, Series, Words};
use super::series;

pub(super) const MAP_UNREADABLE: Definition = Definition {
    alert: Alert {
        name: "CtmonMapUnreadable",
        severities: &[Grade::new(Severity::Warning, 0.0, minutes(10))],
        expr: "ctmon_map_problem > $T",
        labels: &["map_name", "reason"],
        summary: "{{ $labels.map_name }} on $NODE cannot be read",
        description: "ctmon cannot read {{ $labels.map_name }} on $NODE ({{ $labels.reason }}): nothing it shows \
                      covers this map.",
        ..Alert::BASE
    },
    condition: Condition::Now { series: |snapshot, _| problems(snapshot), words: Some(words) },
    ..Definition::BASE
};

fn problems(snapshot: &Snapshot) -> Vec<Series> {
    let there = snapshot.maps.iter().filter(|map| !matches!(map.content, Content::Absent));
    let problem = |content: &Content| f64::from(u8::from(matches!(content, Content::Problem(_))));
    there.map(|map| series::of_map(&map.map.name, problem(&map.content))).collect()
}

fn words(reading: &Reading, evidence: &Evidence<'_>) -> Words {
    let detail = evidence.snapshot.maps.iter().find_map(|map| match &map.content {
        Content::Problem(problem) if map.map.name == reading.map_name => Some(problem.detail.clone()),
        _ => None,
    });
    Words::new(
        detail.unwrap_or_default(),
        "nothing ctmon shows covers this map; compare the pin with `bpftool map show pinned PATH`",
    )
}
