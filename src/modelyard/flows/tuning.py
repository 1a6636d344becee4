"""Tuning: hyperparameters searched by trials, each a training of its own and a durable step; the best trial's model is the version's.

A trial's receipt says how it ended, and a file written before it began says what it tries: after a crash the study is made again of
these, what has a receipt is not done again, and a trial that was cut short is done again with the same hyperparameters.
"""

from __future__ import annotations

import json
import math
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from datetime import datetime
from typing import TYPE_CHECKING, Any

from modelyard import files
from modelyard.build import metrics, study
from modelyard.durable import Outcome
from modelyard.errors import StepFailed
from modelyard.flows import caching, jobs, processing, trials
from modelyard.flows.trials import Objective, Trials, shown
from modelyard.registry.store import Trial

if TYPE_CHECKING:
    from modelyard.flows.site import Site

DOCUMENT = "tuning.json"
FIRST = 3
"""The search ends at once where its first so many trials (or `parallel`, if that is more) have all failed."""


def train(site: Site, lock: str, code: Mapping[str, Any], data: Mapping[str, Any]) -> dict[str, Any]:
    """Training, or the search for the best one; the receipt of the step `train`, with the `hyperparameters` that were found.

    `code` and `data` are the receipts of those steps. Writes tuning.json. Raises as the job does; BadInput for an objective that
    cannot be had, StepFailed where the first trials all fail, or none comes to a value.
    """
    assert site.config.train is not None
    if site.config.train.tune is None:
        found: dict[str, Any] = site.run.step("train", processing.train, site, lock, code, data)
        return found
    if not site.shop.runs.receipt(site.run.id, "train")[0]:
        Search(site, lock, code, data).go()
    found = site.run.step("train", _choose, site)
    for number in range(1, len(trials.asked(site)) + 1):
        trials.drop(site, number)
    return found


class Search:
    """One search. It asks and is told in one thread; each trial has another, which reports what it hears."""

    def __init__(self, site: Site, lock: str, code: Mapping[str, Any], data: Mapping[str, Any]) -> None:
        assert site.config.train is not None and site.config.train.tune is not None
        self._site, self._tune = site, site.config.train.tune
        self._objective = Objective.of(site)
        if self._objective.regex is None:
            trials.sign(site)
        self._study = study.Study(self._tune, self._objective.direction)
        self._broken = threading.Event()
        self._trials = Trials(site, lock, code, processing.training(site, lock, code, data), self._objective, self._broken)
        self._asked: list[dict[str, Any]] = []
        self._cut_short: list[int] = []
        self._ended: dict[int, dict[str, Any]] = {}
        self._began, self._before = time.monotonic(), 0.0

    def go(self) -> None:
        """Do the trials, those first that were cut short."""
        self._recall()
        going: dict[Future[dict[str, Any]], int] = {}
        with ThreadPoolExecutor(self._tune.parallel, thread_name_prefix=f"{self._site.run.id} trial") as pool:
            try:
                self._judge()
                while self._fill(pool, going):
                    for future in sorted(wait(going, return_when=FIRST_COMPLETED).done, key=going.__getitem__):
                        self._end(going.pop(future), future.result())
                        self._say()
                    self._judge()
            except BaseException:
                self._break_off(going)
                raise

    def _recall(self) -> None:
        """Make the study again from what was done before a restart."""
        for number, params in enumerate(trials.asked(self._site), start=1):
            self._asked.append(params)
            self._study.again(params)
            if not self._site.shop.runs.receipt(self._site.run.id, trials.name(number))[0]:
                self._cut_short.append(number)
                continue
            for reading in _series(self._site, number) if self._objective.regex else ():
                if reading.name == self._objective.metric:
                    self._study.report(number, reading.step, reading.value)
            self._end(number, self._step(number))
        self._before = max((float(trial["at"]) for trial in self._ended.values()), default=0.0)

    def _fill(self, pool: ThreadPoolExecutor, going: dict[Future[dict[str, Any]], int]) -> bool:
        """Begin trials until as many run as may; whether any does."""
        while len(going) < self._tune.parallel and (number := self._next()) is not None:
            going[pool.submit(self._step, number)] = number
        return bool(going)

    def _next(self) -> int | None:
        if self._cut_short:
            return self._cut_short.pop(0)
        timeout = self._tune.timeout
        if len(self._asked) >= self._tune.trials or (timeout is not None and self._elapsed() >= timeout.total_seconds()):
            return None
        params = self._study.ask()
        self._asked.append(params)
        trials.ask(self._site, len(self._asked), params)
        return len(self._asked)

    def _elapsed(self) -> float:
        """Seconds that the search has been at work, those before a restart included; not those in which nothing ran."""
        return self._before + time.monotonic() - self._began

    def _step(self, number: int) -> dict[str, Any]:
        def report(step: int, value: float) -> bool:
            return self._study.report(number, step, value)

        def work() -> Outcome[dict[str, Any]]:
            done = self._trials.run(number, self._asked[number - 1], report)
            return Outcome({**done.value, "at": round(self._elapsed(), 3)}, summary=done.summary)

        found: dict[str, Any] = self._site.run.step(trials.name(number), work)
        return found

    def _end(self, number: int, trial: dict[str, Any]) -> None:
        """Take in how a trial ended, and let go of a model that is not the best."""
        before = self._best()
        self._ended[number] = trial
        self._study.tell(number, trial["state"], trial["value"])
        best = self._best()
        for other in (before, trial):
            if other is not None and best is not None and other["number"] != best["number"]:
                trials.drop(self._site, other["number"])

    def _best(self) -> Mapping[str, Any] | None:
        return study.best(self._ended.values(), self._objective.direction)

    def _say(self) -> None:
        """How far the search has come, for whoever watches."""
        best, done, total = self._best(), len(self._ended), self._tune.trials
        told = None if best is None else {"number": best["number"], "value": best["value"]}
        self._site.run.feed.put(
            "trials", done=done, total=total, metric=self._objective.metric, best=told, sentence=_so_far(done, total, told)
        )

    def _judge(self) -> None:
        """Raises StepFailed where the first trials say that the others would fail too."""
        ended = list(self._ended.values())
        if not ended or any(trial["state"] != "failed" for trial in ended):
            return
        unreported = all(trial["unreported"] for trial in ended)
        enough = self._tune.parallel if unreported else max(FIRST, self._tune.parallel)
        if len(ended) >= min(enough, self._tune.trials):
            raise _all_failed(ended, self._objective)

    def _break_off(self, going: Mapping[Future[dict[str, Any]], int]) -> None:
        """End the trials that run; they leave no receipt."""
        self._broken.set()
        left = set(going)
        while left:
            for future in left:
                self._trials.cancel(going[future])
            left = set(wait(left, timeout=0.1).not_done)


