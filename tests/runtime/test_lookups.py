"""What is quicker finds the same."""

from __future__ import annotations

import contextlib
import inspect
import sys
from abc import ABCMeta
from collections.abc import Iterator
from typing import Any

import pytest

from modelyard.runtime.lookups import quicken


class Hidden(type):
    """A metaclass with a `__dict__` of its own."""

    __dict__ = {"a": 1}  # type: ignore[assignment]


class Slotted:
    __slots__ = ("a", "b")


class Odd:
    a = 5

    def __init__(self) -> None:
        self.b = 1

    @property
    def c(self) -> int:
        raise AssertionError("nothing is called")

    def __getattr__(self, name: str) -> Any:
        raise AssertionError("nothing is called")


class Mapped(dict[str, int]):
    a = 3


class ShadowedInstance:
    __dict__ = property(lambda self: {"a": 7})  # type: ignore[assignment]


class OfHidden(metaclass=Hidden):
    a = 2


class Abstract(Odd, metaclass=ABCMeta):
    a = 4


class Hashless(type):
    def __eq__(cls, other: object) -> bool:
        return NotImplemented

    __hash__ = None  # type: ignore[assignment]


class OfHashless(ShadowedInstance, metaclass=Hashless):
    a = 6


SUBJECTS: list[Any] = [Slotted, Odd, Mapped, ShadowedInstance, OfHidden, Abstract, OfHashless, int, type, object, dict, Hidden]
SUBJECTS += [Slotted(), Odd(), Mapped(a=1), ShadowedInstance(), OfHidden(), Abstract(), OfHashless(), 1, "text"]
NAMES = ("a", "b", "c", "__dict__", "__init__", "mro", "nothing")


@contextlib.contextmanager
def quickened() -> Iterator[None]:
    module: Any = inspect
    before = module._shadowed_dict, module._check_class
    quicken()
    try:
        yield
    finally:
        module._shadowed_dict, module._check_class = before


def test_what_is_found_is_what_was_found() -> None:
    missing = object()

    def looked() -> list[Any]:
        return [inspect.getattr_static(one, name, missing) for one in SUBJECTS for name in NAMES]

    before = looked()
    with quickened():
        found, again = looked(), looked()
    assert all(a is b is c for a, b, c in zip(found, before, again, strict=True))
    assert sum(one is missing for one in before) not in (0, len(before))


def test_a_class_that_gets_other_bases_is_looked_at_anew() -> None:
    class Plain:
        pass

    class Made(Plain):
        pass

    made = Made()
    made.__dict__["a"] = 1
    with quickened():
        assert inspect.getattr_static(made, "a") == 1
        Made.__bases__ = (ShadowedInstance,)
        assert inspect.getattr_static(made, "a", None) is None, "its `__dict__` is no longer the instance's"


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="Python 3.12 is as quick by itself")
def test_nothing_is_asked_twice_and_type_not_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[type] = []
    monkeypatch.setattr(inspect, "_shadowed_dict", lambda klass: asked.append(klass) or inspect._sentinel)  # type: ignore[attr-defined]
    with quickened():
        for _ in range(2):
            assert inspect.getattr_static(Odd, "a") == 5 and inspect.getattr_static(Odd(), "a") == 5
    assert asked == [Odd]
