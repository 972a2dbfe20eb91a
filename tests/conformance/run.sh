#!/usr/bin/env bash
# run.sh [--update]: critest, whole, against the real daemon, compared with what is known:
#
#   passing.txt       specs that pass. One that does not pass any more is a failure; one that passes and is not in the
#                     list is named, and --update adds it. Entries are never removed but by hand.
#   not-passing.txt   specs that cannot pass here, or not yet: a regular expression, a tab, the reason. They count as
#                     skipped.
#
# The list is of critest 1.36.0 with this machine's digest of one image (critest-local, see hack/get-clients.sh).
set -euo pipefail
HERE=$(cd "$(dirname "$0")" && pwd)
source "$HERE/../harness.sh"

need_test_packages
start_registry
need_test_images
need_clients || die "no go >= $GO_AT_LEAST to build critest with"
need_dist

place_make conformance
daemon_start
machine_before

REPORT=$PLACE/report.xml
critest-local -runtime-endpoint "unix://$SOCKET" -image-endpoint "unix://$SOCKET" -ginkgo.no-color \
    -ginkgo.junit-report "$REPORT" > "$TEST/log/critest.log" 2>&1 || true
[[ -s $REPORT ]] || { tail -20 "$TEST/log/critest.log" >&2; die "critest left no report; its log is $TEST/log/critest.log"; }

"$HERE/compare.sh" "$REPORT" ${1:+"$1"}

# The streaming specs again, over WebSocket.
if critest-local -runtime-endpoint "unix://$SOCKET" -image-endpoint "unix://$SOCKET" -ginkgo.no-color -ginkgo.focus Streaming \
    -websocket-exec -websocket-attach -websocket-portforward > "$TEST/log/critest-websocket.log" 2>&1; then
    pass streaming_specs_over_websocket
else
    fail streaming_specs_over_websocket "see $TEST/log/critest-websocket.log"
fi
machine_check nothing_is_left_after_critest
check daemon_ends_within_5_s daemon_stop
