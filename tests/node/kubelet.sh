#!/usr/bin/env bash
# A kubelet 1.36 alone, with static pods: it starts them, probes them, restarts what dies, measures them, reads their logs,
# and stops them when their files go. Neither its own restart nor the daemon's is noticed by a pod.
#
# Building a kubelet takes minutes: the short form takes one that lies ready, only the long form builds it. The long form
# also waits until the kubelet collects the stopped pods by itself, which it does once a minute.
set -euo pipefail
source "$(dirname "$0")/../harness.sh"

use_cache
if [[ ${TEST_LONG:-} = 1 ]]; then
    need_kubelet || { skip no_go "go >= $GO_AT_LEAST is wanted to build a kubelet with"; exit; }
elif [[ ! -x $TEST/bin/kubelet ]]; then
    skip no_kubelet "there is none in $TEST/bin; the long form builds one"
    exit
fi
start_registry
need_test_images
need_real_images
need_clients || { skip no_go "go >= $GO_AT_LEAST is wanted to build crictl with"; exit; }

# ---- the kubelet -----------------------------------------------------------------------------------------------------

place_make kubelet
K=$PLACE/kubelet GROUP=$BRIDGE
mkdir -p "$K"/{manifests,pki,plugins,root}
PORT=$(free_port) READ_ONLY=$(free_port) HEALTH=$(free_port) HOST_PORT=$(free_port)

# The folders of a control group in every hierarchy, v1 or v2, those that lie in others first.
hierarchies() { if [[ -e /sys/fs/cgroup/cgroup.controllers ]]; then echo /sys/fs/cgroup; else find /sys/fs/cgroup -mindepth 1 -maxdepth 1 -type d; fi; }
# A group of the test's own for all that the kubelet makes: the machine may be a node itself.
groups_make() {
    local hierarchy
    for hierarchy in $(hierarchies); do mkdir -p "$hierarchy/$GROUP"; done
    [[ ! -e /sys/fs/cgroup/cgroup.controllers ]] || sed 's/\w*/+&/g' /sys/fs/cgroup/cgroup.controllers > /sys/fs/cgroup/cgroup.subtree_control
}
groups_remove() {
    local hierarchy
    for hierarchy in $(hierarchies); do find "$hierarchy/$GROUP" -depth -type d -exec rmdir {} + 2> /dev/null || true; done
}

# A kubelet sets these for the whole machine.
TUNABLES=(vm.overcommit_memory vm.panic_on_oom kernel.panic kernel.panic_on_oops kernel.keys.root_maxkeys kernel.keys.root_maxbytes)
tunables() { sysctl "${TUNABLES[@]}" 2> /dev/null || true; }
TUNABLES_BEFORE=$(tunables)

leave() {
    local status=$?
    remove_pods > /dev/null 2>&1 || true
    kubelet_remove || true
    place_remove "$status"
}
trap leave EXIT

cat > "$K/config.yaml" << YAML
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
containerRuntimeEndpoint: unix://$SOCKET
cgroupRoot: /$GROUP
cgroupDriver: cgroupfs
failCgroupV1: false
failSwapOn: false
oomScoreAdj: 0
registerNode: false
makeIPTablesUtilChains: false
enforceNodeAllocatable: [pods]
address: 127.0.0.1
port: $PORT
readOnlyPort: $READ_ONLY
healthzPort: $HEALTH
authentication: {anonymous: {enabled: true}, webhook: {enabled: false}}
authorization: {mode: AlwaysAllow}
staticPodPath: $K/manifests
podLogsDir: $PLACE/logs
volumePluginDir: $K/plugins
resolvConf: $K/resolv.conf
crashLoopBackOff: {maxContainerRestartPeriod: 1s}
# What else fills the disk is not the test's matter.
evictionHard: {nodefs.available: 0%, imagefs.available: 0%, memory.available: 0%}
imageGCHighThresholdPercent: 100
YAML
echo 'nameserver 192.0.2.53' > "$K/resolv.conf"

