#!/usr/bin/env bash
# `swift`, run once more where SwiftPM itself was killed by SIGSEGV. On Linux that happens now and then, to any of its commands,
# by a race of its own (https://github.com/swiftlang/swift/issues/87033), and has nothing to do with what it builds or tests:
# for a compiler or a test that crashes it ends with 1. All other failures are passed on as they are.
set -euo pipefail

readonly killed_by_sigsegv=139

status=0
swift "$@" || status=$?
((status == killed_by_sigsegv)) || exit "$status"
echo "swift $1: SwiftPM itself crashed (its race, see scripts/swift.sh); running it once more" >&2
exec swift "$@"
