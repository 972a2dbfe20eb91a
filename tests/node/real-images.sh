#!/usr/bin/env bash
# Real software as a new user would try it, with crictl alone: web server, databases and a language, from pull to rmi.
set -euo pipefail
source "$(dirname "$0")/../harness.sh"

start_registry
need_real_images
need_clients || { skip no_go "go >= $GO_AT_LEAST is wanted to build crictl with"; exit; }
place_make real-images
daemon_start
machine_before

declare -A IMAGE=([nginx]=docker.io/library/nginx:latest [redis]=docker.io/library/redis:latest
    [mariadb]=docker.io/library/mariadb:latest [python]=docker.io/library/python:3.11)
# As the request has it: what a container gets beside its image's own.
declare -A MORE=([nginx]='{}' [redis]='{}' [mariadb]='{"envs": [{"key": "MARIADB_DATABASE", "value": "shop"}]}'
    [python]='{"command": ["python3", "-m", "http.server", "8000"], "working_dir": "/srv"}')
declare -A POD=() CONTAINER=() ADDRESS=()
NAMES=(nginx redis mariadb python)

pod_request() {
    jq -n --arg name "$1" --arg logs "$PLACE/logs/$1" '{metadata: {name: $name, namespace: "default", uid: $name, attempt: 0},
        hostname: $name, log_directory: $logs, dns_config: {servers: ["192.0.2.53"], searches: ["example.test"]}, linux: {}}'
}
container_request() {
    jq -n --arg name "$1" --arg image "${IMAGE[$1]}" --argjson more "${MORE[$1]}" '{metadata: {name: $name},
        image: {image: $image}, log_path: ($name + ".log"), linux: {resources: {memory_limit_in_bytes: 536870912}}} + $more'
}
state() { cri inspect "${CONTAINER[$1]}" | jq -r "$2"; }
run() { cri exec -s "${CONTAINER[$1]}" "${@:2}"; }
has_logs() { cri logs "${CONTAINER[$1]}" 2>&1 | grep -- "$2"; }
# greets ADDRESS PORT LINE LENGTH REPLY: whether what listens there answers LINE (empty: at once) with LENGTH bytes that
# have REPLY.
greets() { timeout 5 bash -c 'exec 3<> "/dev/tcp/$0/$1"; [[ -z $2 ]] || printf "%s\r\n" "$2" >&3; head -c "$3" <&3 | tr -d "\0" | grep -a -- "$4"' "$@"; }

# ---- from nothing to running -----------------------------------------------------------------------------------------

for name in "${NAMES[@]}"; do
    check "${name}_is_pulled" cri pull "${IMAGE[$name]}"
    equals "${name}_is_listed" "${IMAGE[$name]}" "$(cri images -o json | jq -r --arg tag "${IMAGE[$name]}" '.images[].repoTags[] | select(. == $tag)')"
    pod_request "$name" > "$PLACE/$name-pod.json"
    container_request "$name" > "$PLACE/$name.json"
    mkdir -p "$PLACE/logs/$name"
    POD[$name]=$(cri runp "$PLACE/$name-pod.json")
    CONTAINER[$name]=$(cri create "${POD[$name]}" "$PLACE/$name.json" "$PLACE/$name-pod.json")
    check "${name}_starts" cri start "${CONTAINER[$name]}"
    ADDRESS[$name]=$(cri inspectp "${POD[$name]}" | jq -r .status.network.ip)
done
POD_IDS="${POD[*]}"
equals all_are_in_ps "$(printf '%s\n' "${NAMES[@]}" | sort)" "$(cri ps -o json | jq -r '.containers[].metadata.name' | sort)"
equals and_their_pods_are_ready 4 "$(cri pods -q --state ready | wc -l)"
equals inspect_tells_state_and_image "CONTAINER_RUNNING ${IMAGE[nginx]}" "$(state nginx '.status | "\(.state) \(.image.image)"')"
equals each_has_its_own_address 4 "$(printf '%s\n' "${ADDRESS[@]}" | sort -u | wc -l)"

# ---- each does what it is for ----------------------------------------------------------------------------------------

check nginx_answers_the_host until_true 10 curl -sf --noproxy '*' "http://${ADDRESS[nginx]}/"
check its_log_has_the_request until_true 5 has_logs nginx '"GET / HTTP/1.1" 200'
check its_configuration_is_good run nginx nginx -t
equals its_name_is_its_hosts nginx "$(run nginx hostname)"
equals its_resolver_is_the_pods "nameserver 192.0.2.53" "$(run nginx grep nameserver /etc/resolv.conf)"

