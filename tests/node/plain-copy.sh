#!/usr/bin/env bash
# A root folder on a file system upon which no overlay can be mounted, here an overlay itself: found out at the start and
# told, and containers run on copies of their images, with volumes, over a restart, and leave nothing.
set -euo pipefail
source "$(dirname "$0")/../harness.sh"

IMAGE=registry.k8s.io/e2e-test-images/busybox:1.29-2
N=copy$$

start_registry
need_test_images
need_real_images
place_make plain-copy
mkdir -p "$PLACE/under"/{lower,upper,work}
mount -t overlay overlay -o "lowerdir=$PLACE/under/lower,upperdir=$PLACE/under/upper,workdir=$PLACE/under/work" "$PLACE/root"

holds() { if grep -qE -- "$3" <<< "$2"; then pass "$1"; else fail "$1" "no '$3' in: $(tail -5 <<< "$2" | tr '\n' ';')"; fi; }
folders() { find "$PLACE/root/$1" -mindepth 1 -maxdepth 1 ! -name 0 | wc -l; }
store_is_empty() { [[ $(folders layers) = 0 && $(folders containers) = 0 && $(folders trash) = 0 ]]; }

daemon_start
machine_before
holds it_is_told_in_the_log "$(cat "$DAEMON_LOG")" 'overlays do not work on this file system'
if [[ -x $TEST/bin/crictl ]]; then
    holds and_in_the_status "$(cri info | jq -r .cradle.images.rootFilesystems)" '^copy: .*(upper|overlay|whiteout|attribute)'
else skip no_go "go >= $GO_AT_LEAST is wanted to build crictl with"; fi

cradle pull -q "$IMAGE" > /dev/null
equals a_container_runs hello "$(cradle run --rm "$IMAGE" echo hello)"
cradle run -d --name "$N" "$IMAGE" sh -c 'echo written > /file; rm /bin/vi; exec sleep 1000' > /dev/null
check it_writes_to_its_root until_true 10 eval "[[ \$(cradle exec '$N' cat /file) = written ]]"
check another_one_has_the_images_files cradle run --rm "$IMAGE" test -e /bin/vi -a ! -e /file
daemon_kill
daemon_start
equals a_restart_changes_nothing written "$(cradle exec "$N" cat /file)"
check what_it_removed_stays_so cradle exec "$N" test ! -e /bin/vi
equals one_copy_is_there 1 "$(folders containers)"

# Of many layers, with whiteouts, hard links and users.
check real_software_is_pulled cradle pull -q docker.io/library/nginx:latest
cradle run -d --name "$N-n" docker.io/library/nginx:latest > /dev/null
answers() { cradle exec "$N-n" bash -c 'exec 3<> /dev/tcp/127.0.0.1/80; printf "GET / HTTP/1.0\r\n\r\n" >&3; head -1 <&3' | grep 200; }
check and_runs until_true 20 answers

cradle rm -f "$N" "$N-n" > /dev/null
cradle images -q | xargs -n 1 "$DIST/cradle" --socket "$SOCKET" rmi --force > /dev/null
check nothing_is_left_in_the_store until_true 20 store_is_empty
machine_check nothing_is_left_of_copies
check daemon_ends_within_5_s daemon_stop
