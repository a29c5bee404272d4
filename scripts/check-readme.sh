#!/usr/bin/env bash
# Keeps the README true: its Swift is the program in Examples, and its checked shell lines run.
# Usage: scripts/check-readme.sh ESCTL
set -euo pipefail
cd "$(dirname "$0")/.."
esctl=$(realpath "$1")

diff <(awk '/^```swift$/ { block++; on = block == 1; next } /^```$/ { on = 0 } on' README.md) \
  Examples/Sources/Quickstart/main.swift ||
  { echo "README.md: the Swift block differs from Examples/Sources/Quickstart" >&2; exit 1; }

folder=$(mktemp -d)
trap '(cd "$folder" && "$esctl" down >/dev/null 2>&1 || true); rm -rf "$folder"' EXIT
awk '/^<!-- checked -->$/ { next_block = 1; next } /^```sh$/ && next_block { on = 1; next_block = 0; next }
     /^```$/ { on = 0 } on' README.md > "$folder/lines.sh"
[[ -s "$folder/lines.sh" ]] || { echo "README.md has no checked shell block" >&2; exit 1; }
mkdir "$folder/bin"
ln -s "$esctl" "$folder/bin/esctl"
(cd "$folder" && PATH="$folder/bin:$PATH" bash -euo pipefail lines.sh > output.txt 2>&1) ||
  { cat "$folder/output.txt" >&2; echo "README.md: a checked command failed" >&2; exit 1; }
echo "README.md is true"
