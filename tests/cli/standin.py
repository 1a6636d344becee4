"""A caller that asks no control plane: it notes what it was asked for, and answers as a test says."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import pytest


class Caller:
    """`answer`: what is given back, or a function of the verb and its words that says so."""

    def __init__(self, answer: Any) -> None:
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.answer: Any = answer

    def call(self, verb: str, **words: Any) -> Any:
        self.calls.append((verb, words))
        return self.answer(verb, **words) if callable(self.answer) else self.answer


def standing_in(monkeypatch: pytest.MonkeyPatch, answer: Any, *commands: ModuleType) -> Caller:
    """A caller that the commands of these modules ask instead of the owner."""
    found = Caller(answer)

    @contextmanager
    def asking(**_: Any) -> Iterator[Caller]:
        yield found

    for module in commands:
        monkeypatch.setattr(module, "asking", asking)
    return found
