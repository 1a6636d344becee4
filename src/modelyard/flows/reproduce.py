"""Reproduce: a version again from its own code, data and lock, and whether it comes out the same."""

from __future__ import annotations

import json
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelyard import tables
from modelyard.build import bundle, source
from modelyard.build.bundle import Bundle
from modelyard.config.spec import STAGES, Config
from modelyard.data import snapshots
from modelyard.durable import Outcome, Run
from modelyard.errors import BadInput, GateRefused, NotFound
from modelyard.flows import evaluation, inference, plans, processing, references, steps, warmth
from modelyard.flows.build import made, make
from modelyard.flows.site import Order, Site
from modelyard.quality import metrics as measures
from modelyard.signature import Signature
from modelyard.workshop import Workshop

if TYPE_CHECKING:
    import polars as pl

CODE = ("code", "preprocess-code", inference.FOLDER, processing.CODE, references.FILES)
"""Folders of code, of the same names in a run's folder and a bundle."""


def order(shop: Workshop, model: str, version: str, *, by: str) -> Order:
    """What a reproduction is asked to do: the version's own config. Raises NotFound, BadInput for a model that was brought."""
    found = shop.version(model, version)
    configs = json.loads((shop.bundle(found) / "config.json").read_text(encoding="utf-8"))
    if configs[STAGES[-1]]["train"] is None:
        raise BadInput(f"{model}:{version} was brought already trained: there is no training to repeat")
    return Order(configs, found.config_digest, shop.model(model).folder, by, [], version=version, cache=False)


def reproduce(shop: Workshop, run: Run) -> str:
    """Make the version again, step by step, and compare; nothing is taken from the step cache.

    Returns a sentence; raises GateRefused, naming where they part, when the two are not equal, BadInput for a bundle that is damaged.
    """
    asked, version = Order(**run.args), shop.version(run.model, Order(**run.args).version)
    opened = bundle.open(version.digest, shop.home.path)
    site = Site(shop, run, asked, _settled(asked.config, opened.manifest))
    run.step("package", _package, site, opened)
    snapshot = snapshots.find(version.data_digest, shop.home.path)
    run.step("split", steps.split, site, {"digest": snapshot.digest})
    own = run.step("lock", _locks, site, opened.path)
    run.step("environment", steps.environment, site, own)
    with warmth.kept(site):
        warmth.ready(site, opened.manifest["code"])
        make(site, opened.manifest["code"], {"digest": snapshot.digest, "rows": snapshot.rows})
    found = run.step("compare", _compare, site, opened, made(site)["outputs"])
    if not found["equal"]:
        raise GateRefused(f"{run.model}:{asked.version} is not reproduced: {found['sentence']}")
    return f"{run.model}:{asked.version} is reproduced: {found['sentence']}"


def _settled(config: Config, manifest: dict[str, Any]) -> Config:
    """The config with what tuning found: a search is not repeated, its winner is trained again."""
    assert config.train is not None  # `order` looked
    best = manifest.get("hyperparameters") or dict(config.train.hyperparameters)
    return config.model_copy(update={"train": config.train.model_copy(update={"hyperparameters": best, "tune": None})})


def _package(site: Site, opened: Bundle) -> Outcome[str]:
    """The code as it was sealed, and whether the commit that it was built at has the same."""
    for name in CODE:
        if (opened.path / name).exists():
            shutil.copytree(opened.path / name, site.fresh(site.folder / name), copy_function=shutil.copy)  # executables stay so
    site.code.mkdir(exist_ok=True)
    said = _at_commit(site, opened.manifest["code"])
    return Outcome(said, summary=said)


def _at_commit(site: Site, code: dict[str, Any]) -> str:
    if not code["commit"]:
        return "the bundle's code, which was not in Git"
    named = f"commit {code['commit'][:10]}"
    with tempfile.TemporaryDirectory(prefix="modelyard-commit-") as scratch:
        there = Path(scratch) / "repository"
        if not source.checkout(site.repository, code["commit"], there):
            return f"the bundle's code; {named} is not to be had in the repository"
        at = replace(site, order=replace(site.order, folder=str(there)))
        try:
            same = steps.packaged(at, Path(scratch) / "code", Path(scratch) / "preprocess-code") == code["digest"]
        except (NotFound, BadInput):
            same = False
    if same:
        return f"the bundle's code, which is that of {named}"
    return f"the bundle's code, which is not that of {named}" + (": it had uncommitted changes" if code["dirty"] else "")


def _locks(site: Site, sealed: Path) -> Outcome[list[str]]:
    """The locks as they were sealed; the names of the steps with one of their own."""
    shutil.copyfile(sealed / "env" / "requirements.lock", site.lock_file())
    own = sorted((sealed / "env" / "locks").glob("*.lock"))
    for file in own:
        site.lock_file(file.stem).parent.mkdir(exist_ok=True)
        shutil.copyfile(file, site.lock_file(file.stem))
    return Outcome([file.stem for file in own], summary="from the bundle")


def _compare(site: Site, opened: Bundle, outputs: list[list[str]]) -> Outcome[dict[str, Any]]:
    """Predictions row by row, then metrics; where they differ, the first step that made something else."""
    import polars as pl

    signed = Signature.from_dict(json.loads((opened.path / "signature.json").read_text(encoding="utf-8")))
    old, new = pl.read_parquet(opened.path / "holdout.parquet"), pl.read_parquet(site.folder / "holdout.parquet")
    parted = _parted(old, new, signed)
    before, after = evaluation.finite(measures.compute(old, signed)), evaluation.finite(measures.compute(new, signed))
    moved = [f"{name} {_number(before[name])} became {_number(after[name])}" for name in before if before[name] != after[name]]
    equal, steps_said = not parted and not moved, _parting_step(opened.manifest.get("outputs", []), outputs)
    said = f"{old.height:,} predictions and {len(before)} metrics are equal" if equal else "; ".join([*parted, *moved])
    said += plans.compared(opened.path, site.folder)
    return Outcome({"equal": equal, "sentence": said + steps_said, "before": before, "after": after}, summary=said + steps_said)


def _number(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.6g}"


def _parting_step(before: list[list[str]], after: list[list[str]]) -> str:
    """A clause that says which step was the first to make other files, and which ones before it made the same; empty where all did."""
    known = {step[0]: step[1] for step in after}
    same: list[str] = []
    for name, digest in before:
        if known.get(name) != digest:
            beside = f" ({', '.join(same)} made the same)" if same else ""
            return f"; the files that `{name}` made are the first to differ{beside}"
        same.append(f"`{name}`")
    return ""


def _parted(old: pl.DataFrame, new: pl.DataFrame, signature: Signature) -> list[str]:
    if old.height != new.height or not old[tables.INFERENCE_ID].equals(new[tables.INFERENCE_ID]):
        return ["the hold-outs have other rows"]
    found = []
    for name in map(tables.output, signature.outputs):
        differs = old[name].ne_missing(new[name])
        if differs.any():
            row = differs.arg_true()[0]
            found.append(f"{name} differs in {differs.sum()} rows, first in row {row}: {old[name][row]} became {new[name][row]}")
    return found