kubelet_start() {
    kubelet --config "$K/config.yaml" --root-dir "$K/root" --cert-dir "$K/pki" --hostname-override node >> "$PLACE/kubelet.log" 2>&1 &
    echo $! > "$PLACE/kubelet.pid"
    until_true 30 curl -sf --noproxy '*' "http://127.0.0.1:$HEALTH/healthz"
}
kubelet_stop() {
    local pid
    pid=$(cat "$PLACE/kubelet.pid" 2> /dev/null) || return 0
    rm "$PLACE/kubelet.pid"
    kill "$pid" 2> /dev/null || return 0
    until_true 10 process_ended "$pid" || kill -KILL "$pid"
}
# What a kubelet leaves behind: a mount of its folder on itself, groups, links to logs, the machine's settings.
kubelet_remove() {
    kubelet_stop || true
    umount -l "$K/root" 2> /dev/null || true
    groups_remove
    find /var/log/containers -lname "$PLACE/*" -delete 2> /dev/null || true
    sysctl -q -p - <<< "$TUNABLES_BEFORE"
}
# ask PATH [curl's arguments]: what the kubelet answers there.
ask() { curl -skf --noproxy '*' "https://127.0.0.1:$PORT$1" "${@:2}"; }
# pod NAME FILTER: what jq makes of a pod's state as the kubelet sees it.
pod() { curl -sf --noproxy '*' "http://127.0.0.1:$READ_ONLY/pods" | jq -r --arg name "$1-node" ".items[] | select(.metadata.name == \$name) | $2"; }
pod_is() { [[ $(pod "$1" "$2") = "$3" ]]; }
# shows NAME SECONDS POD FILTER WANTED
shows() { if until_true "$2" pod_is "${@:3}"; then pass "$1"; else fail "$1" "$4 is '$(pod "$3" "$4")', not '$5' after $2 s: $(pod "$3" .status.containerStatuses)"; fi; }
running='.status.phase + " " + ([.status.containerStatuses[] | .ready | tostring] | join(" "))'
restarts='.status.containerStatuses[0].restartCount'

# ---- the pods --------------------------------------------------------------------------------------------------------

# Written beside and moved in, so that the kubelet never reads half of one.
manifest() { cat > "$K/$1.yaml" && mv "$K/$1.yaml" "$K/manifests/"; }

web_manifest() {
    manifest web << YAML
apiVersion: v1
kind: Pod
metadata: {name: web, namespace: default, labels: {app: web}}
spec:
  terminationGracePeriodSeconds: 5
  containers:
  - name: nginx
    image: docker.io/library/nginx:latest
    imagePullPolicy: IfNotPresent
    ports: [{containerPort: 80, hostPort: $HOST_PORT}]
    resources: {requests: {cpu: 10m, memory: 16Mi}, limits: {memory: 128Mi}}
    livenessProbe: {exec: {command: [sh, -c, "test ! -e /tmp/sick"]}, periodSeconds: 1, failureThreshold: 1}
    readinessProbe: {httpGet: {path: /, port: 80}, periodSeconds: 1}
YAML
}

# An init container hands over by a volume in memory; the first container runs as a user, the second has too little memory.
parts_manifest() {
    manifest parts << YAML
apiVersion: v1
kind: Pod
metadata: {name: parts, namespace: default}
spec:
  terminationGracePeriodSeconds: 1
  securityContext: {runAsUser: 1000, runAsGroup: 1000, fsGroup: 2000}
  volumes: [{name: shared, emptyDir: {medium: Memory}}]
  initContainers:
  - name: first
    image: registry.k8s.io/e2e-test-images/busybox:1.29-2
    command: [sh, -c, "echo handed over > /shared/word"]
    volumeMounts: [{name: shared, mountPath: /shared}]
  containers:
  - name: reader
    image: registry.k8s.io/e2e-test-images/busybox:1.29-2
    command: [sh, -c, 'echo "\$(cat /shared/word) to \$(id -u) \$(id -G) of \$NAME"; exec sleep 1000']
    env: [{name: NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}]
    volumeMounts: [{name: shared, mountPath: /shared, readOnly: true}]
  - name: greedy
    image: docker.io/library/python:3.11
    command: [python3, -c, "bytes([1]) * (256 << 20)"]
    resources: {limits: {memory: 32Mi}}
YAML
}

