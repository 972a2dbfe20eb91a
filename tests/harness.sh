# shellcheck shell=bash
# harness.sh: sourced by the scripts of the node, conformance and guest tiers, by the demo and the benches: a daemon in a
# place of its own, a client for it, waiting, and a look at the machine.
#
# A script that is a test prints one line for each thing it shows:
#   PASS name        FAIL name: what was seen        SKIP name: why
# and nothing else that begins so. It needs DIST (the programs) and the registry of hack/env.sh.

source "$(dirname "${BASH_SOURCE[0]}")/../hack/env.sh"

# ---- results ---------------------------------------------------------------------------------------------------------

pass() { echo "PASS $1"; }
fail() { echo "FAIL $1: ${*:2}"; }
skip() { echo "SKIP $1: ${*:2}"; }

# check NAME COMMAND...: passes if COMMAND succeeds; otherwise the end of what it said is shown.
check() {
    local name=$1 said; shift
    if said=$("$@" 2>&1); then pass "$name"; else fail "$name" "$* -> $(tail -3 <<< "$said" | tr '\n' ' ')"; fi
}

# equals NAME WANTED SEEN
equals() { if [[ $2 = "$3" ]]; then pass "$1"; else fail "$1" "wanted '$2', saw '$3'"; fi; }

# until_true SECONDS COMMAND...: waits for a condition, not for a time.
until_true() {
    local deadline=$((SECONDS + $1)); shift
    until "$@" > /dev/null 2>&1; do
        ((SECONDS < deadline)) || return 1
        sleep 0.02
    done
}

# ---- a daemon in a place of its own ----------------------------------------------------------------------------------
# place_make NAME sets:
#   PLACE   a new folder with all but the state of this daemon   SOCKET   its socket         DAEMON_LOG   its log
#   STATE   its state folder; short, as sockets lie in it        BRIDGE   a name for its bridge
#   SUBNET  its pods' subnet
# Many places live side by side: each takes a slot, which makes bridge and subnet unique on the machine.

SLOTS=/run/lock/cradle-test-slots
place_make() {
    need_root
    local slot
    mkdir -p "$SLOTS"
    for slot in {1..250}; do
        mkdir "$SLOTS/$slot" 2>/dev/null && break
    done
    [[ -d $SLOTS/$slot ]] || die "no slot is free in $SLOTS"
    SLOT=$SLOTS/$slot
    PLACE=$(mktemp -d "${TMPDIR:-/tmp}/cradle-$1.XXXXXX")
    STATE=/run/crdl-t$slot BRIDGE=crdl-t$slot SUBNET=10.231.$slot.0/24 SOCKET=$PLACE/cradle.sock DAEMON_LOG=$PLACE/daemon.log
    rm -rf "$STATE"
    mkdir -p "$PLACE"/{root,logs} "$STATE"
    trap place_remove EXIT
}

# daemon_start [FLAG...]: starts the daemon and waits until it answers.
daemon_start() {
    "$DIST/cradled" --config /dev/null --root "$PLACE/root" --state "$STATE" --socket "$SOCKET" \
        --registry.config_path "$CERTS_D" --network.bridge "$BRIDGE" --network.subnets "$SUBNET" \
        --log.level "${LOG_LEVEL:-info}" --log.format text "$@" >> "$DAEMON_LOG" 2>&1 &
    echo $! > "$PLACE/daemon.pid"
    until_true 10 daemon_answers_or_ended
    daemon_answers > /dev/null 2>&1 || { tail -20 "$DAEMON_LOG" >&2; die "the daemon did not come up; its log is above"; }
}
daemon_answers() { "$DIST/cradle" --socket "$SOCKET" version; }
daemon_answers_or_ended() { daemon_answers || process_ended "$(cat "$PLACE/daemon.pid")"; }

# daemon_kill: SIGKILL, as a crash. daemon_stop: SIGTERM, and 5 s to end.
daemon_kill() { daemon_end KILL; }
daemon_stop() { daemon_end TERM; }
daemon_end() {
    local pid
    pid=$(cat "$PLACE/daemon.pid" 2>/dev/null) || return 0
    rm "$PLACE/daemon.pid"
    kill "-$1" "$pid" 2>/dev/null || return 0
    until_true 5 process_ended "$pid" || { kill -KILL "$pid"; return 1; }
}
# A process that nobody has waited for yet has ended all the same.
process_ended() { [[ ! -e /proc/$1 || $(sed -n 's/^State:\t\(.\).*/\1/p' "/proc/$1/status" 2>/dev/null) = Z ]]; }

