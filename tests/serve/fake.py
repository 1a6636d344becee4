"""A runner in a thread of the test: the real protocol loop of modelyard.runtime around a plain function."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from modelyard.runtime import runner, wire

Columns = dict[str, list[Any]]


class FakeRunner:
    """`predict(columns, rows)` answers. `calls` holds the row count of each call that came."""

    def __init__(self, path: Path, predict: Callable[[Columns, int], Columns], names: list[str]) -> None:
        self.path, self.calls, self._predict = path, list[int](), predict
        self.hello: dict[str, Any] = {"protocol": wire.PROTOCOL, "ready": True}
        self.listener = wire.listen(str(path))
        arguments = (self.listener, lambda m: runner.answer(m, self, names, self.hello), runner.Life())  # type: ignore[arg-type]
        self._thread = threading.Thread(target=self._serve, args=arguments, daemon=True)
        self._thread.start()

    def _serve(self, *arguments: Any) -> None:
        with contextlib.suppress(OSError, ValueError):
            runner.serve(*arguments)

    def predict(self, columns: Columns, rows: int) -> Columns:
        self.calls.append(rows)
        return self._predict(columns, rows)

    def refuse_more(self) -> None:
        """No new connections; those that are there live on."""
        self.path.unlink()
        self.listener.shutdown(socket.SHUT_RDWR)


def double(columns: Columns, rows: int) -> Columns:
    """The answer of a regression that doubles x; it raises for -1 and says nonsense for -2."""
    if -1 in columns["x"]:
        raise ValueError(f"x is -1 in row {columns['x'].index(-1)}")
    return {"prediction": [None if x is None else 2.0 * x for x in columns["x"]]} if -2 not in columns["x"] else {"other": []}
