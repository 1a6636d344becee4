"""One job of a build on its target: run, its result kept at its place in the run's folder."""

from __future__ import annotations

import contextlib
import math
import re
import shutil
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelyard.build import envs, metrics, rpackages
from modelyard.config.load import load
from modelyard.durable import Outcome
from modelyard.errors import YardError
from modelyard.flows import caching, lacking
from modelyard.targets.base import Job, OnLine

if TYPE_CHECKING:
    from modelyard.flows.site import Site


_REGEX = re.compile(re.escape(metrics.KEY) + r"\[\d+\]\.regex")
SHOWN = 4
"""Numbers off a log that a step's summary has."""


def run(site: Site, job: Job, into: Path, *, cache: bool = True, hear: OnLine | None = None) -> Outcome[dict[str, Any]]:
    """Run `job`; what it made (the model of a `train` job, the outputs of a `process` job) lies in `into` afterwards, and what it
    left beside that (`JobState.beside`) lies beside `into`.

    The outcome's value has `isolation`, `metrics` (read off the log; null where not finite) and `output`, a digest of what lies in `into`.

    A job that was done before is not done again (see flows/caching.py), unless `cache` is False. `hear` is given each line of its log.

    Raises what went wrong with it: StepFailed with the last lines, BadInput, NotFound.
    """
    made = [into.name]
    if not cache:
        return _run(site, job, into, made, hear)
    done = caching.cached(site, _key(site, job), into.parent, made, lambda: _run(site, job, into, made, hear))
    return replace(done, value={**done.value, "output": caching.content(site, into)})


def _key(site: Site, job: Job) -> dict[str, Any]:
    """All of a job that its result may depend on. `run` and `name` say which job it is, and `base` is a place to work in."""
    facts = {field.name: getattr(job, field.name) for field in fields(job)}
    for name in ("run", "name", "base"):
        del facts[name]
    r = rpackages.key(site.shop.home.path, job.environment) if rpackages.runs(job.entry_point) else {}
    return {**facts, "python": envs.named(job.python), **r}


def _run(site: Site, job: Job, into: Path, made: list[str], hear: OnLine | None) -> Outcome[dict[str, Any]]:
    target, places = site.shop.target, _Places(site, len(job.metrics))

    def on_line(line: str) -> None:
        line = places.named(line) if line.startswith(metrics.OURS) else line
        site.run.feed.put("line", step=job.name, text=line)
        if hear is not None:
            hear(line)

    id = target.submit(job, on_line)
    state = target.job(id)
    if state.error is not None:
        raise lacking.explained(site, job, state.error)
    assert state.output is not None
    made += state.beside
    for name, left in state.beside.items():
        keep(left, into.parent / name)
    keep(state.output, into)  # last: it is what a second call after a crash looks for
    into.mkdir(parents=True, exist_ok=True)  # a step without outputs leaves none
    where = f"in {state.isolation}" if state.isolation else "without a sandbox: neither bubblewrap nor user namespaces are available here"
    values = {name: value if math.isfinite(value) else None for name, value in state.metrics.items()}
    read = [f"{name} {value:.5g}" for name, value in state.metrics.items()]
    more = [f"{len(read) - SHOWN} more"] if len(read) > SHOWN else []
    said = [where, *map(places.named, state.notes), *([", ".join([*read[:SHOWN], *more])] if read else [])]
    return Outcome({"isolation": state.isolation, "metrics": values}, summary="; ".join(said))


class _Places:
    """Where the regular expressions of a job's metrics stand in the config, if that is still the one that runs. It is read once: a script
    may print what looks like a sentence of ours as often as it likes."""

    def __init__(self, site: Site, count: int) -> None:
        self._site, self._count = site, count
        self._found: dict[str, str] | None = None

    def named(self, said: str) -> str:
        """A sentence with the place of the expression that it speaks of."""
        key = _REGEX.search(said)
        if key is None:
            return said
        if self._found is None:
            self._found = self._look()
        return said.replace(key[0], self._found.get(key[0], key[0]))

    def _look(self) -> dict[str, str]:
        with contextlib.suppress(YardError):
            loaded = load(self._site.repository / self._site.order.file)
            if loaded.digest == self._site.order.digest:
                keys = [(f"{metrics.KEY}[{n}].regex", loaded.where(*metrics.KEY.split("."), n, "regex")) for n in range(self._count)]
                return {key: f"{key}, {place}" for key, place in keys}
        return {}


def keep(made: Path, at: Path) -> None:
    """Move a step's result to its place; a second call after a crash finds it moved."""
    if made.exists():
        if at.is_dir():
            shutil.rmtree(at)
        made.replace(at)