check redis_is_ready until_true 20 has_logs redis 'Ready to accept connections'
equals redis_keeps_what_it_is_told "OK bread" "$(run redis redis-cli set basket bread) $(run redis redis-cli get basket)"
check redis_answers_the_host greets "${ADDRESS[redis]}" 6379 PING 5 '+PONG'
equals redis_became_its_own_user "$(run redis id -u redis)" "$(stat -c %u "/proc/$(state redis .info.pid)")"
equals its_volume_is_its_own redis "$(run redis stat -c %U /data)"

# Like the first start of the real image: it makes its tables, then serves.
sql() { run mariadb mariadb -N -B shop -e "$1"; }
check mariadb_is_ready until_true 40 sql 'select 1'
equals mariadb_keeps_what_it_is_told apple "$(sql 'create table fruit (name text); insert into fruit values ("apple"); select name from fruit')"
check mariadb_answers_the_host greets "${ADDRESS[mariadb]}" 3306 '' 40 MariaDB

equals python_computes 1267650600228229401496703205376 "$(run python python3 -c 'print(2**100)')"
run python sh -c 'echo from python > /srv/page' > /dev/null
equals python_serves_the_host "from python" "$(curl -sf --noproxy '*' --retry 20 --retry-delay 1 --retry-connrefused "http://${ADDRESS[python]}:8000/page")"
equals python_reaches_nginx_by_its_address 200 "$(run python python3 -c "import urllib.request as r; print(r.urlopen('http://${ADDRESS[nginx]}').status)")"
# leads_to POD PORT TRANSPORT COMMAND...: whether COMMAND succeeds with a port of ours, which it gets as $HERE, leading there.
leads_to() {
    local pid status=0
    crictl --config /dev/null -r "unix://$SOCKET" port-forward -r "$3" "$1" "0:$2" > "$PLACE/forward" 2>&1 < /dev/null & pid=$!
    until_true 10 grep -q '127\.0\.0\.1:' "$PLACE/forward" || status=1
    HERE=$(sed -nE '0,/127\.0\.0\.1:/s/.*127\.0\.0\.1:([0-9]+).*/\1/p' "$PLACE/forward") "${@:4}" || status=1
    kill "$pid" 2> /dev/null || true
    wait "$pid" 2> /dev/null || true
    return $status
}
page_comes() { curl -sf --noproxy '*' --max-time 10 "http://127.0.0.1:$HERE/" "http://127.0.0.1:$HERE/"; }
redis_answers() { greets 127.0.0.1 "$HERE" PING 5 '+PONG'; }
for transport in spdy websocket; do
    check "nginx_is_behind_a_port_of_ours_over_$transport" leads_to "${POD[nginx]}" 80 $transport page_comes
    check "redis_is_behind_a_port_of_ours_over_$transport" leads_to "${POD[redis]}" 6379 $transport redis_answers
done

says_how_it_failed() { [[ $(run python sh -c 'exit 3' 2>&1) = *"exited with 3"* ]]; }
check a_command_that_fails_says_how says_how_it_failed
uses() { cri stats -o json | jq -e '[.stats[] | select(.memory.workingSetBytes.value | tonumber > 0)] | length == 4'; }
check stats_has_all until_true 15 uses

# ---- and back --------------------------------------------------------------------------------------------------------

# Each ends by the signal that its image names, by itself but for python, which knows of none.
declare -A ENDS=([nginx]="0 Completed" [redis]="0 Completed" [mariadb]="0 Completed" [python]="143 Error")
for name in "${NAMES[@]}"; do
    check "${name}_stops" cri stop -t 20 "${CONTAINER[$name]}"
    equals "${name}_ended_well" "${ENDS[$name]}" "$(state "$name" '.status | "\(.exitCode) \(.reason)"')"
    check "${name}_is_removed" cri rm "${CONTAINER[$name]}"
    check "${name}s_pod_stops" cri stopp "${POD[$name]}"
    check "${name}s_pod_is_removed" cri rmp "${POD[$name]}"
    check "${name}s_image_is_removed" cri rmi "${IMAGE[$name]}"
done
equals nothing_is_listed_any_more "" "$(cri ps -aq)$(cri pods -q)$(cri images -q)"
machine_check nothing_is_left_after_real_images
