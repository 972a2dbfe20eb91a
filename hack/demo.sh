#!/usr/bin/env bash
# demo.sh: a pod of a real image from nothing, on a Debian machine with rustup, as root: `make demo`.
#
# Installs what is missing, builds, starts the daemon in a place of its own (nothing of an installed one is touched), makes
# an nginx image from Debian's packages and serves it from a registry on loopback, runs it, shows what it can do, each step
# with its time, and removes everything. DEMO_IMAGE=docker.io/library/nginx:latest takes that image from its registry.
set -euo pipefail
source "$(dirname "$0")/../tests/harness.sh"

IMAGE=${DEMO_IMAGE:-docker.io/library/nginx:latest}
NAME=demo

now_ms() { echo $(($(date +%s%N) / 1000000)); }
BEGUN_MS=$(now_ms)

# step WHAT COMMAND...: runs it and prints how long it took; its output, if any, is shown indented.
step() {
    local what=$1 begun said status=0; shift
    begun=$(now_ms)
    said=$("$@" 2>&1) || status=$?
    printf '%-52s %7d ms\n' "$what" "$(($(now_ms) - begun))"
    [[ -z $said ]] || sed 's/^/    /' <<< "$said"
    [[ $status = 0 ]] || { [[ ! -s ${DAEMON_LOG:-} ]] || tail -20 "$DAEMON_LOG" >&2; die "$what failed (status $status)"; }
}

# make_ready: packages first, since both halves use apt-get; then the build, and the image beside it.
make_ready() {
    local begun image
    begun=$(now_ms)
    need_build_packages
    need_test_packages
    if [[ -z ${DEMO_IMAGE:-} ]]; then
        # What need_real_images would install, so that the image can be made beside the build.
        need_packages mmdebstrap skopeo jq zstd curl attr
        start_registry
        (trap - EXIT; need_real_images debian,nginx) &
        image=$!
    else
        # The daemon's own way to registries: no mirror.
        CERTS_D=$TEST/no-mirrors
        mkdir -p "$CERTS_D"
    fi
    need_dist
    [[ -z ${image:-} ]] || wait "$image" || die "the image could not be made"
    printf '%-52s %7d ms\n' "packages, build, image" "$(($(now_ms) - begun))"
}

# The pod's address, as its own /etc/hosts has it.
pod_address() { cradle exec "$NAME" cat /etc/hosts | awk '$1 ~ /^[0-9]+\./ && $1 !~ /^127\./ { print $1; exit }'; }
ask() { curl -sS --noproxy '*' --max-time 5 --retry 20 --retry-delay 1 --retry-connrefused "http://$ADDRESS/" -o /dev/null -w 'HTTP %{http_code}, %{size_download} bytes from %{remote_ip}\n' -A "$1"; }
log_has() { cradle logs "$NAME" | grep -F -- "$1"; }
wait_for_log() { until_true 5 log_has "$1" && log_has "$1" | tail -1; }
kill_and_restart() {
    daemon_kill
    echo "the daemon is gone; the pod meanwhile: $(ask while-it-was-away)"
    daemon_start
}
still_there() {
    cradle ps
    ask after-the-kill
}
take_down() {
    cradle stop "$NAME"
    cradle rm "$NAME"
    cradle ps -a
}
look() {
    until_true 10 nothing_left || { machine_left; return 1; }
    echo "no mount, namespace, cgroup, process, nftables table, link or lease of it is left"
}

need_root
trap stop_registry EXIT
make_ready
place_make demo
echo "a place of its own: $PLACE, bridge $BRIDGE, pods in $SUBNET"

step "daemon up" daemon_start
machine_before
step "pull $IMAGE" cradle pull "$IMAGE"
step "pod start" cradle run -d --name "$NAME" "$IMAGE"
ADDRESS=$(pod_address)
step "HTTP from the pod's own address, $ADDRESS" ask first-request
step "that request in its log" wait_for_log first-request
step "a command in the container" cradle exec "$NAME" sh -c 'head -1 /etc/os-release; id'
step "the daemon killed (SIGKILL) and started again" kill_and_restart
step "the pod, seen by the new daemon" still_there
step "stop and remove" take_down
daemon_stop || die "the daemon did not end within 5 s of SIGTERM"
step "a look at the machine" look
printf '%-52s %7d ms\n' "all" "$(($(now_ms) - BEGUN_MS))"
