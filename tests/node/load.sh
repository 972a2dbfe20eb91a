#!/usr/bin/env bash
# Many clients with many cancelled requests: every life completes, the daemon's memory and descriptors stay.
set -euo pipefail
source "$(dirname "$0")/../stress/suite.sh"

stress_suite load
