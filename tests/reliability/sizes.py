"""How large the reliability runs are: small by default, at full size by `make fuzz` and `make soak`, or as the environment says."""

from __future__ import annotations

import os


def number(name: str, usual: int) -> int:
    """`MODELYARD_SOAK_<name>`, else what is usual in a test run."""
    return int(os.environ.get(f"MODELYARD_SOAK_{name}", str(usual)))


SHOTS = number("SHOTS", 3000)
"""Bad requests that the fuzzer sends, to all fronts together (full size: 100,000)."""
SEED = number("SEED", 1)
EXAMPLES = number("EXAMPLES", 15)
"""Examples that Schemathesis draws an operation (full size: 100)."""
KILLS = number("KILLS", 8)
"""How often a runner is killed under load, once a second (full size: 60)."""
SECONDS = number("SECONDS", 0)
"""How long the soak lasts (full size: 1,800); 0 leaves it out."""
RATE = number("RATE", 50)
"""Requests a second that the soak asks of each front."""
