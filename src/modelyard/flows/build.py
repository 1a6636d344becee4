"""Build: config -> data -> environment -> train -> hold-out -> gates -> bundle -> registered version."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelyard.build import envs, source
from modelyard.config.load import Loaded
from modelyard.config.spec import Config
from modelyard.data import artifacts, expect, snapshots, sources, splits
from modelyard.durable import Outcome, Run, RunRecord
from modelyard.errors import BadInput, GateRefused
from modelyard.events import ConfigAccepted, Event, GateJudged, VersionRegistered
from modelyard.flows import evaluation, history
from modelyard.targets.base import Job
from modelyard.workshop import Workshop

if TYPE_CHECKING:
    import polars as pl


SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Order:
    """What a build is asked to do; it is stored with the run, so that a resumed run works by the very same words.

    `configs` holds the canonical config a stage; `folder` is the model's repository; `learn_until` (ISO) makes it a retraining on the
    source's rows and the captured, labelled ones before that instant; `version` names the one to deploy, roll back or reproduce.
    """

    configs: dict[str, dict[str, Any]]
    digest: str
    folder: str
    by: str
    loosened: list[str]
    because: str = ""
    learn_until: str | None = None
    version: str | None = None

    @property
    def config(self) -> Config:
        return Config.model_validate(self.configs["production"])


@dataclass(frozen=True)
class Site:
    """Where one build works: its folder and what was settled about it."""

    shop: Workshop
    run: Run
    order: Order
    config: Config

    @property
    def folder(self) -> Path:
        return self.shop.home.runs / self.run.id

    @property
    def number(self) -> str:
        """The number that the version will have; one build of a model runs at a time."""
        return str(len(self.shop.model(self.run.model).versions) + 1)

    @property
    def repository(self) -> Path:
        return Path(self.order.folder)

    def raw(self, name: str) -> Path:
        """A split as it came out of the snapshot."""
        return self.folder / "data" / name / f"{name}.parquet"

    def part(self, name: str) -> Path:
        """A split as the model sees it: after `preprocess`, where there is one."""
        root = self.folder / ("processed" if self.config.preprocess else "data")
        return root / name / f"{name}.parquet"

    @property
    def framework(self) -> str:
        part = self.config.train or self.config.bring
        assert part is not None  # by the config's own rule
        return part.framework

    @property
    def code(self) -> Path:
        return self.folder / "code"

    @property
    def preprocess_code(self) -> Path:
        return self.folder / "preprocess-code"

    @property
    def model(self) -> Path:
        return self.folder / "model"

    @staticmethod
    def fresh(path: Path) -> Path:
        """`path`, with nothing there that a killed try left behind."""
        shutil.rmtree(path, ignore_errors=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        return path


def build(shop: Workshop, run: Run) -> str:
    """Build a version and register it; returns its number. Raises GateRefused when a blocking gate says no, StepFailed, BadInput."""
    order = Order(**run.args)
    site = Site(shop, run, order, order.config)
    run.tell("config", ConfigAccepted(run.model, run.id, order.digest, order.configs, order.folder, order.loosened))

    code = run.step("package", _package, site)
    data = run.step("data", _data, site)
    _stop_if_refused(run.step("expectations", _expectations, site, data))
    rows = run.step("split", split, site, data)
    lock = run.step("environment", _environment, site)
    if (same := run.step("compare with what is there", _unchanged, site, code, data, lock)) is not None:
        return str(same)
    if site.config.preprocess is not None:
        run.step("preprocess", preprocess, site, lock, code)
    if site.config.train is not None:
        run.step("train", train, site, lock, code)
    else:
        run.step("bring", _bring, site)
    run.step("predict", evaluation.predict, site, lock, code)
    judged = run.step("evaluate", evaluation.evaluate, site)
    facts = {"code": code, "data": data, "rows": rows}
    passed = run.step("gates", evaluation.judge, site, judged, facts)
    _stop_if_refused(passed["refused"])
    digest = run.step("bundle", evaluation.seal, site, judged, facts)
    version = run.step("register", _register, site, digest, facts, lock, {**judged, **passed})
    run.step("mlflow", _mirror, site, version)
    return str(version)


def _stop_if_refused(refusals: list[str]) -> None:
    if refusals:
        raise GateRefused("; ".join(refusals), next="see the report, then change the model, the data or the gate")


def _package(site: Site) -> Outcome[dict[str, Any]]:
    """Copy the code, so that what is edited while a build runs does not change it."""
    config, repository = site.config, site.repository
    code: dict[str, Any] = {**source.commit(repository), "entry": "", "inference": "", "preprocess": "", "digest": "none"}
    train, inference = config.train, config.inference.entry_point
    source_dir = train.source_dir if train else None
    main = train.entry_point if train else inference
    if main is not None:
        code["digest"] = source.package(repository, main, source_dir, site.fresh(site.code), exclude=_tables(site))
        code["entry"] = source.locate(repository, main, source_dir)[1]
        code["inference"] = source.locate(repository, inference, source_dir)[1] if inference else code["entry"]
    else:
        site.fresh(site.code).mkdir(parents=True)
    if config.preprocess is not None:
        entry = config.preprocess.entry_point
        source.package(repository, entry, None, site.fresh(site.preprocess_code), exclude=_tables(site))
        code["preprocess"] = source.locate(repository, entry, None)[1]
    state = f"commit {code['commit'][:10]}{' with uncommitted changes' if code['dirty'] else ''}" if code["commit"] else "not in Git"
    return Outcome(code, summary=state)


def _tables(site: Site) -> list[Path]:
    location = site.config.data.source.location
    return [site.repository / location] if isinstance(location, str) and "://" not in location else []


def _data(site: Site) -> Outcome[dict[str, Any]]:
    """An immutable snapshot of the rows this build learns from and is judged on."""
    config, shop = site.config, site.shop
    frame = sources.read(config.data.source, folder=site.repository, secret=shop.home.secret)
    snapshot = snapshots.take(frame, config.data, config.timezone, shop.home.path)
    notes = list(snapshot.dropped)
    if site.order.learn_until is not None:
        until = datetime.fromisoformat(site.order.learn_until)
        window = config.retrain.window
        since = until - window.length if window.length else None
        learned, added = history.extend(shop, config, snapshots.read(snapshot), since, until)
        snapshot = snapshots.take(learned, config.data, config.timezone, shop.home.path)
        notes.append(f"{added:,} captured rows with labels joined")
    summary = f"{snapshot.rows:,} rows, {snapshot.digest[:12]}" + "".join(f"; {n}" for n in notes)
    return Outcome({"digest": snapshot.digest, "rows": snapshot.rows, "dropped": notes}, summary=summary)


def lock_digest(lock: str) -> str:
    return hashlib.sha256(lock.encode()).hexdigest()


def _rows(site: Site, data: dict[str, Any]) -> pl.DataFrame:
    return snapshots.read(snapshots.find(data["digest"], site.shop.home.path))


def _expectations(site: Site, data: dict[str, Any]) -> Outcome[list[str]]:
    """The data-quality gate."""
    judged = expect.judge(_rows(site, data), site.config.data.expect)
    events: list[Event] = [
        GateJudged(site.run.model, site.run.id, f"expect {j.column} {j.check}", j.ok, j.on_fail, j.sentence) for j in judged
    ]
    refused = [j.sentence for j in judged if not j.ok and j.on_fail == "block"]
    return Outcome(refused, events, f"{sum(j.ok for j in judged)} of {len(judged)} hold" if judged else "none asked for")


def split(site: Site, data: dict[str, Any]) -> Outcome[dict[str, int]]:
    parts = splits.split(_rows(site, data), site.config.data)
    for name, part in parts.items():
        site.raw(name).parent.mkdir(parents=True, exist_ok=True)
        part.write_parquet(site.raw(name))
    rows = {name: part.height for name, part in parts.items()}
    return Outcome(rows, summary=", ".join(f"{name} {count:,}" for name, count in rows.items()))


def _environment(site: Site) -> Outcome[str]:
    """Lock the model's requirements and see that the environment is there."""
    part = site.config.train or site.config.bring
    assert part is not None
    requirements = site.repository / part.requirements if part.requirements else None
    lock = envs.lock(requirements, part.framework)
    env = envs.ensure(lock, site.shop.home.path)
    site.folder.mkdir(parents=True, exist_ok=True)
    (site.folder / "requirements.lock").write_text(lock, encoding="utf-8")
    return Outcome(lock, summary=f"{len(lock.splitlines())} packages, {env.digest[:12]}")


