#!/usr/bin/env bash
# 100 pods at once: all run, each executes a command, all are removed; what shims and daemon take of memory.
set -euo pipefail
source "$(dirname "$0")/../stress/suite.sh"

stress_suite crowd
