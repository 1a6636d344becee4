"""One runner for steps that ask the same model one after the other: a model that takes seconds to load is loaded once."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path

from modelyard import runners
from modelyard.build.warm import Warm
from modelyard.runners import Loadable


@dataclass
class _Kept:
    stack: ExitStack = field(default_factory=ExitStack)
    what: Loadable | None = None
    socket: Path = Path()


_kept: ContextVar[_Kept | None] = ContextVar("runner", default=None)


@contextmanager
def kept() -> Iterator[None]:
    """Inside the block, in its thread, a runner stays for the next one who wants the same; after it none does. Its end, of so large a
    process, takes a while that nobody waits for."""
    held = _Kept()
    token = _kept.set(held)
    try:
        yield
    finally:
        _kept.reset(token)
        _end(held)


@contextmanager
def running(what: Loadable, log: Path, warm: Warm | None = None) -> Iterator[Path]:
    """As `runners.running`, by the runner that is kept where it holds the same model. One that failed its user is not kept."""
    held = _kept.get()
    if held is None:
        with runners.running(what, log, warm) as socket:
            yield socket
        return
    if held.what != what:
        held.stack.close()
        held.what, held.socket = None, held.stack.enter_context(runners.running(what, log, warm))
        held.what = what
    try:
        yield held.socket
    except BaseException:
        held.what = None
        _end(held)
        raise


def _end(held: _Kept) -> None:
    """In a thread that the process waits for."""
    threading.Thread(target=held.stack.pop_all().close, name="runner's end").start()
