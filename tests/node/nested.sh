#!/usr/bin/env bash
# A pod's life in a PID namespace whose session is outside, as in many CI systems.
set -euo pipefail
source "$(dirname "$0")/../stress/suite.sh"

stress_suite nested
