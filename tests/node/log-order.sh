#!/usr/bin/env bash
# A log has the lines of stdout and stderr in the order in which the container wrote them, whichever way it opened them and
# however fast it writes.
set -euo pipefail
source "$(dirname "$0")/../harness.sh"

IMAGE=registry.k8s.io/e2e-test-images/busybox:1.29-2
# Pairs of lines, one to each stream.
PAIRS=10000
# Lines out of their place that are let pass: a writer may be stopped between its write and the kernel's telling of it.
LET_PASS=$((PAIRS / 1000))

start_registry
need_test_images
place_make log-order
daemon_start
machine_before
cradle pull "$IMAGE" > /dev/null 2>&1

# in_order NAME SCRIPT: whether the lines of the script are in the log in the order of the numbers that they begin with.
in_order() {
    local log wrong lines
    cradle run -d --name "order$$" "$IMAGE" sh -c "$2" > /dev/null
    POD_IDS+="${POD_IDS:+ }$(cradle inspect "order$$" | jq -r '.[0].pod')"
    log=$(cradle inspect "order$$" | jq -r ".[0].logPath")
    until_true 60 eval '[[ $(cradle inspect "order$$" | jq -r ".[0].state") != running ]]'
    read -r lines wrong < <(awk '$4 < last { wrong++ } { last = $4 + 0; lines++ } END { print lines + 0, wrong + 0 }' "$log")
    cradle rm "order$$" > /dev/null
    if ((lines == 2 * PAIRS && wrong <= LET_PASS)); then pass "$1"
    else fail "$1" "$wrong of $lines lines are not in their place"; fi
}

in_order a_programs_two_streams_are_in_order \
    "i=0; while [ \$i -lt $((2 * PAIRS)) ]; do echo \$i; echo \$((i + 1)) >&2; i=\$((i + 2)); done"
in_order streams_opened_by_name_are_in_order \
    "exec 3> /dev/stdout 4> /dev/stderr; i=0; while [ \$i -lt $((2 * PAIRS)) ]; do echo \$i >&3; echo \$((i + 1)) >&4; i=\$((i + 2)); done"
in_order lines_of_several_programs_are_in_order \
    "i=0; while [ \$i -lt $((2 * PAIRS)) ]; do if [ \$((i % 1000)) = 0 ]; then sh -c \"echo \$i\"; else echo \$i; fi; echo \$((i + 1)) >&2; i=\$((i + 2)); done"

daemon_stop
machine_check nothing_is_left_after_log_order
