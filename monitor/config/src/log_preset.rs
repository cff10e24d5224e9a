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
    pub scope: Scope,
}

/// Whose logs a pattern of a preset is looked for in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The storage driver's own pods; nobody else writes these messages.
    Driver,
    /// Pods that mount: the storage driver's, and other CSI drivers'.
    Mounters,
    /// The storage driver's own pods, until the configuration names applications: any program with a file or a database
    /// may write these messages, and many do all day without anything being wrong with the storage.
    Applications,
}

impl Scope {
    /// Names of pods, wherever they are.
    const fn pods(self) -> &'static [&'static str] {
        match self {
            Self::Driver | Self::Applications => &["*trident*"],
            Self::Mounters => &["*trident*", "*csi*"],
        }
    }
}

/// What the configuration names beside a preset; empty lists select all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    pub namespaces: Vec<String>,
    pub pods: Vec<String>,
    pub containers: Vec<String>,
}

impl Selection {
    fn is_empty(&self) -> bool {
        let Self { namespaces, pods, containers } = self;
        namespaces.is_empty() && pods.is_empty() && containers.is_empty()
    }
}

impl PresetPattern {
    /// The pattern for the logs it is made for; `named` replaces them where any application may write the message.
    #[must_use]
    pub fn pattern(&self, named: &Selection) -> LogPattern {
        let own = || Selection {
            pods: self.scope.pods().iter().map(|name| (*name).to_owned()).collect(),
            ..Selection::default()
        };
        let replaced = self.scope == Scope::Applications && !named.is_empty();
        let Selection { namespaces, pods, containers } = if replaced { named.clone() } else { own() };
        let (name, pattern) = (self.name.to_owned(), self.regex.to_owned());
        LogPattern { name, pattern, namespaces, pods, containers }
    }
}

/// QNAP's Trident driver with volumes over SMB and iSCSI.
pub const TRIDENT_QNAP: &[PresetPattern] = &[
    PresetPattern {
        name: "rate_limiter",
        regex: r"client rate limiter Wait returned an error",
        why: "a CSI sidecar waits for its own rate limit: set --kube-api-qps and --kube-api-burst",
        scope: Scope::Driver,
    },
    PresetPattern {
        name: "storage_not_exists",
        regex: r"(?i)storage .* not exists",
        why: "the driver lost its session with the NAS: its management API was out of reach",
        scope: Scope::Driver,
    },
    PresetPattern {
        name: "storage_not_added",
        // A pattern in wide use. The driver's usual message, "storage (qts) not exists; add the storage first", is found
        // by the pattern above only.
        regex: r"(?i)storage.*not.*added",
        why: "the same in other words",
        scope: Scope::Driver,
    },
    PresetPattern {
        name: "publish_deadline",
        regex: r"ControllerPublishVolume.*context deadline exceeded|context deadline exceeded.*ControllerPublishVolume",
        why: "attaching a volume took longer than the attacher waits: the NAS or the path to it is slow",
        scope: Scope::Driver,
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
        scope: Scope::Mounters,
    },
    PresetPattern {
        name: "input_output_error",
        regex: r"(?i)input/output error",
        why: "a file system gave up: an iSCSI session passed its recovery_tmo or a soft CIFS mount its retries",
        scope: Scope::Applications,
    },
    PresetPattern {
        name: "lock_conflict",
        regex: r"(?i)STATUS_(?:FILE_)?LOCK_(?:CONFLICT|NOT_GRANTED)|\block conflict|database is locked",
        why: "two writers, or byte-range locks over SMB: databases do not belong on such a mount",
        scope: Scope::Applications,
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

    /// Patterns that count this line of this pod.
    fn counted(selection: &Selection, pod: (&str, &str, &str), message: &str) -> Vec<&'static str> {
        let (namespace, name, container) = pod;
        TRIDENT_QNAP
            .iter()
            .filter(|pattern| pattern.pattern(selection).selects(namespace, name, container))
            .map(|pattern| pattern.name)
            .filter(|name| matching(message).contains(name))
            .collect()
    }

    #[test]
    fn what_applications_write_all_day_is_the_drivers_only_when_it_is_its_own() {
        let nothing = Selection::default();
        let controller = ("trident", "trident-controller-6d9c-x7", "trident-main");
        let smb = ("kube-system", "csi-smb-node-4kxvq", "smb");
        let sonarr = ("media", "sonarr-0", "app");
        let locked = "[Error] System.Data.SQLite.SQLiteException (0x87AF00AA): database is locked";
        let lost = "open /media/tv: input/output error";
        let mount = "mount error(112): Host is down";
        for pod in [sonarr, ("media", "radarr-7f", "app"), ("media", "plex-0", "plex")] {
            for message in [locked, lost, mount, "client rate limiter Wait returned an error"] {
                assert_eq!(counted(&nothing, pod, message), [""; 0], "{pod:?} {message}");
            }
        }
        assert_eq!(counted(&nothing, controller, locked), ["lock_conflict"]);
        assert_eq!(counted(&nothing, controller, lost), ["input_output_error"]);
        assert_eq!(counted(&nothing, controller, mount), ["smb_mount_error"]);
        assert_eq!(counted(&nothing, smb, mount), ["smb_mount_error"]);
        assert_eq!(counted(&nothing, smb, "storage (qts) not exists"), [""; 0]);
        // Whichever namespace the driver was put into.
        let elsewhere = ("storage", "trident-controller-6d9c-x7", "csi-attacher");
        assert_eq!(counted(&nothing, elsewhere, "storage (qts) not exists"), ["storage_not_exists"]);
    }

    #[test]
    fn what_is_named_beside_the_preset_is_where_applications_are_looked_at() {
        let databases = Selection { pods: vec!["postgres-*".to_owned()], ..Selection::default() };
        let postgres = ("databases", "postgres-1", "postgres");
        let controller = ("trident", "trident-controller-6d9c-x7", "trident-main");
        let lost = "could not read block 7: Input/output error";
        assert_eq!(counted(&databases, postgres, lost), ["input_output_error"]);
        assert_eq!(counted(&databases, ("media", "plex-0", "plex"), lost), [""; 0]);
        assert_eq!(counted(&databases, controller, lost), [""; 0], "named instead of the driver's");
        // What only the driver writes stays with it.
        let limited = "client rate limiter Wait returned an error";
        assert_eq!(counted(&databases, controller, limited), ["rate_limiter"]);
        assert_eq!(counted(&databases, postgres, limited), [""; 0]);
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
