#!/bin/busybox sh
# PID 1 of the virtual machine: runs every test binary once, says how each ended, and powers off.
# The lines that begin with "ctmon-vm:" are read by console.rs.
/bin/busybox mkdir -p /proc /sys /dev /tmp /run /root /etc
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mount -t bpf bpf /sys/fs/bpf
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t debugfs debugfs /sys/kernel/debug
mount -t tracefs tracefs /sys/kernel/tracing
mount -t securityfs securityfs /sys/kernel/security
ip link set lo up
# The names give the order of loading. One machine also has storage servers and clients, see storage.rs.
for file in "/modules/$(uname -r)"/*.ko /storage/modules/*.ko; do
    [ ! -e "$file" ] || insmod "$file"
done
[ ! -d /storage ] || export CTMON_VM_STORAGE=1

export PATH=/usr/sbin:/bin HOME=/root RUST_BACKTRACE=1
. /environment
cd "$CARGO_MANIFEST_DIR" || echo "ctmon-vm: no directory $CARGO_MANIFEST_DIR"
for test in /tests/*; do
    name=${test##*/}
    printf '\nctmon-vm: start %s\n' "$name"
    # shellcheck disable=SC2046 # several words, or none
    "$test" --test-threads=1 --show-output --color=never $(echo "$CTMON_VM_FILTER" | tr , ' ') </dev/null 2>&1
    code=$?
    printf '\nctmon-vm: exit %s %s\n' "$name" "$code"
    [ "$code" = 0 ] || dmesg | tail -n 60
done
printf '\nctmon-vm: done\n'
sync
poweroff -f
