#!/bin/sh
# The demo: set up, fetch the flights of 2013, and play the year through the whole loop. Each run starts the story from the
# beginning, in a home of its own inside the checkout; only the models' environments are kept. Arguments go to `modelyard replay`.
set -eu
cd "$(dirname "$0")/.."
scripts/setup.sh
.venv/bin/python examples/flights/prepare.py

MODELYARD_HOME="$PWD/.modelyard/demo"
export MODELYARD_HOME
if [ -d "$MODELYARD_HOME" ]; then
    .venv/bin/modelyard down >/dev/null 2>&1 || true
    find "$MODELYARD_HOME" -mindepth 1 -maxdepth 1 ! -name envs -exec chmod -R u+w {} + -exec rm -rf {} +
fi
echo "home: $MODELYARD_HOME (for other terminals: export MODELYARD_HOME=$MODELYARD_HOME)"
# Nobody to ask and nobody to press Ctrl-C: approve, and end after the story.
if [ ! -t 0 ]; then
    echo "demo: no terminal here, so --yes --exit"
    set -- --yes --exit "$@"
fi
exec .venv/bin/modelyard replay examples/flights/config.yaml examples/flights/data/traffic.parquet --label-time label_known_at "$@"
