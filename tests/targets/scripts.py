"""Tiny versions for the tests of targets: models that are a script, or a small scikit-learn model of the test's own environment."""

from __future__ import annotations

import json
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

from modelyard.runners import Loadable
from modelyard.serve import routes
from modelyard.signature import Column, Signature
from modelyard.targets.base import EndpointSpec, Variant

NUMBER = Signature("regression", (Column("x", "float"),), target_col="y")
ANSWERS = """
def model_fn(folder):
    return {number}


def predict_fn(x, model):
    return [model] * len(x)
"""
BROKEN = """
print("looking for the weights")


def model_fn(folder):
    raise RuntimeError("the weights are not there")
"""


def scripted(home: Path, version: str, script: str, signature: Signature = NUMBER) -> Loadable:
    """A version that is a script with a model_fn; its model folder holds a file that nobody reads."""
    folder = home / "versions" / version
    (folder / "model").mkdir(parents=True, exist_ok=True)
    (folder / "code").mkdir(exist_ok=True)
    (folder / "model" / "nothing").touch()
    (folder / "code" / "serve.py").write_text(script)
    (folder / "signature.json").write_text(json.dumps(signature.to_dict()))
    return Loadable(
        model=folder / "model",
        code=folder / "code",
        entry_point="serve.py",
        signature=folder / "signature.json",
        framework="sklearn",
        python=Path(sys.executable),
        home=home,
    )


def constant(home: Path, version: str) -> Loadable:
    """A version that answers its own number, whatever it is asked."""
    return scripted(home, version, ANSWERS.format(number=float(version)))


def endpoint(
    weights: dict[str, int], loadables: dict[str, Loadable], *, workers: int = 1, port: int = 0, timeout: float = 5.0, **more: Any
) -> EndpointSpec:
    """`more` are further fields of the variants, or of the endpoint."""
    ours = {name: more.pop(name) for name in list(more) if name in {f.name for f in fields(Variant)}}
    variants = tuple(Variant(v, w, loadables[v], workers, **ours) for v, w in weights.items())
    return EndpointSpec("demo", "production", port, 0, variants, **{"limits": routes.Limits(timeout_s=timeout), "linger": 0.3, **more})
