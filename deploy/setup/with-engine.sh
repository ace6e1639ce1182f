#!/bin/bash
# Run a command with a container engine: with-engine.sh COMMAND [ARGUMENT...]
# An engine that had to be started for it is stopped when it ends, also on Ctrl-C. Where none can
# be had, the command runs without.
set -uo pipefail
here=$(dirname "$0")
command=
stopping=
started=$(mktemp --tmpdir windlass-engine.XXXXXX)

# Whatever we get, programs in Python clean up on SIGINT.
trap 'stopping=yes; [ -z "$command" ] || kill -INT -- "-$command"' INT TERM HUP
trap '"$here/engine.sh" stop "$started"' EXIT

"$here/engine.sh" start "$started"
status=$?
if [ "$status" != 0 ] && [ "$status" != 3 ]; then exit "$status"; fi
if [ -n "$stopping" ]; then exit 130; fi

set -m # the command gets a process group, so that a signal reaches all of it, and hears SIGINT
env --default-signal=INT "$@" &
command=$!
while kill -0 "$command" 2>/dev/null; do
    wait "$command"
    status=$?
done
exit "$status"
