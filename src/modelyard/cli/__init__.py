"""The command line. What it is made of is in `commands`: to import that takes longer than to begin what a build will wait for."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import Any


def main(argv: list[str] | None = None) -> Any:
    """Run a command; an error becomes its own words and its exit code."""
    if argv is None and sys.argv[1:2] in (["build"], ["up"]) and os.environ.get("MODELYARD_WARM") != "0":
        with contextlib.suppress(Exception):  # it is for speed alone; what is wrong, the command says
            _foresee(sys.argv[1:])
    from modelyard.cli import commands

    return commands.main(argv)


def _foresee(words: list[str]) -> None:
    from modelyard.build.forerunner import Forerunner

    forerunner = Forerunner()  # starts while the rest is imported
    try:
        from modelyard.build import early
    except BaseException:
        forerunner.close()
        raise
    early.foreseen(words, forerunner)


def __getattr__(name: str) -> Any:
    """What others take from here, and is in `commands`."""
    if name in ("cli", "COMMANDS"):
        from modelyard.cli import commands

        return getattr(commands, name)
    raise AttributeError(name)
