#!/usr/bin/env bash
# Runs both in the host. Needs `taskhost` on PATH, or set TASKHOST to it.
set -euo pipefail
cd "$(dirname "$0")"
taskhost=${TASKHOST:-taskhost}

said=$("$taskhost" run command.wat)
[[ $said == alive ]] || { echo "test: command.wat said: $said" >&2; exit 1; }

said=$("$taskhost" run heartbeat.wat --ticks 2 2>&1)
(($(grep -c 'alive at 20' <<<"$said") == 2)) || { echo "test: heartbeat.wat said: $said" >&2; exit 1; }
echo "test: both say that they are alive"
