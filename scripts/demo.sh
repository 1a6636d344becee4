#!/bin/sh
# The demo: set up, fetch the flights of 2013, and run the whole loop on them. Arguments go to the demo (see --help).
set -eu
cd "$(dirname "$0")/.."
scripts/setup.sh
.venv/bin/python examples/flights/prepare.py
exec .venv/bin/python examples/flights/demo.py "$@"
