#!/usr/bin/env bash
# Installs what the build and the tests need and this machine lacks. Says what it runs; does nothing, in a few
# milliseconds, when everything is there.
#
#   setup.sh            what everyone needs
#   setup.sh --relays   and what the relays and their tests need: hiredis and the NATS C client, Redis, NATS. Where the system
#                       has no such packages, it goes without.
set -euo pipefail
cd "$(dirname "$0")/.."

readonly oldest_swift=6.2 oldest_server=15 newest_server=18

say() { printf 'setup: %s\n' "$*" >&2; }

have_tools() { command -v make && command -v cc && command -v pkg-config; } >/dev/null 2>&1

have_libraries() { pkg-config --exists 'libpq' 'libsodium >= 1.0.18' 'libzstd >= 1.4.0' 2>/dev/null; }

have_relays() {
  pkg-config --exists hiredis libnats 2>/dev/null &&
    PATH=$PATH:/usr/sbin:/usr/local/sbin command -v redis-server >/dev/null 2>&1 &&
    PATH=$PATH:/usr/sbin:/usr/local/sbin command -v nats-server >/dev/null 2>&1
}

# The same places in which the store looks for a server.
have_server() {
  local directory version
  for directory in "$(pg_config --bindir 2>/dev/null || true)" \
    /usr/lib/postgresql/*/bin /usr/pgsql-*/bin /usr/libexec/postgresql* /usr/lib/postgresql*/bin \
    "$(dirname "$(command -v postgres 2>/dev/null || echo /none/postgres)")"; do
    [[ -x $directory/postgres && -x $directory/initdb ]] || continue
    version=$("$directory/postgres" --version | sed -n 's/.*(PostgreSQL) \([0-9]*\).*/\1/p')
    [[ -n $version ]] && ((version >= oldest_server && version <= newest_server)) && return 0
  done
  return 1
}

have_swift() {
  local version
  command -v swift >/dev/null 2>&1 || return 1
  version=$(swift --version 2>/dev/null | sed -n 's/.*Swift version \([0-9]*\.[0-9]*\).*/\1/p')
  [[ -n $version && $(printf '%s\n' "$oldest_swift" "$version" | sort -V | head -n 1) == "$oldest_swift" ]]
}

# Runs a line of shell as root, or with sudo where it asks nothing; a person at a terminal may be asked for
# the password. Where neither works, says what to run by hand.
as_root() {
  if ((EUID == 0)); then
    say "running: $1"
    sh -c "$1"
  elif command -v sudo >/dev/null 2>&1 && { sudo -n true 2>/dev/null || [[ -t 0 && -z ${CI:-} ]]; }; then
    say "running with sudo: $1"
    sudo sh -c "$1"
  else
    say "this needs root, and sudo is not possible here. Run this as root, then try again:"
    printf '  %s\n' "$1" >&2
    exit 1
  fi
}

install_debian() {
  local line='export DEBIAN_FRONTEND=noninteractive'
  # Without this the package makes and starts a cluster for the whole system; the store uses private ones only.
  if ! have_server && [[ ! -e /etc/postgresql-common/createcluster.conf ]]; then
    line+=' && mkdir -p /etc/postgresql-common'
    line+=' && echo "create_main_cluster = false" >/etc/postgresql-common/createcluster.conf'
  fi
  line+=' && apt-get update -q && apt-get install -q -y --no-install-recommends'
  line+=' -o Dpkg::Options::=--force-confold'
  as_root "$line postgresql libpq-dev libsodium-dev libzstd-dev pkg-config make gcc libc6-dev"
}

# Their packages would start servers for the whole system; the tests start their own.
install_relays_debian() {
  local policy=/usr/sbin/policy-rc.d line='export DEBIAN_FRONTEND=noninteractive'
  [[ -e $policy ]] || line+=" && printf '#!/bin/sh\\nexit 101\\n' >$policy && chmod +x $policy && trap 'rm -f $policy' EXIT"
  line+=' && apt-get update -q && apt-get install -q -y --no-install-recommends'
  as_root "$line libhiredis-dev libnats-dev redis-server nats-server"
}

install_fedora() {
  as_root 'dnf install -y postgresql-server libpq-devel libsodium-devel libzstd-devel pkgconf-pkg-config make gcc'
}

install_arch() {
  as_root 'pacman -S --needed --noconfirm postgresql postgresql-libs libsodium zstd pkgconf make gcc'
}

if ! { have_tools && have_libraries && have_server; }; then
  say "missing: $(have_tools || echo 'make, a C compiler or pkg-config; ')$(have_libraries ||
    echo 'libpq, libsodium or libzstd with headers; ')$(have_server ||
    echo "a PostgreSQL server, $oldest_server to $newest_server; ")installing"
  if command -v apt-get >/dev/null 2>&1; then
    install_debian
  elif command -v dnf >/dev/null 2>&1; then
    install_fedora
  elif command -v pacman >/dev/null 2>&1; then
    install_arch
  else
    say "no package manager known here (apt-get, dnf, pacman). Install by hand, then try again:"
    say "  PostgreSQL $oldest_server to $newest_server (server, libpq headers), libsodium,"
    say "  libzstd, pkg-config, make, a C compiler"
    exit 1
  fi
  have_tools && have_libraries && have_server || {
    say "the packages were installed, but something is missing still. What is there:"
    pkg-config --modversion libpq libsodium libzstd || true
    say "wanted: a PostgreSQL server $oldest_server to $newest_server: https://www.postgresql.org/download/linux/"
    exit 1
  }
  say "done"
fi

if [[ ${1:-} == --relays ]] && ! have_relays; then
  say "missing: hiredis, the NATS C client, redis-server or nats-server; installing"
  if command -v apt-get >/dev/null 2>&1; then
    # In a shell of its own: without root it ends.
    (install_relays_debian) || say "these packages cannot be installed here"
  fi
  have_relays || say "going without the tests of those relays that lack something (see scripts/traits.sh)"
fi

have_swift || {
  found=$(swift --version 2>/dev/null | head -n 1 || true)
  say "Swift $oldest_swift or newer is needed; found: ${found:-none}. Install it with swiftly:"
  say "  curl -O https://download.swift.org/swiftly/linux/swiftly-$(uname -m).tar.gz"
  say "  tar zxf swiftly-$(uname -m).tar.gz && ./swiftly init && . ~/.local/share/swiftly/env.sh"
  say "or see https://www.swift.org/install/linux/; then try again."
  exit 1
}
