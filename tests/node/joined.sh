#!/usr/bin/env bash
# The same request from many clients or from one that gave up, and requests in any order at once.
set -euo pipefail
source "$(dirname "$0")/../stress/suite.sh"

stress_suite joined