def _so_far(done: int, total: int, best: Mapping[str, Any] | None) -> str:
    beside = f"; the best so far is trial {best['number']} with {shown(best['value'])}" if best else ""
    return f"{done} of {total} trials{beside}"


def _all_failed(ended: Sequence[Mapping[str, Any]], objective: Objective) -> StepFailed:
    last, count = ended[-1], f"all {len(ended)} trials" if len(ended) > 1 else "the first trial"
    tail = tuple(last["tail"])
    if all(trial["unreported"] for trial in ended):
        said = f"{count} ended without a value of {objective.metric}: {last['reason']}"
        hint = "mend the regex under `train.metric_definitions`, or print what it looks for"
    else:
        said, hint = f"{count} failed, the last one: {last['reason']}", "see `modelyard logs`, then mend the script or the space"
    return StepFailed(said, where="train.tune", next=hint, log_tail=tail)


def _choose(site: Site) -> Outcome[dict[str, Any]]:
    """The best trial's model becomes the version's; tuning.json says how the search went."""
    objective, told = Objective.of(site), ended(site)
    best = study.best(told, objective.direction)
    if best is None:
        states = {state: sum(trial["state"] == state for trial in told) for state in ("failed", "pruned")}
        if states["failed"] == len(told) and told:
            raise _all_failed(told, objective)
        said = f"no trial came to its end with a value of {objective.metric}: {states['failed']} failed, {states['pruned']} were pruned"
        raise StepFailed(said, where="train.tune", next="give the search more `trials` or a longer `timeout`")
    made = trials.folder(site, best["number"])
    for name in ("output", "model"):  # the model last: it is what a second call after a crash looks for
        jobs.keep(made / name, site.folder / name)
    series = made / trials.READ
    if series.exists():
        files.replace(site.folder / trials.READ, series.read_bytes(), durable=False)
    document = summary(site, objective, told, best["number"])
    (site.folder / DOCUMENT).write_text(json.dumps(document, indent=1, allow_nan=False), encoding="utf-8")
    assert site.config.train is not None
    found = {
        "isolation": best["isolation"],
        "metrics": best["metrics"],
        "output": caching.content(site, site.model),
        "hyperparameters": {**site.config.train.hyperparameters, **best["params"]},
        "trial": best["number"],
    }
    said = f"trial {best['number']} of {len(told)} is the best: {trials.sentence(best, objective.metric)}"
    return Outcome(found, summary=said)


def ended(site: Site) -> list[dict[str, Any]]:
    """The receipts of the trials, in their order."""
    kept = site.shop.runs.receipts(site.run.id)
    names = [trials.name(number) for number in range(1, len(trials.asked(site)) + 1)]
    return [kept[name] for name in names if name in kept]


def summary(site: Site, objective: Objective, told: Sequence[Mapping[str, Any]], best: int) -> dict[str, Any]:
    """What tuning.json says: {"metric", "direction", "best", "trials": [{"number", "state", "value", "params", "seconds", "reason"}],
    "importances": {name: share}|null, "sampler", "pruner", "seed", "parallel"}."""
    assert site.config.train is not None and site.config.train.tune is not None
    tune = site.config.train.tune
    return {
        "metric": objective.metric,
        "direction": objective.direction,
        "best": best,
        "trials": [{key: trial[key] for key in ("number", "state", "value", "params", "seconds", "reason")} for trial in told],
        "importances": study.importances(told, tune.space),
        **tune.model_dump(mode="json", include={"sampler", "pruner", "seed", "parallel"}),
    }


def told(site: Site) -> list[Trial]:
    """The trials as MLflow is told of them; none where nothing was tuned."""
    if (train := site.config.train) is None or train.tune is None:
        return []
    metric, fixed = train.tune.objective.metric, train.hyperparameters
    return [
        Trial(
            number=trial["number"],
            metric=metric,
            state=trial["state"],
            value=trial["value"],
            reason=trial["reason"],
            params={**fixed, **trial["params"]},
            started_at=datetime.fromisoformat(trial["started_at"]),
            seconds=trial["seconds"],
            series=tuple((reading.name, reading.step, reading.value, reading.seconds) for reading in _series(site, trial["number"])),
        )
        for trial in ended(site)
    ]


def _series(site: Site, number: int) -> list[metrics.Reading]:
    """All that was read off a trial's log, where finite."""
    return [r for r in metrics.series(trials.folder(site, number) / trials.READ) if math.isfinite(r.value)]
