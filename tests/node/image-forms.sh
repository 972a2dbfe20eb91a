#!/usr/bin/env bash
# Images of real software, pulled in each form that registries have and run: manifests of the OCI and of docker; layers in
# gzip, in zstd and as they are. And what the metrics tell of these pulls.
set -euo pipefail
source "$(dirname "$0")/../harness.sh"

need_packages curl jq zstd gzip python3
start_registry
need_real_images
place_make image-forms
cp -r "$CERTS_D" "$PLACE/certs.d"
CERTS_D=$PLACE/certs.d
FORMS=(oci-gzip oci-zstd oci-plain docker-gzip docker-zstd docker-plain)
declare -A IMAGE=([nginx]=nginx:latest [redis]=redis:latest [mariadb]=mariadb:latest [python]=python:3.11)
declare -A RUNS=([nginx]='nginx -v 2>&1' [redis]='redis-server --version' [mariadb]='mariadbd --version' [python]='python3 --version')
declare -A SAYS=([nginx]='nginx version' [redis]='Redis server v=' [mariadb]='MariaDB' [python]='Python 3')
NAMES=(nginx redis mariadb python)

# ---- a registry of all forms: a folder of blobs by digest, and of manifests by name and form ------------------------

mkdir "$PLACE/blobs" "$PLACE/manifests"
python3 - "$PLACE" "$REGISTRY" "${IMAGE[@]}" << 'PY'
import hashlib, json, os, subprocess, sys, urllib.request
place, registry, images = sys.argv[1], sys.argv[2], sys.argv[3:]
TYPES = {
    "oci": ("application/vnd.oci.image.manifest.v1+json", "application/vnd.oci.image.config.v1+json", "application/vnd.oci.image.layer.v1.tar", "+gzip", "+zstd"),
    "docker": ("application/vnd.docker.distribution.manifest.v2+json", "application/vnd.docker.container.image.v1+json",
        "application/vnd.docker.image.rootfs.diff.tar", ".gzip", ".zstd"),
}
PACKED = {"gzip": ["gzip", "-1nc"], "zstd": ["zstd", "-q1c"], "plain": ["cat"]}
ask = urllib.request.build_opener(urllib.request.ProxyHandler({})).open

def get(path, accept="*/*"):
    with ask(urllib.request.Request(f"http://{registry}/v2/library/{path}", headers={"Accept": accept})) as answer:
        return answer.read()

def keep(content):
    """Keeps a blob; answers with its descriptor."""
    digest = "sha256:" + hashlib.sha256(content).hexdigest()
    with open(f"{place}/blobs/{digest}", "wb") as file:
        file.write(content)
    return {"digest": digest, "size": len(content)}

packed = {}
def pack(blob, archive, form):
    if (blob, form) not in packed:
        packed[blob, form] = keep(subprocess.run(PACKED[form], input=archive(), stdout=subprocess.PIPE, check=True).stdout)
    return packed[blob, form]

for image in images:
    name, tag = image.split(":")
    manifest = json.loads(get(f"{name}/manifests/{tag}", TYPES["oci"][0]))
    config = keep(get(f"{name}/blobs/{manifest['config']['digest']}"))
    for maker, (kind, config_kind, layer_kind, gzip, zstd) in TYPES.items():
        for form, suffix in {"gzip": gzip, "zstd": zstd, "plain": ""}.items():
            layers = []
            for layer in manifest["layers"]:
                unpack = ["zstd", "-qdc"] if layer["mediaType"].endswith("zstd") else ["gzip", "-dc"]
                archive = lambda: subprocess.run(unpack, input=get(f"{name}/blobs/{layer['digest']}"), stdout=subprocess.PIPE, check=True).stdout
                layers.append({"mediaType": layer_kind + suffix, **pack(layer["digest"], archive, form)})
            made = {"schemaVersion": 2, "mediaType": kind, "config": {"mediaType": config_kind, **config}, "layers": layers}
            os.makedirs(f"{place}/manifests/{name}", exist_ok=True)
            with open(f"{place}/manifests/{name}/{maker}-{form}", "w") as file:
                json.dump(made, file)
PY

