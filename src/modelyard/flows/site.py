"""The site: what a build is asked to do, and the folder it works in."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelyard.config.spec import Config, Processing, Stage
from modelyard.durable import Run
from modelyard.workshop import Workshop

RECIPE = (
    "model", "timezone", "data", "preprocess", "steps", "train", "bring", "postprocess", "evaluate", "bias", "explain", "inference"
)  # fmt: skip
SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Order:
    """What a build is asked to do; it is stored with the run, so that a resumed run works by the very same words.

    `configs` holds the canonical config a stage; `folder` is the model's repository; `learn_until` (ISO) makes it a retraining on the
    source's rows and the captured, labelled ones before that instant; `version` names the one to deploy, roll back or
    reproduce; `file` is the config's name in `folder`: no part of the code, since most of what changes in it makes no new version.
    `cache` False does everything again, also what is known; `refresh` resolves the requirements anew.
    """

    configs: dict[str, dict[str, Any]]
    digest: str
    folder: str
    by: str
    loosened: list[str]
    because: str = ""
    learn_until: str | None = None
    version: str | None = None
    file: str = "config.yaml"
    cache: bool = True
    refresh: bool = False

    @property
    def config(self) -> Config:
        return self.of_stage("production")

    def of_stage(self, stage: Stage) -> Config:
        return Config.model_validate(self.configs[stage])

    @property
    def recipe(self) -> str:
        """SHA-256 of the part of the config that a build depends on; deploying and watching do not change a version."""
        config = self.configs["production"]
        parts = {key: config[key] for key in RECIPE} | {"model": {key: config["model"][key] for key in ("name", "problem_type")}}
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


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
    def processing(self) -> list[tuple[str, str, Processing]]:
        """Every processing step: its name, its place in the config, and what it says."""
        pre, post = self.config.preprocess, self.config.postprocess
        found: list[tuple[str, str, Processing]] = [("preprocess", "preprocess", pre)] if pre else []
        found += [(step.name, f"steps[{number}]", step) for number, step in enumerate(self.config.steps)]
        return [*found, *([("postprocess", "postprocess", post)] if post else [])]

    def lock_file(self, step: str = "") -> Path:
        """Where the lock of a step with requirements of its own is kept, and by default the model's."""
        return self.folder / "locks" / f"{step}.lock" if step else self.folder / "requirements.lock"

    def lock(self, step: str = "") -> str:
        """The lock that a step runs with: its own, or the model's."""
        own = self.lock_file(step)
        return (own if own.exists() else self.lock_file()).read_text(encoding="utf-8")

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
