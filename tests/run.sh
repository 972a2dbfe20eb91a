#!/usr/bin/env bash
# run.sh [--long] [TIER...]: runs the tiers of tests, all without an argument: check unit node conformance guest
#
# What a tier says goes to the terminal and to .test/log/TIER.log. At the end: failures, skips with their reasons, a table
# of tiers and times, and one line "N passed, N failed, N skipped". A skip that tests/may-skip.txt does not name is a
# failure. Exit status 0 only if nothing failed.
#
# Environment: TEST_SHARED=1 where others use this machine too; TEST_REQUIRE=go makes the skip of what needs a Go a
# failure; CRADLE_TEST_DIR, CRADLE_TEST_CACHE: see hack/env.sh.
set -euo pipefail
source "$(dirname "$0")/../hack/env.sh"

ALL=(check unit node conformance guest)
export TEST_LONG=${TEST_LONG:-}
TIERS=() ONE=
for word; do
    case $word in
        --one) ONE=1 ;; # of this script itself: one tier, its own lines only
        --long) TEST_LONG=1 ;;
        -h | --help) sed -n '2,9p' "$0"; exit ;;
        *) [[ " ${ALL[*]} " = *" $word "* ]] || die "no tier $word; there are: ${ALL[*]}"; TIERS+=("$word") ;;
    esac
done
((${#TIERS[@]})) || TIERS=("${ALL[@]}")

# Each tier prints lines "PASS name", "FAIL name: why" and "SKIP name: why" beside whatever else it has to say.

tier_check() {
    need_packages shellcheck
    need_cargo_deny || true
    cargo xtask check 2>&1 | tee /dev/stderr | awk '
        $1 == "ok" { print "PASS " $2 }
        $1 == "FAILED" { name = $2; sub(/^.* s  /, ""); print "FAIL " name ": " $0 }
        $1 == "skipped" { name = $2; sub(/^.* s  /, ""); print "SKIP " name ": " $0 }'
}

# A test that cannot run on this machine prints "skipped: why" and passes; it is counted as a skip here.
tier_unit() {
    [[ -z $TEST_LONG ]] || run_script "$ROOT/tests/fuzz/run.sh"
    cargo test --workspace --no-fail-fast -- --show-output 2>&1 | tee /dev/stderr | awk '
        /^test .* \.\.\. ok$/ { passed[$2]++; next }
        /^test .* \.\.\. FAILED$/ { print "FAIL " $2 ": see the log"; next }
        /^test .* \.\.\. ignored/ { print "SKIP " $2 ": ignored"; next }
        /^---- .* stdout ----$/ { name = $2; next }
        /^skipped: / { if (passed[name]) { passed[name]--; sub(/^skipped: /, ""); print "SKIP " name ": " $0 } next }
        /^error: (test failed|[0-9]+ targets? failed)/ { next }
        /^error(\[|:)/ { print "FAIL cargo: " $0 }
        END { for (name in passed) for (i = 0; i < passed[name]; i++) print "PASS " name }'
}

tier_node() {
    local script
    need_root; need_dist; need_test_packages
    start_registry; need_test_images; need_real_images
    need_clients || say "no crictl: tests that want it are skipped"
    for script in "$ROOT"/tests/node/*.sh; do
        [[ -x $script ]] || continue
        echo "# ${script##*/}"
        run_script "$script"
    done
    stop_registry
}

tier_conformance() {
    need_root; need_dist; need_test_packages
    start_registry; need_test_images
    need_clients || { echo "SKIP no_go: go >= $GO_AT_LEAST is wanted to build critest with"; return; }
    run_script "$ROOT/tests/conformance/run.sh"
    stop_registry
}

tier_guest() {
    need_root; need_dist; need_test_packages
    start_registry; need_test_images; need_real_images
    run_script "$ROOT/tests/guest/run.sh"
    stop_registry
}

# run_script FILE: a script that ends badly without a FAIL line of its own is a failure.
run_script() {
    local status=0 said=$TEST/log/${1##*/}.out
    "$1" 2>&1 | tee "$said" || status=$?
    [[ $status = 0 ]] || grep -q '^FAIL ' "$said" || echo "FAIL ${1##*/}: exit status $status: $(tail -1 "$said")"
}

# expected TIER NAME: whether tests/may-skip.txt allows the skip, and TEST_REQUIRE does not forbid it.
expected() {
    local tier name
    [[ ,${TEST_REQUIRE:-}, != *,${2#no_},* ]] || return 1
    while read -r tier name _; do
        [[ $tier = "$1" && $2 =~ ^$name$ ]] && return
    done < <(grep -v '^#' "$ROOT/tests/may-skip.txt")
    return 1
}

if [[ -n $ONE ]]; then
    "tier_${TIERS[0]}"
    exit
fi

declare -i passed=0 failed=0 skipped=0
TABLE='' TROUBLE=''
for tier in "${TIERS[@]}"; do
    echo "== $tier"
    log=$TEST/log/$tier.log begun=$SECONDS status=0
    # A process of its own: what fails in it ends it, which a function here would not do.
    "$0" --one "$tier" 2>&1 | tee "$log" || status=$?
    declare -i p=0 f=0 s=0
    while read -r word rest; do
        case $word in
            PASS) p+=1 ;;
            FAIL) f+=1; TROUBLE+="FAIL $tier: $rest"$'\n' ;;
            SKIP)
                if expected "$tier" "${rest%%: *}"; then s+=1; TROUBLE+="skip $tier: $rest"$'\n'
                else f+=1; TROUBLE+="FAIL $tier: unexpected skip of $rest"$'\n'; fi ;;
        esac
    done < <(grep -E '^(PASS|FAIL|SKIP) ' "$log" || true)
    ((status == 0 || f > 0)) || { f+=1; TROUBLE+="FAIL $tier: ended with status $status"$'\n'; }
    ((p + f + s > 0)) || { f+=1; TROUBLE+="FAIL $tier: showed nothing"$'\n'; }
    TABLE+=$(printf '%-12s %6d %6d %7d %8d' "$tier" "$p" "$f" "$s" "$((SECONDS - begun))")$'\n'
    passed+=p failed+=f skipped+=s
done

printf '\n%s' "$TROUBLE"
printf '\n%-12s %6s %6s %7s %8s\n%s\n' tier passed failed skipped seconds "$TABLE"
echo "$passed passed, $failed failed, $skipped skipped"
((failed == 0))
