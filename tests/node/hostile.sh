#!/usr/bin/env bash
# Clients that stall, break the protocol or may not be there, on the daemon's socket and on a shim's.
set -euo pipefail
source "$(dirname "$0")/../stress/suite.sh"

stress_suite hostile
