#!/usr/bin/env bash
# Pods with user namespaces: where the kernel maps the owners of images, and where it cannot and images are copied, here
# upon an overlay. Files look as they do without, programs get the rights that the image gives them, nobody outside has
# any; over a restart, and nothing is left.
set -euo pipefail
source "$(dirname "$0")/../harness.sh"

SETUID=registry.k8s.io/e2e-test-images/nonewprivs:1.3
REDIS=docker.io/library/redis:latest
FIRST=1000000
# What a container runs that only waits, and ends when it is told to.
WAITS='{"command": ["sh", "-c", "trap exit TERM; sleep 1000 & wait"]}'

start_registry
need_test_images
need_real_images redis
need_clients || { skip no_go "go >= $GO_AT_LEAST is wanted to build crictl with"; exit; }
place_make user-namespaces

# pod NAME USERNS: runs a pod; says its id.
pod() {
    jq -n --arg name "$1" --arg logs "$PLACE/logs" --argjson user "$2" '{metadata: {name: $name, namespace: "default", uid: $name, attempt: 0},
        log_directory: $logs, linux: {security_context: {namespace_options: ({pid: 1} + $user)}}}' > "$PLACE/$1-pod.json"
    cri runp "$PLACE/$1-pod.json"
}
# container POD-NAME POD NAME IMAGE MORE: starts a container; says its id.
container() {
    local id
    jq -n --arg name "$3" --arg image "$4" --argjson more "$5" '{metadata: {name: $name}, image: {image: $image},
        log_path: ($name + ".log"), linux: {}} + $more' > "$PLACE/$3.json"
    id=$(cri create "$2" "$PLACE/$3.json" "$PLACE/$1-pod.json")
    cri start "$id" > /dev/null
    echo "$id"
}
run() { cri exec -s "$@"; }
pid() { cri inspect "$1" | jq -r .info.pid; }
# What the image's files are to a container.
files() { run "$1" find / -xdev \( -path /proc -o -path /sys -o -path /dev \) -prune -o -printf '%p %U:%G %m\n' | sort; }
folders() { find "$PLACE/root/$1" -mindepth 1 -maxdepth 1 ! -name 0 | wc -l; }
store_is_empty() { [[ $(folders layers) = 0 && $(folders containers) = 0 && $(folders trash) = 0 ]]; }
maps_owners() { cradle explain "$1" | grep 'map the owners in'; }
is_redis() { run "$1" redis-cli ping | grep PONG; }

# round NAME STATUS: all of it, where the status says so.
round() {
    local name=$1 status user mapped plain there file
    daemon_start
    machine_before
    status=$(cri info | jq -r .cradle.images.userNamespaces)
    if [[ $status =~ $2 ]]; then pass "${name}_is_in_the_status"; else fail "${name}_is_in_the_status" "$status"; fi
    check "${name}_is_offered" eval "cri info | jq -e '.runtimeHandlers[0].features.user_namespaces'"
    cri pull "$REDIS" > /dev/null
    cri pull "$SETUID" > /dev/null

    user=$(jq -nc --argjson first $FIRST '{host_id: $first, container_id: 0, length: 65536} | {userns_options: {mode: 0, uids: [.], gids: [.]}}')
    mapped=$(pod mapped "$user") plain=$(pod plain '{}')
    POD_IDS="$mapped $plain"
    there=$(container plain "$plain" there "$REDIS" "$WAITS")
    file=$(container mapped "$mapped" file "$REDIS" "$WAITS")
    equals "${name}_root_is_nobody_outside" "0 $FIRST" "$(run "$file" id -u) $(stat -c %u "/proc/$(pid "$file")")"
    files "$there" > "$PLACE/there"
    files "$file" > "$PLACE/here"
    check "${name}_files_look_as_without" diff "$PLACE/there" "$PLACE/here"
    check "${name}_they_have_several_owners" grep -vq ' 0:0 ' "$PLACE/here"

    run "$file" sh -c 'echo written > /file; chown 33:44 /file; mkdir /folder; rm /etc/motd' > /dev/null
    equals "${name}_what_it_writes_is_the_mapped_users" "$((FIRST + 33)):$((FIRST + 44)) $FIRST:$FIRST" \
        "$(stat -c %u:%g "$PLACE/root/containers/$file/fs/"{file,folder} | xargs)"
    container mapped "$mapped" setuid "$SETUID" '{"linux": {"security_context": {"run_as_user": {"value": 1000}}}}' > /dev/null
    check "${name}_a_setuid_program_is_root_inside" until_true 10 grep 'Effective uid: 0' "$PLACE/logs/setuid.log"
    there=$(container mapped "$mapped" volume "$SETUID" "$(jq -c --arg image "$REDIS" '. + {mounts: [
        {container_path: "/image", image: {image: $image}, image_sub_path: "etc", readonly: true}]}' <<< "$WAITS")")
    equals "${name}_an_image_volume_has_its_owners" "$(run "$file" stat -c %u:%g:%a /etc/shadow)" "$(run "$there" stat -c %u:%g:%a /image/shadow)"
    there=$(container mapped "$mapped" redis "$REDIS" '{}')
    check "${name}_real_software_runs" until_true 20 is_redis "$there"
    equals "${name}_it_becomes_its_own_user" "$((FIRST + $(run "$there" id -u redis)))" "$(stat -c %u "/proc/$(pid "$there")")"
    if [[ $name = copy ]]; then check copy_is_what_it_runs_on eval '! maps_owners "$file"'; else check idmap_is_what_it_runs_on maps_owners "$file"; fi

    daemon_kill
    daemon_start
    equals "${name}_a_restart_changes_nothing" "written 33:44" "$(run "$file" sh -c 'cat /file; test ! -e /etc/motd; stat -c %u:%g /file' | xargs)"
    check "${name}_redis_did_not_notice" is_redis "$there"
    there=$(container mapped "$mapped" later "$REDIS" "$WAITS")
    check "${name}_another_container_has_the_images_files" run "$there" test -e /etc/motd -a ! -e /file
    cri rmp -f "$mapped" "$plain" > /dev/null 2>&1
    cri rmi --all > /dev/null
    check "${name}_leaves_nothing_in_the_store" until_true 60 store_is_empty
    machine_check "${name}_leaves_nothing"
    check "${name}_daemon_ends_within_5_s" daemon_stop
}

round idmap '^idmap$'
mkdir -p "$PLACE/under"/{lower,upper,work}
mount -t overlay overlay -o "lowerdir=$PLACE/under/lower,upperdir=$PLACE/under/upper,workdir=$PLACE/under/work" "$PLACE/root"
round copy "^copy: .*mapping the owners in $PLACE/root"
check copy_is_told_in_the_log grep 'gets a copy of its image' "$DAEMON_LOG"
