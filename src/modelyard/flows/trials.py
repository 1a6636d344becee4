"""One trial of a search over hyperparameters: a training job in a folder of its own, heard while it runs, and what it was worth."""

from __future__ import annotations

import contextlib
import json
import math
import shutil
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from modelyard import files
from modelyard.build import envs, metrics
from modelyard.build.study import Direction, State
from modelyard.durable import Outcome
from modelyard.errors import BadInput, NotFound, StepFailed, Unavailable, YardError, no_room
from modelyard.flows import caching, evaluation, inference, jobs
from modelyard.flows.scoring import as_predictions, score
from modelyard.flows.site import SPLITS, Site
from modelyard.quality import metrics as measures
from modelyard.serve.refusals import ModelFailed
from modelyard.signature import Signature
from modelyard.targets.base import Job

FOLDER, HEARD, READ, ASKED = "trials", "heard.json", "metrics.json", "asked.json"
"""Of a run: the trials, a folder each. Of a trial: what was heard while it ran, all that was read off its log, its hyperparameters."""
TAIL = 10
"""Lines of a log that a failed trial's receipt holds, each cut to 300 characters."""
Report = Callable[[int, float], bool]
"""Told a step from 0 on and the objective's value at it; whether the trial should end."""


def name(number: int) -> str:
    """A trial's durable step and job. Trials are numbered from 1."""
    return f"trial {number}"


def folder(site: Site, number: int) -> Path:
    return site.folder / FOLDER / str(number)


def asked(site: Site) -> list[dict[str, Any]]:
    """The hyperparameters of each trial that was begun, in order: written down before, so that a trial that was cut short has the same."""
    found: list[dict[str, Any]] = []
    while (path := folder(site, len(found) + 1) / ASKED).exists():
        found.append(json.loads(path.read_text(encoding="utf-8")))
    return found


def ask(site: Site, number: int, params: Mapping[str, Any]) -> None:
    """Write down what a trial will try."""
    folder(site, number).mkdir(parents=True, exist_ok=True)
    files.replace(folder(site, number) / ASKED, json.dumps(params).encode(), durable=True)


@dataclass(frozen=True)
class Objective:
    """What the search is after. `regex` reads it off the log; None: it is computed on the validation split."""

    metric: str
    direction: Direction
    regex: str | None

    @classmethod
    def of(cls, site: Site) -> Objective:
        """Raises BadInput for a direction that is not known, or is the wrong way round, and for a split without validation rows."""
        train = site.config.train
        assert train is not None and train.tune is not None
        asked, where = train.tune.objective, "train.tune.objective"
        regex = next((m.regex for m in train.metric_definitions if m.name == asked.metric), None)
        if regex is not None:
            if asked.direction is None:
                raise BadInput(
                    f"which way {asked.metric} is better is not known", where=where, next="write `direction: maximize` or `minimize`"
                )
            return cls(asked.metric, asked.direction, regex)
        if asked.metric not in measures.names_for(site.config.model.problem_type, at=site.config.evaluate.at):
            raise BadInput(f"no trial will report {asked.metric}", where=where, next="name one of `train.metric_definitions`, or a metric")
        known: Direction = "maximize" if measures.GREATER_IS_BETTER[asked.metric] else "minimize"
        if asked.direction not in (None, known):
            raise BadInput(
                f"{asked.metric} is to be {known}d, not {asked.direction}d", where=where, next=f"leave out `direction`, or say {known}"
            )
        if not site.part("validation").exists() or not _rows(site.part("validation")):
            said = f"{asked.metric} is computed on the validation split, which has no rows"
            raise BadInput(said, where="data.split", next="give it a share, or read the objective off the log")
        return cls(asked.metric, known, None)


class _Unreported(StepFailed):
    """The objective was never seen in the log."""