def _unchanged(site: Site, code: dict[str, Any], data: dict[str, Any], lock: str) -> Outcome[str | None]:
    """The newest version, where it was made of this very config, code, data and environment: building it again would be a waste."""
    versions = list(site.shop.model(site.run.model).versions.values())
    made = (site.order.digest, code["digest"], data["digest"], lock_digest(lock))
    if versions and made == (
        versions[-1].config_digest,
        versions[-1].code_digest,
        versions[-1].data_digest,
        versions[-1].lock_digest,
    ):
        newest = versions[-1].version
        return Outcome(newest, summary=f"nothing has changed since {site.run.model}:{newest}")
    return Outcome(None, summary="something has changed")


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


def _bring(site: Site) -> Outcome[str]:
    """Fetch a model that somebody else trained."""
    part = site.config.bring
    assert part is not None
    site.fresh(site.model).mkdir()
    file = site.model / Path(part.artifact).name
    artifacts.fetch(part.artifact, folder=site.repository, into=file)
    return Outcome(file.name, summary=f"{file.name}, {file.stat().st_size:,} bytes")


def _keep(made: Path, at: Path) -> None:
    """Move a step's result to its place; a second call after a crash finds it moved."""
    if made.exists():
        if at.exists():
            shutil.rmtree(at)
        made.rename(at)


