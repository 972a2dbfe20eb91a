#!/usr/bin/env bash
# bench.sh [SECTION...]: the figures of docs/budgets.md, ours against containerd, both in one interleaved run.
# Sections: lifecycle exec streaming density restart binaries pull; all without an argument. Needs root and a Go; takes 15
# to 25 minutes, streaming 2 of them.
#
# The sections lifecycle and exec run twice: with the kernel's RCU grace periods expedited (what cgroup v2 gives by
# CLONE_INTO_CGROUP anyway) and as the machine is. The knob is set back at the end. Results as JSON: .test/bench/*.json.
# PULL_ARGUMENTS='--parts big --rounds 1': what hack/pullbench.py is told beside.
set -euo pipefail
source "$(dirname "$0")/../tests/harness.sh"

SECTIONS=("$@")
((${#SECTIONS[@]})) || SECTIONS=(lifecycle exec streaming density restart binaries pull)
wants() { [[ " ${SECTIONS[*]} " = *" $1 "* ]]; }
RCU=/sys/kernel/rcu_expedited
OUT=$TEST/bench
PEER=$TEST/peer

need_root
need_dist
need_test_packages
need_grpc_for_python
start_registry
need_test_images
need_peer && need_clients || die "no go >= $GO_AT_LEAST to build containerd with"
mkdir -p "$OUT"

place_make bench
# ext4 places folders by their names: the first layers of a new root fall where those of the last run were, among inodes
# that were just freed. Layers are numbered from the highest folder on.
mkdir -p "$PLACE/root/layers/$((RANDOM + 100))"
RCU_BEFORE=$(cat "$RCU")
cleanup() {
    local status=$?
    echo "$RCU_BEFORE" > "$RCU"
    "$ROOT/hack/peer.sh" clean "$TEST/bin" "$PEER" || true
    place_remove "$status"
}
trap cleanup EXIT
daemon_start
"$ROOT/hack/peer.sh" start "$TEST/bin" "$PEER" "$REGISTRY"

# bench NAME ARGUMENT...: one interleaved run; its table on the terminal.
bench() {
    local name=$1; shift
    echo "== $name (rcu_expedited=$(cat "$RCU"))"
    python3 "$ROOT/hack/cribench.py" --endpoint "unix://$SOCKET" --name cradle --vs "unix://$PEER/c.sock" --vs-name containerd \
        --proto "$ROOT/proto/cri/v1/api.proto" --json "$OUT/$name.json" "$@"
}

latency=$(wants lifecycle && printf lifecycle,; wants exec && printf exec,) || true
if [[ -n $latency ]]; then
    echo 1 > "$RCU"
    bench latency-expedited --sections "${latency%,}"
    echo "$RCU_BEFORE" > "$RCU"
    bench latency --sections "${latency%,}"
fi
if wants streaming; then
    echo "== streaming (rcu_expedited=$(cat "$RCU"))"
    python3 "$ROOT/hack/streambench.py" --endpoint "unix://$SOCKET" --name cradle --vs "unix://$PEER/c.sock" --vs-name containerd \
        --proto "$ROOT/proto/cri/v1/api.proto" --json "$OUT/streaming.json" --mib 1024
fi
if wants density || wants restart; then
    # The commands run in a shell of cribench's: the daemon's own scripts start and stop it.
    control=$PLACE/control.sh
    cat > "$control" << SH
source "$ROOT/tests/harness.sh"
PLACE='$PLACE' STATE='$STATE' SOCKET='$SOCKET' BRIDGE='$BRIDGE' SUBNET='$SUBNET' DAEMON_LOG='$DAEMON_LOG'
"\$@"
SH
    bench density --sections "density$(wants restart && echo ,restart || true)" \
        --stop-cmd "bash '$control' daemon_stop" --start-cmd "bash '$control' daemon_start" \
        --vs-stop-cmd "'$ROOT/hack/peer.sh' stop '$TEST/bin' '$PEER'" \
        --vs-start-cmd "'$ROOT/hack/peer.sh' start '$TEST/bin' '$PEER' '$REGISTRY'" \
        --binaries "$DIST/cradled" "$DIST/cradle-shim" \
        --vs-binaries "$TEST/bin/containerd" "$TEST/bin/containerd-shim-runc-v2" "$TEST/bin/runc"
elif wants binaries; then
    ls -l "$DIST"
fi
if wants pull; then
    need_bench_images
    echo "== pull"
    python3 "$ROOT/hack/pullbench.py" --endpoint "unix://$SOCKET" --name cradle --vs "unix://$PEER/c.sock" --vs-name containerd \
        --registry "$REGISTRY" --json "$OUT/pull.json" ${PULL_ARGUMENTS:-}
fi
