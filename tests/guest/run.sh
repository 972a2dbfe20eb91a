#!/usr/bin/env bash
# run.sh: the shipped programs in a throw-away guest whose kernel has cgroup v2 alone and whose PID 1 is systemd, as most
# nodes are. The guest sees a folder of the host read-only; node.sh runs in it and its PASS, FAIL and SKIP lines count.
# A kubelet is taken where one lies ready; the long form builds it, and runs critest in the guest as well.
set -euo pipefail
HERE=$(cd "$(dirname "$0")" && pwd)
source "$HERE/../harness.sh"

need_root
start_registry
trap stop_registry EXIT
need_test_images
need_real_images
need_clients || true
[[ ${TEST_LONG:-} != 1 ]] || need_kubelet || true
need_dist
need_packages gcc make bc perl xz-utils cpio e2fsprogs mmdebstrap flex bison m4

# What the guest needs, as plain files: it cannot follow links that lead out of the folder.
stage=$TEST/guest results=$TEST/guest-results
rm -rf "$stage" "$results"
mkdir -p "$stage/bin" "$stage/store" "$results"
cp -L "$DIST"/* "$stage/bin/"
[[ ! -x $TEST/bin/crictl ]] || cp -L "$TEST/bin/crictl" "$stage/bin/"
[[ ! -x $TEST/bin/kubelet ]] || cp -L --reflink=auto "$TEST/bin/kubelet" "$stage/"
[[ ${TEST_LONG:-} != 1 || ! -x $TEST/bin/critest-local ]] || cp -L "$TEST/bin/critest-local" "$stage/"
cp -L "$STORE/docker-registry" "$stage/store/"
cp -rL --reflink=auto "$STORE/storage" "$stage/store/"
cp -r "$ROOT/deploy" "$stage/"
cp "$HERE"/*.sh "$stage/"

export VMRUN_HOME=$TEST/vm
status=0
"$ROOT/tests/vm/vmrun.sh" run -i systemd -s "$stage" -o "$results" -t 1500 -- 'bash /host/node.sh' || status=$?
[[ ! -s $results/critest.xml ]] || "$ROOT/tests/conformance/compare.sh" "$results/critest.xml"
rm -rf "$stage" "$results"
exit "$status"
