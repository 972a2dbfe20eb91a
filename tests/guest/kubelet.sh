# shellcheck shell=bash
# A kubelet 1.36 that learns the driver systemd from the daemon, makes slices by systemd, and runs a static pod in them.
# Sourced by node.sh, with crictl there.

K=/data/kubelet
mkdir -p $K/{manifests,pki,plugins,root}
install -m 755 /host/kubelet /usr/local/bin/
cat > $K/config.yaml << YAML
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
containerRuntimeEndpoint: $SOCKET
failSwapOn: false
registerNode: false
makeIPTablesUtilChains: false
enforceNodeAllocatable: [pods]
address: 127.0.0.1
readOnlyPort: 10255
authentication: {anonymous: {enabled: true}, webhook: {enabled: false}}
authorization: {mode: AlwaysAllow}
staticPodPath: $K/manifests
podLogsDir: $K/logs
volumePluginDir: $K/plugins
evictionHard: {nodefs.available: 0%, imagefs.available: 0%, memory.available: 0%}
imageGCHighThresholdPercent: 100
YAML

# get PATH: what the kubelet answers there.
get() { bash -c 'exec 3<> /dev/tcp/127.0.0.1/10255 && printf "GET %s HTTP/1.0\r\n\r\n" "$0" >&3 && sed "1,/^\r$/d" <&3' "$1"; }
static() { get /pods | jq -r ".items[0] | $1"; }
static_is() { [[ $(static "$1") = "$2" ]]; }
# shows NAME SECONDS FILTER WANTED: of the static pod, as the kubelet sees it.
shows() { if until_true "$2" static_is "${@:3}"; then pass "$1"; else fail "$1" "$3 is '$(static "$3")', not '$4' after $2 s: $(static .status | head -c 600 | tr '\n' ' ')"; fi; }
nginx() { cri ps -q --name nginx --state running; }
pid_of() { cri inspect "$1" | jq .info.pid; }
group_of() { sed 's/^0:://' "/proc/$(pid_of "$1")/cgroup"; }

# A kubelet does not start where the processor's clock is not told, and User-Mode Linux has none to tell.
sed 's/^processor.*/&\ncpu MHz\t\t: 1000.000/' /proc/cpuinfo > /run/cpuinfo
mount --bind /run/cpuinfo /proc/cpuinfo
systemd-run -q --unit kubelet --setenv PATH="$PATH" kubelet --config $K/config.yaml --root-dir $K/root --cert-dir $K/pki --hostname-override node
if until_true 60 get /pods; then pass kubelet_starts; else
    fail kubelet_starts "$(journalctl -u kubelet --no-pager -n 3 -o cat | cut -c1-300 | tr '\n' ' ')"
    return
fi
cat > $K/web.yaml << 'YAML'
apiVersion: v1
kind: Pod
metadata: {name: web, namespace: default}
spec:
  terminationGracePeriodSeconds: 5
  containers:
  - name: nginx
    image: docker.io/library/nginx:latest
    imagePullPolicy: IfNotPresent
    resources: {requests: {cpu: 100m, memory: 16Mi}, limits: {memory: 128Mi}}
    livenessProbe: {exec: {command: [test, -e, /etc/nginx]}, periodSeconds: 2, timeoutSeconds: 10}
YAML
mv $K/web.yaml $K/manifests/
shows static_pod_runs 120 .status.phase Running
check nginx_answers until_true 20 eval 'answers_http "$(static .status.podIP)"'
UID_=$(static .metadata.uid) FIRST=$(nginx)
SLICE=/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod${UID_//-/_}.slice
equals the_container_is_in_the_kubelets_slice "$SLICE/cradle-$(cri pods -q).scope/$FIRST" "$(group_of "$FIRST")"
equals systemd_knows_the_slice active "$(systemctl is-active "${SLICE##*/}")"
equals the_pods_limit_is_systemds 134217728 "$(cat "/sys/fs/cgroup$SLICE/memory.max")"
equals the_containers_limit_is_set 134217728 "$(cat "/sys/fs/cgroup$(group_of "$FIRST")/memory.max")"
has_stats() { get /stats/summary | jq -e '.pods[0].containers[0] | .cpu.usageCoreNanoSeconds > 0 and .memory.workingSetBytes > 0'; }
check stats_summary_has_the_pod until_true 60 has_stats

kill -KILL "$(pid_of "$FIRST")"
shows a_killed_container_is_restarted 60 '.status.containerStatuses[0] | "\(.restartCount) \(.ready)"' '1 true'
systemctl daemon-reload
equals its_limit_outlives_a_reload 134217728 "$(cat "/sys/fs/cgroup$(group_of "$(nginx)")/memory.max")"

rm $K/manifests/web.yaml
pods_stopped() { [[ -z $(cri pods -q --state ready) && -z $(cri ps -q) ]]; }
slice_gone() { [[ ! -e /sys/fs/cgroup$SLICE ]]; }
check pod_stops_when_its_file_goes until_true 120 pods_stopped
cri rmp -a > /dev/null
check its_slice_goes until_true 60 slice_gone
systemctl stop kubelet
what_is_left of_the_kubelet
