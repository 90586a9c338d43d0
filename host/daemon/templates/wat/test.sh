#!/usr/bin/env bash
# Runs the plugin in the real engine. Nothing has to be built: hosts take the text.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

[[ $(taskhost run "{{name}}.wat" --ticks 2 | grep -cx hello) == 2 ]]
echo "passed"
