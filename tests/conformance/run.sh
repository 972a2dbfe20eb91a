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
PASSING=$HERE/passing.txt NOT_PASSING=$HERE/not-passing.txt
UPDATE=
[[ ${1:-} != --update ]] || UPDATE=1

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

# One line for each spec: status, tab, name, tab, the first line of what went wrong.
python3 - "$REPORT" > "$PLACE/specs.tsv" << 'PY'
import sys
import xml.etree.ElementTree as tree

STATUS = {"failure": "failed", "error": "failed", "skipped": "skipped"}
for case in tree.parse(sys.argv[1]).iter("testcase"):
    name = case.get("name", "")
    if not name.startswith("[It] "):
        continue
    why = next((part for part in case if part.tag in STATUS), None)
    said = "" if why is None else (why.get("message") or why.text or "").strip()
    print(STATUS[why.tag] if why is not None else "passed", name.removeprefix("[It] "), said.split("\n")[0], sep="\t")
PY

known_reason() { # known_reason NAME: why it is known not to pass
    local pattern reason
    while IFS=$'\t' read -r pattern reason; do
        [[ -z $pattern || $pattern = \#* || ! $1 =~ $pattern ]] || { echo "$reason"; return; }
    done < "$NOT_PASSING"
    return 1
}

NEW=()
while IFS=$'\t' read -r status name said; do
    listed=; grep -qxF -- "$name" "$PASSING" && listed=1
    # A colon would end the name for those who read these lines.
    shown=${name//:/}
    case $status:$listed in
        passed:1) pass "spec $shown" ;;
        passed:) pass "spec $shown"; NEW+=("$name") ;;
        failed:1 | skipped:1) fail "spec $shown" "$status, but passing.txt lists it: $said" ;;
        *) if reason=$(known_reason "$name"); then skip "spec $shown" "$reason"; else fail "spec $shown" "$status: $said"; fi ;;
    esac
done < <(sort -u "$PLACE/specs.tsv")
cut -f2 "$PLACE/specs.tsv" > "$PLACE/names"
while IFS= read -r name; do
    grep -qxF -- "$name" "$PLACE/names" || fail "spec ${name//:/}" "passing.txt lists it, but critest does not have it"
done < "$PASSING"

if ((${#NEW[@]})); then
    echo "# ${#NEW[@]} specs pass and are not in passing.txt${UPDATE:+; added}:"
    printf '#   %s\n' "${NEW[@]}"
    [[ -z $UPDATE ]] || { printf '%s\n' "${NEW[@]}" | LC_ALL=C sort -u - "$PASSING" > "$PLACE/passing" && cp "$PLACE/passing" "$PASSING"; }
fi
machine_check nothing_is_left_after_critest
check daemon_ends_within_5_s daemon_stop
