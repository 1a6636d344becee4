"""The source of a generated function, and what it knows of slots."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

_TERMS = 40
"""Terms of one expression: the compiler's recursion is bounded."""


@dataclass(frozen=True, slots=True)
class Hot:
    """A slot of a one-hot encoding: 1 where the variable `place` is `index`."""

    place: str
    index: int


def value_of(found: str | Hot) -> str:
    """An expression for the value of what a slot is called."""
    return found if isinstance(found, str) else f"(1.0 if {found.place}=={found.index} else 0.0)"


def joined(name: str, sign: str, terms: Sequence[str]) -> list[str]:
    """Lines that give a name to the terms put together from the left to the right."""
    lines = [f"{name}={sign.join(terms[:_TERMS])}"]
    return lines + [f"{name}={name}{sign}{sign.join(terms[i : i + _TERMS])}" for i in range(_TERMS, len(terms), _TERMS)]


@dataclass(slots=True)
class Code:
    """The function while it is being written. `slots` is what each slot is called in it, `widths` how wide the encoding of a place is."""

    lines: list[str] = field(default_factory=list)
    slots: list[str | Hot] = field(default_factory=list)
    texts: list[bool] = field(default_factory=list)
    widths: dict[str, int] = field(default_factory=dict)
    namespace: dict[str, Any] = field(default_factory=dict)
    count: int = 0

    def name(self, prefix: str) -> str:
        """A name that is nobody's yet."""
        self.count += 1
        return f"{prefix}{self.count}"

    def keep(self, value: Any) -> str:
        """The name under which the function finds an object."""
        name = self.name("k")
        self.namespace[name] = value
        return name

    def value(self, slot: int) -> str:
        """An expression for a slot's value."""
        return value_of(self.slots[slot])

    def variable(self, slot: int) -> str:
        """A name that holds a slot's value."""
        found = self.slots[slot]
        if isinstance(found, str):
            return found
        name = self.name("s")
        self.lines.append(f"{name}={self.value(slot)}")
        return name

    def add(self, name: str | Hot, *, text: bool = False) -> None:
        """The next slot."""
        self.slots.append(name)
        self.texts.append(text)

    def function(self, header: str, lines: list[str]) -> None:
        """Compile a function into the namespace."""
        source = f"def {header}:\n " + "\n ".join(lines)
        exec(compile(source, "<row plan>", "exec"), self.namespace)  # noqa: S102  written by us of numbers and names of our own
