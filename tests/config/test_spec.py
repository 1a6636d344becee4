"""Every key of the config is documented, and read by whoever is to honour it: none is accepted and ignored."""

from __future__ import annotations

import ast
import os
import re
import sys
from collections.abc import Iterator
from typing import Any, get_args

import pytest

from modelyard.config.spec import NOTED, Condition, Config, Part
from tests.conftest import ROOT

# Read otherwise than as an attribute of a typed value.
BY_NAME = {
    "Config.version": "a constant: other versions are refused",
    "Config.variables": "put in while the file is read (config/load.py)",
    "DataQuality.constraints": "its columns are put in while the file is read (config/constraints.py)",
    "Model.intended_use": "out of the stored config: the model card",
    "Model.limitations": "likewise",
    "Environments.staging": "by the stage's name (flows/approval.py, flows/endpoints.py)",
    "Environments.production": "likewise",
    "Staging.port": "of the stage that is entered (flows/endpoints.py)",
    "Production.port": "likewise",
    "Staging.approval": "of the stage that is entered (flows/approval.py)",
    "Production.approval": "likewise",
    **{f"{s}.{k}": "of the stage that is entered" for s in ("Staging", "Production") for k in ("host", "keys", "names", "tls")},
    "Staging.target": "a constant: other targets are refused",
    "Production.target": "likewise",
    "ColumnExpectation.min": "getattr (data/expect.py)",
    "ColumnExpectation.max": "likewise",
    **{f"Condition.{key}": "getattr (flows/conditions.py)" for key in Condition.model_fields if key not in ("value", "otherwise")},
}


def parts(annotation: Any) -> Iterator[type[Part]]:
    """The parts that a field's annotation holds, however deep."""
    if isinstance(annotation, type) and issubclass(annotation, Part):
        yield annotation
    for inner in get_args(annotation):
        yield from parts(inner)


def keys() -> dict[str, tuple[type[Part], str]]:
    """`Part.field` of every key, once."""
    found: dict[str, tuple[type[Part], str]] = {}
    todo: list[type[Part]] = [Config]
    while todo:
        part = todo.pop()
        for name, info in part.model_fields.items():
            if NOTED in info.metadata:
                continue  # no file holds it
            if f"{part.__name__}.{name}" not in found:
                found[f"{part.__name__}.{name}"] = (part, name)
                todo += parts(info.annotation)
    return found


def test_every_key_is_in_the_reference() -> None:
    text = (ROOT / "docs" / "reference" / "config.md").read_text()
    rows = set(re.findall(r"^\| `([^`]+)` \|", text, re.MULTILINE))
    fields = keys().values()
    assert len(fields) > 150
    written = {part.model_fields[name].alias or name for part, name in fields if part.__name__ != "Secret"}
    assert written <= rows, f"next: make docs-reference ({sorted(written - rows)})"


@pytest.mark.slow
def test_every_key_is_read_outside_the_config_room() -> None:
    """By the types that mypy finds: `x.seed` counts for the part that x is, and not for every other that has a seed too."""
    from mypy import build, nodes, types
    from mypy.config_parser import parse_config_file
    from mypy.find_sources import create_source_list
    from mypy.options import Options

    options = Options()
    parse_config_file(options, lambda: None, str(ROOT / "pyproject.toml"), sys.stdout, sys.stderr)
    options.export_types, options.incremental, options.cache_dir = True, False, os.devnull
    options.mypy_path = [str(ROOT / "src")]
    for other in ("duckdb", "matplotlib", "mlflow", "numpy", "optuna", "pandas", "polars", "pyarrow", "scipy", "sqlalchemy", "starlette"):
        options.per_module_options[other] = options.per_module_options[f"{other}.*"] = {"follow_imports": "skip"}  # quicker, none of ours
    result = build.build(create_source_list([str(ROOT / "src" / "modelyard")], options), options)
    elsewhere, read = attributes_elsewhere(), set[str]()
    for node in result.types:
        if isinstance(node, nodes.MemberExpr) and (node.name, node.line, node.column) in elsewhere and node.expr in result.types:
            read |= {f"{name}.{node.name}" for name in instances(types.get_proper_type(result.types[node.expr]))}
    unread = {key for key, (part, name) in keys().items() if not {f"{p.__name__}.{name}" for p in related(part)} & read}
    assert unread == set(BY_NAME)


def related(part: type[Part]) -> Iterator[type]:
    """A part, those it is made of and those made of it: a key may be read of any."""
    yield from part.__mro__
    todo = list(part.__subclasses__())
    while todo:
        below = todo.pop()
        yield below
        todo += below.__subclasses__()


def attributes_elsewhere() -> set[tuple[str, int, int]]:
    """Name, line and column of every attribute outside the config room: mypy's nodes do not say which file they are of."""
    product = ROOT / "src" / "modelyard"
    files = [path for path in product.rglob("*.py") if "config" not in path.relative_to(product).parts]
    trees = [ast.parse(path.read_bytes()) for path in files]
    return {(n.attr, n.lineno, n.col_offset) for tree in trees for n in ast.walk(tree) if isinstance(n, ast.Attribute)}


def instances(kind: Any) -> Iterator[str]:
    """Names of the parts of the config that a value of this type may be."""
    from mypy import types

    for one in kind.items if isinstance(kind, types.UnionType) else [kind]:
        one = types.get_proper_type(one)
        if isinstance(one, types.TypeVarType):
            one = types.get_proper_type(one.upper_bound)
        if isinstance(one, types.Instance) and one.type.fullname.startswith("modelyard.config.spec"):
            yield one.type.name


@pytest.mark.parametrize(
    ("start", "end", "wrong"),
    [
        ("2026-12-20T00:00:00", "2027-01-07T00:00:00", ""),
        ("2026-12-20T08:00:00+05:00", "2026-12-20T05:00:00Z", ""),  # two hours
        ("2026-12-20T10:00:00-05:00", "2026-12-20T12:00:00Z", "lies after"),  # it would never hold
        ("2026-12-20T10:00:00", "2026-12-20T10:00:00", "lies after"),
        ("2026-12-20T10:00:00", "2026-12-21T10:00:00Z", "both"),
    ],
)
def test_a_freeze_ends_after_it_began(start: str, end: str, wrong: str) -> None:
    from modelyard.config.spec.retrain import Freeze

    said = {"start": start, "end": end}
    if not wrong:
        assert Freeze.model_validate(said).start is not None
        return
    with pytest.raises(ValueError, match=wrong):
        Freeze.model_validate(said)
