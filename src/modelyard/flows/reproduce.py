"""Reproduce: a version again from its own code, data and lock, and whether it comes out the same."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelyard import tables
from modelyard.build import bundle, envs
from modelyard.config.spec import STAGES
from modelyard.data import snapshots
from modelyard.durable import Outcome, Run
from modelyard.errors import BadInput, GateRefused
from modelyard.flows import evaluation, steps
from modelyard.flows.site import Order, Site
from modelyard.quality import metrics as measures
from modelyard.signature import Signature
from modelyard.workshop import Workshop

if TYPE_CHECKING:
    import polars as pl


def order(shop: Workshop, model: str, version: str, *, by: str) -> Order:
    """What a reproduction is asked to do: the version's own config. Raises NotFound, BadInput for a model that was brought."""
    found = shop.version(model, version)
    configs = json.loads((shop.bundle(found) / "config.json").read_text(encoding="utf-8"))
    if configs[STAGES[-1]]["train"] is None:
        raise BadInput(f"{model}:{version} was brought already trained: there is no training to repeat")
    return Order(configs=configs, digest=found.config_digest, folder="", by=by, loosened=[], version=version)


def reproduce(shop: Workshop, run: Run) -> str:
    """Train again and compare. Returns a sentence; raises GateRefused, naming where they part, when the two are not equal."""
    asked = Order(**run.args)
    site, version = Site(shop, run, asked, asked.config), shop.version(run.model, asked.version)
    opened = bundle.open(version.digest, shop.home.path)
    code = opened.manifest["code"]
    run.step("package", _package, site, opened.path)
    snapshot = snapshots.find(version.data_digest, shop.home.path)
    lock = (opened.path / "env" / "requirements.lock").read_text(encoding="utf-8")
    run.step("split", steps.split, site, {"digest": snapshot.digest})
    run.step("environment", lambda: Outcome(envs.ensure(lock, shop.home.path).digest, summary="from the bundle's lock"))
    if site.config.preprocess is not None:
        run.step("preprocess", steps.preprocess, site, lock, code)
    run.step("train", steps.train, site, lock, code)
    run.step("predict", evaluation.predict, site, lock, code)
    found = run.step("compare", _compare, site, opened.path)
    if not found["equal"]:
        raise GateRefused(f"{run.model}:{asked.version} is not reproduced: {found['sentence']}")
    return f"{run.model}:{asked.version} is reproduced: {found['sentence']}"


def _package(site: Site, sealed: Path) -> None:
    for name, place in (("code", site.code), ("preprocess-code", site.preprocess_code)):
        if (sealed / name).exists():
            shutil.copytree(sealed / name, site.fresh(place), copy_function=shutil.copyfile)
    site.code.mkdir(exist_ok=True)


def _compare(site: Site, sealed: Path) -> Outcome[dict[str, Any]]:
    """Predictions row by row, then metrics."""
    import polars as pl

    signed = Signature.from_dict(json.loads((sealed / "signature.json").read_text(encoding="utf-8")))
    old, new = pl.read_parquet(sealed / "holdout.parquet"), pl.read_parquet(site.folder / "holdout.parquet")
    parted = _parted(old, new, signed)
    before, after = measures.compute(old, signed), measures.compute(new, signed)
    moved = [
        f"{name} {before[name]:.6g} became {after[name]:.6g}"
        for name in before
        if before[name] != after[name] and before[name] == before[name]
    ]
    equal = not parted and not moved
    said = f"{old.height:,} predictions and {len(before)} metrics are equal" if equal else "; ".join([*parted, *moved])
    return Outcome({"equal": equal, "sentence": said, "before": evaluation.finite(before), "after": evaluation.finite(after)}, summary=said)


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
