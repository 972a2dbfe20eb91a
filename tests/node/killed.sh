#!/usr/bin/env bash
# A daemon that is killed all the time while clients lead full lives of pods: every life completes, nothing is left.
set -euo pipefail
source "$(dirname "$0")/../stress/suite.sh"

stress_suite killed
