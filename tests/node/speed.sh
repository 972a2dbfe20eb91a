#!/usr/bin/env bash
# How long each request takes, for docs/budgets.md.
set -euo pipefail
source "$(dirname "$0")/../stress/suite.sh"

stress_suite speed
