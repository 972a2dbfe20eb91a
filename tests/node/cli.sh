#!/usr/bin/env bash
# The command line, as people who know docker use it: what it prints and where, its exit codes, its answers to mistakes;
# and that nothing is left of what it made.
set -euo pipefail
source "$(dirname "$0")/../harness.sh"

IMAGE=registry.k8s.io/e2e-test-images/busybox:1.29-2
TAGS=gcr.io/k8s-staging-cri-tools/test-image-tags
# Names of this run alone: logs lie in a folder that all daemons share.
N=cli$$

start_registry
need_test_images
place_make cli
mkdir "$PLACE/out" "$PLACE/data"
cp -r "$CERTS_D" "$PLACE/certs.d"
CERTS_D=$PLACE/certs.d

# said ARGUMENT...: runs cradle; OUT and ERR are what it said, STATUS is its exit status.
said() {
    STATUS=0
    cradle "$@" > "$PLACE/out/out" 2> "$PLACE/out/err" < /dev/null || STATUS=$?
    OUT=$(tr -d '\0' < "$PLACE/out/out") ERR=$(cat "$PLACE/out/err")
}
# holds NAME TEXT PATTERN: whether TEXT has a line that matches PATTERN.
holds() { if grep -qE -- "$3" <<< "$2"; then pass "$1"; else fail "$1" "no '$3' in: $(tail -5 <<< "$2" | tr '\n' ';')"; fi; }
# refuses NAME STATUS PATTERN ARGUMENT...: fails with STATUS, says so on stderr, and nothing on stdout.
refuses() {
    local name=$1 status=$2 pattern=$3; shift 3
    said "$@"
    if [[ $STATUS = "$status" && -z $OUT ]] && grep -qE -- "$pattern" <<< "$ERR"; then pass "$name"
    else fail "$name" "status $STATUS, stdout '$OUT', stderr '$ERR'"; fi
}
# runs NAME: whether a container of this name is running.
runs() { cradle ps | grep -qw -- "$1"; }
is_known() { cradle ps --all | grep -qw -- "$1"; }
# begin ARGUMENT...: cradle in the background, its pid in PID. Signals reach it, which a job's shell would ignore.
begin() { "$DIST/cradle" --socket "$SOCKET" "$@" > "$PLACE/out/begun" 2> /dev/null < /dev/null & PID=$!; }
has_said() { grep -q -- "$1" "$PLACE/out/begun"; }
ended() { STATUS=0; wait "$PID" || STATUS=$?; OUT=$(cat "$PLACE/out/begun"); }

# ---- without a daemon ------------------------------------------------------------------------------------------------

refuses without_a_daemon_it_says_where_it_looked 1 "cannot connect to $SOCKET" ps
holds and_what_to_do "$ERR" 'is the daemon running'
refuses a_mistyped_command_is_told_the_nearest 2 "'images'" imagse

# ---- pull, images, registry ------------------------------------------------------------------------------------------

# A registry that takes connections and says nothing. Its last word makes it one of this place's processes.
python3 -c '
import socket, time
server = socket.create_server(("127.0.0.1", 0))
print(server.getsockname()[1], flush=True)
time.sleep(600)' "$PLACE/" > "$PLACE/silent.port" &
is_asked() { [[ -n $(ss -tnH state established "dport = :$(cat "$PLACE/silent.port")") ]]; }
until_true 5 test -s "$PLACE/silent.port"
mkdir "$CERTS_D/silent.test"
printf 'server = "http://127.0.0.1:%s"\n' "$(cat "$PLACE/silent.port")" > "$CERTS_D/silent.test/hosts.toml"

daemon_start
machine_before

