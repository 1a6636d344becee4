"""The steps of a build up to a trained model, each a function of its site."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelyard.build import envs, source
from modelyard.config.load import Loaded
from modelyard.data import artifacts, expect, snapshots, sources, splits
from modelyard.durable import Outcome, Run, RunRecord
from modelyard.errors import BadInput, NotFound
from modelyard.events import Event, GateJudged
from modelyard.flows import history
from modelyard.flows.site import SPLITS, Order, Site
from modelyard.targets.base import Job
from modelyard.workshop import Workshop

if TYPE_CHECKING:
    import polars as pl


def package(site: Site) -> Outcome[dict[str, Any]]:
    """Copy the code, so that what is edited while a build runs does not change it."""
    config, repository = site.config, site.repository
    code: dict[str, Any] = {**source.commit(repository), "entry": "", "inference": "", "preprocess": ""}
    train, inference = config.train, config.inference.entry_point
    source_dir, main = (train.source_dir, train.entry_point) if train else (None, inference)
    if main is not None:
        code["entry"] = source.locate(repository, main, source_dir)[1]
        code["inference"] = source.locate(repository, inference, source_dir)[1] if inference else code["entry"]
    if config.preprocess is not None:
        code["preprocess"] = source.locate(repository, config.preprocess.entry_point, None)[1]
    code["digest"] = packaged(site, site.code, site.preprocess_code)
    if config.bring is not None:
        site.fresh(site.model).mkdir()
        file = site.model / Path(config.bring.artifact).name
        artifacts.fetch(config.bring.artifact, folder=repository, into=file)
        code["digest"] = _joined([code["digest"], _digest(file)])
    state = f"commit {code['commit'][:10]}{' with uncommitted changes' if code['dirty'] else ''}" if code["commit"] else "not in Git"
    return Outcome(code, summary=state)


def packaged(site: Site, code: Path, preprocess_code: Path) -> str:
    """Copy the scripts that the config names into `code` and `preprocess_code`; the SHA-256 of all of it."""
    config, found = site.config, []
    train, pre = config.train, config.preprocess
    main = train.entry_point if train else config.inference.entry_point
    if main is None:
        site.fresh(code).mkdir()
    else:
        source_dir = train.source_dir if train else None
        found.append(source.package(site.repository, main, source_dir, site.fresh(code), exclude=_no_code(site)))
    if pre is not None:
        found.append(source.package(site.repository, pre.entry_point, None, site.fresh(preprocess_code), exclude=_no_code(site)))
    return _joined(found)


def _joined(digests: list[str]) -> str:
    return digests[0] if len(digests) == 1 else hashlib.sha256("\n".join(digests).encode()).hexdigest()


def _digest(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


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
                artifacts.fetch(loaded.config.bring.artifact, folder=loaded.folder, into=Path(folder) / "artifact")
                now = _joined([now, _digest(Path(folder) / "artifact")])
            return bool(now == code["digest"])
        except NotFound:
            return settled(shop, record)


def settled(shop: Workshop, record: RunRecord) -> bool:
    """Whether a run has taken all that it needs out of the model's repository, so that it goes on whatever becomes of that."""
    return shop.runs.receipt(record.id, "environment")[0]


def _no_code(site: Site) -> list[Path]:
    """What lies among the scripts and is none: the data, and the config with the schema beside it."""
    location = site.config.data.source.location
    tables = [site.repository / location] if isinstance(location, str) and "://" not in location else []
    return [*tables, site.repository / site.order.file, site.repository / "config.schema.json"]


def data(site: Site) -> Outcome[dict[str, Any]]:
    """An immutable snapshot of the rows this build learns from and is judged on."""
    config, shop = site.config, site.shop
    frame = sources.read(config.data.source, folder=site.repository, secret=shop.home.secret)
    snapshot = snapshots.take(frame, config.data, config.timezone, shop.home.path)
    dropped, source_digest = snapshot.dropped, snapshot.digest
    added = 0
    if site.order.learn_until is not None:
        until = datetime.fromisoformat(site.order.learn_until)
        window = config.retrain.window
        since = until - window.length if window.length else None
        learned, added, left_out = history.extend(shop, config, snapshots.read(snapshot), since, until)
        snapshot, dropped = snapshots.take(learned, config.data, config.timezone, shop.home.path), (*dropped, *left_out)
    notes = [*([f"{added:,} of them captured, with labels"] if added else []), *dropped]
    summary = f"{snapshot.rows:,} rows, {snapshot.digest[:12]}" + "".join(f"; {n}" for n in notes)
    taken = {"digest": snapshot.digest, "source": source_digest, "rows": snapshot.rows, "captured": added, "dropped": list(dropped)}
    return Outcome(taken, summary=summary)


def _rows(site: Site, taken: dict[str, Any]) -> pl.DataFrame:
    return snapshots.read(snapshots.find(taken["digest"], site.shop.home.path))


