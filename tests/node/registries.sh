#!/usr/bin/env bash
# Registries that ask for credentials, and registries behind TLS: what is refused without them, and all image specs of
# critest from each. From a plain one, tests/conformance runs them.
set -euo pipefail
source "$(dirname "$0")/../harness.sh"

IMAGE=registry.k8s.io/e2e-test-images/busybox:1.29-2
SPECS='Image Manager|Image Consistency|Image Identifier Consistency'

need_packages curl jq openssl perl
start_registry
need_test_images
need_clients || { skip no_go "go >= $GO_AT_LEAST is wanted to build crictl with"; exit; }
place_make registries
KEYS=$PLACE/keys
mkdir "$KEYS" "$PLACE/auth" "$PLACE/tls"

refuses() {
    local name=$1 pattern=$2 said; shift 2
    if said=$("$@" 2>&1 > /dev/null < /dev/null); then fail "$name" "it succeeded"
    elif grep -qE -- "$pattern" <<< "$said"; then pass "$name"
    else fail "$name" "$said"; fi
}

# ---- two more registries of the same images --------------------------------------------------------------------------

openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=authority \
    -keyout "$KEYS/ca.key" -out "$KEYS/ca.pem" 2> /dev/null
openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=registry -keyout "$KEYS/server.key" 2> /dev/null |
    openssl x509 -req -days 2 -CA "$KEYS/ca.pem" -CAkey "$KEYS/ca.key" -CAcreateserial -out "$KEYS/server.pem" \
        -extfile <(echo 'subjectAltName = IP:127.0.0.1') 2> /dev/null
# docker-registry knows passwords by bcrypt alone.
perl -e 'print "kim:", crypt("secret", q($2y$05$abcdefghijklmnopqrstuu)), "\n"' > "$KEYS/htpasswd"

# serve NAME ADDRESS HTTP AUTH: a registry of the store's images at PLACE/NAME.
serve() {
    cat > "$PLACE/$1/registry.yml" << YML
version: 0.1
log: {level: error, accesslog: {disabled: true}}
storage:
  filesystem: {rootdirectory: $STORE/storage}
  maintenance: {readonly: {enabled: true}}
http: {addr: "$2"$3}
$4
YML
    "$STORE/docker-registry" serve "$PLACE/$1/registry.yml" > "$PLACE/$1/log" 2>&1 &
}
AUTH=127.0.0.1:$(free_port)
serve auth "$AUTH" '' "auth: {htpasswd: {realm: test, path: $KEYS/htpasswd}}"
TLS=127.0.0.1:$(free_port)
serve tls "$TLS" ", tls: {certificate: $KEYS/server.pem, key: $KEYS/server.key}" ''
answers() { curl -s --noproxy '*' -o /dev/null "$@"; }
until_true 10 answers "http://$AUTH/v2/" || { cat "$PLACE/auth/log" >&2; die "the registry with passwords did not come up"; }
until_true 10 answers --cacert "$KEYS/ca.pem" "https://$TLS/v2/" || { cat "$PLACE/tls/log" >&2; die "the registry behind TLS did not come up"; }

# hosts NAME LINE...: hosts.toml for all registries, and the folder of it as CERTS_D.
hosts() {
    CERTS_D=$PLACE/$1/certs.d
    mkdir -p "$CERTS_D/_default"
    printf '%s\n' "${@:2}" > "$CERTS_D/_default/hosts.toml"
}
# specs NAME: critest's image specs, as many as are known to pass.
specs() {
    local log=$TEST/log/critest-$1.log
    if critest-local -runtime-endpoint "unix://$SOCKET" -image-endpoint "unix://$SOCKET" -ginkgo.no-color \
        -ginkgo.focus "$SPECS" > "$log" 2>&1; then pass "critests_image_specs_$1"
    else fail "critests_image_specs_$1" "see $log: $(grep -m3 '\[FAIL\]' "$log" | tr '\n' ';')"; fi
    equals "and_all_of_them_ran_$1" "$(grep -cE "$SPECS" "$ROOT/tests/conformance/passing.txt")" \
        "$(sed -nE 's/^Ran ([0-9]+) of .*/\1/p' "$log")"
}

# ---- with credentials ------------------------------------------------------------------------------------------------

hosts auth "server = \"http://$AUTH\""
jq -n --arg host "$AUTH" '{auths: {($host): {auth: ("kim:secret" | @base64)}}}' > "$PLACE/docker.json"
jq -n --arg host "$AUTH" '{auths: {($host): {auth: ("kim:wrong" | @base64)}}}' > "$PLACE/wrong.json"
daemon_start
machine_before
refuses without_credentials_it_is_refused '401|unauthori[sz]ed|credentials' cradle pull "$IMAGE"
OWN=$AUTH/${IMAGE#*/}
check those_of_a_request_are_taken cri pull --creds kim:secret "$OWN"
refuses wrong_ones_are_not '401|unauthori[sz]ed|credentials' cri pull --creds kim:wrong "$OWN"
daemon_stop
daemon_start --registry.docker_config "$PLACE/wrong.json"
refuses nor_wrong_ones_of_the_machine '401|unauthori[sz]ed|credentials' cradle pull "$IMAGE"
daemon_stop
daemon_start --registry.docker_config "$PLACE/docker.json"
check those_of_the_machine_are_taken cradle pull -q "$IMAGE"
specs with_credentials
daemon_stop

# ---- behind TLS ------------------------------------------------------------------------------------------------------

hosts tls "server = \"https://$TLS\""
daemon_start
cradle rmi --force "$IMAGE" > /dev/null
refuses an_unknown_authority_is_refused 'certificate' cradle pull "$IMAGE"
hosts tls "server = \"https://$TLS\"" "ca = \"$KEYS/ca.pem\""
# Without a restart: hosts.toml is read at each pull.
check a_known_one_is_trusted cradle pull -q "$IMAGE"
specs behind_tls
cradle images -q | xargs -r "$DIST/cradle" --socket "$SOCKET" rmi --force > /dev/null
hosts tls "server = \"https://$TLS\"" 'skip_verify = true'
check skip_verify_trusts_anyone cradle pull -q "$IMAGE"
machine_check nothing_is_left_of_registries
check daemon_ends_within_5_s daemon_stop