# Its last word makes it one of this place's processes.
python3 -c '
import http.server, json, os, shutil, sys
class Registry(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        words = self.path.split("?")[0].split("/")
        path = os.path.join(sys.argv[1], "blobs", words[-1])
        kind = "application/octet-stream"
        if words[-2] == "manifests":
            path = os.path.join(sys.argv[1], "manifests", words[-3], words[-1])
            if os.path.exists(path):
                kind = json.load(open(path))["mediaType"]
        if not os.path.isfile(path):
            self.send_response(200 if self.path == "/v2/" else 404)
            self.send_header("Content-Length", "0")
            return self.end_headers()
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(os.path.getsize(path)))
        self.end_headers()
        if self.command == "GET":
            with open(path, "rb") as file:
                shutil.copyfileobj(file, self.wfile)
    do_HEAD = do_GET
    def log_message(self, *words):
        pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Registry)
print(server.server_port, flush=True)
server.serve_forever()' "$PLACE/" > "$PLACE/port" 2> "$PLACE/registry.log" &
until_true 5 test -s "$PLACE/port"
mkdir "$CERTS_D/forms.test"
printf 'server = "http://127.0.0.1:%s"\n' "$(cat "$PLACE/port")" > "$CERTS_D/forms.test/hosts.toml"

METRICS=127.0.0.1:$(free_port)
daemon_start --metrics.address "$METRICS"
machine_before

# ---- each form -------------------------------------------------------------------------------------------------------

says() { cradle run --rm "$1" sh -c "$2" | grep -F -- "$3"; }
for form in "${FORMS[@]}"; do
    for name in "${NAMES[@]}"; do
        image=forms.test/$name:$form
        check "${form}_${name}_is_pulled" cradle pull -q "$image"
        # The configuration is the same in all forms, and its digest is the image's id.
        config=$(jq -r .config.digest "$PLACE/manifests/$name/$form")
        equals "${form}_${name}_has_its_id" "$config" "$(cradle image inspect "$image" | jq -r '.[0].id')"
        check "${form}_${name}_runs" says "$image" "${RUNS[$name]}" "${SAYS[$name]}"
    done
    # The next form fetches all layers anew.
    for name in "${NAMES[@]}"; do cradle rmi "forms.test/$name:$form" > /dev/null; done
done
equals no_image_is_left '' "$(cradle images -q)"

# ---- what the metrics tell -------------------------------------------------------------------------------------------

metrics() { curl -sf --noproxy '*' "http://$METRICS/metrics"; }
metric() { metrics | awk -v name="$1" '$1 == name { print $2 }'; }
PULLS=$((${#FORMS[@]} * ${#NAMES[@]}))
cradle pull -q forms.test/nosuch:1 > /dev/null 2>&1 || true
equals pulls_are_counted "$PULLS" "$(metric cradle_image_pulls_succeeded_total)"
equals failures_are_counted_by_their_reason 1 "$(metric 'cradle_image_pulls_failed_total{reason="not_found"}')"
equals none_is_under_way 0 "$(metric cradle_image_pulls_in_progress)"
equals each_took_some_time "$PULLS" "$(metric cradle_image_pull_duration_seconds_count)"
# The base of all images comes once for each form.
LAYERS=$(cat "$PLACE"/manifests/*/* | jq '.layers | length' | awk '{ sum += $1 } END { print sum }')
equals layers_are_counted "$LAYERS" "$(($(metric 'cradle_image_layers_total{source="fetched"}') + $(metric 'cradle_image_layers_total{source="present"}')))"
equals and_those_that_were_there $((${#FORMS[@]} * (${#NAMES[@]} - 1))) "$(metric 'cradle_image_layers_total{source="present"}')"
BYTES=$(cat "$PLACE"/manifests/*/* | jq -s '[.[].layers[].size] | add')
check bytes_are_those_of_blobs eval "[[ \$(metric cradle_image_pull_bytes_total) -gt 1000000 && \$(metric cradle_image_pull_bytes_total) -lt $BYTES ]]"
equals it_is_the_text_of_prometheus 'text/plain; version=0.0.4; charset=utf-8' "$(curl -sf --noproxy '*' -o /dev/null -w '%{content_type}' "http://$METRICS/metrics")"
equals nothing_else_is_there 404 "$(curl -s --noproxy '*' -o /dev/null -w '%{http_code}' "http://$METRICS/")"
check crictl_info_tells_the_same eval "! command -v crictl > /dev/null || [[ \$(cri info | jq '.cradle.images.pulls.done') = $PULLS ]]"
daemon_stop
daemon_start
equals without_the_setting_nothing_listens 000 "$(curl -s --noproxy '*' -o /dev/null -w '%{http_code}' "http://$METRICS/metrics" || true)"
machine_check nothing_is_left_of_forms
check daemon_ends_within_5_s daemon_stop
