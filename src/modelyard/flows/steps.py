"""The first steps of a build, each a function of its site: code, rows, splits and the environment settled."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from modelyard.build import bundle, envs, locks, rpackages, source
from modelyard.config.load import Loaded
from modelyard.data import artifacts, expect, snapshots, splits
from modelyard.durable import Outcome, Run, RunRecord
from modelyard.errors import NotFound
from modelyard.events import Event, GateJudged
from modelyard.flows import (
    caching,
    compiling,
    evaluation,
    explanation,
    fairness,
    inference,
    judging,
    lacking,
    measuring,
    plans,
    processing,
    sourcing,
    weighing,
)
from modelyard.flows.site import SPLITS, Order, Site
from modelyard.workshop import Workshop

PLANNED = ("compile", "tolerance")
"""Keys of `inference` that only the row plan depends on."""


def package(site: Site) -> Outcome[dict[str, Any]]:
    """Copy the code, so that what is edited while a build runs does not change it."""
    config, repository = site.config, site.repository
    code: dict[str, Any] = {**source.commit(repository), "entry": "", "inference": "", "preprocess": ""}
    if config.train is not None:
        code["entry"] = source.locate(repository, config.train.entry_point, config.train.source_dir)[1]
    code |= inference.names(config, repository, code["entry"])
    if config.preprocess is not None:
        code["preprocess"] = source.locate(repository, config.preprocess.entry_point, config.preprocess.source_dir)[1]
    code["steps"] = processing.entries(site)
    code["digest"] = packaged(site, site.code, site.preprocess_code)
    if config.bring is not None:
        site.fresh(site.model).mkdir()
        brought = artifacts.fetch(config.bring.artifact, folder=repository, into=site.model)
        code["digest"] = _joined([code["digest"], brought])
        if inference.travels(config, repository) and not (site.model / "code" / code["inference"]).is_file():
            said = f"there is no {code['inference']}, neither in the repository nor among the code of {config.bring.artifact}"
            raise NotFound(said, where="inference.entry_point", next="in the archive it lies in the folder `code`")
    changed = " with uncommitted changes" if code["dirty"] else ""
    state = f"commit {code['commit'][:10]}{changed}" if code["commit"] else source.without(repository)
    return Outcome(code, summary=state)


def packaged(site: Site, code: Path, preprocess_code: Path) -> str:
    """Copy the scripts that the config names into `code` and `preprocess_code`; the SHA-256 of all of it."""
    config, found = site.config, []
    train, pre = config.train, config.preprocess
    main, source_dir = (train.entry_point, train.source_dir) if train else inference.brought(config, site.repository)
    if main is None:
        site.fresh(code).mkdir()
    else:
        found.append(source.package(site.repository, main, source_dir, site.fresh(code), exclude=lacking.no_code(site)))
    if pre is not None:
        found.append(
            source.package(site.repository, pre.entry_point, pre.source_dir, site.fresh(preprocess_code), exclude=lacking.no_code(site))
        )
    found += processing.packaged(site, code.parent, lacking.no_code(site))
    found += inference.packaged(site, code.parent / inference.FOLDER, lacking.no_code(site))
    found += measuring.packaged(site, code.parent / measuring.CODE, lacking.no_code(site))
    found += fairness.packaged(site)
    return _joined(found)


def _joined(digests: list[str]) -> str:
    return digests[0] if len(digests) == 1 else hashlib.sha256("\n".join(digests).encode()).hexdigest()


def same_code(shop: Workshop, record: RunRecord, loaded: Loaded) -> bool:
    """Whether a run that was cut short packaged the scripts that lie there now; true where it had not come so far.

    Where the folder has moved, or the scripts are gone, it goes on only if it is settled.
    """
    order, here = Order(**record.args), str(loaded.folder)
    done, code = shop.runs.receipt(record.id, "package")
    if order.folder != here and not settled(shop, record):
        return False
    if not done:
        return True
    site = Site(shop, Run(shop.runs, record, shop.runs.feed(record.id)), replace(order, folder=here), loaded.config)
    with tempfile.TemporaryDirectory() as folder:
        try:
            now = packaged(site, Path(folder) / "code", Path(folder) / "preprocess-code")
            if loaded.config.bring is not None:
                (Path(folder) / "model").mkdir()
                now = _joined([now, artifacts.fetch(loaded.config.bring.artifact, folder=loaded.folder, into=Path(folder) / "model")])
            return bool(now == code["digest"])
        except NotFound:
            return settled(shop, record)


def settled(shop: Workshop, record: RunRecord) -> bool:
    """Whether a run has taken all that it needs out of the model's repository, so that it goes on whatever becomes of that."""
    return all(shop.runs.receipt(record.id, step)[0] for step in ("package", "lock", "data"))


