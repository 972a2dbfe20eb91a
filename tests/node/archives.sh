#!/usr/bin/env bash
# Images from and to archives: those that GNU tar makes, those of the OCI and of docker, round trips, and what is said of
# files that are none; and that nothing is left of an archive that was not taken in.
set -euo pipefail
source "$(dirname "$0")/../harness.sh"

IMAGE=registry.k8s.io/e2e-test-images/busybox:1.29-2
REPOSITORY=e2e-test-images/busybox TAG=1.29-2

start_registry
need_test_images
need_packages curl jq skopeo
place_make archives
mkdir "$PLACE/out" "$PLACE/docker"
ARCHIVE=$PLACE/out/saved.tar

# refuses NAME PATTERN COMMAND...: fails and says so on stderr.
refuses() {
    local name=$1 pattern=$2 said; shift 2
    if said=$("$@" 2>&1 > /dev/null < /dev/null); then fail "$name" "it succeeded"
    elif grep -qE -- "$pattern" <<< "$said"; then pass "$name"
    else fail "$name" "$said"; fi
}
holds() { if grep -qE -- "$3" <<< "$2"; then pass "$1"; else fail "$1" "no '$3' in: $(tail -5 <<< "$2" | tr '\n' ';')"; fi; }
image_id() { cradle inspect "$1" | jq -r '.[0].id'; }
no_images() { [[ -z $(cradle images -q) ]]; }
# Files and folders that the store has besides its images.
nothing_is_spooled() { [[ -z $(find "$PLACE/root/trash" -mindepth 1) ]]; }

# docker_folder FOLDER TAG: the files of an archive as docker wrote it up to version 24, from the registry's blobs.
docker_folder() {
    local at=$1 manifest config layer layers=() number=0
    manifest=$(curl -sf --noproxy '*' -H 'Accept: application/vnd.docker.distribution.manifest.v2+json' \
        -H 'Accept: application/vnd.oci.image.manifest.v1+json' "http://$REGISTRY/v2/$REPOSITORY/manifests/$TAG")
    config=$(jq -r .config.digest <<< "$manifest")
    curl -sf --noproxy '*' "http://$REGISTRY/v2/$REPOSITORY/blobs/$config" > "$at/${config#sha256:}.json"
    for layer in $(jq -r '.layers[].digest' <<< "$manifest"); do
        number=$((number + 1))
        mkdir -p "$at/layer$number"
        curl -sf --noproxy '*' "http://$REGISTRY/v2/$REPOSITORY/blobs/$layer" | gzip -dcf > "$at/layer$number/layer.tar"
        layers+=("layer$number/layer.tar")
    done
    jq -n --arg config "${config#sha256:}.json" --arg tag "$2" '[{Config: $config, RepoTags: [$tag], Layers: $ARGS.positional}]' \
        --args "${layers[@]}" > "$at/manifest.json"
}

# ---- blobs that are discarded cannot be saved ------------------------------------------------------------------------

daemon_start
machine_before
cradle pull -q "$IMAGE" > /dev/null
ID=$(image_id "$IMAGE")
refuses discarded_layers_are_told_with_the_way_out 'discarded.*images.keep_blobs = true' cradle save -o "$ARCHIVE" "$IMAGE"
check and_no_file_is_left eval "[[ -z \$(ls '$PLACE/out') ]]"
cradle rmi "$IMAGE" > /dev/null
daemon_stop
daemon_start --images.keep_blobs true

# ---- there and back --------------------------------------------------------------------------------------------------

