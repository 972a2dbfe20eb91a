#!/usr/bin/env bash
# A volume on a file system that never answers holds up nobody but the container that wants it.
set -euo pipefail
source "$(dirname "$0")/../stress/suite.sh"

stress_suite stuck