said pull "$IMAGE"
equals a_pull_succeeds 0 "$STATUS"
holds a_pull_has_a_line_for_each_layer "$ERR" '^[0-9a-f]{12}  [0-9.]+ [kM]?B'
holds a_pull_sums_up "$ERR" "^$IMAGE: 1 of 1 layers fetched, .* in "
holds stdout_is_the_images_id_alone "$OUT" '^sha256:[0-9a-f]{64}$'
ID=$OUT
said pull "$IMAGE"
holds a_second_pull_finds_everything "$ERR" 'everything was here already'
said pull -q "$IMAGE"
equals a_quiet_pull_says_the_id_alone "$ID" "$OUT$ERR"
said images
holds an_image_is_listed "$OUT" "registry.k8s.io/e2e-test-images/busybox +1.29-2 +${ID:7:12} "
equals ids_alone_are_listed "$ID" "$(cradle images -q)"
equals as_docker_groups_it "$ID" "$(cradle image ls -q)"
cradle pull -q "$IMAGE" > /dev/null
holds what_only_it_has_is_told "$(cradle images)" "^IMAGE .* SIZE +SHARED +UNIQUE\$"
holds alone_it_shares_nothing "$(cradle images)" "${ID:7:12} +([0-9.]+ [kM]B) +0 B +\\1\$"
said history "$IMAGE"
holds its_history_begins_with_its_id "$OUT" "^${ID:7:12} "
said image inspect "$IMAGE" "${ID:7:12}"
equals what_it_is_made_of_is_json "2 $ID linux true" "$(jq -r '"\(length) \(.[0].id) \(.[0].platform.os) \(.[0] == .[1])"' <<< "$OUT")"
equals its_layers_have_sizes true "$(jq '.[0] | .layers | length > 0 and all(.sizeBytes > 0 and .compressedBytes > 0 and .blobKept == false)' <<< "$OUT")"
equals its_size_is_that_of_its_layers true "$(jq '.[0] | (.sizeBytes - ([.layers[].sizeBytes] | add)) as $config | $config > 0 and $config < 16384 and .uniqueBytes == .sizeBytes' <<< "$OUT")"
refuses an_unknown_image_has_no_history 1 'no image "nosuch"' history nosuch
refuses and_no_parts 1 'no image "nosuch"' image inspect nosuch

# Drawn anew: the layer goes with the image.
cradle rmi "$IMAGE" > /dev/null
drawn=$(TERM=xterm script -qec "stty cols 40 rows 5; '$DIST/cradle' --socket '$SOCKET' pull '$IMAGE'" /dev/null < /dev/null | tr -d '\r')
holds a_terminal_sees_a_frame_that_is_drawn_over "$drawn" $'\x1b\\[1A'
equals no_line_of_the_frame_is_too_long '' "$(sed 's/\x1b\[[0-9]*[A-Z]//g' <<< "$drawn" | grep -E '^[0-9a-f]{12}  .{26}' || true)"
equals the_cursor_is_never_hidden '' "$(grep -F $'\x1b[?25l' <<< "$drawn" || true)"

refuses an_unknown_image_is_an_error 1 'nosuch/image:1.*(404|not)' pull docker.io/nosuch/image:1
refuses a_bad_name_is_an_error 1 'UPPER' pull docker.io/library/UPPER
begin pull silent.test/a:1
until_true 5 is_asked
kill -INT "$PID"
ended
equals ctrl_c_ends_a_pull 130 "$STATUS"
check and_the_daemon_gives_it_up until_true 5 eval '! is_asked'

said registry explain docker.io/library/nginx
holds a_registry_is_explained "$OUT" "http://$REGISTRY \(registry\)"
holds with_the_reason "$OUT" "because +$CERTS_D/_default/hosts.toml line [0-9]+"
mkdir "$CERTS_D/broken.test"
echo 'servr = "x"' > "$CERTS_D/broken.test/hosts.toml"
refuses a_broken_hosts_file_is_named 1 'broken.test/hosts.toml.*servr' registry explain broken.test/a

# ---- run in the foreground -------------------------------------------------------------------------------------------

