//! File handles of the node run out.

use monitor_model::alert::{Alert, Grade, Severity, Unit, minutes};
use monitor_model::host::sysctl::FileHandles;
use monitor_model::snapshot::{Snapshot, ratio};

use super::definition::{Condition, Definition, Evidence, Reading, Series, Words};
use super::series;

pub(super) const FILE_HANDLES_HIGH: Definition = Definition {
    alert: Alert {
        name: "CtmonFileHandlesHigh",
        severities: &[Grade::new(Severity::Warning, 0.8, minutes(10))],
        unit: Unit::Ratio,
        expr: "ctmon_file_handles_used / ctmon_file_handles_max > $T",
        summary: "file handles run out on $NODE",
        description: "$NODE uses {{ $value | humanizePercentage }} of the file handles that fs.file-max allows: at \
                      100 % opening files and sockets fails everywhere.",
        ..Alert::BASE
    },
    condition: Condition::Now { series: |snapshot, _| used(snapshot), words: Some(words) },
    ..Definition::BASE
};

fn used(snapshot: &Snapshot) -> Vec<Series> {
    let handles = snapshot.host.file_handles.iter();
    handles.map(|handles| series::of_node(ratio(handles.used, handles.max))).collect()
}

fn words(_: &Reading, evidence: &Evidence<'_>) -> Words {
    let Some(FileHandles { used, max }) = evidence.snapshot.host.file_handles else {
        return Words::default();
    };
    Words::new(
        format!(
            "{used} of {max} file handles are in use; beyond fs.file-max nothing can open a file or a socket"
        ),
        "find the process that leaks them (`ls /proc/PID/fd | wc -l`) and restart it, or raise fs.file-max",
    )
}
