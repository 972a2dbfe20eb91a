#!/usr/bin/env bash
# The crate k8s-cri, generated from another copy of the CRI's definition, as an independent client.
set -euo pipefail
source "$(dirname "$0")/../harness.sh"

start_registry
need_test_images
(cd "$ROOT" && cargo build -q -p codegen --bin protoc)
PROTOC=$ROOT/target/debug/protoc cargo build -q --locked --manifest-path "$ROOT/tests/k8s-cri/Cargo.toml" --target-dir "$ROOT/target/k8s-cri"

place_make k8s-cri
daemon_start
machine_before
mkdir -p "$PLACE/logs"
"$ROOT/target/k8s-cri/debug/k8s-cri-client" "$SOCKET" registry.k8s.io/e2e-test-images/busybox:1.29-2 "$PLACE/logs"
machine_check nothing_is_left_after_k8s_cri
