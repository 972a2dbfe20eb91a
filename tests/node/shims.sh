#!/usr/bin/env bash
# Shims that hang up, are silent or listen to somebody else: their pods are told as lost, nothing of them is left.
set -euo pipefail
source "$(dirname "$0")/../stress/suite.sh"

stress_suite shims