cradle pull -q "$IMAGE" > /dev/null
check an_image_is_saved cradle save -o "$ARCHIVE" "$IMAGE"
equals a_pipe_gets_the_same_bytes "$(md5sum < "$ARCHIVE")" "$(cradle save "$IMAGE" | md5sum)"
listed=$(tar -tf "$ARCHIVE")
holds gnu_tar_reads_it "$listed" '^oci-layout$'
holds and_docker_would "$(tar -xOf "$ARCHIVE" manifest.json | jq -c '.[0].RepoTags')" "^\[\"$IMAGE\"\]\$"
equals its_blobs_have_their_digests '' "$(cd "$PLACE/out" && tar -xf "$ARCHIVE" blobs && find blobs -type f -exec sha256sum {} + | awk '{ sub(/.*\//, "", $2) } $1 != $2')"
DIGEST=$(cradle image inspect "$IMAGE" | jq -r '.[0].manifest.digest')
cradle rmi "$IMAGE" > /dev/null
check the_image_is_gone no_images
equals a_load_says_what_it_loaded "Loaded image: $IMAGE" "$(cradle load -i "$ARCHIVE")"
equals it_is_the_same_image "$ID $DIGEST" "$(image_id "$IMAGE") $(cradle image inspect "$IMAGE" | jq -r '.[0].manifest.digest')"
equals and_it_runs hello "$(cradle run --rm "$IMAGE" echo hello)"
equals a_second_load_changes_nothing "$ID" "$(cradle load -q -i "$ARCHIVE" > /dev/null; cradle images -q)"
cradle rmi "$IMAGE" > /dev/null
equals a_compressed_one_comes_by_a_pipe "$IMAGE" "$(gzip -c "$ARCHIVE" | cradle load -q)"
cradle save "${ID:7:12}" > "$PLACE/out/by-id.tar"
cradle rmi "$IMAGE" > /dev/null
equals saved_by_its_id_it_has_no_name "Loaded image: $ID" "$(cradle load < "$PLACE/out/by-id.tar")"
refuses a_prune_asks_first 'give --force' cradle image prune
equals an_image_without_a_name_is_pruned "$ID" "$(cradle image prune --force)"
check and_gone no_images

# ---- of others -------------------------------------------------------------------------------------------------------

docker_folder "$PLACE/docker" busybox:old
tar -C "$PLACE/docker" -cf "$PLACE/out/docker.tar" .
equals an_archive_of_gnu_tar_is_loaded "Loaded image: docker.io/library/busybox:old" "$(cradle load -i "$PLACE/out/docker.tar")"
equals with_the_id_that_the_registry_has "$ID" "$(image_id busybox:old)"
equals it_runs hello "$(cradle run --rm busybox:old echo hello)"
cradle rmi busybox:old > /dev/null
tar -C "$PLACE/docker" --format=pax -czf "$PLACE/out/docker.tgz" manifest.json "${ID#sha256:}.json" layer1
equals in_any_order_and_form "docker.io/library/busybox:old" "$(cradle load -q -i "$PLACE/out/docker.tgz")"
if [[ -x $TEST/bin/crictl ]]; then
    holds crictl_lists_it "$(cri images)" '^docker.io/library/busybox +old '
else skip no_go "go >= $GO_AT_LEAST is wanted to build crictl with"; fi
cradle rmi busybox:old > /dev/null

