#!/usr/bin/env bash
# Prints the option that turns on the package traits whose C library and server are here: for `swift build` and `swift test`.
set -euo pipefail

has() { PATH=$PATH:/usr/sbin:/usr/local/sbin command -v "$1" >/dev/null 2>&1; }

traits=()
pkg-config --exists hiredis 2>/dev/null && has redis-server && traits+=(Redis)
pkg-config --exists libnats 2>/dev/null && has nats-server && traits+=(NATS)
((${#traits[@]} == 0)) || (
  IFS=,
  printf -- '--traits %s\n' "${traits[*]}"
)
