"""The user's own code in a build: processing steps in the order that follows from what they take, and training. Each is a job under
SageMaker's contracts."""

from __future__ import annotations

import functools
import os
import secrets
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelyard.build import envs, source
from modelyard.config import graph
from modelyard.config.spec import Condition, Postprocess, Preprocess, Processing, Step
from modelyard.durable import Outcome
from modelyard.errors import GateRefused, StepFailed
from modelyard.flows import conditions, jobs, prepared, references
from modelyard.flows.site import SPLITS
from modelyard.targets.base import Job

if TYPE_CHECKING:
    from modelyard.flows.site import Site

CODE = "step-code"
"""Folder of a run and of a bundle: the code of the further steps, and of postprocess, by name."""
_FORMATS = {"csv": "csv", "csv_no_header": "csv", "jsonl": "jsonl"}
"""How a channel's file ends, by `data.channel_format`."""


def entries(site: Site) -> dict[str, str]:
    """The entry point of each step's code, relative to its folder."""
    return {name: source.locate(site.repository, part.entry_point, part.source_dir)[1] for name, _, part in _further(site)}


def packaged(site: Site, into: Path, exclude: Iterable[Path]) -> list[str]:
    """Copy the code of the further steps, and the files that inputs name, into the folder `into`; a digest each.

    Raises NotFound, BadInput."""
    found = [
        source.package(site.repository, part.entry_point, part.source_dir, site.fresh(into / CODE / name), exclude=exclude)
        for name, _, part in _further(site)
    ]
    return [*found, *references.packaged(site, site.fresh(into / references.FILES))]


def _further(site: Site) -> list[tuple[str, str, Processing]]:
    return [part for part in site.processing if part[0] != "preprocess"]


class Line:
    """The processing steps of one build, run where the graph puts them; each is a durable step of the run.

    `code` and `data` are the receipts of those steps. A step that is left out, and what needs it, has a receipt that says so.
    """

    def __init__(self, site: Site, code: Mapping[str, Any], data: Mapping[str, Any]) -> None:
        self._site, self._code, self._data = site, code, data
        self._order, self._needs = graph.order(site.config), graph.needs(site.config)
        self._parts = {name: part for name, _, part in site.processing}
        self._left_out: dict[str, str] = {}
        self._trained: Mapping[str, Any] = {}

    def before(self) -> None:
        """What comes before training, `preprocess` among it."""
        self._run(self._order.before)

    def between(self, trained: Mapping[str, Any]) -> None:
        """What comes between training, whose receipt this is, and the hold-out: steps that `postprocess` needs, and itself."""
        self._trained = trained
        self._run(self._order.between)
        if self._site.config.postprocess is not None:
            self._site.run.step("postprocess", self._postprocess)

    def after(self) -> None:
        """What comes once the hold-out is scored."""
        self._run(self._order.after)

    def _run(self, waves: Iterable[graph.Wave]) -> None:
        for wave in waves:
            work = {receipt(name): functools.partial(self._step, name) for name in wave}
            done = self._site.run.together(work, at_most=max(2, os.cpu_count() or 1))
            self._left_out |= {name: said for name in wave if (said := done[receipt(name)].get("left_out"))}

    def _step(self, name: str) -> Outcome[dict[str, Any]]:
        if name == "preprocess":
            return self._preprocess()
        step = self._parts[name]
        assert isinstance(step, Step)
        said = self._missing(name) or (self._unmet(name, step.when) if step.when is not None else "")
        if said:
            return Outcome({"left_out": said}, summary=f"left out: {said}")
        inputs = self._inputs(step)
        into = self._site.folder / references.STEPS / name
        into.parent.mkdir(parents=True, exist_ok=True)
        return jobs.run(self._site, self._job(name, inputs, step.outputs), into)

    def _missing(self, name: str) -> str:
        return next((f"it needs {receipt(other)}, which was left out" for other in self._needs[name] if other in self._left_out), "")

    def _unmet(self, name: str, when: Condition) -> str:
        """Why a condition leaves the step out. Raises GateRefused where it is to fail, StepFailed where it cannot be told."""
        train = self._site.config.train
        facts = {
            "metrics": self._trained.get("metrics", {}),
            "hyperparameters": {**(train.hyperparameters if train else {}), **self._trained.get("hyperparameters", {})},
            "data": {"rows": self._data["rows"]},
        }
        try:
            said = conditions.unmet(when, conditions.read(when.value, self._site.folder / references.STEPS, facts))
        except StepFailed as exc:
            raise StepFailed(exc.what, where=f"{receipt(name)}.when", next=exc.next) from exc
        if said and when.otherwise == "fail":
            raise GateRefused(f"the condition of {receipt(name)} does not hold: {when.value} is {said}")
        return f"{when.value} is {said}" if said else ""

    def _inputs(self, part: Step | Preprocess | Postprocess) -> dict[str, Path]:
        return {key: _shown(self._site, reference, self._data["digest"]) for key, reference in part.inputs.items()}

    def _preprocess(self) -> Outcome[dict[str, Any]]:
        """The user's script over all three splits."""
        site = self._site
        assert site.config.preprocess is not None
        inputs = {name: site.raw(name).parent for name in SPLITS}
        inputs |= self._inputs(site.config.preprocess)
        done = jobs.run(site, self._job("preprocess", inputs, SPLITS), site.folder / "processed")
        prepared.verify(site)
        return done

    def _postprocess(self) -> Outcome[dict[str, Any]]:
        """The user's script over the model and what it was trained on; what it writes becomes the model."""
        site, before, made = self._site, self._site.folder / references.TRAINED, self._site.folder / "postprocessed"
        assert site.config.postprocess is not None
        inputs = {"model": references.trained(site)}
        inputs |= {name: site.part(name).parent for name in ("train", "validation") if site.part(name).exists()}
        inputs |= self._inputs(site.config.postprocess)
        done = jobs.run(site, self._job("postprocess", inputs, ("model",)), made)
        if not any(path.is_file() for path in (made / "model").rglob("*")):
            if before.exists():  # an earlier try had written one
                shutil.copytree(before, site.fresh(site.model), symlinks=True)
            return Outcome({**done.value, "replaced": False}, summary=f"{done.summary}; the model stays as it was")
        if not before.exists():
            site.model.rename(before)
        shutil.copytree(made / "model", site.fresh(site.model), symlinks=True)
        return Outcome({**done.value, "replaced": True}, summary=f"{done.summary}; the model was replaced")

    def _job(self, name: str, inputs: Mapping[str, Path], outputs: tuple[str, ...]) -> Job:
        site, part, first = self._site, self._parts[name], name == "preprocess"
        return Job(
            run=site.run.id,
            name=name,
            kind="process",
            python=envs.ensure(site.lock(name), site.shop.home.path).python,
            entry_point=self._code["preprocess"] if first else self._code["steps"][name],
            code=site.preprocess_code if first else site.folder / CODE / name,
            base=site.folder / ("preprocess" if first else f"work/{name}"),
            inputs=inputs,
            outputs=outputs,
            arguments=part.arguments,
            timeout=part.max_runtime.total_seconds(),
            cpus=part.cpus,
            network=not part.network_isolation,
            environment=part.environment,
            input_paths=part.input_paths,
            output_paths=part.output_paths,
        )


