"""Steps that share a runner: how many are started, and when they end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from modelyard import runners
from modelyard.flows import session
from modelyard.runners import Loadable

MODEL = Loadable(Path("m"), Path("c"), "", Path("s"), "sklearn", Path("p"), Path("h"))


@pytest.fixture
def life(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What became of runners, in order."""
    seen: list[str] = []

    @contextmanager
    def running(what: Loadable, log: Path, warm: Any = None) -> Iterator[Path]:
        seen.append(f"+{what.model}")
        try:
            yield Path(f"{what.model}.sock")
        finally:
            seen.append(f"-{what.model}")

    monkeypatch.setattr(runners, "running", running)
    return seen


def ask(what: Loadable) -> Path:
    with session.running(what, Path("log")) as socket:
        return socket


def test_a_runner_is_kept_for_the_next_one_who_wants_the_same(life: list[str]) -> None:
    with session.kept():
        assert ask(MODEL) == ask(replace(MODEL)) == Path("m.sock")
        assert life == ["+m"]
        ask(replace(MODEL, model=Path("other")))
        assert life == ["+m", "-m", "+other"]
    assert life[-1] == "-other"
    ask(MODEL)
    ask(MODEL)
    assert life[4:] == ["+m", "-m"] * 2, "outside the block each has its own"


def test_one_that_failed_is_not_kept(life: list[str]) -> None:
    with session.kept():
        with pytest.raises(OSError, match="gone"), session.running(MODEL, Path("log")):
            raise OSError("gone")
        assert life == ["+m", "-m"]
        ask(MODEL)
    assert life == ["+m", "-m"] * 2
