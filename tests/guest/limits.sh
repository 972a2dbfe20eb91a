# shellcheck shell=bash
# Limits and devices on cgroup v2, as crictl asks for them: seen from inside, enforced, changed, and kept while systemd goes
# over its units. Sourced by node.sh.

BUSYBOX=registry.k8s.io/e2e-test-images/busybox:1.29-2
WORK=$(mktemp -d)

# pod NAME [LINUX]: starts a pod and prints its id; LINUX is jq's way to write a part of the request.
pod() {
    jq -n --arg name "$1" "{metadata: {name: \$name, namespace: \"default\", uid: \$name},
        log_directory: \"/var/log/pods\", linux: ${2:-null}}" > "$WORK/$1-pod.json"
    cri runp "$WORK/$1-pod.json"
}
# container POD NAME REQUEST [POD'S NAME]: starts a container in it, which sleeps unless REQUEST says otherwise.
container() {
    local id
    jq -n --arg name "$2" --arg image "$BUSYBOX" '{metadata: {name: $name}, image: {image: $image},
        command: ["sleep", "1000"], log_path: ($name + ".log"), linux: {}} * '"$3" > "$WORK/$2.json"
    id=$(cri create "$1" "$WORK/$2.json" "$WORK/${4:-limits}-pod.json") && cri start "$id"
}
run() { cri exec -s "$@"; }
file() { run "$1" cat "/sys/fs/cgroup/$2"; }
status() { cri inspect "$1" | jq -r ".status | $2"; }
has_exited() { [[ $(status "$1" .state) = CONTAINER_EXITED ]]; }
fails_with() { local said; said=$("${@:2}" 2>&1) && return 1; grep -- "$1" <<< "$said"; }

check pull_busybox cri pull "$BUSYBOX"
POD=$(pod limits)
[[ -n $POD ]] || { fail a_pod_for_limits_starts "see above"; return; }
LIMITED=$(container "$POD" limited '{linux: {resources: {memory_limit_in_bytes: 67108864, cpu_quota: 20000, cpu_period: 100000,
    cpu_shares: 512, cpuset_cpus: "0", unified: {"pids.max": "24", "memory.high": "62914560"}}}}')
for pair in memory.max=67108864 memory.high=62914560 cpu.max='20000 100000' cpu.weight=59 cpuset.cpus.effective=0 pids.max=24; do
    equals "inside_${pair%%=*}_is_seen" "${pair#*=}" "$(file "$LIMITED" "${pair%%=*}")"
done
check the_groups_are_read_only fails_with 'Read-only' run "$LIMITED" sh -c 'echo 1 > /sys/fs/cgroup/cpu.weight'
check too_many_processes_are_refused fails_with 'fork' run "$LIMITED" sh -c 'for i in $(seq 40); do sleep 1 & done; wait'
run "$LIMITED" timeout 1 sh -c 'while :; do :; done' > /dev/null 2>&1
is_throttled() { (($(file "$LIMITED" cpu.stat | awk '$1 == "nr_throttled" { print $2 }') > 0)); }
check too_much_processor_time_is_throttled is_throttled

GREEDY=$(container "$POD" greedy '{command: ["sh", "-c", "x=0123456789abcdef; while :; do x=$x$x; done"],
    linux: {resources: {memory_limit_in_bytes: 33554432}}}')
check too_much_memory_ends_the_container until_true 60 has_exited "$GREEDY"
equals and_it_says_so "137 OOMKilled" "$(status "$GREEDY" '"\(.exitCode) \(.reason)"')"
equals and_its_neighbour_goes_on CONTAINER_RUNNING "$(status "$LIMITED" .state)"

check limits_change cri update --memory 50331648 --cpu-quota 40000 "$LIMITED"
equals changed_limits_are_seen "50331648 40000 100000" "$(file "$LIMITED" memory.max) $(file "$LIMITED" cpu.max)"

# The node of /dev/kmsg: whoever may make a node may still not open what is not allowed.
reads_kmsg='mknod /tmp/kmsg c 1 11 2> /dev/null; head -c 1 /tmp/kmsg > /dev/null'
check an_unlisted_device_is_refused fails_with 'not permitted' run "$LIMITED" sh -c "$reads_kmsg"
LISTED=$(container "$POD" listed '{devices: [{host_path: "/dev/kmsg", container_path: "/dev/kmsg", permissions: "r"}]}')
check a_listed_device_is_read run "$LISTED" head -c 1 /dev/kmsg
check and_not_written fails_with 'not permitted' run "$LISTED" sh -c 'echo no > /dev/kmsg'
check usual_devices_are_there run "$LISTED" sh -c 'head -c 1 /dev/urandom > /dev/null && echo > /dev/null'

uses() { cri stats -o json "$LIMITED" | jq -e '.stats[0] | (.cpu.usageCoreNanoSeconds.value | tonumber > 0) and (.memory.workingSetBytes.value | tonumber > 0)'; }
pod_uses() { cri statsp -o json | jq -e '.stats[] | .linux | (.memory.workingSetBytes.value | tonumber > 0) and (.process.processCount.value | tonumber > 0)'; }
check stats_tell_what_it_uses until_true 10 uses
check and_what_the_pod_uses until_true 10 pod_uses

# ---- below a slice, as a kubelet with the driver systemd has it --------------------------------------------------------

slice_start() {
    busctl call org.freedesktop.systemd1 /org/freedesktop/systemd1 org.freedesktop.systemd1.Manager StartTransientUnit \
        'ssa(sv)a(sa(sv))' "$1" replace 1 MemoryAccounting b true 0
}
equals runtime_config_says_systemd SYSTEMD "$(cri runtime-config | awk '$1 == "cgroup" { print $3 }')"
check slice_starts slice_start cradletest-pod1.slice
SLICE=/sys/fs/cgroup/cradletest.slice/cradletest-pod1.slice
check slice_is_there until_true 10 test -d "$SLICE"
SLICED=$(pod sliced '{cgroup_parent: "cradletest-pod1.slice"}')
INNER=$(container "$SLICED" inner '{linux: {resources: {memory_limit_in_bytes: 67108864}}}' sliced)
group_of() { sed 's/^0::/\/sys\/fs\/cgroup/' "/proc/$(cri inspect "$1" | jq .info.pid)/cgroup"; }
equals the_container_is_below_its_slice "$SLICE/cradle-$SLICED.scope/$INNER" "$(group_of "$INNER")"
check a_slice_can_be_changed systemctl set-property --runtime cradletest-pod1.slice MemoryMax=128M CPUWeight=50
equals and_is 134217728 "$(cat "$SLICE/memory.max")"
check systemd_reads_its_units_again systemctl daemon-reload
check systemd_starts_itself_again systemctl daemon-reexec
equals limits_below_a_slice_stay 67108864 "$(file "$INNER" memory.max)"
equals and_others "50331648 40000 100000" "$(file "$LIMITED" memory.max) $(file "$LIMITED" cpu.max)"
check an_unlisted_device_is_still_refused fails_with 'not permitted' run "$LIMITED" sh -c "$reads_kmsg"
check a_bad_slice_is_refused fails_with 'no name of a slice' pod bad '{cgroup_parent: "a--b.slice"}'

cri rmp -af > /dev/null
check slice_stops systemctl stop cradletest-pod1.slice
what_is_left of_limited_pods
