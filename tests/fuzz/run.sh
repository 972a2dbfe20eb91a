#!/usr/bin/env bash
# run.sh [--seconds N] [TARGET...]: builds the fuzz targets and runs them one after the other, N seconds each (225: an hour
# for all), all of them without an argument.
#
# Says of each target: runs, seconds of processor time, findings. An input that breaks a target is kept in seeds/TARGET,
# where the tests of its crate find it from then on. What a target has learned stays in target/fuzz/corpus.
#
# It needs the nightly toolchain and cargo-fuzz:  rustup toolchain install nightly && cargo install cargo-fuzz
set -euo pipefail
source "$(dirname "$0")/../../hack/env.sh"

FUZZ=$ROOT/tests/fuzz
BUILT=$ROOT/target/fuzz
SECONDS_EACH=225
TARGETS=()
while (($#)); do
    case $1 in
        --seconds) SECONDS_EACH=$2; shift ;;
        -h | --help) sed -n '2,9p' "$0"; exit ;;
        *) [[ -f $FUZZ/targets/$1.rs ]] || die "no target $1 in $FUZZ/targets"; TARGETS+=("$1") ;;
    esac
    shift
done
((${#TARGETS[@]})) || mapfile -t TARGETS < <(basename -s .rs -a "$FUZZ"/targets/*.rs)

# A run that takes longer, or more memory, is a finding.
TIMEOUT_SECONDS=10
MEMORY_MB=1024

cargo +nightly fuzz --version > /dev/null 2>&1 || {
    echo "SKIP fuzz: needs the nightly toolchain and cargo-fuzz: rustup toolchain install nightly && cargo install cargo-fuzz"
    exit
}
# cargo-fuzz wants to stand in a package.
cd "$FUZZ"
for target in "${TARGETS[@]}"; do
    cargo +nightly fuzz build --fuzz-dir . --target-dir "$BUILT" "$target" >> "$TEST/log/fuzz-build.log" 2>&1 ||
        { tail -30 "$TEST/log/fuzz-build.log" >&2; die "the target $target does not build"; }
done
PROGRAMS=$BUILT/$(rustc -vV | sed -n 's/^host: //p')/release

# runs LOG: how many runs a target tells of.
runs() { sed -n 's/^stat::number_of_executed_units: *//p' "$1" | tail -1; }

# Some targets make files: in memory, and gone at the end.
TMPDIR=$(mktemp -d /dev/shm/cradle-fuzz.XXXXXX)
export TMPDIR
trap 'rm -rf "$TMPDIR"' EXIT

failed=0
printf '# %-18s %12s %8s %9s\n' target runs cpu_s findings
for target in "${TARGETS[@]}"; do
    corpus=$BUILT/corpus/$target found=$BUILT/found/$target log=$TEST/log/fuzz-$target.log
    mkdir -p "$corpus" "$found"
    # Leaks are not looked for: runtimes and buffers are kept from run to run, and each look costs as much as 100 runs.
    options=(-max_total_time="$SECONDS_EACH" -timeout="$TIMEOUT_SECONDS" -rss_limit_mb="$MEMORY_MB" -detect_leaks=0
        -print_final_stats=1 -artifact_prefix="$found/")
    [[ ! -f $FUZZ/dictionaries/$target.dict ]] || options+=(-dict="$FUZZ/dictionaries/$target.dict")
    status=0
    TIMEFORMAT='# processor %U %S'
    { time "$PROGRAMS/$target" "${options[@]}" "$corpus" "$FUZZ/seeds/$target" > "$log" 2>&1; } 2> "$log.time" || status=$?
    cpu=$(awk '/^# processor/ { print int($3 + $4) }' "$log.time")
    findings=0
    for input in "$found"/*; do
        [[ -f $input ]] || continue
        mv "$input" "$FUZZ/seeds/$target/"
        findings=$((findings + 1))
    done
    printf '# %-18s %12s %8s %9s\n' "$target" "$(runs "$log")" "$cpu" "$findings"
    if [[ $status = 0 && $findings = 0 ]]; then
        echo "PASS fuzz_$target"
    else
        echo "FAIL fuzz_$target: status $status, $findings inputs are kept in tests/fuzz/seeds/$target; see $log"
        failed=1
    fi
done
exit "$failed"
