"""A world whose version was evaluated on a real hold-out: classes or numbers, with a column `shop` that comes along, and labels to come."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from modelyard.events import VersionRegistered
from modelyard.flows import findings, history, measuring
from modelyard.flows.monitor.monitors import MONITORS
from modelyard.flows.monitor.window import Window
from modelyard.monitor.verdicts import Verdict
from modelyard.monitor.windows import Span
from modelyard.quality import metrics, resample
from modelyard.serve import captured
from modelyard.signature import Column, Signature

from ..releases import config
from ..watched import DAY, T0, Watched

COLUMNS = (Column("x", "float"), Column("shop", "str"))
SIGNATURES = {
    "binary_classification": Signature("binary_classification", COLUMNS, (0, 1), 1, 0.5, "y"),
    "regression": Signature("regression", COLUMNS, target_col="y"),
    "ranking": Signature("ranking", COLUMNS, target_col="y", group_col="shop"),
}
SHOPS = ("a", "b", "c")
OFF: dict[str, Any] = {kind: {"enabled": False} for kind in ("data_quality", "drift", "bias", "attribution")}
CODE = """
def profit(table):
    return sum(1.0 if y == p else -1.0 for y, p in zip(table["label"], table["prediction"])) / len(table["label"])


def broken(table):
    raise KeyError("no price")


def counted(table):
    import os
    return float(len(table["label"]))
"""


def rows(kind: str, count: int, seed: int, *, mean: float = 0.0, flip: Mapping[str, float] | None = None) -> pl.DataFrame:
    """Answers with their truth in `label`. flip: by shop, the share of rows whose truth is turned round (classes)."""
    random = np.random.default_rng(seed)
    x, shop = random.normal(mean, 1.0, count), random.integers(0, len(SHOPS), count)
    frame = pl.DataFrame({"f.x": x, "f.shop": np.array(SHOPS)[shop]})
    if kind != "binary_classification":
        truth = 2 * x + 0.5 * np.exp(0.7 * x) * random.normal(size=count)
        return frame.with_columns(pl.Series("y.prediction", 2 * x), pl.Series("label", truth))
    z = 2 * x + 0.3
    truth = (random.random(count) < 1 / (1 + np.exp(-z))).astype(np.int64)
    turned = np.array([(flip or {}).get(name, 0.0) for name in SHOPS])[shop]
    truth = np.where(random.random(count) < turned, 1 - truth, truth)
    score = 1 / (1 + np.exp(-1.6 * z))  # too sure of itself
    scores = {"y.prediction": (score >= 0.5).astype(np.int64), "y.probability_0": 1 - score, "y.probability_1": score}
    return frame.with_columns(**{name: pl.Series(values) for name, values in scores.items()}, label=pl.Series(truth))


def answers(kind: str, x: float) -> dict[str, Any]:
    """What the version says of one row."""
    if kind != "binary_classification":
        return {"prediction": 2 * x}
    score = 1 / (1 + np.exp(-1.6 * (2 * x + 0.3)))
    return {"prediction": int(score >= 0.5), "probability_0": 1 - score, "probability_1": score}


def settings(kind: str, *, evaluate: Mapping[str, Any] | None = None, **performance: Any) -> dict[str, Any]:
    words = {**config(), "timezone": "UTC", "evaluate": dict(evaluate or {})}
    words["model"] = {"name": "demo", "problem_type": kind}
    words["data"] = {**words["data"], **({"positive_class": 1} if kind == "binary_classification" else {})}
    segments = performance.pop("segments", ())
    words["monitor"] = {"window": "1d", "segments": segments, **OFF, "performance": performance}
    return words


class Scored(Watched):
    """Version 1 of a model of `kind` is in production; `holdout` rows of it were measured."""

    def __init__(self, home: Path, monkeypatch: pytest.MonkeyPatch, kind: str, words: dict[str, Any], holdout: int = 2000) -> None:
        self.kind, self.size = kind, holdout
        super().__init__(home, monkeypatch, words)

    def register(self, *versions: str) -> None:
        """As `World` does, with the hold-out's metrics in the journal."""
        record = self.shop.record

        def with_metrics(events: Any) -> None:
            for fact in events:
                if isinstance(fact, VersionRegistered):
                    fact.metrics.update(self.metrics)
            record(events)

        self.shop.record = with_metrics  # type: ignore[method-assign]
        super().register(*versions)
        self.shop.record = record  # type: ignore[method-assign]

    def _ask(self, address: str, rows: list[dict[str, Any]], signature: Signature, variant: str, **own: Any) -> list[dict[str, Any]]:
        return [answers(self.kind, row["x"]) for row in rows]

    def _staging(self, version: str) -> Path:
        folder, signed = super()._staging(version), SIGNATURES[self.kind]
        (folder / "signature.json").write_text(json.dumps(signed.to_dict()))
        (folder / "config.json").write_text(json.dumps({"production": self.settings["production"]}))
        (folder / measuring.CODE / "0").mkdir(parents=True)
        (folder / measuring.CODE / "0" / "mine.py").write_text(CODE)
        times = (T0 - 30 * DAY) + pl.duration(minutes=pl.int_range(pl.len()))
        made = rows(self.kind, self.size, 1).with_columns(inference_id=pl.int_range(pl.len()).cast(pl.String), event_time=times)
        made.write_parquet(folder / "holdout.parquet")
        self.metrics: dict[str, Any] = {}
        if self.kind != "ranking":
            self.metrics = findings.finite(metrics.compute(made, signed))
            ends = resample.intervals(made, signed, level=0.95, resamples=200, seed=0)
            document = {"metrics": self.metrics, "intervals": ends, "level": 0.95, "custom": {"profit": {"value": 0.5}}}
            (folder / "evaluation.json").write_text(json.dumps(document))
        return folder

    def answer(self, made: pl.DataFrame, day: int = 0, version: str = "1") -> pl.Series:
        """Requests answered on a day; their ids."""
        at = T0 + day * DAY
        times = pl.datetime_range(at, at + timedelta(seconds=made.height - 1), "1s", eager=True, time_zone="UTC", time_unit="us")
        ids = pl.Series([f"v{version}-d{day}-{i}" for i in range(made.height)])
        about = {"inference_id": ids, "event_time": times, "received_at": times}
        captured.add(
            history.folder(self.shop, "demo"),
            made.drop("label").with_columns(**about, version=pl.lit(version), latency_ms=pl.lit(1.0)),
        )
        self.time.advance_to(max(self.time.now(), at + DAY))
        return ids

    def tell(self, ids: pl.Series, made: pl.DataFrame) -> None:
        history.label(self.shop, "demo", pl.DataFrame({"inference_id": ids, "label": made["label"]}))

    def judge(self, kind: str, day: int = 0) -> Verdict:
        return MONITORS[kind].judge(self.window(day))

    def window(self, day: int = 0) -> Window:
        at: datetime = T0 + day * DAY
        return Window(self.shop, "demo", self.shop.config("demo"), self.shop.model("demo"), Span(at, at + DAY))
