#!/usr/bin/env bash
# The sample configuration says what the defaults are.
set -euo pipefail
source "$(dirname "$0")/../harness.sh"

equals sample_configuration_is_the_default "$("$DIST/cradled" config --config /dev/null)" \
    "$("$DIST/cradled" config --config "$ROOT/deploy/config.toml")"
