# shellcheck shell=bash
# A pod lives through what a node does to its daemon. Sourced by node.sh.

ADDRESS=
answers() { answers_http "$ADDRESS"; }
pod_address() { cradle exec web cat /etc/hosts | awk '$1 ~ /^[0-9]+\./ && $1 !~ /^127\./ { print $1; exit }'; }
shim_outlives() { local before; before=$(shims); "$@" && [[ -n $before && $(shims) = "$before" ]]; }
# Not grep -q: it leaves before the other has written all.
logs_have_the_request() { cradle logs web | grep 'GET / '; }

check pull cradle pull docker.io/library/nginx:latest
check pod_starts cradle run -d --name web docker.io/library/nginx:latest
ADDRESS=$(pod_address)
check pod_answers until_true 20 answers
check request_is_in_the_log until_true 10 logs_have_the_request
check exec_runs cradle exec web true
check shim_outlives_a_restart_of_the_service shim_outlives systemctl restart cradle
check daemon_answers_after_restart until_true 20 daemon_answers
check pod_answers_after_restart until_true 10 answers
check shim_outlives_a_kill_of_the_daemon shim_outlives systemctl kill -s KILL cradle
check daemon_answers_after_kill until_true 20 daemon_answers
check pod_answers_after_kill until_true 10 answers
check exec_runs_after_kill cradle exec web true
check stop cradle stop web
check remove cradle rm web
what_is_left of_the_pod
