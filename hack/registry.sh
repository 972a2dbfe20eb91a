#!/usr/bin/env bash
# registry.sh start STORE ADDR | registry.sh stop STORE
#
# A docker-registry (of the Debian package, which is unpacked to STORE/docker-registry) for tests and the demo: its blobs
# lie in STORE/storage, it listens on ADDR, for example 127.0.0.1:5000. start does nothing when one of ours runs already;
# its pid is in STORE/registry.pid, its log in STORE/registry.log. stop ends only the one that start has started.
set -euo pipefail

answers() { curl -sf --noproxy '*' -o /dev/null "http://$1/v2/"; }
ours() { # ours STORE: the pid of the registry that start has started, if it runs
    local pid
    pid=$(cat "$1/registry.pid" 2>/dev/null) || return 1
    [[ $(tr '\0' ' ' < "/proc/$pid/cmdline" 2>/dev/null) = *"serve $1/registry.yml "* ]] && echo "$pid"
}

start() {
    local store addr=$2
    mkdir -p "$1/storage"
    store=$(cd "$1" && pwd)
    ours "$store" > /dev/null && answers "$addr" && return
    cat > "$store/registry.yml" << YML
version: 0.1
log: {level: error, accesslog: {disabled: true}}
storage:
  filesystem: {rootdirectory: $store/storage, maxthreads: 100}
  delete: {enabled: true}
http: {addr: "$addr"}
YML
    "$(dirname "$0")/deb-program.sh" docker-registry docker-registry "$store/docker-registry"
    setsid "$store/docker-registry" serve "$store/registry.yml" > "$store/registry.log" 2>&1 < /dev/null &
    echo $! > "$store/registry.pid"
    for _ in {1..200}; do
        answers "$addr" && return
        sleep 0.05
    done
    echo "registry.sh: nothing answers at $addr after 10 s; its log:" >&2
    cat "$store/registry.log" >&2
    return 1
}

stop() {
    local store pid
    store=$(cd "$1" && pwd)
    pid=$(ours "$store") || return 0
    kill "$pid"
    while kill -0 "$pid" 2>/dev/null; do sleep 0.02; done
    rm -f "$store/registry.pid"
}

case ${1:-} in
    start) start "$2" "$3" ;;
    stop) stop "$2" ;;
    *) sed -n '2,7p' "$0" >&2; exit 2 ;;
esac
