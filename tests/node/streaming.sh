#!/usr/bin/env bash
# Exec, attach and port-forward against the real daemon: by crictl over SPDY and WebSocket, by our own command line, in a
# terminal; and what is left when a client dies or the daemon is started again.
set -euo pipefail
source "$(dirname "$0")/../harness.sh"

IMAGE=registry.k8s.io/e2e-test-images/busybox:1.29-2
PAGE=registry.k8s.io/e2e-test-images/nginx:1.14-2
N=strm$$

start_registry
need_test_images
need_clients || { skip no_go "go >= $GO_AT_LEAST is wanted to build crictl with"; exit; }
place_make streaming
mkdir "$PLACE/out"
daemon_start
machine_before
cradle pull -q "$IMAGE" > /dev/null
cradle pull -q "$PAGE" > /dev/null
cradle run -d -i --name "$N" "$IMAGE" sh > "$PLACE/out/id"
cradle run -d --name "$N-w" "$PAGE" > /dev/null
ID=$(cat "$PLACE/out/id")
POD=$(cri inspect "$ID" | jq -r .info.sandboxID)
PAGE_POD=$(cri inspect "$(cradle ps | awk -v n="$N-w" '$0 ~ n { print $1 }')" | jq -r .info.sandboxID)
POD_IDS="$POD $PAGE_POD"

# session TRANSPORT ARGUMENT...: crictl exec over it; OUT and ERR are what it said, STATUS is its exit status.
session() {
    STATUS=0
    cri exec -r "$1" "${@:2}" > "$PLACE/out/out" 2> "$PLACE/out/err" || STATUS=$?
    OUT=$(cat "$PLACE/out/out") ERR=$(cat "$PLACE/out/err")
}
holds() { if grep -qE -- "$3" <<< "$2"; then pass "$1"; else fail "$1" "no '$3' in: $(tail -5 <<< "$2" | tr '\n' ';')"; fi; }
# runs TEXT: whether a process of the container has it on its command line.
runs() { local all; all=$(cri exec "$ID" ps < /dev/null) && [[ $all = *"$1"* ]]; }
runs_not() { local all; all=$(cri exec "$ID" ps < /dev/null) && [[ $all != *"$1"* ]]; }
# begin ARGUMENT...: crictl in the background, its pid in PID.
begin() { crictl --config /dev/null --timeout 60s -r "unix://$SOCKET" -i "unix://$SOCKET" "$@" & PID=$!; }
end() { kill "-$1" "$PID"; wait "$PID" 2> /dev/null || true; }

for transport in spdy websocket; do
    session $transport "$ID" sh -c 'echo out; echo err >&2; exit 7' < /dev/null
    equals ${transport}_has_stdout out "$OUT"
    holds ${transport}_has_stderr_and_the_exit_code "$ERR" 'err|exit code 7'
    session $transport -i "$ID" sh -c 'cat; echo end' <<< "$(seq 20000)"
    equals ${transport}_stdin_reaches_the_process_to_its_end "$(seq 20000; echo end)" "$OUT"
    session $transport "$ID" nosuch < /dev/null
    holds ${transport}_says_what_cannot_be_run "$ERR" 'nosuch.*not found'
done

# ---- a terminal ------------------------------------------------------------------------------------------------------

OUR=("$DIST/cradle" --socket "$SOCKET") THEIR=(crictl --config /dev/null --timeout 60s -r "unix://$SOCKET" -i "unix://$SOCKET")
terminal() { python3 "$ROOT/tests/node/terminal.py" "$@"; }
is_running() { [[ $(cri inspect "$1" | jq -r .status.state) = CONTAINER_RUNNING ]]; }

terminal use cradle_exec_in_a_terminal 7 7 "${OUR[@]}" exec -it "$N" sh
terminal use crictl_exec_in_a_terminal 7 1 "${THEIR[@]}" exec -it "$ID" sh
terminal use crictl_exec_over_websocket_in_a_terminal 7 1 "${THEIR[@]}" exec -it -r websocket "$ID" sh
cradle run -dit --name "$N-t" "$IMAGE" sh > "$PLACE/out/id"
TERMINAL=$(cat "$PLACE/out/id") POD_IDS="$POD_IDS $(cri inspect "$(cat "$PLACE/out/id")" | jq -r .info.sandboxID)"
terminal leave what_is_detached_from '' '\x10\x11' "${OUR[@]}" attach "$N-t"
check and_it_goes_on is_running "$TERMINAL"
# It writes more than a terminal holds, and goes on when it is told to.
LIVES="until [ -e /tmp/go ]; do echo waits-for-nobody-who-reads; done; echo lived > /tmp/lived"
terminal leave a_command_that_is_detached_from "$LIVES" '\x10\x11' "${OUR[@]}" exec -it "$N" sh
cri exec "$ID" touch /tmp/go < /dev/null
check and_is_not_hung_up until_true 10 cri exec "$ID" grep -q lived /tmp/lived < /dev/null
terminal leave a_command_in_a_container_that_will_end 'sleep 1000' '\x10\x11' "${OUR[@]}" exec -it "$N-t" sh
terminal use cradle_attach_in_a_terminal 7 7 "${OUR[@]}" attach "$N-t"
has_exited() { [[ $(cri inspect "$1" | jq -r .status.state) = CONTAINER_EXITED ]]; }
check a_detached_command_ends_with_its_container until_true 10 has_exited "$TERMINAL"
cradle run -dit --name "$N-u" "$IMAGE" sh > "$PLACE/out/id"
POD_IDS="$POD_IDS $(cri inspect "$(cat "$PLACE/out/id")" | jq -r .info.sandboxID)"
terminal use crictl_attach_in_a_terminal 7 0 "${THEIR[@]}" attach -it "$(cat "$PLACE/out/id")"

