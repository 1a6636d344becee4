"""Captured rows whose answers are not sent yet, and which need not be written one by one."""

from __future__ import annotations

from collections.abc import Callable


class Unwritten:
    """Of one front: whoever has rows to write adds how, once; whoever sends answers has them written first."""

    __slots__ = ("_writes",)

    def __init__(self) -> None:
        self._writes: list[Callable[[], None]] = []

    def add(self, write: Callable[[], None]) -> None:
        """`write` raises nothing."""
        self._writes.append(write)

    def write(self) -> None:
        """Write what there is."""
        writes, self._writes = self._writes, []
        for write in writes:
            write()
