"""Attributions by window: rows explained as the build did it, by the runner, on a day's rows; and what makes that impossible."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from sklearn.ensemble import RandomForestRegressor
from sklearn.linear_model import LinearRegression
from sklearn.neighbors import KNeighborsRegressor

from modelyard.config.spec import Config
from modelyard.errors import StepFailed
from modelyard.flows import drawing, explanation, history, monitor
from modelyard.flows.monitor import attribution
from modelyard.flows.monitor.window import Window
from modelyard.monitor import profile
from modelyard.monitor.book import Word
from modelyard.quality.explain import Explanation, summary
from modelyard.serve import captured
from modelyard.signature import Column, Signature
from tests.serve.world import World as Served

from ..watched import DAY, T0, Watched, settings

NAMES = ("a", "b", "c")
SIGNED = Signature("regression", tuple(Column(name, "float") for name in NAMES), target_col="y")
HOUR = timedelta(hours=1)


def rows(count: int, seed: int, scale: tuple[float, float, float] = (1.0, 1.0, 1.0)) -> pl.DataFrame:
    x = np.random.default_rng(seed).normal(size=(count, 3)) * scale
    return pl.DataFrame({name: x[:, j] for j, name in enumerate(NAMES)})


class Explained(Watched):
    """A version that was built with `explain`, whose runner is a real one. Windows are of six hours, what is explained is a day's."""

    def __init__(self, home: Path, monkeypatch: pytest.MonkeyPatch, served: Served, model: Any, **parts: Any) -> None:
        self.served, self.log = served, list[Path]()
        training = rows(300, 1)
        served.save("1", model.fit(training.to_numpy(), (2 * training["a"] + training["b"] + 0.1 * training["c"]).to_numpy()))
        served.runner("1", SIGNED)
        served.ready("1")
        self.socket = served.socket("1")
        monkeypatch.setattr(explanation, "running", self._running)
        monkeypatch.setattr(explanation, "bundled", lambda shop, opened: None)
        off = {"drift": {"enabled": False}, "data_quality": {"enabled": False}, "performance": {"enabled": False, "estimate": False}}
        watch = {**settings()["monitor"], **off, "window": "6h", "attribution": {"rows": 60, **parts.pop("attribution", {})}}
        super().__init__(home, monkeypatch, settings(explain={"background": 20, "rows": 80}, monitor=watch, **parts))

    @contextmanager
    def _running(self, what: Any, log: Path) -> Iterator[Path]:
        self.log.append(log)
        yield self.socket

    def _staging(self, version: str) -> Path:
        folder = super()._staging(version)
        (folder / "signature.json").write_text(json.dumps(SIGNED.to_dict()))
        table = rows(300, 2)
        scored = table.select(pl.all().name.prefix("f."), pl.col("a").alias("y.prediction"))
        (folder / "baseline.json").write_text(json.dumps(profile.baseline(scored, SIGNED)))
        scored.head(2).write_parquet(folder / "holdout.parquet")
        self._explain(folder, table.head(80))
        return folder

    def _ask(self, address: str, rows: list[dict[str, Any]], signature: Signature, variant: str, **own: Any) -> list[dict[str, Any]]:
        return [{"prediction": row["a"]} for row in rows]

    def _explain(self, folder: Path, table: pl.DataFrame) -> None:
        """As the build's step does."""
        background = rows(300, 1).head(20)
        background.write_parquet(folder / explanation.BACKGROUND)
        asked = explanation.Explain(background=20, rows=80)
        ask = explanation._ask(self.socket, SIGNED, "prediction", folder)
        found: Explanation = explanation.attributed(self.socket, ask, table, background, SIGNED, "prediction", asked, lambda text: None)
        (folder / explanation.DOCUMENT).write_text(json.dumps(summary(found, table)))
        explanation._table(pl.Series([str(i) for i in range(80)]), found).write_parquet(folder / explanation.ROWS)

    def day(self, place: int, count: int = 300, scale: tuple[float, float, float] = (1.0, 1.0, 1.0)) -> None:
        """Rows spread over a day."""
        times = pl.Series([T0 + place * DAY + i * DAY / count for i in range(count)], dtype=pl.Datetime("us", "UTC"))
        head = {"inference_id": [f"{place}-{i}" for i in range(count)], "event_time": times, "received_at": times, "version": "1"}
        table = rows(count, 10 + place, scale)
        answers = pl.DataFrame({**head, "latency_ms": 1.0, **{f"f.{n}": table[n] for n in NAMES}, "y.prediction": table["a"]})
        captured.add(history.folder(self.shop, "demo"), answers)

    def at(self, days: float) -> list[Word]:
        self.time.advance_to(T0 + days * DAY)
        monitor.look(self.shop, "demo")
        return self.words("attribution")


@pytest.fixture
def served() -> Iterator[Served]:
    served = Served()
    yield served
    served.stop()


def test_a_day_s_rows_are_explained_once_and_held_against_the_build(home: Path, monkeypatch: pytest.MonkeyPatch, served: Served) -> None:
    world = Explained(home, monkeypatch, served, RandomForestRegressor(10, random_state=0))
    world.day(0)
    assert world.at(0.75) == [], "windows of six hours are over, the day is not"
    [word] = world.at(1)
    assert (word.start[:13], word.end[:13], word.status) == ("2026-03-01T00", "2026-03-02T00", "healthy"), word
    assert word.evidence["method"] == "tree" and word.evidence["explained"] == 60 and word.evidence["ndcg"] > 0.9
    world.day(1, scale=(0.02, 0.05, 3.0))
    world.at(1.5)
    _, moved = world.at(2)
    assert len(world.log) == 2, "one runner a day"
    assert moved.status in ("warning", "violated") and moved.evidence["moved"][0]["name"] in ("a", "c")