terminal end a_terminated_client '' 143 "kill -TERM \$CLIENT" "${OUR[@]}" exec -it "$N" sh
terminal end a_client_that_is_hung_up '' 129 "kill -HUP \$CLIENT" "${OUR[@]}" exec -it "$N" sh
terminal end a_daemon_that_stops 'daemon of the container runtime stops' 125 "kill -TERM $(cat "$PLACE/daemon.pid")" "${OUR[@]}" exec -it "$N" sh
daemon_stop
daemon_start
terminal end a_daemon_that_is_killed '[Cc]onnection' 125 "kill -KILL $(cat "$PLACE/daemon.pid")" "${OUR[@]}" exec -it "$N" sh
daemon_kill
daemon_start
cradle run -dit --name "$N-k" "$IMAGE" sh > "$PLACE/out/id"
KILLED=$(cri inspect "$(cat "$PLACE/out/id")") POD_IDS="$POD_IDS $(cri inspect "$(cat "$PLACE/out/id")" | jq -r .info.sandboxID)"
terminal end a_container_that_is_killed '' 137 "kill -KILL $(jq .info.pid <<< "$KILLED")" "${OUR[@]}" exec -it "$N-k" sh

# ---- attach ----------------------------------------------------------------------------------------------------------

# A container that is given a line by a third client answers all.
"$DIST/cradle" --socket "$SOCKET" attach --no-stdin "$N" > "$PLACE/out/first" 2> /dev/null < /dev/null & first=$!
begin attach "$ID" > "$PLACE/out/second" 2> /dev/null
is_attached() {
    (echo "echo to-\$((40 + 2))"; sleep 0.3) | timeout 1 "$DIST/cradle" --socket "$SOCKET" attach "$N" > /dev/null 2>&1 || true
    grep -q to-42 "$PLACE/out/first" && grep -q to-42 "$PLACE/out/second"
}
check all_who_are_attached_see_what_comes until_true 10 is_attached
kill "$first"
wait "$first" 2> /dev/null || true
end KILL
equals leaving_leaves_the_container_running CONTAINER_RUNNING "$(cri inspect "$ID" | jq -r .status.state)"

# ---- port-forward ----------------------------------------------------------------------------------------------------

# answers PORT: a page comes from it.
answers() { local page; page=$(curl -sf --max-time 5 "http://127.0.0.1:$1/") && [[ ${page,,} = *nginx* ]]; }
is_forwarding() { answers "$(sed -nE '0,/127\.0\.0\.1:/s/.*127\.0\.0\.1:([0-9]+).*/\1/p' "$PLACE/out/forward")"; }
for transport in spdy websocket; do
    begin port-forward -r $transport "$PAGE_POD" 0:80 > "$PLACE/out/forward" 2>&1 < /dev/null
    check "${transport}_leads_into_the_pod" until_true 10 is_forwarding
    end KILL
done
"$DIST/cradle" --socket "$SOCKET" port-forward "$N-w" 0:80 0:81 > "$PLACE/out/forward" 2>&1 < /dev/null & PID=$!
check our_own_client_leads_into_the_pod until_true 10 is_forwarding
closed=$(sed -nE 's/.*127\.0\.0\.1:([0-9]+) leads to port 81 .*/\1/p' "$PLACE/out/forward")
curl -s --max-time 5 "http://127.0.0.1:$closed/" > /dev/null || true
check a_port_that_nobody_listens_on_is_said_to_be_so until_true 5 grep -q 'Connection refused' "$PLACE/out/forward"
check and_costs_the_other_connections_nothing is_forwarding
end TERM

# ---- much through port-forward ---------------------------------------------------------------------------------------

