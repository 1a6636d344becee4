"""A thousand models watched in windows of 15 minutes: what share of a core that takes, looking and idling.

Each model has 20 features, captures of `--days` days, a window of `--rows` captured predictions, labels that come half an hour later, and
the monitors that a config has by default, besides a criterion of its own and a governor; of the windows, every fifth model's are drifted.
The models share one bundle, as it makes no difference whose it is. A clock is set on by 15 minutes at a time, and after each the schedules
have every model looked at, by two threads, with all that a look does: capture, profile, data quality, drift, estimate, performance, words,
governor; and see to what was captured once a minute.

Then nothing happens for a few seconds: what the watch itself costs. Exit code 1 where a thousand models would take half a core, or idling
2% of one. Each number is CPU time of this process, which does all of it.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelyard.build import bundle
from modelyard.clock import ReplayClock
from modelyard.config.spec import STAGES
from modelyard.events import ConfigInForce, Deployed, Event, Promoted, VersionRegistered
from modelyard.flows import capturing, history
from modelyard.monitor import profile
from modelyard.schedules import LOOKERS, ROUND, TICK, Schedules
from modelyard.serve import captured
from modelyard.signature import Column, Signature
from modelyard.upkeep import TIDY
from modelyard.yard import Yard

if TYPE_CHECKING:
    import polars as pl

TIDIES = int(900 // TIDY)
"""How often what a model captures is seen to in a window, where callers never pause."""
WINDOW, T0 = timedelta(minutes=15), datetime(2026, 3, 2, tzinfo=UTC)
MODELS, BAR, IDLE_BAR = 1000, 0.5, 0.02
NUMBERS, WORDS = [f"n{i}" for i in range(16)], [f"c{i}" for i in range(4)]
SIGNED = Signature(
    "binary_classification",
    tuple(Column(name, "float") for name in NUMBERS) + tuple(Column(name, "str") for name in WORDS),
    target_col="late",
    classes=(0, 1),
    positive_class=1,
    decision_threshold=0.5,
)


def rows(count: int, seed: int, moved: float = 0.0) -> pl.DataFrame:
    """Features, scores and labels; `moved` shifts the first four numbers, by so many standard deviations."""
    import numpy as np
    import polars as pl

    random = np.random.default_rng(seed)
    numbers = random.normal(size=(len(NUMBERS), count))
    chance = 1 / (1 + np.exp(-numbers[0] + 0.5 * numbers[1]))
    numbers[:4] += moved
    table: dict[str, Any] = {f"f.{name}": values for name, values in zip(NUMBERS, numbers, strict=True)}
    table |= {f"f.{name}": [f"v{v}" for v in random.zipf(1.6, count).clip(max=12)] for name in WORDS}
    table |= {"y.prediction": (chance >= 0.5).astype("int64"), "y.probability_0": 1 - chance, "y.probability_1": chance}
    return pl.DataFrame(table | {"label": (random.random(count) < chance).astype("int64")})


def sealed(home: Path, folder: Path) -> tuple[str, dict[str, float | None]]:
    """The bundle that all models share, and the metrics of its hold-out."""
    import polars as pl

    from modelyard.flows.evaluation import finite
    from modelyard.quality import metrics

    learned, holdout = rows(20_000, 1), rows(4_000, 2)
    ids = pl.int_range(pl.len()).cast(pl.String)
    at = pl.lit(None, dtype=pl.Datetime("us", "UTC"))
    holdout = holdout.select(ids.alias("inference_id"), at.alias("event_time"), pl.lit("1").alias("version"), pl.all())
    texts = {"model/weights": "1", "code/serve.py": "", "env/requirements.lock": "", "signature.json": json.dumps(SIGNED.to_dict())}
    usual = profile.baseline(learned.lazy(), SIGNED, holdout)
    for name, text in {**texts, "baseline.json": json.dumps(usual)}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    holdout.write_parquet(folder / "holdout.parquet")
    made = bundle.seal(folder, {"entry_point": "serve.py", "framework": "sklearn"}, home)
    return made.digest, finite(metrics.compute(holdout, SIGNED))


def config(model: str, window: str = "15m") -> dict[str, Any]:
    return {
        "version": 1,
        "model": {"name": model, "problem_type": "binary_classification"},
        "data": {"source": {"using": "csv", "location": "data.csv"}, "target_col": "late", "positive_class": 1},
        "train": {"framework": "sklearn", "entry_point": "train.py"},
        "monitor": {"window": window, "performance": {"label_delay": "45m", "criteria": [{"metric": "roc_auc", "max_drop": 0.2}]}},
        "retrain": {"on": ["drift", "performance", "schedule"], "schedule_expression": "0 6 1 1 *", "min_new_labels": 10**6},
    }


def register(yard: Yard, models: list[str], digest: str, metrics: dict[str, float | None]) -> None:
    """The models as if each had been built and released."""
    facts = dict.fromkeys(("data_digest", "code_digest", "lock_digest", "config_digest"), "0")
    for model in models:
        registered = VersionRegistered(model, "up-0", "1", digest, commit=None, dirty=False, metrics=metrics, gates=[], **facts)
        # watched in other windows before, so that those of the past are over
        told: list[Event] = [
            ConfigInForce(model, "up-0", window, {str(stage): config(model, window) for stage in STAGES}, "/nowhere")
            for window in ("1h", "15m")
        ]
        weights = {"1": 100}
        told += [registered]
        told += [Deployed(model, "production", "", weights), Promoted(model, "production", "1", None, "first version")]
        yard.shop.record(told)


def past(yard: Yard, models: list[str], days: int, count: int) -> None:
    """A Parquet file of each day before, as captures are kept: what is read of a window lies among them."""
    import polars as pl

    for k, model in enumerate(models):
        table = rows(count * 96, k).drop("label")
        for day in range(days):
            begin = T0 - timedelta(days=days - day)
            times = pl.Series([begin + i * timedelta(days=1) / table.height for i in range(table.height)], dtype=pl.Datetime("us", "UTC"))
            fixed = {"event_time": times, "received_at": times}
            ids = pl.select(pl.format("d{}-{}", pl.lit(day), pl.int_range(table.height)).alias("inference_id"))
            alike = ids.with_columns(pl.lit("1").alias("version"), pl.lit(1.0).alias("latency_ms"))
            captured.add(history.folder(yard.shop, model), alike.hstack(pl.DataFrame(fixed)).hstack(table))


def traffic(yard: Yard, models: list[str], number: int, count: int) -> None:
    """A window's predictions of each model, and the labels of those of two windows before."""
    import polars as pl

    start = T0 + number * WINDOW
    for k, model in enumerate(models):
        table, ids = rows(count, 1000 * k + number, 0.6 if k % 5 == 4 else 0.0), [f"{number}-{i}" for i in range(count)]
        times = pl.Series([start + (i + 0.5) * WINDOW / count for i in range(count)], dtype=pl.Datetime("us", "UTC"))
        fixed = {"inference_id": ids, "event_time": times, "received_at": times, "version": ["1"] * count, "latency_ms": [1.0] * count}
        captured.add(history.folder(yard.shop, model), pl.DataFrame(fixed).hstack(table.drop("label")))
        if number > 1:
            truth = rows(count, 1000 * k + number - 2)["label"]
            history.label(yard.shop, model, pl.DataFrame({"inference_id": [f"{number - 2}-{i}" for i in range(count)], "label": truth}))


