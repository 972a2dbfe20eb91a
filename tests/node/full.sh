#!/usr/bin/env bash
# No addresses, space, inodes, processes or descriptors: refused with the reason, what runs goes on, then works again.
set -euo pipefail
source "$(dirname "$0")/../stress/suite.sh"

stress_suite full
