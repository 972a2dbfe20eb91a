#!/usr/bin/env bash
# get-clients.sh BIN_DIR [IMAGE_STORE]
# Builds crictl and critest (cri-tools, CRI 1.36) from the Go module proxy into BIN_DIR; needs go >= 1.26.2. About one minute cold.
# With IMAGE_STORE (made by make-test-images.sh) also critest-local: the same program with the one image digest that
# it pins replaced by our stand-in's, so that every spec can run.
set -euo pipefail
V=1.36.0 BIN=$(mkdir -p "$1" && cd "$1" && pwd) STORE=${2:-}
export CGO_ENABLED=0 GOTOOLCHAIN=local GOFLAGS=
dir=$(cd / && go mod download -json "sigs.k8s.io/cri-tools@v$V" | sed -n 's/^\t"Dir": "\(.*\)",$/\1/p')
cd "$dir"
[[ -x $BIN/crictl ]] || go build -trimpath -ldflags "-s -w -X sigs.k8s.io/cri-tools/pkg/version.Version=$V" -o "$BIN/crictl" ./cmd/crictl
[[ -x $BIN/critest ]] || go test -c -trimpath -o "$BIN/critest" ./cmd/critest
if [[ -n $STORE ]]; then
	[[ -s $STORE/digest-image.txt ]] || { echo "$0: $STORE/digest-image.txt is missing: tests/images/make-test-images.sh makes it" >&2; exit 1; }
	perl -pe "s/9700f9a2f5bf2c45f2f605a0bd3bce7cf37420ec9d3ed50ac2758413308766bf/$(cut -d: -f2 "$STORE/digest-image.txt")/g" "$BIN/critest" >"$BIN/critest-local.new"
	chmod +x "$BIN/critest-local.new" && mv "$BIN/critest-local.new" "$BIN/critest-local"
fi