@dataclass
class _Ear:
    """Hears a job's log line by line, and wants it ended as soon as a value of the objective is bad enough."""

    job: Job
    objective: Objective
    report: Report
    path: Path
    end: Callable[[], None]
    pruned_at: float | None = None
    tail: deque[str] = field(default_factory=lambda: deque(maxlen=TAIL))

    def __post_init__(self) -> None:
        self._recorder = metrics.Recorder(self.job.metrics, self.path)

    def hear(self, line: str) -> None:
        if self.pruned_at is not None:
            return
        self.tail.append(line)
        for reading in self._recorder.hear(line):
            if self.objective.regex is not None and reading.name == self.objective.metric:
                self.take(reading)

    def close(self) -> None:
        self._recorder.stop()

    def take(self, reading: metrics.Reading) -> None:
        """A value of the objective. One that is not finite says nothing about others; if it is the last, the trial fails."""
        if self.pruned_at is None and math.isfinite(reading.value) and self.report(reading.step, reading.value):
            self.pruned_at = reading.value
            # from a thread of its own: this one is the job's, and to cancel is to wait for the job's end
            threading.Thread(target=self.end, name=f"prune {self.job.id}", daemon=True).start()


@dataclass(frozen=True)
class Trials:
    """Makes trials of one search. `training` is the job with the fixed hyperparameters; `broken` is set once the search is to end."""

    site: Site
    lock: str
    code: Mapping[str, Any]
    training: Job
    objective: Objective
    broken: threading.Event

    def job(self, number: int, params: Mapping[str, Any]) -> Job:
        base, given = folder(self.site, number) / "train", {**self.training.hyperparameters, **params}
        return replace(self.training, name=name(number), base=base, hyperparameters=given)

    def run(self, number: int, params: Mapping[str, Any], report: Report) -> Outcome[dict[str, Any]]:
        """Train and judge one. Its value is its receipt: what went wrong with it is its state, and does not end the search.

        Raises what is no fault of the trial's: BadInput, NotFound, NoRoom, Stopped; StepFailed where the search is broken off.
        """
        job, place, began = self.job(number, params), folder(self.site, number), time.monotonic()
        started = self.site.shop.clock.now().isoformat()
        ear = _Ear(job, self.objective, report, place / HEARD, lambda: self.cancel(number))
        state: State = "failed"
        value, why, done = None, "", dict[str, Any]()
        try:
            done, value = self._judged(job, place, ear)
            state = "complete"
        except StepFailed as exc:
            self._check(exc)
            why, tail = exc.what, tuple(line[:300] for line in (exc.log_tail or tuple(ear.tail))[-TAIL:])
            done = {"unreported": isinstance(exc, _Unreported), "tail": list(tail)}
        finally:
            ear.close()
        if ear.pruned_at is not None:  # also where it came to its end before it was ended
            state, value, why, done = "pruned", ear.pruned_at, "", {}
        self._tidy(number, keep=state == "complete")
        receipt = {"number": number, "params": dict(params), "state": state, "value": value, "reason": why, **done}
        receipt |= {"seconds": round(time.monotonic() - began, 3), "started_at": started}
        return Outcome(receipt, summary=sentence(receipt, self.objective.metric))

    def cancel(self, number: int) -> None:
        """End a trial's job, if it has begun."""
        with contextlib.suppress(NotFound):
            self.site.shop.target.cancel(self.job(number, {}).id)

    def _judged(self, job: Job, place: Path, ear: _Ear) -> tuple[dict[str, Any], float]:
        """Raises StepFailed where it has no value."""
        if self.broken.is_set():
            raise StepFailed("the search was broken off", where=job.name)
        outcome = jobs.run(self.site, job, place / "model", hear=ear.hear)
        done, before = outcome.value, outcome.summary.startswith(caching.KEPT)
        value = self._computed(job, place) if self.objective.regex is None else self._read(job, place, ear, done["metrics"], before)
        if value is None:
            raise StepFailed(f"{self.objective.metric} is not a number", where=job.name, log_tail=tuple(ear.tail))
        return {"isolation": done["isolation"], "metrics": done["metrics"], "digest": done["output"]}, value

    def _read(self, job: Job, place: Path, ear: _Ear, last: Mapping[str, float | None], before: bool) -> float | None:
        """The last value of the objective in the log. Of a job that was done before, all of them are heard now."""
        metric = self.objective.metric
        for reading in metrics.series(place / READ) if before else ():
            if reading.name == metric:
                ear.take(reading)
        if metric not in last:
            seen = "; its log was not kept when it was done before, but `--no-cache` does it again" if before else ""
            said = f"it never printed {metric}: no line of its log matches {self.objective.regex}{seen}"
            raise _Unreported(said, where=job.name, log_tail=tuple(ear.tail))
        return last[metric]

    def _computed(self, job: Job, place: Path) -> float | None:
        """The metric on the validation split, answered by the runner that will serve; taken from the step cache where it was computed."""
        site, written = self.site, self.site.order.configs["production"]
        key = {
            "step": "objective",
            "metric": self.objective.metric,
            "python": envs.ensure(self.lock, site.shop.home.path).digest,
            "code": {key: value for key, value in self.code.items() if key not in ("commit", "dirty")},
            "framework": site.framework,
            **inference.by_r(site),
            "config": {part: written[part] for part in ("model", "data", "evaluate", "inference")},
            "files": [place / "model", inference.code_of(site.folder)],
            "parts": {part: site.part(part) for part in SPLITS},
        }
        try:
            value: float | None = caching.cached(site, key, place, [], lambda: Outcome(self._score(place))).value
        except (BadInput, ModelFailed, Unavailable) as exc:  # of the model and its answers: the trial's own fault
            raise StepFailed(exc.what, where=job.name) from exc
        return value

    def _score(self, place: Path) -> float | None:
        import polars as pl

        site, file = self.site, place.parent / "signature.json"
        signed = Signature.from_dict(json.loads(file.read_text(encoding="utf-8")))
        model = replace(evaluation.loadable(site, self.lock, dict(self.code)), model=place / "model", signature=file)
        scored = score(model, pl.read_parquet(site.part("validation")), signed, place / "runner.log")
        table = as_predictions(scored, signed, place.name, site.config.data.schema_.sensitive_not_served)
        value = measures.compute(table, signed)[self.objective.metric]
        return value if math.isfinite(value) else None

    def _check(self, exc: YardError) -> None:
        """Raise what went wrong where that is no fault of the trial's: everything is being ended, or the disk is full."""
        self.site.shop.runs.check_open()
        if self.broken.is_set():
            raise exc
        if (full := no_room(exc, self.site.shop.home.path)) is not None:
            raise full from exc

    def _tidy(self, number: int, *, keep: bool) -> None:
        """Leave what was read off the log, and of a complete trial what it made."""
        place = folder(self.site, number)
        shutil.rmtree(place / "train", ignore_errors=True)
        if not keep:
            drop(self.site, number)
        if (heard := place / HEARD).exists():
            if (place / READ).exists():
                heard.unlink()
            else:
                heard.rename(place / READ)


def sign(site: Site) -> None:
    """Settle the signature that trials are scored by."""
    text = json.dumps(evaluation.sign(site).to_dict())
    (site.folder / FOLDER).mkdir(parents=True, exist_ok=True)
    files.replace(site.folder / FOLDER / "signature.json", text.encode(), durable=False)


def drop(site: Site, number: int) -> None:
    """Let go of what a trial made."""
    for made in ("model", "output"):
        shutil.rmtree(folder(site, number) / made, ignore_errors=True)


def sentence(trial: Mapping[str, Any], metric: str) -> str:
    """How a trial went, e.g. `loss 0.25; depth 4, rate 0.1`."""
    tried = ", ".join(f"{key} {shown(value)}" for key, value in trial["params"].items())
    if trial["state"] == "failed":
        return f"failed: {trial['reason']}; {tried}"
    return f"{'pruned at ' if trial['state'] == 'pruned' else ''}{metric} {shown(trial['value'])}; {tried}"


def shown(value: Any) -> str:
    return f"{value:.5g}" if isinstance(value, float) else str(value)


def _rows(path: Path) -> int:
    import polars as pl

    return int(pl.scan_parquet(path).select(pl.len()).collect().item())
