#!/usr/bin/env bash
# OCI artifacts and images as volumes of containers: read-only, a path inside, what the status tells; and what is refused.
set -euo pipefail
source "$(dirname "$0")/../harness.sh"

IMAGE=registry.k8s.io/e2e-test-images/busybox:1.29-2
ARTIFACT=artifacts.test/model:v1

start_registry
need_test_images
need_clients || { skip no_go "go >= $GO_AT_LEAST is wanted to build crictl with"; exit; }
need_packages jq python3
place_make artifacts
mkdir -p "$PLACE/blobs" "$PLACE/logs"
cp -r "$CERTS_D" "$PLACE/certs.d"
CERTS_D=$PLACE/certs.d

refuses() {
    local name=$1 pattern=$2 said; shift 2
    if said=$("$@" 2>&1 > /dev/null < /dev/null); then fail "$name" "it succeeded"
    elif grep -qE -- "$pattern" <<< "$said"; then pass "$name"
    else fail "$name" "$said"; fi
}

# ---- a registry of artifacts: a folder of blobs by digest, and manifests by name ------------------------------------

# blob FILE: puts a file there; says its digest and size as a descriptor's fields.
blob() {
    local digest
    digest=$(sha256sum "$1" | cut -d' ' -f1)
    cp "$1" "$PLACE/blobs/sha256:$digest"
    jq -nc --arg digest "sha256:$digest" --argjson size "$(stat -c %s "$1")" '{digest: $digest, size: $size}'
}
# file NAME CONTENT [TYPE]: a layer of that title.
file() {
    printf %s "$2" > "$PLACE/content"
    blob "$PLACE/content" | jq -c --arg name "$1" --arg type "${3:-text/plain}" '. + {mediaType: $type, annotations: {"org.opencontainers.image.title": $name}}'
}
# artifact NAME LAYER...: a manifest under a name.
artifact() {
    printf '{}' > "$PLACE/content"
    blob "$PLACE/content" | jq -c --slurpfile layers <(printf '%s\n' "${@:2}") '{schemaVersion: 2, mediaType: "application/vnd.oci.image.manifest.v1+json",
        artifactType: "application/vnd.example.model", config: (. + {mediaType: "application/vnd.oci.empty.v1+json"}), layers: $layers}' > "$PLACE/blobs/$1"
    blob "$PLACE/blobs/$1" > /dev/null
}
artifact v1 "$(file weights/a.bin 'seven seven')" "$(file readme 'read me')"
artifact climbs "$(file ../../etc/passwd root)"
artifact nameless "$(file x x | jq -c 'del(.annotations)')"

# Its last word makes it one of this place's processes.
python3 -c '
import http.server, os, sys
class Registry(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.path = self.path.split("?")[0]
        path = os.path.join(sys.argv[1] + "blobs", os.path.basename(self.path))
        if self.path == "/v2/" or not os.path.exists(path):
            self.send_response(200 if self.path == "/v2/" else 404)
            self.send_header("Content-Length", "0")
            return self.end_headers()
        with open(path, "rb") as file:
            content = file.read()
        self.send_response(200)
        kind = "vnd.oci.image.manifest.v1+json" if "/manifests/" in self.path else "octet-stream"
        self.send_header("Content-Type", "application/" + kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)
    do_HEAD = do_GET
    def log_message(self, *words):
        pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Registry)
print(server.server_port, flush=True)
server.serve_forever()' "$PLACE/" > "$PLACE/port" &
until_true 5 test -s "$PLACE/port"
mkdir "$CERTS_D/artifacts.test"
printf 'server = "http://127.0.0.1:%s"\n' "$(cat "$PLACE/port")" > "$CERTS_D/artifacts.test/hosts.toml"

daemon_start
machine_before
cri pull "$IMAGE" > /dev/null

# ---- pulled as images are --------------------------------------------------------------------------------------------

check an_artifact_is_pulled cri pull "$ARTIFACT"
ID=$(cri images -o json | jq -r --arg tag "$ARTIFACT" '.images[] | select(.repoTags[] == $tag) | .id')
equals its_id_is_its_manifests_digest "sha256:$(sha256sum < "$PLACE/blobs/v1" | cut -d' ' -f1)" "$ID"
refuses a_file_that_climbs_is_refused '\.\./\.\./etc/passwd' cradle pull artifacts.test/model:climbs
refuses a_file_without_a_name_is_refused 'no name.*org.opencontainers.image.title' cradle pull artifacts.test/model:nameless
refuses nothing_runs_from_it 'is an artifact' cradle run --rm "$ARTIFACT" true

# ---- mounted ---------------------------------------------------------------------------------------------------------

jq -n --arg logs "$PLACE/logs" '{metadata: {name: "volumes", namespace: "default", uid: "volumes", attempt: 0},
    log_directory: $logs, linux: {}}' > "$PLACE/pod.json"
POD=$(cri runp "$PLACE/pod.json")
POD_IDS=$POD
# container NAME MOUNTS: a container that sleeps, with image volumes; says its id.
container() {
    jq -n --arg name "$1" --arg image "$IMAGE" --argjson mounts "$2" '{metadata: {name: $name}, image: {image: $image},
        command: ["sleep", "1000"], mounts: $mounts, linux: {}}' > "$PLACE/$1.json"
    cri create "$POD" "$PLACE/$1.json" "$PLACE/pod.json"
}
# volume PLACE IMAGE [PATH]: such a mount.
volume() { jq -nc --arg at "$1" --arg image "$2" --arg path "${3:-}" '{container_path: $at, image: {image: $image}, image_sub_path: $path, readonly: true}'; }

CONTAINER=$(container whole "[$(volume /model "$ARTIFACT"), $(volume /part "$ARTIFACT" weights), $(volume /image "$IMAGE" bin)]")
cri start "$CONTAINER" > /dev/null
run() { cri exec -s "$CONTAINER" "$@"; }
equals its_files_have_their_content "seven seven" "$(run cat /model/weights/a.bin)"
equals all_of_them "read me" "$(run cat /model/readme)"
equals a_path_inside_is_mounted_alone a.bin "$(run ls /part)"
check an_image_is_mounted_the_same run /image/busybox true
refuses it_is_read_only 'Read-only' run touch /model/x
refuses also_a_part_of_it 'Read-only' run touch /part/x
equals the_status_tells_the_digest "artifacts.test/model@$ID" "$(cri inspect "$CONTAINER" | jq -r '.status.mounts[] | select(.containerPath == "/model") | .image.imageRef')"

refuses a_missing_path_is_named 'nosuch' eval "cri start \$(container missing '[$(volume /m "$ARTIFACT" nosuch)]')"
refuses a_path_that_climbs_is_refused 'image_sub_path' container climbs "[$(volume /m "$ARTIFACT" ../..)]"
refuses an_artifact_that_is_not_here_is_named 'nosuch:v1' container nowhere "[$(volume /m artifacts.test/nosuch:v1)]"

cradle rmi --force "$ARTIFACT" > /dev/null
equals removed_it_stays_mounted "read me" "$(run cat /model/readme)"
cri rmp -f "$POD" > /dev/null 2>&1
cradle rmi "$IMAGE" > /dev/null
check and_goes_with_its_container until_true 10 eval "[[ -z \$(find '$PLACE/root/layers' -mindepth 1 -maxdepth 1 ! -name 0) ]]"
machine_check nothing_is_left_of_volumes
check daemon_ends_within_5_s daemon_stop