daemon_start
machine_before
groups_make
if kubelet_start; then pass kubelet_starts; else fail kubelet_starts "$(tail -5 "$PLACE/kubelet.log")"; exit 1; fi

web_manifest
shows static_pod_runs 60 web "$running" "Running true"
container() { cri ps -q --name nginx --state running; }
POD_IDS=$(cri pods -q | xargs)
ADDRESS=$(pod web .status.podIP)
check nginx_answers_at_the_pods_address curl -sf --noproxy '*' "http://$ADDRESS/"
check and_at_its_port_of_the_host curl -sf --noproxy '*' "http://127.0.0.1:$HOST_PORT/"
parts_manifest

has_logs() { ask "/containerLogs/default/$1-node/$2" | grep -- "$3"; }
check its_log_is_read_through_the_kubelet until_true 10 has_logs web nginx 'GET / '
equals a_command_runs_through_the_kubelet "web-node" "$(ask '/run/default/web-node/nginx?cmd=hostname' -X POST)"

FIRST=$(container)
kill -KILL "$(cri inspect -o go-template --template '{{.info.pid}}' "$FIRST")"
shows a_killed_container_is_restarted 30 web "$restarts" 1
shows and_the_kubelet_knows_how_it_ended 10 web '.status.containerStatuses[0].lastState.terminated | "\(.exitCode) \(.reason)"' "137 Error"
shows and_runs_again 30 web "$running" "Running true"
equals in_the_same_pod "$ADDRESS" "$(pod web .status.podIP)"
check nginx_answers_again until_true 10 curl -sf --noproxy '*' "http://$ADDRESS/"

ask '/run/default/web-node/nginx?cmd=touch%20/tmp/sick' -X POST
shows a_sick_container_is_restarted 30 web "$restarts" 2
shows and_is_well_again 30 web "$running" "Running true"
shows its_old_log_is_kept 5 web '.status.containerStatuses[0].lastState.terminated.exitCode' 0

summary() { curl -sf --noproxy '*' "http://127.0.0.1:$READ_ONLY/stats/summary" | jq -e '.pods[] | select(.podRef.name == "web-node")
    | .containers[0] as $nginx | '"$1"; }
used='$nginx.cpu.usageCoreNanoSeconds > 0 and $nginx.memory.workingSetBytes > 0 and $nginx.rootfs.usedBytes > 0 and $nginx.logs.usedBytes > 0'
check stats_summary_has_the_pod until_true 30 summary "$used"

check an_init_container_handed_over until_true 60 has_logs parts reader '^handed over to 1000 1000 2000 of parts-node$'
shows too_little_memory_is_told 30 parts '.status.containerStatuses[] | select(.name == "greedy") | [.state, .lastState][] | .terminated.reason // empty' OOMKilled

# ---- restarts --------------------------------------------------------------------------------------------------------

BEFORE=$(container)
daemon_kill
daemon_start
kubelet_stop
# By default a kubelet knows a pod's network from its pause container, and there is none.
echo 'featureGates: {PodAndContainerStatsFromCRI: true}' >> "$K/config.yaml"
check kubelet_comes_back kubelet_start
shows pods_are_found_again 30 web "$running" "Running true"
equals and_no_container_is_new "$BEFORE" "$(container)"
check nginx_never_noticed curl -sf --noproxy '*' "http://$ADDRESS/"
check stats_from_the_daemon_have_the_network_too until_true 30 summary "$used and .network.rxBytes > 0"

# ---- the end ---------------------------------------------------------------------------------------------------------

POD_IDS="$POD_IDS $(cri pods -q | xargs)"
rm "$K"/manifests/*
pods_stopped() { [[ -z $(cri pods -q --state ready) && -z $(cri ps -q) ]]; }
check pods_stop_when_their_files_go until_true 60 pods_stopped
pods_collected() { [[ -z $(cri pods -q) ]]; }
if [[ ${TEST_LONG:-} = 1 ]]; then check and_the_kubelet_collects_them until_true 180 pods_collected; else remove_pods > /dev/null; fi
kubelet_remove
machine_check nothing_is_left_after_the_kubelet