def test_a_day_s_rows_are_drawn_as_they_are_read(home: Path, monkeypatch: pytest.MonkeyPatch, served: Served) -> None:
    """Of a day of many rows no more is held than is explained, beside one file of the capture; and all of them count."""
    world, drawn = Explained(home, monkeypatch, served, RandomForestRegressor(10, random_state=0)), list[pl.DataFrame]()
    for module, name in ((history, "answers"), (drawing, "at_most")):
        monkeypatch.setattr(module, name, lambda *_, **__: pytest.fail("all rows are held"))
    real = explanation.typed
    monkeypatch.setattr(explanation, "typed", lambda rows, *more: drawn.append(rows) or real(rows, *more))  # type: ignore[func-returns-value]
    world.day(0, count=2000)
    [word] = world.at(1)
    assert (word.status, word.version, word.evidence["rows"], word.evidence["explained"]) == ("healthy", "1", 2000, 60), word
    assert drawn[0].height == 60 and drawn[0]["a"].n_unique() == 60
    again = attribution.judge(Window(world.shop, "demo", world.shop.config("demo"), world.shop.model("demo"), word.span))
    assert drawn[1].equals(drawn[0]) and again.evidence == word.evidence, "the same rows each time"


def test_a_day_without_rows_is_unknown(home: Path, monkeypatch: pytest.MonkeyPatch, served: Served) -> None:
    world = Explained(home, monkeypatch, served, RandomForestRegressor(2, random_state=0))
    world.day(1)
    world.day(3)
    reasons = [word.reason for word in world.at(4)]
    assert reasons[1] == "attribution: no traffic in the window" and len(reasons) == 3, reasons


def test_a_model_that_has_to_be_asked_is_asked_again_in_the_same_way(home: Path, monkeypatch: pytest.MonkeyPatch, served: Served) -> None:
    world = Explained(home, monkeypatch, served, KNeighborsRegressor(5))
    world.day(0)
    [word] = world.at(1)
    assert word.status == "healthy" and word.evidence["method"] == "kernel" and word.evidence["of"] == "prediction"


def test_what_cannot_be_explained_is_unknown_with_its_reason(home: Path, monkeypatch: pytest.MonkeyPatch, served: Served) -> None:
    world = Explained(home, monkeypatch, served, RandomForestRegressor(2, random_state=0))
    world.day(0, count=150)
    assert world.at(1)[-1].reason == "attribution: 150 rows in the window, 200 are needed"

    @contextmanager
    def dead(what: Any, log: Path) -> Iterator[Path]:
        raise StepFailed("the runner ended with status 1")
        yield

    world.day(1)
    with monkeypatch.context() as patch:
        patch.setattr(explanation, "running", dead)
        word = world.at(2)[-1]
    assert word.status == "unknown" and "the runner ended with status 1" in word.reason
    world.day(2)
    path = world.shop.bundle(world.shop.version("demo", "1"))
    for name in explanation.MADE:
        (path / name).rename(path / f"{name}.gone")
    word = world.at(3)[-1]
    assert word.status == "unknown" and "not what was sealed" in word.reason, word
    for name in explanation.MADE:
        (path / f"{name}.gone").rename(path / name)
    world.day(3)
    path.rename(path.with_name("elsewhere"))
    assert world.at(4)[-1].status == "unknown"


def test_numbers_whose_sum_overflows_are_explained_and_others_are_named(
    home: Path, monkeypatch: pytest.MonkeyPatch, served: Served
) -> None:
    world = Explained(home, monkeypatch, served, LinearRegression())
    world.day(0, scale=(1e307, 1.0, 1.0))
    world.day(1, scale=(4e307, 1.0, 1.0))
    summed, answered = world.at(2)
    assert summed.status == "healthy" and summed.evidence["importance"]["a"][1] == 1.0, summed
    assert answered.status == "unknown" and "a value that is not finite in row" in answered.reason
    assert re.search(r"; `a` has numbers of up to 1\.\d+e\+308$", answered.reason), answered.reason


def test_columns_that_the_capture_hides_keep_rows_from_being_explained(home: Path, monkeypatch: pytest.MonkeyPatch, served: Served) -> None:
    deploy = {**settings()["deploy"], "capture": {"redact": [{"column": "b", "how": "drop"}]}}
    world = Explained(home, monkeypatch, served, RandomForestRegressor(2, random_state=0), deploy=deploy)
    world.day(0)
    assert "the capture does not keep b" in world.at(1)[-1].reason and world.log == []


def test_the_longer_window_is_explained() -> None:
    def of(window: str, own: str | None = None) -> str:
        watch = {"window": window, **({"attribution": {"window": own}} if own else {})}
        return attribution.span(Config.model_validate(settings(monitor=watch, explain={})))

    assert of("15m") == "1d" and of("1d") == "1d" and of("1w") == "1w" and of("1mo") == "1mo"
    assert of("15m", "15m") == "15m" and of("1h", "6h") == "6h" and of("1mo", "1w") == "1mo"
