#!/usr/bin/env bash
# compare.sh REPORT [--update]: what became of each spec in critest's JUnit report, against what is known; see run.sh.
set -euo pipefail
HERE=$(cd "$(dirname "$0")" && pwd)
source "$HERE/../harness.sh"
PASSING=$HERE/passing.txt NOT_PASSING=$HERE/not-passing.txt
REPORT=$1 UPDATE=
[[ ${2:-} != --update ]] || UPDATE=1
WORK=$(mktemp -d)
trap 'rm -rf "$WORK"' EXIT

# One line for each spec: status, tab, name, tab, the first line of what went wrong.
python3 - "$REPORT" > "$WORK/specs.tsv" << 'PY'
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
done < <(sort -u "$WORK/specs.tsv")
cut -f2 "$WORK/specs.tsv" > "$WORK/names"
while IFS= read -r name; do
    grep -qxF -- "$name" "$WORK/names" || fail "spec ${name//:/}" "passing.txt lists it, but critest does not have it"
done < "$PASSING"

if ((${#NEW[@]})); then
    echo "# ${#NEW[@]} specs pass and are not in passing.txt${UPDATE:+; added}:"
    printf '#   %s\n' "${NEW[@]}"
    [[ -z $UPDATE ]] || { printf '%s\n' "${NEW[@]}" | LC_ALL=C sort -u - "$PASSING" > "$WORK/passing" && cp "$WORK/passing" "$PASSING"; }
fi
