#!/usr/bin/env bash
# Deaths: the daemon killed or ended with pods running, a shim killed, records damaged, the state folder lost.
set -euo pipefail
source "$(dirname "$0")/../stress/suite.sh"

stress_suite restart
