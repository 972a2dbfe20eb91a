# shellcheck shell=bash
# critest, whole. What became of its specs is compared outside. Sourced by node.sh, in the long form.

/host/critest-local -runtime-endpoint "$SOCKET" -image-endpoint "$SOCKET" -ginkgo.no-color -ginkgo.junit-report /out/critest.xml > /out/critest.log 2>&1
check critest_leaves_a_report test -s /out/critest.xml
what_is_left of_critest