def schedules(yard: Yard, failures: list[str]) -> Schedules:
    return Schedules(
        yard.shop,
        threading.Event(),
        next=yard.errands.next_time,
        look=yard.tick,
        mend=yard._mend,
        failed=lambda model, exc: failures.append(f"{model}: {exc!r}"),
        well=lambda model: None,
        over=lambda model: False,
    )


def looked(yard: Yard, clock: ReplayClock, models: list[str], args: argparse.Namespace, failures: list[str]) -> float:
    """CPU seconds a model and window."""
    watch, spent = schedules(yard, failures), []
    with ThreadPoolExecutor(LOOKERS) as pool:
        watch.turn(pool)
        for number in range(args.windows):
            traffic(yard, models, number, args.rows)
            clock.advance_to(T0 + (number + 1) * WINDOW)
            began = time.process_time()
            watch.turn(pool)
            while any(yard.errands.done[model]["monitor"] < clock.now() for model in models) and not failures:
                time.sleep(0.01)
            for model in models * TIDIES:
                capturing.tidy(yard.shop, model, "production")
            spent.append((time.process_time() - began) / len(models))
            print(f"  window {number + 1}: {spent[-1]:.3f} CPU-s a model", flush=True)
    steady = sorted(spent[3:] or spent)  # from the fourth on every monitor has labels
    return steady[len(steady) // 2]


def idling(home: Path, digest: str, metrics: dict[str, float | None]) -> float:
    """Share of a core that a watch over `MODELS` models takes while nothing is due: its turn each second, and its look after each
    model's capture once in `TIDY` seconds."""
    clock, failures = ReplayClock(T0), list[str]()
    yard = Yard(home, clock)
    register(yard, [f"idle-{i}" for i in range(MODELS)], digest, metrics)
    keeper, watch = yard._upkeep, schedules(yard, failures)
    with ThreadPoolExecutor(LOOKERS) as pool:
        spent = []
        for turns in (2 * ROUND, 2 * ROUND, 300):  # the first rounds plan each model
            keeper._tidied.clear()
            began = time.process_time()
            for _ in range(ROUND):
                watch.turn(pool)
            while len(keeper._tidied) < MODELS or max(keeper._tidied.values()) > time.monotonic():
                time.sleep(0.01)
            tidied, began = time.process_time() - began, time.process_time()
            for _ in range(turns):
                watch.turn(pool)
            spent.append((time.process_time() - began) / turns / TICK + tidied / TIDY)
    yard.close()
    return spent[-1]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=int, default=10)
    parser.add_argument("--windows", type=int, default=8)
    parser.add_argument("--rows", type=int, default=200, help="captured predictions a window")
    parser.add_argument("--days", type=int, default=30, help="days of captures that are kept from before")
    args = parser.parse_args()
    failures: list[str] = []
    with tempfile.TemporaryDirectory(prefix="fleet-") as scratch:
        clock = ReplayClock(T0)
        yard = Yard(Path(scratch) / "home", clock)
        digest, metrics = sealed(yard.home.path, Path(scratch) / "staging")
        models = [f"m{i:04}" for i in range(args.models)]
        register(yard, models, digest, metrics)
        past(yard, models, args.days, args.rows)
        look = looked(yard, clock, models, args, failures)
        statuses = Counter(f"{word['monitor']} {word['status']}" for model in models for word in yard.windows(model))
        yard.close()
        (Path(scratch) / "idle").mkdir()
        idle = idling(Path(scratch) / "idle", digest, metrics)
    share = look * MODELS / WINDOW.total_seconds()
    told = ", ".join(f"{count} {said}" for said, count in sorted(statuses.items()))
    print(f"{len(models)} models x {args.windows} windows of {args.rows} rows x {len(NUMBERS) + len(WORDS)} columns: {told}")
    for failure in failures[:3]:
        print(f"FAILED {failure}")
    said = (("looking", share, BAR), ("idling", idle, IDLE_BAR))
    for what, value, bar in said:
        print(f"{what}: {MODELS:,} models x 15 minutes take {value:.2%} of a core; {'ok' if value < bar else 'MISS'}, the bar is {bar:.0%}")
    return int(bool(failures) or any(value >= bar for _, value, bar in said))


if __name__ == "__main__":
    raise SystemExit(main())