def data(site: Site) -> Outcome[dict[str, Any]]:
    """An immutable snapshot of the rows this build learns from and is judged on. Untouched files are not read again."""
    config, written = site.config, site.order.configs["production"]
    location = config.data.source.location
    local = config.data.source.using in ("csv", "parquet", "jsonl") and isinstance(location, str) and "://" not in location
    known = local and config.data.source.incremental is None and site.order.learn_until is None
    key, path = [written["data"], written["timezone"]], site.repository / str(location) if known else None
    return caching.remembered(site, key, path, lambda: _data(site), holds=lambda taken: _is_there(site, taken["digest"]))


def _is_there(site: Site, digest: str) -> bool:
    try:
        snapshots.find(digest, site.shop.home.path)
    except NotFound:
        return False
    return True


def _data(site: Site) -> Outcome[dict[str, Any]]:
    with sourcing.spool(site) as folder:
        snapshot, notes = sourcing.take(site, folder)
        source_digest, dropped, added = snapshot.digest, list(snapshot.dropped), 0
        lineage = snapshot.lineage
        if site.order.learn_until is not None:
            snapshot, added, left_out = sourcing.learned(site, snapshot, folder)
            dropped += [*snapshot.dropped, *left_out]
            notes += [f"{added:,} of them captured, with labels"] if added else []
    summary = f"{snapshot.rows:,} rows, {snapshot.digest[:12]}" + "".join(f"; {n}" for n in (*notes, *dropped))
    taken = {"digest": snapshot.digest, "source": source_digest, "rows": snapshot.rows, "captured": added, "dropped": dropped}
    return Outcome({**taken, "lineage": lineage}, summary=summary)


def expectations(site: Site, taken: dict[str, Any]) -> Outcome[list[str]]:
    """The data-quality gate."""
    table = snapshots.table(snapshots.find(taken["digest"], site.shop.home.path))
    judged = expect.judge(table, site.config.data.expect)
    events: list[Event] = [
        GateJudged(site.run.model, site.run.id, f"expect {j.column} {j.check}", j.ok, j.on_fail, j.sentence) for j in judged
    ]
    refused = [j.sentence for j in judged if not j.ok and j.on_fail == "block"]
    return Outcome(refused, events, f"{sum(j.ok for j in judged)} of {len(judged)} hold" if judged else "none asked for")


def split(site: Site, taken: dict[str, Any]) -> Outcome[dict[str, int]]:
    """Train, validation and the hold-out, a file each, of rows that are still those that the digest stands for."""
    snapshot = snapshots.find(taken["digest"], site.shop.home.path)
    snapshots.check(snapshot)
    rows = splits.split(snapshots.table(snapshot), site.config.data, site.raw)
    judging.verify(site)
    how, weighed = site.order.configs["production"]["data"], weighing.weigh(site)
    for name in rows:
        made_of = [caching.own_source(), snapshot.digest, how, name, *([weighed.total_seconds()] if weighed else [])]
        caching.know(site, site.raw(name).parent, caching.digest_of(site, made_of))
    return Outcome(rows, summary=", ".join(f"{name} {count:,}" for name, count in rows.items()))


