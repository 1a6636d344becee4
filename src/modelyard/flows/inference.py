"""The code that a version predicts with: training's own, or a folder of its own; and what its runner is told."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelyard.build import rpackages, source
from modelyard.errors import BadInput, NotFound
from modelyard.tables import output

if TYPE_CHECKING:
    import polars as pl

    from modelyard.config.spec import Config
    from modelyard.flows.site import Site
    from modelyard.signature import Signature

FOLDER = "inference-code"
"""Of a run's folder and of a bundle: there where `inference.source_dir` sets the code apart from training's."""


def apart(config: Config) -> bool:
    """Whether inference has a code folder beside training's."""
    return config.train is not None and config.inference.source_dir is not None


def brought(config: Config, repository: Path) -> tuple[str | None, str | None]:
    """The script, and the source_dir, that the code of a model without training is packaged by; no script: it has no code."""
    inference = config.inference
    own = None if travels(config, repository) else inference.entry_point
    return own or inference.pre or inference.post, inference.source_dir


def travels(config: Config, repository: Path) -> bool:
    """Whether the script comes with the model that is brought, as in SageMaker's model.tar.gz: the repository has none of that name."""
    name, source_dir = config.inference.entry_point, config.inference.source_dir or "."
    if name is None or config.bring is None or not config.bring.artifact.endswith((".tar.gz", ".tgz")):
        return False
    return not any((folder / name).is_file() for folder in (repository / source_dir, repository))


def by_r(site: Site) -> dict[str, str]:
    """What the answers of a model that R holds depend on beside all else; nothing where another one holds it."""
    return rpackages.key(site.shop.home.path, site.config.inference.environment) if site.framework == "r" else {}


def names(config: Config, repository: Path, entry: str) -> dict[str, str]:
    """`inference`, `pre` and `post`: the scripts' paths inside the code that predicts. `entry` is training's own.

    Raises NotFound, BadInput for a script outside that code.
    """
    inference, train = config.inference, config.train
    main = train.entry_point if train and not apart(config) else brought(config, repository)[0]
    source_dir = train.source_dir if train and not apart(config) else inference.source_dir
    folder = repository / (source_dir if source_dir is not None else str(Path(main or "").parent))
    given = {"inference": inference.entry_point, "pre": inference.pre, "post": inference.post}
    inside = {"inference": inference.entry_point} if travels(config, repository) else {}
    found = {key: inside.get(key) or (_inside(repository, folder, name, key) if name else "") for key, name in given.items()}
    return found if found["inference"] or apart(config) else {**found, "inference": entry}


def _inside(repository: Path, folder: Path, name: str, key: str) -> str:
    where = f"inference.{'entry_point' if key == 'inference' else key}"
    for path in (folder / name, repository / name):
        if path.is_file():
            if path.resolve().is_relative_to(folder.resolve()):
                return path.relative_to(folder).as_posix()
            said = f"{name} is not in the folder of the code that predicts, {folder.relative_to(repository).as_posix()}"
            raise BadInput(said, where=where, next="set `inference.source_dir` to a folder that holds it")
    raise NotFound(f"there is no {name}", where=where, next=f"paths are relative to {repository}")


def packaged(site: Site, into: Path, exclude: Iterable[Path]) -> list[str]:
    """Copy the code that is set apart into `into`; its digest, none where there is no such code. Raises as `names` does."""
    config = site.config
    if not apart(config):
        return []
    main = brought(config, site.repository)[0]
    if main is None:
        raise BadInput("`inference.source_dir` needs a script in it", where="inference.source_dir", next="set `inference.entry_point`")
    return [source.package(site.repository, main, config.inference.source_dir, site.fresh(into), exclude=exclude)]


def facts(config: Config, code: dict[str, Any]) -> dict[str, Any]:
    """What a runner is told besides: for the manifest of a bundle, and for `Loadable`."""
    inference = config.inference
    options = {"content-type": inference.content_type, "accept": inference.accept, "pre": code.get("pre"), "post": code.get("post")}
    if inference.batch_strategy != "multi_record":
        options["batch-strategy"] = inference.batch_strategy
    return {"options": {k: v for k, v in options.items() if v}, "environment": dict(inference.environment)}


def certain(holdout: pl.DataFrame, signed: Signature) -> str:
    """What to say of a classifier whose every probability is 0 or 1: it gives labels only. Empty for any other."""
    import polars as pl

    scores = [output(f"probability_{c}") for c in signed.classes if output(f"probability_{c}") in holdout.columns]
    if not scores or not holdout.select(pl.all_horizontal(pl.col(scores).is_in([0.0, 1.0])).all()).item():
        return ""
    return "; every probability is 0 or 1: the model gives labels, and metrics of probabilities say little"


def code_of(folder: Path) -> Path:
    """The code that predicts, in a run's folder or a bundle."""
    own = folder / FOLDER
    return own if own.is_dir() else folder / "code"
