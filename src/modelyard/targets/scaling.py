"""How many runners a version should have: more while all of them are busy and requests wait, fewer once one has had nothing to do for long.

Pure: what is seen and remembered goes in, the wanted number and what to remember come out.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

PRESSED = 1.0
"""Seconds for which all runners must be busy, and requests wait, before one is added: a burst that one batch clears is not enough."""
SETTLE = 2.0
"""Seconds after a change before the next one: the new runner must have taken its share."""


@dataclass(frozen=True)
class Bounds:
    """`least` runners always stand, `most` at the most; one beyond `least` ends after `idle` seconds without work."""

    least: int
    most: int
    idle: float


@dataclass(frozen=True)
class Seen:
    """One look: runners that stand, how many of them are busy, rows that wait for them, requests that wait for a runner where none stands,
    and for how long (seconds) the runner that has been idle longest has had nothing to do."""

    runners: int
    busy: int = 0
    waiting: int = 0
    wanted: int = 0
    idle: float = 0.0


@dataclass(frozen=True)
class Memory:
    """Since when there has been pressure without a break (None: there is none), and when the number last changed; monotonic seconds."""

    pressed_since: float | None = None
    changed: float = float("-inf")


def step(memory: Memory, seen: Seen, now: float, bounds: Bounds) -> tuple[int, Memory]:
    """How many runners there should be now: at most one more or one fewer than there are, but for what the bounds ask at once."""
    pressed = seen.runners > 0 and seen.busy >= seen.runners and seen.waiting > 0
    since = (now if memory.pressed_since is None else memory.pressed_since) if pressed else None
    memory = replace(memory, pressed_since=since)
    bounded = min(max(seen.runners, bounds.least), bounds.most)
    if bounded != seen.runners:
        return bounded, Memory(None, now)
    if not seen.runners and seen.wanted and bounds.most:
        return 1, Memory(None, now)
    if now - memory.changed < SETTLE:
        return seen.runners, memory
    if since is not None and now - since >= PRESSED and seen.runners < bounds.most:
        return seen.runners + 1, Memory(None, now)
    if seen.runners > bounds.least and not seen.waiting and not seen.wanted and seen.idle >= bounds.idle:
        return seen.runners - 1, Memory(None, now)
    return seen.runners, memory
