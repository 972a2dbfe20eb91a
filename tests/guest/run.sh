#!/usr/bin/env bash
# run.sh: the shipped programs in a throw-away guest whose kernel has cgroup v2 alone and whose PID 1 is systemd, as most
# nodes are. The guest sees a folder of the host read-only; pod.sh runs in it and its PASS, FAIL and SKIP lines count.
set -euo pipefail
HERE=$(cd "$(dirname "$0")" && pwd)
source "$HERE/../harness.sh"

need_root
start_registry
trap stop_registry EXIT
need_test_images
need_real_images
need_clients || true
need_dist
need_packages gcc make bc perl xz-utils cpio e2fsprogs mmdebstrap flex bison m4

# What the guest needs, as plain files: it cannot follow links that lead out of the folder.
stage=$TEST/guest
rm -rf "$stage"
mkdir -p "$stage/bin" "$stage/store"
cp -L "$DIST"/* "$stage/bin/"
[[ ! -x $TEST/bin/crictl ]] || cp -L "$TEST/bin/crictl" "$stage/bin/"
cp -L "$STORE/docker-registry" "$stage/store/"
cp -rL --reflink=auto "$STORE/storage" "$stage/store/"
cp -r "$ROOT/deploy" "$stage/"
install -m 755 "$HERE/pod.sh" "$stage/"

export VMRUN_HOME=$TEST/vm
status=0
"$ROOT/tests/vm/vmrun.sh" run -i systemd -s "$stage" -t 900 -- 'bash /host/pod.sh' || status=$?
rm -rf "$stage"
exit "$status"