def expectations(site: Site, taken: dict[str, Any]) -> Outcome[list[str]]:
    """The data-quality gate."""
    judged = expect.judge(_rows(site, taken), site.config.data.expect)
    events: list[Event] = [
        GateJudged(site.run.model, site.run.id, f"expect {j.column} {j.check}", j.ok, j.on_fail, j.sentence) for j in judged
    ]
    refused = [j.sentence for j in judged if not j.ok and j.on_fail == "block"]
    return Outcome(refused, events, f"{sum(j.ok for j in judged)} of {len(judged)} hold" if judged else "none asked for")


def split(site: Site, taken: dict[str, Any]) -> Outcome[dict[str, int]]:
    """Train, validation and the hold-out, a file each."""
    parts = splits.split(_rows(site, taken), site.config.data)
    for name, part in parts.items():
        site.raw(name).parent.mkdir(parents=True, exist_ok=True)
        part.write_parquet(site.raw(name))
    rows = {name: part.height for name, part in parts.items()}
    return Outcome(rows, summary=", ".join(f"{name} {count:,}" for name, count in rows.items()))


def environment(site: Site) -> Outcome[str]:
    """Lock the model's requirements and see that the environment is there."""
    part = site.config.train or site.config.bring
    assert part is not None
    requirements = site.repository / part.requirements if part.requirements else None
    lock = envs.lock(requirements, part.framework)
    env = envs.ensure(lock, site.shop.home.path)
    site.folder.mkdir(parents=True, exist_ok=True)
    (site.folder / "requirements.lock").write_text(lock, encoding="utf-8")
    return Outcome(lock, summary=f"{len(lock.splitlines())} packages, {env.digest[:12]}")


def _channels(site: Site) -> dict[str, Path]:
    """What a training script may see, in the format it reads: never the hold-out."""
    import polars as pl

    names = [name for name in ("train", "validation") if site.part(name).exists()]
    if site.config.data.channel_format == "csv":
        for name in names:
            (site.folder / "channels" / name).mkdir(parents=True, exist_ok=True)
            pl.read_parquet(site.part(name)).write_csv(site.folder / "channels" / name / f"{name}.csv")
        return {name: site.folder / "channels" / name for name in names}
    return {name: site.part(name).parent for name in names}


def _job(site: Site, name: str, job: Job) -> Outcome[dict[str, Any]]:
    target = site.shop.target
    id = target.submit(job, lambda line: site.run.feed.put("line", step=name, text=line))
    state = target.job(id)
    if state.error is not None:
        raise state.error
    where = f"in {state.isolation}" if state.isolation else "without a sandbox: bubblewrap is not available here"
    return Outcome({"output": str(state.output), "isolation": state.isolation}, summary=where)


def preprocess(site: Site, lock: str, code: dict[str, Any]) -> Outcome[dict[str, Any]]:
    """The user's script over all three splits, under the SageMaker processing contract."""
    part = site.config.preprocess
    assert part is not None
    done = _job(
        site,
        "preprocess",
        Job(
            run=site.run.id,
            name="preprocess",
            kind="process",
            python=envs.ensure(lock, site.shop.home.path).python,
            entry_point=code["preprocess"],
            code=site.preprocess_code,
            base=site.folder / "preprocess",
            inputs={name: site.raw(name).parent for name in SPLITS},
            outputs=SPLITS,
            arguments=part.arguments,
            timeout=part.max_runtime.total_seconds(),
            network=not part.network_isolation,
        ),
    )
    _keep(Path(done.value["output"]), site.folder / "processed")
    for name in SPLITS:
        if not site.part(name).exists():
            raise BadInput(
                f"{part.entry_point} ended well but left no {name}.parquet",
                where="preprocess",
                next=f"write it to /opt/ml/processing/output/{name}/{name}.parquet",
            )
    return done


def train(site: Site, lock: str, code: dict[str, Any]) -> Outcome[dict[str, Any]]:
    """The user's script, under the SageMaker training contract."""
    part = site.config.train
    assert part is not None  # by the config's own rule
    done = _job(
        site,
        "train",
        Job(
            run=site.run.id,
            name="train",
            kind="train",
            python=envs.ensure(lock, site.shop.home.path).python,
            entry_point=code["entry"],
            code=site.code,
            base=site.folder / "train",
            inputs=_channels(site),
            hyperparameters=part.hyperparameters,
            timeout=part.instances.max_runtime.total_seconds(),
            cpus=part.instances.cpus,
            network=not part.network_isolation,
        ),
    )
    _keep(Path(done.value["output"]), site.model)
    return done


def _keep(made: Path, at: Path) -> None:
    """Move a step's result to its place; a second call after a crash finds it moved."""
    if made.exists():
        if at.exists():
            shutil.rmtree(at)
        made.rename(at)