def lock(site: Site) -> Outcome[dict[str, Any]]:
    """Settle the versions that the model runs with, and each step that has requirements of its own.

    `text` is the model's lock, `own` the digests of the others by step, `digest` is over all of them, and over R's packages where R runs.
    """
    part = site.config.train or site.config.bring
    assert part is not None  # by the config's own rule
    wanted = {"": (part.requirements, "bring.requirements" if site.config.train is None else "train.requirements")}
    wanted |= {name: (step.requirements, f"{where}.requirements") for name, where, step in site.processing if step.requirements}
    made = {}
    for name, (file, where) in wanted.items():
        path = site.repository / file if file else artifacts.requirements(site.model) if site.config.bring else None
        options: dict[str, Any] = {"python": part.python, "where": where, "refresh": site.order.refresh}
        if not name and site.config.train is not None:
            folder = source.locate(site.repository, site.config.train.entry_point, site.config.train.source_dir)[0]
            options["beside"] = folder / "requirements.txt"
        made[name] = locks.lock(path, part.framework, site.shop.home.path, **options)
        site.lock_file(name).parent.mkdir(parents=True, exist_ok=True)
        site.lock_file(name).write_text(made[name].text, encoding="utf-8")
    model = made[""]
    own = {name: _sha256(found.text) for name, found in made.items() if name}
    digest = _sha256(model.text) if not own else _sha256("\n".join([model.text, *(f"{n} {d}" for n, d in sorted(own.items()))]))
    seen = _r(site)
    digest = _sha256("\n".join([digest, *(r.digest for r in seen)])) if seen else digest
    when = f", as resolved on {datetime.fromtimestamp(model.made, UTC):%Y-%m-%d}" if model.kept else ""
    beside = f"; of their own: {', '.join(own)}" if own else ""
    return Outcome(
        {"text": model.text, "digest": digest, "own": own}, summary="; ".join([f"{model.packages} packages{when}{beside}", *map(str, seen)])
    )


def _r(site: Site) -> list[rpackages.R]:
    """The R that each of its scripts, and its model, has; one where all have the same."""
    config, home = site.config, site.shop.home.path
    parts = [step for _, _, step in site.processing] + ([config.train] if config.train is not None else [])
    variables = [part.environment for part in parts if rpackages.runs(part.entry_point)]
    variables += [config.inference.environment] if site.framework == "r" else []
    found = [rpackages.found(home, own) for own in variables]
    return sorted({r.digest: r for r in found if r is not None}.values(), key=lambda r: r.digest)


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def environment(site: Site, own: Iterable[str] = ()) -> Outcome[list[str]]:
    """See that the environments are there, whole: the model's, and of the steps named in `own` theirs."""
    made = [envs.ensure(site.lock(name), site.shop.home.path, afresh=True).digest for name in ("", *own)]
    return Outcome(made, summary=", ".join(digest[:12] for digest in made))


def predict(site: Site, lock: str, code: dict[str, Any]) -> Outcome[dict[str, Any]]:
    """Score the hold-out (flows/evaluation.py), unless this very model has answered these very rows before. Raises BadInput for a model
    that no bundle could hold, before anything is spent on it."""
    bundle.verify(site.model)
    key = {"step": "predict", **_answering(site, lock, code)}
    return caching.cached(site, key, site.folder, [*evaluation.MADE], lambda: evaluation.predict(site, lock, code))


def compile(site: Site, lock: str, code: dict[str, Any]) -> Outcome[dict[str, Any]]:
    """Write the model out as a row plan (flows/compiling.py), unless that of this very model was proven on these very rows before."""
    asked = site.order.configs["production"]["inference"]
    key = {"step": "compile", "asked": {name: asked[name] for name in PLANNED}, **_answering(site, lock, code)}
    return caching.cached(site, key, site.folder, [*plans.MADE], lambda: compiling.compile(site, lock, code))


def explain(site: Site, lock: str, code: dict[str, Any]) -> Outcome[dict[str, Any]]:
    """Explain the hold-out (flows/explanation.py), unless the very same was explained before."""
    key = {"step": "explain", "asked": site.order.configs["production"]["explain"], **_answering(site, lock, code)}
    return caching.cached(site, key, site.folder, [*explanation.MADE], lambda: explanation.explain(site, lock, code))


def _answering(site: Site, lock: str, code: dict[str, Any]) -> dict[str, Any]:
    """All that the hold-out's answers depend on."""
    written = site.order.configs["production"]
    inference_said = {name: value for name, value in written["inference"].items() if name not in PLANNED}
    return {
        "python": envs.ensure(lock, site.shop.home.path).digest,
        "code": {name: value for name, value in code.items() if name not in ("commit", "dirty")},
        "framework": site.framework,
        **inference.by_r(site),
        "config": {"model": written["model"], "data": written["data"], "inference": inference_said},
        "threshold": site.config.evaluate.decision_threshold,
        "places": [site.config.evaluate.at, site.config.evaluate.season],
        "files": [site.model, inference.code_of(site.folder)],
        "parts": {name: site.part(name) for name in SPLITS},
    }
