#!/usr/bin/env bash
# One pod with nginx from the pull to the removal, repeats and unknown ids, and every bad input that concerns pods.
set -euo pipefail
source "$(dirname "$0")/../stress/suite.sh"

stress_suite life