MUCH=64
[[ ${TEST_LONG:-} != 1 ]] || MUCH=10240
# Not without an end: crictl cannot reset a stream whose input it has ended (spdystream), and goes on taking its output.
"${THEIR[@]}" exec "$ID" nc -ll -p 9000 -e dd if=/dev/zero bs=64k count=$((MUCH * 16)) < /dev/null > /dev/null 2>&1 &
"${THEIR[@]}" exec "$ID" nc -ll -p 9001 -e wc -c < /dev/null > /dev/null 2>&1 &
# memory FIELD: of the daemon, in KiB.
memory() { awk -v field="$1:" '$1 == field { print $2 }' "/proc/$(cat "$PLACE/daemon.pid")/status"; }
# local_port PORT: what leads to it.
local_port() { sed -nE "s/.*127\.0\.0\.1:([0-9]+) .*[ >]$1( .*)?\$/\1/p" "$PLACE/out/forward"; }
# goes DIRECTION MIB: whether so much gets there, and in one direction is known to have arrived.
goes() { python3 - "$1" "$2" "$(local_port "$([[ $1 = from_the_pod ]] && echo 9000 || echo 9001)")" << 'PYTHON'
import socket, sys
wanted, way = int(sys.argv[2]) << 20, socket.create_connection(("127.0.0.1", int(sys.argv[3])))
if sys.argv[1] == "from_the_pod":
    room, count = bytearray(1 << 20), 0
    while count < wanted:
        count += way.recv_into(room) or sys.exit(f"{count} bytes")
else:
    for _ in range(wanted >> 20):
        way.sendall(bytes(1 << 20))
    way.shutdown(socket.SHUT_WR)
    told = b"".join(iter(lambda: way.recv(4096), b"")).decode()
    # The wc there counts in 32 bits.
    told.strip() == str(wanted % (1 << 32)) or sys.exit(f"{told!r} bytes")
PYTHON
}
# much NAME MIB
much() {
    local direction before
    for direction in from_the_pod to_the_pod; do
        # The code that it takes is in memory afterwards.
        until_true 10 goes $direction 1
        echo 5 > "/proc/$(cat "$PLACE/daemon.pid")/clear_refs"
        before=$(memory VmRSS)
        check "${2}_mib_go_${direction}_$1" goes $direction "$2"
        echo "# $1: $2 MiB $direction; the daemon: $before KiB before, $(memory VmHWM) KiB at most, $(memory VmRSS) KiB after"
        check "and_the_daemon_grows_by_less_than_2_mib_$1_$direction" test $(($(memory VmHWM) - before)) -lt 2048
    done
}
begin port-forward "$POD" 0:9000 0:9001 > "$PLACE/out/forward" 2>&1 < /dev/null
much over_spdy $MUCH
end KILL
begin port-forward -r websocket "$POD" 0:9000 0:9001 > "$PLACE/out/forward" 2>&1 < /dev/null
much over_websocket 64
end KILL
"${OUR[@]}" port-forward "$N" 0:9000 0:9001 > "$PLACE/out/forward" 2>&1 < /dev/null & PID=$!
much by_our_own_client 64
end TERM

# ---- ends ------------------------------------------------------------------------------------------------------------

begin exec "$ID" sleep 4321 < /dev/null > /dev/null 2>&1
check a_command_runs until_true 5 runs 'sleep 4321'
end KILL
check a_command_is_hung_up_with_its_client until_true 5 runs_not 'sleep 4321'

begin exec "$ID" sleep 8765 < /dev/null > /dev/null 2> "$PLACE/out/told"
until_true 5 runs 'sleep 8765'
daemon_stop
wait "$PID" 2> /dev/null || true
holds a_daemon_that_stops_says_so_to_its_clients "$(cat "$PLACE/out/told")" 'daemon of the container runtime stops'
daemon_start
check and_its_commands_are_hung_up until_true 5 runs_not 'sleep 8765'
(echo "echo back-\$((40 + 2))"; sleep 1) | timeout 3 "$DIST/cradle" --socket "$SOCKET" attach "$N" > "$PLACE/out/again" 2> /dev/null || true
holds attaching_works_again_at_once "$(cat "$PLACE/out/again")" back-42

STATUS=0
cri stop -t 0 "$ID" > /dev/null
cri exec "$ID" true > /dev/null 2> "$PLACE/out/err" < /dev/null || STATUS=$?
holds a_container_that_does_not_run_is_refused_at_once "$(cat "$PLACE/out/err")" 'FailedPrecondition.*not running'

has_no_sessions() { local all; all=$(ss -Htnp state established) && [[ $all != *"pid=$(cat "$PLACE/daemon.pid"),"* ]]; }
check no_connection_of_a_client_is_left until_true 10 has_no_sessions

remove_pods > /dev/null
machine_check nothing_is_left_after_streaming