cradle() { "$DIST/cradle" --socket "$SOCKET" "$@"; }
cri() { crictl --config /dev/null --timeout 60s -r "unix://$SOCKET" -i "unix://$SOCKET" "$@"; }

# place_remove [STATUS]: ends what runs in the place and removes it; for the end of a script, however it comes.
place_remove() {
    local status=$? pid mount
    status=${1:-$status}
    trap - EXIT
    remove_pods > /dev/null 2>&1 || true
    daemon_stop || true
    for pid in $(place_processes); do kill -KILL "$pid" 2>/dev/null || true; done
    until_true 5 place_is_quiet || true
    for mount in $(A=$PLACE/ B=$STATE/ awk 'index($5, ENVIRON["A"]) == 1 || index($5, ENVIRON["B"]) == 1 { print $5 }' /proc/self/mountinfo | sort -r); do
        umount -l "$mount" || true
    done
    ip link delete "$BRIDGE" 2>/dev/null || true
    rm -rf --one-file-system "$PLACE" "$STATE" "$SLOT"
    stop_registry
    exit "$status"
}
remove_pods() {
    [[ -S $SOCKET ]] || return 0
    cradle ps -aq | xargs -r "$DIST/cradle" --socket "$SOCKET" rm -f
    [[ ! -x $TEST/bin/crictl ]] || cri rmp -af
}
# The processes that belong to the place: its path or its state's stands on their command line. They reach awk by the
# environment, so as not to stand on awk's own.
place_processes() { ps -eo pid=,args= | A=$PLACE/ B=$STATE/ awk 'index($0, ENVIRON["A"]) || index($0, ENVIRON["B"]) { print $1 }'; }
place_is_quiet() { [[ -z $(place_processes) ]]; }

# ---- a look at the machine -------------------------------------------------------------------------------------------

# machine_look: one line for each thing that a container runtime could leave: mounts, network namespaces, cgroups, shims
# and dead processes, nftables tables, links, files in the place's state folder, leases, writable layers.
machine_look() {
    # Processes come and go while this looks; what is gone is not left.
    {
        awk '{ print "mount " $5 }' /proc/self/mountinfo
        readlink /proc/[0-9]*/ns/net | sed 's/^/namespace /'
        find /sys/fs/cgroup -mindepth 2 -type d -printf 'cgroup %p\n'
        ps -eo stat=,comm=,args= | awk '$1 ~ /^Z/ { print "zombie " $2 } $2 ~ /^cradle-shim/ { $1 = ""; print "process" $0 }'
        nft list tables | sed 's/^/nft /'
        ip -o link | awk -F': ' '{ sub(/@.*/, "", $2); print "link " $2 }'
        find "$STATE" -mindepth 1 -printf 'state %p\n'
        # Leases, writable layers and what waits for its deletion.
        find "$PLACE/root/"{leases,containers,trash} -mindepth 1 -maxdepth 2 -printf 'file %p\n'
    } 2> /dev/null || true
}

machine_before() { machine_look | sort -u > "$PLACE/machine.before"; }

# machine_left: what is there now and was not at machine_before. Where others use the machine too (TEST_SHARED=1), only
# what carries the place's name, its bridge's or the id of one of its pods (POD_IDS) counts.
machine_left() {
    local pattern=${POD_IDS:-}
    machine_look | sort -u | comm -13 "$PLACE/machine.before" - > "$PLACE/machine.new"
    [[ ${TEST_SHARED:-} = 1 ]] || { cat "$PLACE/machine.new"; return; }
    grep -E "$PLACE|$STATE/|$BRIDGE${pattern:+|${pattern// /|}}" "$PLACE/machine.new" || true
}
nothing_left() { [[ -z $(machine_left) ]]; }

# machine_check NAME: passes when, within some seconds, nothing is left.
machine_check() {
    if until_true 30 nothing_left; then pass "$1"; else fail "$1" "left: $(machine_left | head -20 | tr '\n' ';')"; fi
}