cradle rmi "$IMAGE" > /dev/null
said run --rm --name "$N-a" "$IMAGE" echo hello
equals a_missing_image_is_pulled_first "0 hello" "$STATUS $OUT"
holds with_progress "$ERR" '^[0-9a-f]{12}  '
said run --rm "$IMAGE" sh -c 'printf "out\0\n\ntail"; printf err >&2; exit 7'
equals the_exit_code_is_passed_on 7 "$STATUS"
equals stdout_has_the_exact_bytes "$(printf 'out\0\n\ntail' | od -c)" "$(od -c < "$PLACE/out/out")"
equals stderr_is_apart "$(printf err | od -c)" "$(od -c < "$PLACE/out/err")"
said run --name "$N-s" "$IMAGE" seq 1 50000
equals all_output_comes_before_the_end "$(seq 1 50000 | md5sum)" "$(md5sum < "$PLACE/out/out")"
equals the_last_lines_of_its_log_are_shown "49999 50000" "$(cradle logs -n 2 "$N-s" | tr '\n' ' ' | sed 's/ $//')"
cradle rm "$N-s" > /dev/null
begin run --rm --name "$N-k" "$IMAGE" sleep 1000
until_true 10 runs "$N-k"
kill -KILL "$(cradle inspect "$N-k" | jq '.[0].info.pid')"
ended
equals a_killed_program_has_the_shells_status 137 "$STATUS"

echo text > "$PLACE/data/file"
FROM_HERE=shell said run --rm -e A='a b' -e FROM_HERE -v "$PLACE/data:/data:ro" --name "$N-b" "$IMAGE" \
    sh -c 'echo "$A" "$FROM_HERE" "$(cat /data/file)" "$(hostname)"; touch /data/x'
equals variables_mounts_and_the_name_arrive "a b shell text $N-b" "$OUT"
holds a_read_only_mount_is_read_only "$ERR" 'Read-only'
equals hosts_network_is_the_hosts "$(readlink /proc/self/ns/net)" "$(cradle run --rm --network host "$IMAGE" readlink /proc/self/ns/net)"

refuses a_missing_command_is_127 127 'nosuch' run --name "$N-c" "$IMAGE" nosuch
refuses and_its_pod_is_gone 1 "no container" inspect "$N-c"
refuses a_missing_image_is_125 125 'nosuch/image:1' run docker.io/nosuch/image:1 true
refuses a_missing_source_is_named 125 "no $PLACE/nothing on this machine" run -v "$PLACE/nothing:/x" "$IMAGE" true
refuses a_named_volume_is_explained 125 'no named volumes' run -v data:/x "$IMAGE" true
refuses a_bad_name_is_refused 125 'begins with' run --name ../x "$IMAGE" true
refuses a_bad_port_is_refused 125 'PORT:PORT' run -p 80 "$IMAGE" true
refuses a_terminal_comes_by_attach 125 'go with --detach' run -it "$IMAGE" sh

begin run --rm --name "$N-d" "$IMAGE" sh -c 'trap "echo stopped; exit 3" TERM; echo ready; while :; do sleep 0.1; done'
until_true 10 has_said ready
kill -INT "$PID"
ended
equals ctrl_c_stops_the_container 3 "$STATUS"
holds and_its_last_words_are_shown "$OUT" '^stopped$'
check and_it_is_removed eval "! is_known '$N-d'"

begin run --rm --name "$N-e" "$IMAGE" sh -c 'echo before; until [ -e /tmp/go ]; do sleep 0.1; done; echo after'
until_true 10 has_said before
daemon_kill
daemon_start
cradle exec "$N-e" touch /tmp/go
ended
equals a_new_daemon_goes_unnoticed "0 before after" "$STATUS $(tr '\n' ' ' <<< "$OUT" | sed 's/ $//')"

# ---- a container in the background -----------------------------------------------------------------------------------

said run -d --name "$N-w" "$IMAGE" sh -c 'echo one; echo two >&2; echo three; trap "exit 0" TERM; while :; do sleep 0.1; done'
CONTAINER=$OUT
holds detached_it_prints_the_id "$OUT" '^[0-9a-f]{64}$'
POD_IDS=$(cradle inspect "$N-w" | jq -r '.[0].pod')
refuses a_taken_name_is_refused 125 "the name \"$N-w\" is taken" run --name "$N-w" "$IMAGE" true
said ps
holds it_is_listed "$OUT" "^${CONTAINER:0:12} +$IMAGE +.* ago +Up .* $N-w "
equals its_id_is_listed "$CONTAINER" "$(cradle ps -q)"
until_true 5 eval "cradle logs '$N-w' 2> /dev/null | grep -q three"
said logs "$N-w"
equals its_log_is_shown "one three" "$(tr '\n' ' ' <<< "$OUT" | sed 's/ $//')"
equals and_stderr_apart two "$ERR"
holds with_times "$(cradle logs -t "${CONTAINER:0:8}" 2>&1)" '^20[0-9-]+T[0-9:.]+Z two$'

