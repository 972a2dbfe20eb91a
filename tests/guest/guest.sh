# shellcheck shell=bash
# guest.sh: sourced by the scripts that run in the guest, as root, with the test's folder at /host: results, waiting, and a
# node: the daemon installed by its unit with the sample configuration, and a registry.

pass() { echo "PASS $1"; }
fail() { echo "FAIL $1: ${*:2}"; }
skip() { echo "SKIP $1: ${*:2}"; }
check() {
    local name=$1 said; shift
    if said=$("$@" 2>&1); then pass "$name"; else fail "$name" "$* -> $(tail -3 <<< "$said" | tr '\n' ' ')"; fi
}
equals() { if [[ $2 = "$3" ]]; then pass "$1"; else fail "$1" "wanted '$2', saw '$3'"; fi; }
until_true() {
    local deadline=$((SECONDS + $1)); shift
    until "$@" > /dev/null 2>&1; do
        ((SECONDS < deadline)) || return 1
        sleep 0.1
    done
}

SOCKET=unix:///run/cradle/cradle.sock
cri() { crictl --config /dev/null --timeout 60s -r "$SOCKET" -i "$SOCKET" "$@" 2> >(grep -v 'cgroup_parent is not set' >&2); }
has_crictl() { command -v crictl > /dev/null; }
# answers_http ADDRESS: whether a web server answers at port 80 with success.
answers_http() { bash -c 'exec 3<> "/dev/tcp/$0/80" && printf "GET / HTTP/1.0\r\n\r\n" >&3 && head -1 <&3 | grep " 200 "' "$1"; }
shims() { pgrep -x cradle-shim; }
no_shims() { ! shims; }
no_cgroup_left() { [[ -z $(find /sys/fs/cgroup -type d | grep -E '[0-9a-f]{64}') ]]; }
no_mount_left() { ! grep -qE ' /(run|var/lib)/cradle/[^ ]*[0-9a-f]{64}' /proc/self/mountinfo; }
daemon_answers() { cradle version; }

node_install() {
    local registry=127.0.0.1:5000
    # Writable layers need a file system that can be overlay's upper one: the scratch disk or memory, not the guest's root.
    mkdir -p /data/cradle /var/lib/cradle && mount --bind /data/cradle /var/lib/cradle
    install -m 755 /host/bin/* /usr/local/bin/
    mkdir -p /etc/cradle/certs.d/_default
    cp /host/deploy/config.toml /etc/cradle/
    cp /host/deploy/cradle.service /etc/systemd/system/
    printf 'server = "http://%s"\n[host."http://%s"]\ncapabilities = ["pull", "resolve"]\n' "$registry" "$registry" > /etc/cradle/certs.d/_default/hosts.toml
    cat > /run/registry.yml << YML
version: 0.1
log: {level: error, accesslog: {disabled: true}}
storage:
  filesystem: {rootdirectory: /host/store/storage}
  maintenance: {readonly: {enabled: true}}
http: {addr: "$registry"}
YML
    systemd-run -q --unit registry /host/store/docker-registry serve /run/registry.yml
    systemctl daemon-reload
    check unit_starts systemctl start cradle
    check daemon_answers until_true 20 daemon_answers
    daemon_answers > /dev/null || { journalctl -u cradle --no-pager -n 20 | sed 's/^/# /'; exit 1; }
    check registry_answers until_true 20 bash -c "exec 3<> /dev/tcp/${registry/://}"
}

# what_is_left NAME: passes when nothing of any pod is there.
what_is_left() {
    check "no_cgroup_is_left_$1" until_true 10 no_cgroup_left
    check "no_mount_is_left_$1" until_true 10 no_mount_left
    check "no_shim_is_left_$1" until_true 10 no_shims
}
