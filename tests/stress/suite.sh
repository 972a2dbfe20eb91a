# shellcheck shell=bash
# suite.sh: sourced by the scripts of the node tier that run a suite of `stress`.

source "$(dirname "${BASH_SOURCE[0]}")/../harness.sh"

# stress_suite NAME: in a place of its own, which is removed at the end. The daemons' logs stay in .test/log if it fails.
stress_suite() {
    local name=$1 status=0 log profile=debug
    need_packages nftables util-linux
    start_registry
    # The bounds of the long forms are of the daemon: the client shall not be what is slow.
    [[ -z ${TEST_LONG:-} ]] || profile=release
    (cd "$ROOT" && cargo build -q -p stress ${TEST_LONG:+--release})
    place_make "$name"
    "$ROOT/target/$profile/stress" "$name" ${TEST_LONG:+--long} --place "$PLACE" --dist "$DIST" --certs-d "$CERTS_D" \
        --bridge "$BRIDGE" --subnet "$SUBNET" || status=$?
    if [[ $status != 0 ]]; then
        for log in "$PLACE"/*/daemon.log "$PLACE"/*/state/shims.log; do
            [[ ! -s $log ]] || cp "$log" "$TEST/log/stress-$name-${log##*/}"
        done
    fi
    return "$status"
}
