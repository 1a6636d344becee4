"""Yards with a history, for tests of the control plane: events are written to the journal as a flow would, and nothing is built."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from modelyard import events as e
from modelyard.clock import Clock
from modelyard.control.server import Server
from modelyard.monitor.book import Word
from modelyard.yard import Yard

DIGEST = "ab" * 32
CONFIG_DIGEST = "c0" * 32


@dataclass
class Plane:
    """A control plane that serves. `web` speaks to its TCP port with the token, `anonymous` without."""

    yard: Yard
    server: Server
    web: httpx.Client
    anonymous: httpx.Client

    @property
    def local(self) -> httpx.Client:
        """A caller at the home's Unix socket, whom the kernel vouches for."""
        return httpx.Client(transport=httpx.HTTPTransport(uds=str(self.yard.home.socket)), base_url="http://localhost")


@contextmanager
def plane(home: Path, clock: Clock | None = None, **words: Any) -> Iterator[Plane]:
    yard = Yard(home, clock)
    try:
        server = Server(yard, port=0, **words)
        server.start()
        try:
            token = {"Authorization": f"Bearer {server.token}"}
            with httpx.Client(base_url=server.address, headers=token) as web, httpx.Client(base_url=server.address) as anonymous:
                yield Plane(yard, server, web, anonymous)
        finally:
            server.stop()
    finally:
        yard.close()


def config(model: str, **words: Any) -> dict[str, Any]:
    """A config as it is accepted."""
    parts = {
        "version": 1,
        "model": {"name": model, "problem_type": "binary_classification", "owner": words.get("owner")},
        "timezone": words.get("timezone", "UTC"),
        "data": {"source": {"using": "csv", "location": "data.csv"}, "target_col": "late", "positive_class": 1},
        "train": {"framework": "sklearn", "entry_point": "train.py"},
        "evaluate": {"validation_criteria": [{"metric": words.get("metric", "roc_auc"), "threshold": 0.5}]},
        "monitor": {"window": "1d"},
    }
    return {"staging": parts, "production": parts}


def accept(yard: Yard, model: str, **words: Any) -> str:
    """A run that has begun and had its config accepted. Returns its id."""
    run = f"up-{model}"
    yard.shop.record(
        [
            e.RunStarted(model, run, "up", "ana", words.get("because", "")),
            e.ConfigAccepted(model, run, CONFIG_DIGEST, config(model, **words), "/nowhere"),
        ]
    )
    return run


def register(yard: Yard, model: str, version: str, digest: str = DIGEST, because: str = "", gates: list[str] | None = None) -> None:
    event = e.VersionRegistered(
        model=model,
        run=f"up-{model}",
        version=version,
        digest=digest,
        data_digest="da" * 32,
        code_digest="c1" * 32,
        lock_digest="10" * 32,
        config_digest=CONFIG_DIGEST,
        commit="f00dfeed" * 5,
        dirty=False,
        metrics={"roc_auc": 0.71234, "accuracy": 0.9},
        gates=["roc_auc 0.7123 >= 0.7: passed"] if gates is None else gates,
        because=because,
    )
    yard.shop.record([event])


def deploy(yard: Yard, model: str, stage: str, **weights: int) -> None:
    """`deploy(yard, "m", "production", v1=90, v2=10)`."""
    shares = {name.removeprefix("v"): weight for name, weight in weights.items()}
    yard.shop.record([e.Deployed(model, stage, "http://127.0.0.1:40001", shares, "deployed")])


def ask(yard: Yard, model: str, version: str, *, allow_self: bool = False) -> None:
    yard.shop.record(
        [
            e.ApprovalRequested(
                model, f"up-{model}", version, "production", DIGEST, CONFIG_DIGEST, "ana", "2030-01-01T00:00:00+00:00", allow_self
            )
        ]
    )


def judge(yard: Yard, model: str, monitor: str, day: int, status: Any, reason: str = "as expected", evidence: Any = None) -> Word:
    """A word on a day of March 2026 (midnight to midnight in New York), as `flows.monitor.looking` writes it."""
    start, end = f"2026-03-{day:02}T05:00:00+00:00", f"2026-03-{day + 1:02}T05:00:00+00:00"
    word = Word(model, monitor, start, end, "1", status, reason, end, evidence or {})
    yard.shop.book.put([word])
    return word
