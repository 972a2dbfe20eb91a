#!/usr/bin/env bash
# Lists and Status while pods come and go and a start is stuck: a read never waits.
set -euo pipefail
source "$(dirname "$0")/../stress/suite.sh"

stress_suite reads