def receipt(name: str) -> str:
    """The name of a node's durable step."""
    return name if name == "preprocess" else f"steps.{name}"


def training(site: Site, lock: str, code: Mapping[str, Any], data: Mapping[str, Any]) -> Job:
    """The job that training is, with the hyperparameters of the config. `code` and `data` are the receipts of those steps."""
    part = site.config.train
    assert part is not None  # by the config's own rule
    return Job(
        run=site.run.id,
        name="train",
        kind="train",
        python=envs.ensure(lock, site.shop.home.path).python,
        entry_point=code["entry"],
        code=site.code,
        base=site.folder / "train",
        inputs=_channels(site, data["digest"]),
        hyperparameters=part.hyperparameters,
        timeout=part.instances.max_runtime.total_seconds(),
        cpus=part.instances.cpus,
        network=not part.network_isolation,
        contract=part.contract,
        environment=part.environment,
        instances=part.instances.count,
        retries=part.retries,
        metrics=tuple((m.name, m.regex) for m in part.metric_definitions),
        arguments=part.arguments,
        model_path=part.model_path or "",
    )


def train(site: Site, lock: str, code: Mapping[str, Any], data: Mapping[str, Any]) -> Outcome[dict[str, Any]]:
    """The user's script, under the SageMaker training contract."""
    return jobs.run(site, training(site, lock, code, data), site.model)


def _channels(site: Site, snapshot: str) -> dict[str, Path]:
    """What a training script may see, splits in the format it reads: never the hold-out. Where the config names splits, it says all."""
    part, made_by = site.config.train, "preprocess" if site.config.preprocess else "data"
    assert part is not None
    usual = {name: f"{made_by}.{name}" for name in ("train", "validation") if site.part(name).exists()}
    taken = part.inputs if any(references.split_of(reference) for reference in part.inputs.values()) else usual | part.inputs
    return {name: _shown(site, reference, snapshot) for name, reference in taken.items()}


def _shown(site: Site, reference: str, snapshot: str) -> Path:
    """A reference as a folder or file to be shown; a split is written anew where it is to be read as other than Parquet."""
    path, split, form = references.path_of(site, reference, snapshot), references.split_of(reference), site.config.data.channel_format
    if split is None or form not in _FORMATS:
        return path
    folder = site.folder / "channels" / reference
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{split}.{_FORMATS[form]}"
    if not file.exists():
        partial = folder.with_name(f"{reference}-{secrets.token_hex(4)}")  # steps that run at the same time may both be at it
        _write(site, path / f"{split}.parquet", partial)
        partial.replace(file)
    return folder


def _write(site: Site, rows: Path, file: Path) -> None:
    """A split's rows in the format that `data.channel_format` says."""
    import polars as pl

    from modelyard.data.features import features

    table, data = pl.scan_parquet(rows), site.config.data
    if data.channel_format == "jsonl":
        table.sink_ndjson(file)
    elif data.channel_format == "csv":
        table.sink_csv(file)
    else:  # ids and times would be taken for features: a table without names has nothing else
        columns = [data.target_col, *features(table.collect_schema(), data)]
        columns = columns if data.channel_target == "first" else [*columns[1:], columns[0]]
        table.select(columns).sink_csv(file, include_header=False)
