//! Ready-made log patterns.
//!
//! In: nothing. Out: const slices in the order they are shown. Must not: name a pattern after anything but what it
//! finds: the names are label values.

use monitor_model::host::logs::LogPattern;

/// A pattern of a preset, and why it is worth counting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PresetPattern {
    pub name: &'static str,
    pub regex: &'static str,
    pub why: &'static str,
    /// Empty: everywhere.
    pub namespaces: &'static [&'static str],
}

impl PresetPattern {
    #[must_use]
    pub fn pattern(&self) -> LogPattern {
        LogPattern {
            name: self.name.to_owned(),
            pattern: self.regex.to_owned(),
            namespaces: self.namespaces.iter().map(|name| (*name).to_owned()).collect(),
            pods: Vec::new(),
            containers: Vec::new(),
        }
    }
}

/// QNAP's Trident driver with volumes over SMB and iSCSI.
pub const TRIDENT_QNAP: &[PresetPattern] = &[
    PresetPattern {
        name: "rate_limiter",
        regex: r"client rate limiter Wait returned an error",
        why: "a CSI sidecar waits for its own rate limit: set --kube-api-qps and --kube-api-burst",
        namespaces: &["*trident*"],
    },
    PresetPattern {
        name: "storage_not_exists",
        regex: r"(?i)storage .* not exists",
        why: "the driver lost its session with the NAS: its management API was out of reach",
        namespaces: &["*trident*"],
    },
    PresetPattern {
        name: "storage_not_added",
        // A pattern in wide use. The driver's usual message, "storage (qts) not exists; add the storage first", is found
        // by the pattern above only.
        regex: r"(?i)storage.*not.*added",
        why: "the same in other words",
        namespaces: &["*trident*"],
    },
    PresetPattern {
        name: "publish_deadline",
        regex: r"ControllerPublishVolume.*context deadline exceeded|context deadline exceeded.*ControllerPublishVolume",
        why: "attaching a volume took longer than the attacher waits: the NAS or the path to it is slow",
        namespaces: &["*trident*"],
    },
    PresetPattern {
        name: "smb_mount_error",
        regex: concat!(
            r"mount error\((?:2|11|13|16|103|104|107|110|111|112|113|115)\)",
            r"|(?i:mount failed: exit status 32(?s:.*)-t cifs)",
            r"|(?i:NodeStageVolume.*(?:smb|cifs).*(?:fail|error))",
            r"|(?i:volume\([^)]*\) mount .* failed with mount failed)",
        ),
        why: "an SMB volume could not be mounted",
        namespaces: &[],
    },
    PresetPattern {
        name: "input_output_error",
        regex: r"(?i)input/output error",
        why: "a file system gave up: an iSCSI session passed its recovery_tmo or a soft CIFS mount its retries",
        namespaces: &[],
    },
    PresetPattern {
        name: "lock_conflict",
        regex: r"(?i)STATUS_(?:FILE_)?LOCK_(?:CONFLICT|NOT_GRANTED)|\block conflict|database is locked",
        why: "two writers, or byte-range locks over SMB: databases do not belong on such a mount",
        namespaces: &[],
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    fn matching(message: &str) -> Vec<&'static str> {
        TRIDENT_QNAP
            .iter()
            .filter(|pattern| regex::bytes::Regex::new(pattern.regex).unwrap().is_match(message.as_bytes()))
            .map(|pattern| pattern.name)
            .collect()
    }

    #[test]
    fn the_messages_of_the_incident_are_found() {
        let check = |message: &str, names: &[&str]| assert_eq!(matching(message), names, "{message}");
        check("storage (qts) not exists; add the storage first", &["storage_not_exists"]);
        check("storage backend was not added", &["storage_not_added"]);
        check(
            "E1101 leaderelection.go:332] error retrieving resource lock trident/csi-qnap: client rate limiter Wait returned an error: context deadline exceeded",
            &["rate_limiter"],
        );
        check(
            "GRPC error: /csi.v1.Controller/ControllerPublishVolume rpc error: code = DeadlineExceeded desc = context deadline exceeded",
            &["publish_deadline"],
        );
        check("mount error(112): Host is down", &["smb_mount_error"]);
        check(
            "rpc error: code = Internal desc = volume(pvc-1) mount \"//192.168.100.180/media\" on \"/var/lib/kubelet/x\" failed with mount failed: exit status 32",
            &["smb_mount_error"],
        );
        check("ls: reading directory '/media': Input/output error", &["input_output_error"]);
        check("sqlite3.OperationalError: database is locked", &["lock_conflict"]);
        check("NT_STATUS_FILE_LOCK_CONFLICT", &["lock_conflict"]);
    }

    #[test]
    fn healthy_messages_are_not() {
        for message in [
            "storage (qts) exists",
            "storage class added",
            "context deadline exceeded",
            "Successfully mounted //192.168.100.180/media",
            "attempting to acquire leader lease trident/csi-qnap...",
            "mount error(0): Success",
        ] {
            assert_eq!(matching(message), Vec::<&str>::new(), "{message}");
        }
    }

    #[test]
    fn the_grep_that_was_handed_around_misses_its_own_error() {
        let grep = regex::Regex::new("storage.*not.*added").unwrap();
        assert!(!grep.is_match("storage (qts) not exists; add the storage first"));
    }

    #[test]
    fn names_are_unique_label_values() {
        for (index, pattern) in TRIDENT_QNAP.iter().enumerate() {
            assert!(
                !TRIDENT_QNAP[..index].iter().any(|other| other.name == pattern.name),
                "{}",
                pattern.name
            );
            assert!(pattern.name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'_')), "{}", pattern.name);
        }
    }
}
