#!/bin/sh
# Install the system packages that some tests use, where we are root on Debian or Ubuntu and they are missing:
# bubblewrap (sandboxed steps), chromium (the console and the report, looked at), postgresql (the SQL source), R with jsonlite
# (models of R).
# Nothing here is needed to use Modelyard; tests skip with a reason without them (in CI they fail).
set -eu

missing=""
command -v bwrap >/dev/null 2>&1 || missing="$missing bubblewrap"
command -v chromium >/dev/null 2>&1 || missing="$missing chromium"
command -v initdb >/dev/null 2>&1 || ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || missing="$missing postgresql"
{ command -v Rscript && Rscript -e 'quit(status = !requireNamespace("jsonlite"))'; } >/dev/null 2>&1 || missing="$missing r-base-core r-cran-jsonlite"
[ -n "$missing" ] || exit 0

if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null 2>&1; then
    echo "SKIP: not installing$missing (needs root and apt-get); the tests that use them are skipped"
    exit 0
fi
echo "system: installing$missing"
export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
trap 'rm -f "$log"' EXIT
# shellcheck disable=SC2086 # words on purpose
if ! { apt-get update && apt-get install -y --no-install-recommends $missing; } >"$log" 2>&1; then
    tail -n 20 "$log"
    echo "SKIP: apt-get could not install$missing; the tests that use them are skipped"
fi