# More than all other requests on their way may hold.
truncate -s 100M "$PLACE/docker/padding"
equals a_large_one_is_no_trouble "docker.io/library/busybox:old" "$(tar -C "$PLACE/docker" -cf - padding manifest.json "${ID#sha256:}.json" layer1 | cradle load -q)"
rm "$PLACE/docker/padding"
cradle rmi busybox:old > /dev/null

for form in docker-archive oci-archive; do
    skopeo copy -q --src-tls-verify=false "docker://$REGISTRY/$REPOSITORY:$TAG" "$form:$PLACE/out/$form.tar:example.test/$form:1"
    equals "skopeos_${form}_is_loaded" "example.test/$form:1" "$(cradle load -q -i "$PLACE/out/$form.tar")"
    check "skopeo_reads_ours_as_$form" eval "cradle save -o '$PLACE/out/ours.tar' 'example.test/$form:1' && skopeo inspect '$form:$PLACE/out/ours.tar'"
    cradle rmi "example.test/$form:1" > /dev/null
done

# ---- what is no archive of images ------------------------------------------------------------------------------------

head -c "$(($(stat -c %s "$PLACE/out/docker.tar") / 2))" "$PLACE/out/docker.tar" > "$PLACE/out/cut.tar"
refuses a_cut_off_archive_is_told 'ends in the middle|cut off' cradle load -i "$PLACE/out/cut.tar"
tar -C "$PLACE/docker" -cf "$PLACE/out/files.tar" layer1
refuses a_file_system_is_no_image 'no images.*docker export' cradle load -i "$PLACE/out/files.tar"
echo hello > "$PLACE/out/text"
refuses a_text_is_no_archive 'no tar archive' cradle load -i "$PLACE/out/text"
truncate -s 50M "$PLACE/out/large"
printf x | dd of="$PLACE/out/large" conv=notrunc status=none
refuses a_large_file_is_not_read_to_its_end_for_that 'no tar archive' cradle load -i "$PLACE/out/large"
refuses nothing_is_no_archive 'empty' cradle load -i /dev/null
refuses a_missing_file_is_named "nosuch.tar" cradle load -i "$PLACE/nosuch.tar"
refuses a_folder_is_not_taken_for_an_archive 'cannot read the archive' cradle load -i "$PLACE/out"
rm "$PLACE/docker/layer1/layer.tar"
tar -C "$PLACE/docker" -cf "$PLACE/out/missing.tar" .
refuses a_missing_layer_is_named 'layer1/layer.tar' cradle load -i "$PLACE/out/missing.tar"
docker_folder "$PLACE/docker" busybox:old
jq '. + [.[0] | .Layers = []]' "$PLACE/docker/manifest.json" > "$PLACE/docker/twice"
mv "$PLACE/docker/twice" "$PLACE/docker/manifest.json"
tar -C "$PLACE/docker" -cf "$PLACE/out/twice.tar" .
refuses one_name_of_two_images_is_refused 'stands for two images' cradle load -i "$PLACE/out/twice.tar"
docker_folder "$PLACE/docker" busybox:old
printf 'not so' | dd of="$PLACE/docker/layer1/layer.tar" bs=1 seek=$(($(stat -c %s "$PLACE/docker/layer1/layer.tar") / 2)) conv=notrunc status=none
tar -C "$PLACE/docker" -cf "$PLACE/out/damaged.tar" .
refuses a_layer_that_is_another_one_is_refused 'configuration says sha256' cradle load -i "$PLACE/out/damaged.tar"
refuses an_unknown_image_is_not_saved 'no image "nosuch:1"' cradle save -o "$PLACE/out/x.tar" nosuch:1
holds an_archive_is_nothing_for_a_terminal "$(script -qec "'$DIST/cradle' --socket '$SOCKET' save x; '$DIST/cradle' --socket '$SOCKET' load" /dev/null < /dev/null | tr '\r' ' ')" 'nothing on stdin'
check none_of_them_was_taken_in no_images

mkfifo "$PLACE/fifo"
exec 7<> "$PLACE/fifo"
"$DIST/cradle" --socket "$SOCKET" load -i "$PLACE/fifo" > /dev/null 2>&1 < /dev/null & PID=$!
head -c 100000 "$PLACE/out/docker.tar" >&7 &
is_open() { find /proc/"$(cat "$PLACE/daemon.pid")"/fd -lname '*/archive-*deleted*' 2> /dev/null | grep -q .; }
check an_archive_is_copied_to_a_file_without_a_name until_true 5 is_open
kill -INT "$PID"
STATUS=0; wait "$PID" || STATUS=$?
exec 7>&-
equals ctrl_c_ends_a_load 130 "$STATUS"
check and_the_daemon_gives_it_up until_true 5 eval '! is_open'
check nothing_is_listed no_images

# ---- and then --------------------------------------------------------------------------------------------------------

check no_copy_is_left until_true 10 nothing_is_spooled
check no_layer_is_left until_true 10 eval "[[ -z \$(find '$PLACE/root/layers' -mindepth 1 -maxdepth 1 ! -name 0) ]]"
machine_check nothing_is_left_of_archives
check daemon_ends_within_5_s daemon_stop