def _register(site: Site, digest: str, facts: dict[str, Any], lock: str, judged: dict[str, Any]) -> Outcome[str]:
    """Give the bundle the model's next number, together with all its lineage."""
    version, code, data = site.number, facts["code"], facts["data"]
    fact = VersionRegistered(
        model=site.run.model,
        run=site.run.id,
        version=version,
        digest=digest,
        data_digest=data["digest"],
        code_digest=code["digest"],
        lock_digest=lock_digest(lock),
        config_digest=site.order.digest,
        commit=code["commit"],
        dirty=code["dirty"],
        metrics=judged["metrics"],
        gates=judged["gates"],
        because=site.order.because,
    )
    return Outcome(version, [fact], f"{site.run.model}:{version}")


def _mirror(site: Site, version: str) -> Outcome[str]:
    """Keep MLflow in step."""
    shop, train = site.shop, site.config.train
    found = shop.version(site.run.model, version)
    run_id = shop.store.record(
        site.run.model, found, shop.bundle(found), dict(train.hyperparameters) if train else {}, site.config.model.tags
    )
    shop.store.alias(site.run.model, "challenger", found)
    return Outcome(run_id, summary=f"MLflow run {run_id[:12]}")


def same_code(shop: Workshop, record: RunRecord, loaded: Loaded) -> bool:
    """Whether a run that was cut short packaged the code that lies there now; true where it had not come so far."""
    packaged, code = shop.runs.receipt(record.id, "package")
    if not packaged:
        return True
    config = loaded.config
    main = config.train.entry_point if config.train else config.inference.entry_point
    if main is None:
        return True
    with tempfile.TemporaryDirectory() as folder:
        site = Site(shop, Run(shop.runs, record, shop.runs.feed(record.id)), Order(**record.args), config)
        now = source.package(
            loaded.folder, main, config.train.source_dir if config.train else None, Path(folder) / "code", exclude=_tables(site)
        )
    return bool(now == code["digest"])
