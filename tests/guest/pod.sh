#!/usr/bin/env bash
# pod.sh: runs in the guest, as root, with this test's folder at /host. The daemon is installed as a node has it: by its
# unit, with the sample configuration; then a pod lives through what a node does to it.
set -uo pipefail

pass() { echo "PASS $1"; }
fail() { echo "FAIL $1: ${*:2}"; }
check() {
    local name=$1 said; shift
    if said=$("$@" 2>&1); then pass "$name"; else fail "$name" "$* -> $(tail -3 <<< "$said" | tr '\n' ' ')"; fi
}
until_true() {
    local deadline=$((SECONDS + $1)); shift
    until "$@" > /dev/null 2>&1; do
        ((SECONDS < deadline)) || return 1
        sleep 0.1
    done
}

ADDRESS='' REGISTRY=127.0.0.1:5000
ask() { bash -c 'exec 3<> "/dev/tcp/$0/80" && printf "GET / HTTP/1.0\r\n\r\n" >&3 && head -1 <&3 | grep -q " 200 "' "$ADDRESS"; }
pod_address() { cradle exec web cat /etc/hosts | awk '$1 ~ /^[0-9]+\./ && $1 !~ /^127\./ { print $1; exit }'; }
shims() { pgrep -x cradle-shim; }
shim_outlives() { local before; before=$(shims); "$@" && [[ -n $before && $(shims) = "$before" ]]; }
answers() { cradle version; }
# Not grep -q: it leaves before the other has written all.
logs_have_the_request() { cradle logs web | grep 'GET / '; }
no_cgroup_left() { [[ -z $(find /sys/fs/cgroup -type d | grep -E '[0-9a-f]{64}') ]]; }
no_mount_left() { ! grep -qE ' /(run|var/lib)/cradle/[^ ]*[0-9a-f]{64}' /proc/self/mountinfo; }
limit_is_set() { cradle exec web cat /sys/fs/cgroup/memory.max; }

[[ $(stat -f -c %T /sys/fs/cgroup) = cgroup2fs ]] && pass guest_has_cgroup_v2 || fail guest_has_cgroup_v2 "$(stat -f -c %T /sys/fs/cgroup)"
check systemd_is_pid_1 grep -qx systemd /proc/1/comm

# The writable layers need a file system that can be overlay's upper one: the scratch disk or memory, not the guest's root.
mkdir -p /data/cradle /var/lib/cradle && mount --bind /data/cradle /var/lib/cradle
install -m 755 /host/bin/* /usr/local/bin/
mkdir -p /etc/cradle/certs.d/_default
cp /host/deploy/config.toml /etc/cradle/
cp /host/deploy/cradle.service /etc/systemd/system/
printf 'server = "http://%s"\n[host."http://%s"]\ncapabilities = ["pull", "resolve"]\n' "$REGISTRY" "$REGISTRY" > /etc/cradle/certs.d/_default/hosts.toml
cat > /run/registry.yml << YML
version: 0.1
log: {level: error, accesslog: {disabled: true}}
storage:
  filesystem: {rootdirectory: /host/store/storage}
  maintenance: {readonly: {enabled: true}}
http: {addr: "$REGISTRY"}
YML
systemd-run -q --unit registry /host/store/docker-registry serve /run/registry.yml

systemctl daemon-reload
check unit_starts systemctl start cradle
check daemon_answers until_true 20 answers
check registry_answers until_true 20 bash -c "exec 3<> /dev/tcp/${REGISTRY/://}"
check pull cradle pull docker.io/library/nginx:latest
check pod_starts cradle run -d --name web docker.io/library/nginx:latest
ADDRESS=$(pod_address)
check pod_answers until_true 20 ask
check request_is_in_the_log until_true 10 logs_have_the_request
check exec_runs cradle exec web true
check exec_sees_its_cgroup limit_is_set
check shim_outlives_a_restart_of_the_service shim_outlives systemctl restart cradle
check daemon_answers_after_restart until_true 20 answers
check pod_answers_after_restart until_true 10 ask
check shim_outlives_a_kill_of_the_daemon shim_outlives systemctl kill -s KILL cradle
check daemon_answers_after_kill until_true 20 answers
check pod_answers_after_kill until_true 10 ask
check exec_runs_after_kill cradle exec web true
check stop cradle stop web
check remove cradle rm web
check no_cgroup_is_left until_true 10 no_cgroup_left
check no_mount_is_left until_true 10 no_mount_left
check no_shim_is_left until_true 10 bash -c '! pgrep -x cradle-shim'
check service_stops systemctl stop cradle
journalctl -u cradle --no-pager -n 20 2>/dev/null | sed 's/^/# /'
