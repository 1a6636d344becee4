"""What a build gets ready while it does something else: a warm interpreter for its steps, and the platform's own heavy imports."""

from __future__ import annotations

import contextlib
import functools
import importlib
import sys
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from modelyard.build import early, envs, imports, processes
from modelyard.flows import inference

if TYPE_CHECKING:
    from pathlib import Path

    from modelyard.build.warm import Warm
    from modelyard.flows.site import Site

_TABLES = ("pandas", "pyarrow.parquet", "pyarrow.dataset", "pyarrow.pandas_compat", "pandas.core.arrays.arrow.extension_types")
"""What pandas imports when it is first asked for a Parquet file."""
_FRAMES = ("narwhals.stable.v2._namespace", "narwhals._pandas_like.namespace", "narwhals._interchange.dataframe")
"""What scikit-learn imports when it is first given a table: there are versions that do without."""
_RUNNER = ("argparse", "platform", "selectors", "socket", "subprocess", "threading", "traceback", "threadpoolctl")
"""What our own runner imports."""
_LOADERS = {
    "sklearn": ("joblib", "numpy", *_TABLES, *_FRAMES),
    "xgboost": ("numpy", *_TABLES, "xgboost"),
    "lightgbm": ("numpy", *_TABLES, "lightgbm"),
    "catboost": ("numpy", *_TABLES, "catboost"),
    "onnx": ("numpy", "onnxruntime"),
}
"""What a runner imports to load and ask a model, by framework. Others start threads while they are imported, or are no Python."""
_OURS = (
    "polars", "modelyard.quality.metrics", "modelyard.quality.kernels", "modelyard.serve.plan.vector", "modelyard.quality.encode",
    "modelyard.quality.curves", "modelyard.quality.card",
)  # fmt: skip

_USUAL, PATIENCE = sys.getswitchinterval(), 0.0005
"""Seconds for which a thread that imports may keep others waiting, a tenth of the usual: whoever starts a step asks the system for many
little things, and would wait so long after each."""
LATEST = 2.0
"""Seconds after which it is imported even if no step has begun."""


@contextlib.contextmanager
def kept(site: Site) -> Iterator[None]:
    """Whatever is got ready for the run's steps is gone after the block."""
    try:
        yield
    finally:
        site.shop.target.cool_down(site.run.id)


def over(site: Site) -> None:
    """No more steps follow that are forked: the end of so large a process takes a while, which nobody need wait for."""
    threading.Thread(target=site.shop.target.cool_down, args=(site.run.id,), name="cooling").start()  # no daemon: it is waited for


def import_ahead(site: Site, *more: Callable[[], object]) -> None:
    """Pay in the background, for a build that has something to do, for what the platform itself will import: not before its first step
    is at work, whose start it would hold up. Then do what `more` is, whose results are kept for whoever wants them later."""
    threading.Thread(target=_import_ahead, args=(site.shop.store.get_ready, *more), name="imports", daemon=True).start()


def begin(site: Site, code: dict[str, Any]) -> None:
    """Start the warm interpreter, as early as its environment is known; later where that has yet to be made (`ready`)."""
    if _wanted(site) and envs.there(site.lock(), site.shop.home.path) is not None:
        _warm_up(site, code)


def ready(site: Site, code: dict[str, Any]) -> None:
    """As `begin`, once the environment is there. Raises BadInput where it lacks what a script imports."""
    python = envs.ensure(site.lock(), site.shop.home.path).python
    folder = python.parent.parent
    imports.verify(_scripts(site, code), python, "train.requirements", folder.with_name(f"{folder.name}.imports"))
    if _wanted(site) and site.shop.target.warm(site.run.id) is None:
        _warm_up(site, code)


def _wanted(site: Site) -> bool:
    """Not where a step is cut off from the network: what it imports would be imported with one."""
    parts = (site.config.train, site.config.preprocess, site.config.postprocess, *site.config.steps)
    return site.framework in _LOADERS and not any(part is not None and part.network_isolation for part in parts)


def _scripts(site: Site, code: dict[str, Any]) -> list[tuple[Path, str]]:
    """The scripts that run in the model's environment, each with its folder."""
    found = [(site.code, code["entry"]), (inference.code_of(site.folder), code["inference"])]
    if site.config.preprocess is not None and site.config.preprocess.requirements is None:
        found.append((site.preprocess_code, code["preprocess"]))
    return [(folder, entry) for folder, entry in found if entry]


def _warm_up(site: Site, code: dict[str, Any]) -> None:
    wanted = dict.fromkeys((*_RUNNER, *_LOADERS[site.framework]))
    for folder, entry in _scripts(site, code):
        wanted.update(dict.fromkeys(imports.modules(folder, [entry])))
    python = envs.ensure(site.lock(), site.shop.home.path).python
    site.shop.target.warm_up(site.run.id, python, list(wanted), [site.folder])
    if (warm := of(site)) is not None:
        early.note(site.shop.home.path, site.repository / site.order.file, warm.asked)


def of(site: Site) -> Warm | None:
    """The warm interpreter of this build, for the runner that scores its hold-out."""
    return site.shop.target.warm(site.run.id)


def _import_ahead(*more: Callable[[], object]) -> None:
    """Pay for the platform's own imports while a step is waited for; whoever needs one first waits for it as always."""
    processes.BEGUN.wait(LATEST)
    sys.setswitchinterval(PATIENCE)
    ours: list[Callable[[], object]] = [functools.partial(importlib.import_module, name) for name in _OURS]
    for work in (*ours, _template, *more):
        with contextlib.suppress(Exception):  # it is imported again where it is used, and fails there
            work()
    sys.setswitchinterval(_USUAL)


def _template() -> None:
    from modelyard.quality.report import template

    template()