said exec "$N-w" sh -c 'echo out; echo err >&2; exit 4'
equals an_execs_exit_code_is_passed_on "4 out err" "$STATUS $OUT $ERR"
refuses an_exec_of_a_missing_command_is_127 127 nosuch exec "$N-w" nosuch
refuses an_exec_with_a_terminal_wants_one_here 125 'no terminal' exec -it "$N-w" sh
refuses an_exec_in_no_container_is_an_error 125 'no container "nobody".*ps --all' exec nobody true

equals inspect_is_json "running $N-w $IMAGE" "$(cradle inspect "$N-w" | jq -r '.[0] | "\(.state) \(.name) \(.info.config.image.user_specified)"')"
equals inspect_shows_images_too "$ID" "$(cradle inspect "$IMAGE" | jq -r '.[0].id')"
said explain "$N-w"
holds its_start_is_explained "$OUT" '^clone: .*network of the pod'
holds down_to_its_program "$OUT" "$N-w"
holds its_use_is_shown "$(cradle stats)" "^${CONTAINER:0:12} +$N-w +[0-9.]+ % +[0-9.]+ [kM]?B"
check a_reader_that_leaves_is_no_trouble eval "cradle ps --all 2> '$PLACE/out/err' | true; [[ ! -s '$PLACE/out/err' ]]"

begin logs -f "$N-w"
until_true 5 has_said three
refuses a_running_one_is_not_removed 1 "is running: cradle stop" rm "$N-w"
said stop "$N-w"
equals stop_says_what_it_stopped "$N-w" "$OUT"
ended
equals a_followed_log_ends_with_its_container 0 "$STATUS"
holds it_is_listed_as_exited "$(cradle ps -a)" "Exited \(0\) .* $N-w "
equals it_runs_no_longer '' "$(cradle ps -q)"
said rm "$N-w"
equals rm_says_what_it_removed "$N-w" "$OUT"
refuses it_is_gone 1 'no container' rm "$N-w"

said run -d --name "$N-x" -p 127.0.0.1:0:80 "$IMAGE" true
equals port_0_is_refused 125 "$STATUS"
PORT=$(free_port)
cradle run -d --name "$N-y" -p "$PORT:8080" -v "$PLACE/data:/data:ro" "$IMAGE" httpd -f -p 8080 -h /data > /dev/null
ADDRESS=$(ip -4 -o address show dev "$BRIDGE" | awk '{ sub(/\/.*/, "", $4); print $4 }')
check a_published_port_leads_there until_true 5 eval "curl -sf --noproxy '*' 'http://$ADDRESS:$PORT/file' | grep -qx text"
equals rm_force_removes_a_running_one "$N-y" "$(cradle rm -f "$N-y")"

# ---- removing images -------------------------------------------------------------------------------------------------

cradle run -d --name "$N-z" "$IMAGE" sleep 1000 > /dev/null
refuses an_image_in_use_is_not_removed 1 "container $N-z" rmi "$IMAGE"
cradle rm -f "$N-z" > /dev/null
cradle pull -q "$TAGS:1" > /dev/null
cradle pull -q "$TAGS:2" > /dev/null
refuses one_of_many_names_is_not_enough 1 "$TAGS:1, $TAGS:2" rmi "$TAGS:1"
said rmi --force "$TAGS:1"
holds forced_all_its_names_go "$OUT" "$TAGS:2"
refuses an_unknown_image_is_named 1 'no image "nosuch"' rmi nosuch
said rmi "${ID:7:12}"
holds an_id_may_be_short "$OUT" "$IMAGE"
equals no_image_is_left '' "$(cradle images -q)"

# ---- and then --------------------------------------------------------------------------------------------------------

check no_log_is_left eval "! compgen -G '/var/log/cradle/$N-*'"
machine_check nothing_is_left_after_the_command_line
check daemon_ends_within_5_s daemon_stop
