#!/usr/bin/env bash
# Checks the files named, and the SQL and shell files of the project. Reports all it finds, changes nothing.
set -euo pipefail
cd "$(dirname "$0")/.."

failed=0
complain() {
  printf 'lint: %s\n' "$*" >&2
  failed=1
}

swift format lint --strict --recursive --parallel "$@" ||
  complain "the Swift files differ: run \`make format\`"

if found=$(grep -rnE $'\t|[ \t]+$' --include='*.sql' schema Sources Examples 2>/dev/null); then
  complain $'tabs or trailing spaces in SQL:\n'"$found"
fi

for script in .ci/run scripts/*.sh; do
  [[ -x $script ]] || complain "$script is not executable: run \`chmod +x $script\`"
  bash -n "$script" || complain "$script is no valid shell"
done

exit "$failed"
