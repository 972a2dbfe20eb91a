#!/usr/bin/env bash
# node.sh: runs in the guest and sources what is to be shown, each a file.
set -uo pipefail
source /host/guest.sh

[[ $(stat -f -c %T /sys/fs/cgroup) = cgroup2fs ]] && pass guest_has_cgroup_v2 || fail guest_has_cgroup_v2 "$(stat -f -c %T /sys/fs/cgroup)"
check systemd_is_pid_1 grep -qx systemd /proc/1/comm
node_install
source /host/pod.sh
if has_crictl; then
    source /host/limits.sh
    if [[ -x /host/kubelet ]]; then source /host/kubelet.sh; else skip no_kubelet "there is none; the long form builds one"; fi
    [[ ! -x /host/critest-local ]] || source /host/conformance.sh
else
    skip no_go "crictl is wanted, which a Go would build"
fi
check service_stops systemctl stop cradle
journalctl -u cradle --no-pager -n 40 2> /dev/null | grep -v ' INFO ' | sed 's/^/# /'
