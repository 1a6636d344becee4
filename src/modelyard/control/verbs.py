"""The verbs: one table of everything that can be asked of a yard. The API's routes, the CLI's calls and the console come from it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from modelyard.config.spec import Stage
from modelyard.serve.batch.order import Shape
from modelyard.yard import Yard


class Words(BaseModel):
    """What a verb is told; unknown words are refused."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=())


class OfConfig(Words):
    config: str


class Build(OfConfig):
    cache: bool = True
    refresh: bool = False


class OfModel(Words):
    model: str


class Retrain(OfModel):
    cache: bool = True


class OfVersion(OfModel):
    version: str | None = None


class Deploy(OfVersion):
    stage: Stage | None = None


class OfStage(OfModel):
    stage: Stage = "production"


class Key(OfStage):
    name: str


class Word(OfVersion):
    comment: str = ""


class Rollout(OfModel):
    word: Literal["status", "promote", "abort"] = "status"


class Compare(OfVersion):
    other: str | None = None
    last: int | None = Field(None, ge=1)


class MaybeModel(Words):
    model: str | None = None


class Journal(MaybeModel):
    limit: int = 100


class What(Words):
    what: str


class OfRun(Words):
    run: str


class Predict(OfModel):
    body: str
    content_type: str = "application/json"


class Batch(OfVersion):
    source: str
    target: str
    input_filter: str = "$"
    output_filter: str = "$"
    join: bool = False
    format: Literal["csv", "jsonl", "parquet"] | None = None
    suffix: str = ""
    workers: int | None = None
    max_errors: int = 0
    id: str = ""

    @property
    def how(self) -> dict[str, Any]:
        shape = Shape(self.input_filter, self.output_filter, self.join, self.format)
        return {"shape": shape, "suffix": self.suffix, "workers": self.workers, "max_errors": self.max_errors, "id": self.id}


class OfBatch(Words):
    id: str


class Explanation(OfVersion):
    id: str | None = None
    rows: str | None = None


class Constraints(OfVersion):
    window: str | None = None
    judge: str | None = None


class LabelRequest(OfModel):
    target: str
    count: int = Field(100, ge=1, le=100_000)
    format: Literal["label-studio", "csv"] = "label-studio"
    since: str | None = None
    window: str | None = None
    by_chance: float = Field(0.1, ge=0, le=1)
    blind: bool = False
    again: bool = False


class Labels(OfModel):
    file: str


class SentLabels(OfModel):
    body: str
    content_type: str = "text/csv"


class Between(OfModel):
    since: str = ""
    until: str = ""


class LabelCoverage(Between):
    pass


class CountWindows(Between):
    monitor: str | None = None


class Windows(CountWindows):
    limit: int | None = Field(None, ge=1)


class WindowReport(Between):
    window: str = ""


class Taken(OfModel):
    folder: str


class Diff(Words):
    a: str
    b: str


class Served(MaybeModel):
    prediction: str | None = None
    at: str | None = None


@dataclass(frozen=True)
class Verb:
    """`of_owner`: only for the user who owns the home, since it reads or writes files as that user."""

    words: type[Words]
    call: Callable[[Yard, Any, str], Any]
    of_owner: bool = False


VERBS: dict[str, Verb] = {
    "plan": Verb(OfConfig, lambda y, w, by: y.plan(w.config), of_owner=True),
    "up": Verb(Build, lambda y, w, by: y.up(w.config, by, cache=w.cache, refresh=w.refresh), of_owner=True),
    "build": Verb(Build, lambda y, w, by: y.build(w.config, by, cache=w.cache, refresh=w.refresh), of_owner=True),
    "deploy": Verb(Deploy, lambda y, w, by: y.deploy(w.model, w.version, w.stage, by)),
    "approve": Verb(Word, lambda y, w, by: y.approve(w.model, w.version, by, w.comment)),
    "reject": Verb(Word, lambda y, w, by: y.reject(w.model, w.version, by, w.comment)),
    "rollback": Verb(OfModel, lambda y, w, by: y.rollback(w.model, by)),
    "rollout": Verb(Rollout, lambda y, w, by: y.rollout(w.model, w.word, by)),
    "compare": Verb(Compare, lambda y, w, by: y.compare(w.model, w.version, w.other, w.last)),
    "retrain": Verb(Retrain, lambda y, w, by: y.retrain(w.model, by, cache=w.cache)),
    "reproduce": Verb(OfVersion, lambda y, w, by: y.reproduce(w.model, w.version, by)),
    "monitor": Verb(OfModel, lambda y, w, by: y.monitor(w.model, by)),
    "windows": Verb(Windows, lambda y, w, by: y.windows(w.model, w.since, w.until, w.monitor, w.limit)),
    "count-windows": Verb(CountWindows, lambda y, w, by: y.count_windows(w.model, w.since, w.until, w.monitor)),
    "window-report": Verb(WindowReport, lambda y, w, by: y.window_report(w.model, w.since, w.until, w.window)),
    "status": Verb(MaybeModel, lambda y, w, by: y.status(w.model)),
    "journal": Verb(Journal, lambda y, w, by: y.journal(w.model, w.limit)),
    "verify-journal": Verb(Words, lambda y, w, by: y.verify_journal()),
    "run": Verb(OfRun, lambda y, w, by: y.run(w.run)),
    "logs": Verb(What, lambda y, w, by: y.logs(w.what)),
    "who-served": Verb(Served, lambda y, w, by: y.who_served(w.prediction, w.model, w.at)),
    "keys-create": Verb(Key, lambda y, w, by: y.create_key(w.model, w.stage, w.name, by)),
    "keys-revoke": Verb(Key, lambda y, w, by: y.revoke_key(w.model, w.stage, w.name, by)),
    "keys-list": Verb(OfStage, lambda y, w, by: y.list_keys(w.model, w.stage)),
    "predict": Verb(Predict, lambda y, w, by: y.predict(w.model, w.body.encode(), w.content_type)),
    "batch": Verb(Batch, lambda y, w, by: y.batch(w.model, w.version, w.source, w.target, **w.how), of_owner=True),
    "stop-batch": Verb(OfBatch, lambda y, w, by: y.stop_batch(w.id), of_owner=True),
    "explain": Verb(Explanation, lambda y, w, by: y.explain(w.model, w.version, w.id, w.rows), of_owner=True),
    "constraints": Verb(Constraints, lambda y, w, by: y.constraints(w.model, w.version, w.window, w.judge), of_owner=True),
    "request-labels": Verb(LabelRequest, lambda y, w, by: y.request_labels(**w.model_dump()), of_owner=True),
    "report": Verb(OfVersion, lambda y, w, by: y.report(w.model, w.version)),
    "labels": Verb(Labels, lambda y, w, by: y.labels(w.model, w.file), of_owner=True),
    "take-labels": Verb(SentLabels, lambda y, w, by: y.take_labels(w.model, w.body.encode(), w.content_type)),
    "label-coverage": Verb(LabelCoverage, lambda y, w, by: y.label_coverage(w.model, w.since, w.until)),
    "take-captured": Verb(Taken, lambda y, w, by: y.take_captured(w.model, w.folder), of_owner=True),
    "data-diff": Verb(Diff, lambda y, w, by: y.data_diff(w.a, w.b), of_owner=True),
    "data-list": Verb(MaybeModel, lambda y, w, by: y.data_list(w.model)),
    "data-profile": Verb(What, lambda y, w, by: y.data_profile(w.what), of_owner=True),
    "data-reread": Verb(OfModel, lambda y, w, by: y.data_reread(w.model)),
}
